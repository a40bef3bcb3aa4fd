/**
 * One bell for all rings: a worker rings it after a commit, the kernel sleeps on it.
 *
 *   word 0          count   grows by one with every ring
 *   word 16 (+64 B) sleeps  1 while the kernel waits: only then does a worker pay for a notify
 *
 * Invariant: no ring is lost. The kernel remembers the count of its last waking, and a wait begins
 * by comparing: whatever was rung since the last waking ends it at once. It raises `sleeps` before
 * it compares, and a worker counts before it reads `sleeps`, so one of the two sees the other.
 */

import { type SharedWords, WordWatch } from './word-watch.ts';

const COUNT = 0;
const SLEEPS = 16;
const DOORBELL_BYTES = 128;

export class Doorbell {
  readonly shared: SharedArrayBuffer;
  readonly #words: SharedWords;
  readonly #watch: WordWatch;
  #seen: number;

  /** Any thread; without an argument a new bell. */
  constructor(shared: SharedArrayBuffer = new SharedArrayBuffer(DOORBELL_BYTES)) {
    this.shared = shared;
    this.#words = new Int32Array(shared);
    this.#watch = new WordWatch(this.#words, COUNT);
    this.#seen = Atomics.load(this.#words, COUNT);
  }

  /** After a commit; also by the kernel to wake itself. */
  ring(): void {
    Atomics.add(this.#words, COUNT, 1);
    if (Atomics.load(this.#words, SLEEPS) !== 0) Atomics.notify(this.#words, COUNT);
  }

  /**
   * Kernel only, one caller at a time: resolves when the bell was rung since the last `wait`
   * resolved, or after `timeoutMs`: the timer is a safety net under wake-ups that come late.
   */
  async wait(timeoutMs: number): Promise<void> {
    Atomics.store(this.#words, SLEEPS, 1);
    try {
      await this.#watch.changed(this.#seen, { timeoutMs });
    } finally {
      Atomics.store(this.#words, SLEEPS, 0);
      this.#seen = Atomics.load(this.#words, COUNT);
    }
  }
}
