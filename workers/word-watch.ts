/**
 * Waits, without blocking its thread, until a word of shared memory changes.
 *
 * Runs on either side. A pending `Atomics.waitAsync` cannot be taken back, and one that is abandoned
 * costs memory until it is notified, so at most one is armed per watch, whoever comes and goes; it
 * is armed again only after it has settled. Such a wait does not keep a process alive.
 */

export type SharedWords = Int32Array<SharedArrayBuffer>;

export interface WatchLimits {
  /** Gives up waiting: the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Resolves after this time even if nothing changed. */
  readonly timeoutMs?: number | undefined;
}

export class WordWatch {
  readonly #words: SharedWords;
  readonly #index: number;
  readonly #wakers = new Set<() => void>();
  #armed = false;

  constructor(words: SharedWords, index: number) {
    this.#words = words;
    this.#index = index;
  }

  /**
   * Resolves when the word no longer holds `seen`, and now and then for no reason: callers look
   * again and come back. Whoever changes the word must notify it.
   */
  changed(seen: number, limits: WatchLimits = {}): Promise<void> {
    const { signal, timeoutMs } = limits;
    if (signal?.aborted === true) return Promise.reject(signal.reason);
    if (Atomics.load(this.#words, this.#index) !== seen) return Promise.resolve();
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined;
      const settle = (): void => {
        this.#wakers.delete(settle);
        clearTimeout(timer);
        signal?.removeEventListener('abort', settle);
        if (signal?.aborted === true) reject(signal.reason);
        else resolve();
      };
      this.#wakers.add(settle);
      signal?.addEventListener('abort', settle);
      if (timeoutMs !== undefined) timer = setTimeout(settle, timeoutMs);
      // Order: be in the list, then arm. A change between the check above and here settles at once.
      this.#arm(seen);
    });
  }

  #arm(seen: number): void {
    if (this.#armed) return;
    const wait = Atomics.waitAsync(this.#words, this.#index, seen);
    if (!wait.async) {
      this.#wake();
      return;
    }
    this.#armed = true;
    void wait.value.then(() => {
      this.#armed = false;
      this.#wake();
    });
  }

  #wake(): void {
    for (const waker of [...this.#wakers]) waker();
  }
}
