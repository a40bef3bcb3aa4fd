/** Time that passes only when a test says so. */

import type { Clock } from '../sdk.ts';

export interface FakeTimer {
  readonly atMs: number;
  readonly fire: () => void;
}

export class FakeClock implements Clock {
  #nowMs: number;
  #timers: FakeTimer[] = [];

  constructor(nowMs: number) {
    this.#nowMs = nowMs;
  }

  now(): number {
    return this.#nowMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason);
        return;
      }
      const onAbort = (): void => {
        this.#timers = this.#timers.filter((other) => other !== timer);
        reject(signal?.reason);
      };
      const fire = (): void => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      };
      const timer = this.at(this.#nowMs + Math.max(0, Number(ms) || 0), fire);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** Calls `fire` when the clock gets there: for what a venue does by itself. */
  at(atMs: number, fire: () => void): FakeTimer {
    const timer = { atMs, fire };
    this.#timers.push(timer);
    return timer;
  }

  /** Turns the clock to its next timer and fires it; false if there is none. */
  turn(): boolean {
    let next: FakeTimer | undefined;
    for (const timer of this.#timers)
      if (next === undefined || timer.atMs < next.atMs) next = timer;
    if (next === undefined) return false;
    this.#timers = this.#timers.filter((timer) => timer !== next);
    this.#nowMs = Math.max(this.#nowMs, next.atMs);
    next.fire();
    return true;
  }

  /** Turns the clock by `ms`, firing what lies between. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await settled();
    while (this.#timers.some(({ atMs }) => atMs <= endMs)) {
      this.turn();
      await settled();
    }
    this.#nowMs = endMs;
  }
}

/** Everything that can happen without time passing has happened. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise<void>((resolve) => setImmediate(resolve));
}
