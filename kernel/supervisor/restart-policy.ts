/**
 * When a crashed plugin starts again: after 1 s, 2 s, 4 s … at most a minute, each shortened by up to
 * half at random so that plugins that died together do not return together; and not at all once it
 * restarted too often within the window. Pure but for the randomness handed in.
 */

import { RESTART_DELAY_MAX_MS, RESTARTS_WINDOW_MS } from '../base/limits.ts';

export interface RestartPolicyOptions {
  readonly restartDelayMs: number;
  readonly restartsMax: number;
  /** In [0, 1). */
  readonly random: () => number;
}

export class RestartPolicy {
  readonly #options: RestartPolicyOptions;
  /** Times of the restarts within the window: at most `restartsMax`. */
  #restartedAtMs: number[] = [];

  constructor(options: RestartPolicyOptions) {
    this.#options = options;
  }

  /** Milliseconds until the next start, or undefined: give up. */
  next(nowMs: number): number | undefined {
    const { restartDelayMs, restartsMax, random } = this.#options;
    this.#restartedAtMs = this.#restartedAtMs.filter((atMs) => nowMs - atMs < RESTARTS_WINDOW_MS);
    const restarts = this.#restartedAtMs.length;
    if (restarts >= restartsMax) return undefined;
    this.#restartedAtMs.push(nowMs);
    const delayMs = Math.min(restartDelayMs * 2 ** restarts, RESTART_DELAY_MAX_MS);
    return delayMs * (1 - random() / 2);
  }

  /** An operator acted: all is forgiven. */
  reset(): void {
    this.#restartedAtMs = [];
  }
}
