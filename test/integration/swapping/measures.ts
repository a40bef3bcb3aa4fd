/** What the swap test measures: gaps between commits, quantiles, the slope of memory. */

import { subscribe, unsubscribe } from 'node:diagnostics_channel';

/** Watches the times at which rows of one plugin become committed and visible. */
export class CommitGaps {
  readonly #plugin: string;
  #lastMs: number | undefined;
  #longestMs = 0;

  constructor(plugin: string) {
    this.#plugin = plugin;
    subscribe('mkts:applied', this.#onApplied);
  }

  /** The longest gap since the last call, the one that lasts included. */
  longest(): number {
    const lastsMs = this.#lastMs === undefined ? 0 : performance.now() - this.#lastMs;
    const longestMs = Math.max(this.#longestMs, lastsMs);
    this.#longestMs = 0;
    return longestMs;
  }

  stop(): void {
    unsubscribe('mkts:applied', this.#onApplied);
  }

  readonly #onApplied = (message: unknown): void => {
    const { writers } = message as { readonly writers: readonly string[] };
    if (!writers.includes(this.#plugin)) return;
    const nowMs = performance.now();
    if (this.#lastMs !== undefined)
      this.#longestMs = Math.max(this.#longestMs, nowMs - this.#lastMs);
    this.#lastMs = nowMs;
  };
}

/** Of a list that is not empty. */
export function quantile(values: ArrayLike<number>, q: number): number {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}

/** Least squares: how much y grows with each step of x = 0, 1, 2 … */
export function slope(values: readonly number[]): number {
  const meanX = (values.length - 1) / 2;
  const meanY = values.reduce((sum, y) => sum + y, 0) / values.length;
  let above = 0;
  let below = 0;
  for (const [x, y] of values.entries()) {
    above += (x - meanX) * (y - meanY);
    below += (x - meanX) ** 2;
  }
  return above / below;
}
