/**
 * Dead letters as an operator handles them: implements frontend/letter-operations.ts. Main thread.
 * As with all an operator does, what changes something is a line in the log.
 */

import type { DeadLetter, LetterList, ReplayAnswer } from './base/dead-letter.ts';
import { LETTERS_KEPT_MAX } from './base/limits.ts';
import type { LetterOperations } from './frontend/letter-operations.ts';
import { LetterReplay, type LetterReplayOptions, rowsOfFrames } from './letter-replay.ts';
import { unknownPlugin } from './plugin-operator.ts';
import type { DeadLetters } from './supervisor/dead-letters.ts';
import type { Log } from './supervisor/plugin-entry.ts';
import type { Supervisor } from './supervisor/supervisor.ts';
import { type WriteGrants, writeGrants } from './supervisor/write-grants.ts';

export interface LetterOperatorOptions extends LetterReplayOptions {
  readonly letters: DeadLetters;
  readonly supervisor: Pick<Supervisor, 'entry' | 'plugins' | 'description' | 'inspect'>;
  readonly log: Log;
}

export class LetterOperator implements LetterOperations {
  readonly #options: LetterOperatorOptions;
  readonly #replay: LetterReplay;

  constructor(options: LetterOperatorOptions) {
    this.#options = options;
    this.#replay = new LetterReplay(options);
  }

  async list(plugin: string, limit: number): Promise<LetterList> {
    this.#check(plugin);
    return this.#options.letters.list(plugin, limit);
  }

  async read(plugin: string, id: number): Promise<DeadLetter> {
    this.#check(plugin);
    const letter = await this.#options.letters.read(plugin, id);
    const rows = rowsOfFrames(letter);
    return rows === undefined ? letter : { ...letter, rows };
  }

  async replay(plugin: string, ids: readonly number[] | undefined): Promise<ReplayAnswer> {
    const { log } = this.#options;
    this.#check(plugin);
    const grants = await this.#grants(plugin);
    const chosen = ids ?? (await this.#lost(plugin));
    const answer = await this.#replay.replay(plugin, chosen, grants);
    const { replayed, refused } = answer;
    const rows = replayed.reduce((count, { rowCount }) => count + rowCount, 0);
    if (replayed.length > 0 || refused.length > 0)
      log.info(
        { plugin, letters: replayed.length, rows, refused: refused.length },
        replayed.length > 0
          ? 'an operator had dead letters written after all'
          : 'an operator had dead letters tried again: all were refused',
      );
    return answer;
  }

  async clear(plugin: string): Promise<{ readonly removed: number }> {
    this.#check(plugin);
    const { letters, log } = this.#options;
    const removed = await letters.clear(plugin);
    log.info({ plugin, letters: removed }, 'an operator removed the dead letters of a plugin');
    return { removed };
  }

  /** Those with rows nobody sends again. */
  async #lost(plugin: string): Promise<readonly number[]> {
    const { letters } = await this.#options.letters.list(plugin, LETTERS_KEPT_MAX);
    return letters
      .filter(({ isReplayable, code }) => isReplayable && code !== 'MKTS_STATE_REFUSED')
      .map(({ id }) => id);
  }

  /** Throws MKTS_PLUGIN_UNKNOWN. */
  #check(plugin: string): void {
    const { letters, supervisor } = this.#options;
    const plugins = supervisor.plugins();
    if (!letters.has(plugin) && !plugins.some(({ name }) => name === plugin))
      throw unknownPlugin(plugin, plugins);
  }

  /** What it may write now; a plugin that does not load and says nothing in mkts.yml says nothing. */
  async #grants(plugin: string): Promise<WriteGrants> {
    const { supervisor } = this.#options;
    const entry = supervisor.entry(plugin);
    if (entry.writes !== undefined) return writeGrants(entry, { writes: undefined });
    const known = supervisor.description(plugin);
    return writeGrants(entry, known ?? (await supervisor.inspect(plugin)).description);
  }
}
