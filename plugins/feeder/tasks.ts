/** Work that runs side by side: waits for all of it, and fails as soon as a part does. */

import type { Clock } from '../sdk.ts';

export class Tasks {
  /** Rejects with the first failure; never resolves. */
  readonly failed: Promise<never>;
  #fail: (failure: unknown) => void = () => undefined;
  #running: Promise<void>[] = [];

  constructor() {
    this.failed = new Promise((_resolve, reject) => {
      this.#fail = reject;
    });
    // Whoever waits in `finished` sees the failure; before that it must not count as unhandled.
    this.failed.catch(() => undefined);
  }

  start(work: Promise<void>): void {
    this.#running.push(work.catch((failure: unknown) => this.#fail(failure)));
  }

  /** Resolves when all that was started has ended; rejects with the first failure. */
  async finished(): Promise<void> {
    await Promise.race([this.failed, this.#all()]);
  }

  async #all(): Promise<void> {
    for (let count = -1; count !== this.#running.length; ) {
      count = this.#running.length;
      await Promise.all(this.#running);
    }
  }
}

/** True if `work` ended within `ms`; rejects as it does, and when the signal aborts. */
export async function endsWithin(
  work: Promise<void>,
  ms: number,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<boolean> {
  const timeout = clock.sleep(ms, signal).then(() => false);
  // If `work` wins, the abort of a later stop still rejects this, and nobody waits for it.
  timeout.catch(() => undefined);
  return await Promise.race([work.then(() => true), timeout]);
}

/** Runs a plugin's `work`; a stop is an end like any other, whatever it interrupted. */
export async function untilStopped(signal: AbortSignal, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (failure) {
    if (!signal.aborted) throw failure;
  }
}
