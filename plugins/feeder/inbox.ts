/**
 * What a stream has for one series and the series has not taken yet: bars, and whether the stream
 * may have missed some before them. Bounded, and may be: what is pushed out is found missing by the
 * series, which asks for it.
 */

import type { Bar } from './bar.ts';

const BARS_MAX = 256;

export interface Delivery {
  /** Bars may be missing before these: ask for what was closed meanwhile. */
  readonly hasSeam: boolean;
  /** Rows taken before may be lost: begin at the newest stored row. */
  readonly mustReload: boolean;
  readonly bars: readonly Bar[];
}

export class Inbox {
  #bars: Bar[] = [];
  #hasSeam = false;
  #mustReload = false;
  #wake: (() => void) | undefined;

  push(bar: Bar): void {
    this.#bars.push(bar);
    if (this.#bars.length > BARS_MAX) this.#bars.shift();
    this.#wake?.();
  }

  seam(): void {
    this.#hasSeam = true;
    this.#wake?.();
  }

  reload(): void {
    this.#mustReload = true;
    this.#wake?.();
  }

  /** Everything there is, as soon as there is something. Rejects when the signal aborts. */
  async take(signal: AbortSignal): Promise<Delivery> {
    signal.throwIfAborted();
    if (this.#bars.length === 0 && !this.#hasSeam && !this.#mustReload) await this.#filled(signal);
    const delivery = {
      hasSeam: this.#hasSeam,
      mustReload: this.#mustReload,
      bars: this.#bars,
    };
    this.#bars = [];
    this.#hasSeam = false;
    this.#mustReload = false;
    return delivery;
  }

  #filled(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (end: () => void) => (): void => {
        this.#wake = undefined;
        signal.removeEventListener('abort', onAbort);
        end();
      };
      const onAbort = settle(() => reject(signal.reason));
      signal.addEventListener('abort', onAbort);
      this.#wake = settle(resolve);
    });
  }
}
