/**
 * The time a venue lives in: it decides which candles are closed, when a stream speaks and when a
 * limit is used up. Either it runs, `speed` times as fast as ours, or a test turns it by hand.
 */

/** Time as the venues of an exchange see it. */
export interface VenueClock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Calls `action` once `now()` has reached `atMs`. Returns what cancels it. */
  at(atMs: number, action: () => void): () => void;
}

/** Starts at `startMs` now and runs `speed` times real time. Its timers do not keep a process. */
export function runningClock(options: { startMs: number; speed: number }): VenueClock {
  const { startMs, speed } = options;
  const realStartMs = performance.now();
  const now = (): number => Math.floor(startMs + (performance.now() - realStartMs) * speed);
  return {
    now,
    at(atMs, action) {
      let timer: NodeJS.Timeout;
      // A timer may fire a little early, and cannot wait for longer than 2^31 ms: look again.
      const wait = (): void => {
        const restMs = (atMs - now()) / speed;
        timer = setTimeout(() => (now() >= atMs ? action() : wait()), clampDelay(restMs)).unref();
      };
      wait();
      return () => clearTimeout(timer);
    },
  };
}

function clampDelay(ms: number): number {
  return Math.min(Math.max(1, Math.ceil(ms)), 2 ** 30);
}

interface HandTimer {
  readonly atMs: number;
  readonly order: number;
  readonly action: () => void;
}

/** Stands still until it is turned. */
export class HandClock implements VenueClock {
  readonly #timers = new Set<HandTimer>();
  #nowMs: number;
  #order = 0;

  constructor(startMs: number) {
    this.#nowMs = startMs;
  }

  now(): number {
    return this.#nowMs;
  }

  at(atMs: number, action: () => void): () => void {
    const timer = { atMs, order: this.#order++, action };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Turns the clock on by `ms`; see `advanceTo`. */
  advance(ms: number): Promise<void> {
    return this.advanceTo(this.#nowMs + ms);
  }

  /**
   * Turns the clock on to `toMs`. Every timer on the way fires at its own time, in order; between
   * two the event loop turns, so that sockets are written and read meanwhile. Resolves when all
   * have fired; what they sent may still be on its way to the other side.
   */
  async advanceTo(toMs: number): Promise<void> {
    for (;;) {
      const timer = this.#next(toMs);
      if (timer === undefined) break;
      this.#timers.delete(timer);
      this.#nowMs = Math.max(this.#nowMs, timer.atMs);
      timer.action();
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#nowMs = Math.max(this.#nowMs, toMs);
  }

  #next(toMs: number): HandTimer | undefined {
    let next: HandTimer | undefined;
    for (const timer of this.#timers) {
      if (timer.atMs > toMs) continue;
      const earlier =
        next === undefined ||
        timer.atMs < next.atMs ||
        (timer.atMs === next.atMs && timer.order < next.order);
      if (earlier) next = timer;
    }
    return next;
  }
}
