/**
 * A plugin's use of the CPU, as its worker reports it, seen from outside: how much of a core, and
 * whether it is slowed down so steadily that somebody should know. Pure; worker-watch.ts feeds it.
 * The slowing down itself is done in the worker (workers/cpu-budget.ts).
 */

import { CPU_OVER_MS } from '../base/limits.ts';

const WINDOW_MS = 1_000;
/** Windows in a row in which it was slowed down: then it is past its budget for good. */
const WINDOWS_OVER = CPU_OVER_MS / WINDOW_MS;
/** And so many without, until it no longer is. */
const WINDOWS_UNDER = 3;

export interface CpuSample {
  readonly nowMs: number;
  /** u32 totals, which may run over. */
  readonly cpuMs: number;
  readonly throttledMs: number;
}

export class CpuWatch {
  #window: CpuSample | undefined;
  #percent = 0;
  #over = 0;
  #under = 0;
  #isOver = false;

  /** Of one core, in the last window. */
  get percent(): number {
    return this.#percent;
  }
  /** It wants more than its budget, for a while now. */
  get isOver(): boolean {
    return this.#isOver;
  }

  sample(sample: CpuSample): void {
    const window = this.#window;
    if (window === undefined) {
      this.#window = sample;
      return;
    }
    const passedMs = sample.nowMs - window.nowMs;
    if (passedMs < WINDOW_MS) return;
    this.#window = sample;
    this.#percent = (100 * ((sample.cpuMs - window.cpuMs) >>> 0)) / passedMs;
    const wasThrottled = sample.throttledMs !== window.throttledMs;
    this.#over = wasThrottled ? this.#over + 1 : 0;
    this.#under = wasThrottled ? 0 : this.#under + 1;
    if (this.#over >= WINDOWS_OVER) this.#isOver = true;
    else if (this.#under >= WINDOWS_UNDER) this.#isOver = false;
  }
}
