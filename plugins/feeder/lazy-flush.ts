/**
 * Commits live rows at most once a second, without anybody waiting for it. If a commit fails, rows
 * already counted as stored may be gone: every series is told to begin at its newest stored row.
 */

import type { Context } from '../sdk.ts';
import { reasonOf } from './failure.ts';

const INTERVAL_MS = 1_000;

export class LazyFlush {
  readonly #ctx: Context<unknown>;
  readonly #onLost: () => void;
  #isDue = false;
  #isRunning = false;

  constructor(ctx: Context<unknown>, onLost: () => void) {
    this.#ctx = ctx;
    this.#onLost = onLost;
  }

  /** Rows were accepted. */
  touch(): void {
    this.#isDue = true;
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#run().catch((failure: unknown) => {
      this.#isRunning = false;
      // On stop the host commits what is in the ring.
      if (this.#ctx.signal.aborted) return;
      this.#ctx.log.warn('rows could not be committed; they are fetched again', {
        reason: reasonOf(failure),
      });
      this.#onLost();
    });
  }

  async #run(): Promise<void> {
    while (this.#isDue) {
      this.#isDue = false;
      await this.#ctx.flush();
      await this.#ctx.clock.sleep(INTERVAL_MS, this.#ctx.signal);
    }
    this.#isRunning = false;
  }
}
