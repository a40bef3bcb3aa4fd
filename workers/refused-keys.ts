/**
 * Keys the kernel refused this plugin to write, remembered in its worker: who tries again and again
 * is refused here, and costs the main thread a count a second. Grants do not change while it lives.
 */

import { MktsError } from '../kernel/base/errors.ts';
import { REFUSED_KEYS_MAX } from '../kernel/base/limits.ts';

export class RefusedKeys {
  readonly #onRefused: (key: string) => void;
  readonly #errors = new Map<string, MktsError>();

  /** `onRefused` is told of each try the kernel does not see. */
  constructor(onRefused: (key: string) => void) {
    this.#onRefused = onRefused;
  }

  /** Opens a series unless that was refused before. */
  async open<T>(key: string, ask: (key: string) => Promise<T>): Promise<T> {
    const refused = this.#errors.get(key);
    if (refused !== undefined) {
      this.#onRefused(key);
      throw refused;
    }
    try {
      return await ask(key);
    } catch (error) {
      const isDenied = error instanceof MktsError && error.code === 'MKTS_CAPABILITY_DENIED';
      if (isDenied && this.#errors.size < REFUSED_KEYS_MAX) this.#errors.set(key, error);
      throw error;
    }
  }
}
