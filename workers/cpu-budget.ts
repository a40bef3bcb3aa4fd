/**
 * A plugin's share of a core, kept by its own thread: the host measures now and then what the thread
 * used, and where it is past its share the thread sleeps the excess off. Runs in the worker.
 *
 * The share is a bucket of CPU time: it fills by `percent` of the time that passes, holds a few
 * seconds' worth, so that a burst after a rest costs nothing, and may be owed. While it is owed each
 * turn of the event loop is paid for by a sleep. What a plugin does within one turn cannot be
 * interrupted from within; a turn that never ends is the heartbeat's business.
 *
 * Invariant: a sleep is short and beats, so that throttling is never taken for being stuck, and calls
 * of the kernel are answered between two sleeps.
 */

import { CPU_BURST_MS, CPU_OWED_MS_MAX, CPU_SLEEP_MS_MAX } from '../kernel/base/limits.ts';

export interface CpuBudgetOptions {
  /** Of one core; undefined: measured, not bounded. */
  readonly percent: number | undefined;
  /** CPU time of this thread so far. */
  readonly usedMs: () => number;
  readonly nowMs: () => number;
  /** Blocks the thread. */
  readonly sleep: (ms: number) => void;
  /** Told at each look: totals since the start. */
  readonly report: (usedMs: number, throttledMs: number) => void;
}

export class CpuBudget {
  readonly #options: CpuBudgetOptions;
  readonly #share: number;
  #usedMs: number;
  #lookedMs: number;
  /** CPU time it may still use; negative: it is owed. */
  #balanceMs: number;
  #throttledMs = 0;
  #isReleased = false;

  constructor(options: CpuBudgetOptions) {
    this.#options = options;
    this.#share = (options.percent ?? 0) / 100;
    this.#usedMs = options.usedMs();
    this.#lookedMs = options.nowMs();
    this.#balanceMs = CPU_BURST_MS * this.#share;
  }

  /** Called by a timer, between two turns of the plugin. */
  look(): void {
    const { percent, usedMs, nowMs, sleep, report } = this.#options;
    const used = usedMs();
    const now = nowMs();
    const earnedMs = Math.max(0, now - this.#lookedMs) * this.#share;
    const balanceMs = this.#balanceMs + earnedMs - (used - this.#usedMs);
    this.#balanceMs = Math.min(CPU_BURST_MS * this.#share, Math.max(-CPU_OWED_MS_MAX, balanceMs));
    this.#usedMs = used;
    this.#lookedMs = now;
    if (percent !== undefined && !this.#isReleased && this.#balanceMs < 0) {
      sleep(Math.min(-this.#balanceMs / this.#share, CPU_SLEEP_MS_MAX));
      this.#throttledMs += nowMs() - now;
    }
    report(used, this.#throttledMs);
  }

  /** It runs, and is held to its share. */
  hold(): void {
    this.#isReleased = false;
  }

  /** It shall end: what is left to do is done without sleeping. */
  release(): void {
    this.#isReleased = true;
  }
}
