/**
 * What can be done with dead letters from outside: the admin API (admin-api.ts) calls it,
 * kernel/letter-operator.ts implements it. Types only.
 *
 * Letters of a plugin that is no longer in mkts.yml can be listed, read and removed; who names
 * neither gets MKTS_PLUGIN_UNKNOWN.
 */

import type { DeadLetter, LetterList, ReplayAnswer } from '../base/dead-letter.ts';

export interface LetterOperations {
  /** The newest, newest last. */
  list(plugin: string, limit: number): Promise<LetterList>;
  /** One in full, with the rows its frames hold. Rejects with MKTS_LETTER_UNKNOWN. */
  read(plugin: string, id: number): Promise<DeadLetter>;
  /**
   * Writes their rows after all. Undefined: of all that hold rows, but for those that were refused with
   * state (MKTS_STATE_REFUSED): their plugin goes on before them, and sends them again.
   */
  replay(plugin: string, ids: readonly number[] | undefined): Promise<ReplayAnswer>;
  /** Removes all. */
  clear(plugin: string): Promise<{ readonly removed: number }>;
}
