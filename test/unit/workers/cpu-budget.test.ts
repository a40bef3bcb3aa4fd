/** A thread's share of a core, on a clock the test turns: a plugin that always wants to work. */

import { expect, test } from 'vitest';
import { CPU_BURST_MS, CPU_LOOK_MS, CPU_SLEEP_MS_MAX } from '../../../kernel/base/limits.ts';
import { CpuBudget } from '../../../workers/cpu-budget.ts';

class Thread {
  nowMs = 0;
  usedMs = 0;
  throttledMs = 0;
  longestSleepMs = 0;
  readonly budget: CpuBudget;

  constructor(percent: number | undefined) {
    this.budget = new CpuBudget({
      percent,
      usedMs: () => this.usedMs,
      nowMs: () => this.nowMs,
      sleep: (ms) => {
        this.nowMs += ms;
        this.longestSleepMs = Math.max(this.longestSleepMs, ms);
      },
      report: (_usedMs, throttledMs) => {
        this.throttledMs = throttledMs;
      },
    });
  }

  /** Works for `busyMs` of each look until `untilMs`. */
  work(busyMs: number, untilMs: number): void {
    while (this.nowMs < untilMs) {
      this.usedMs += busyMs;
      this.nowMs += Math.max(busyMs, CPU_LOOK_MS);
      this.budget.look();
    }
  }
}

test.each([1, 10, 50, 90, 100])('a thread that always works gets its %d %%', (percent) => {
  const thread = new Thread(percent);
  thread.work(CPU_LOOK_MS, 1_000_000);
  expect((100 * thread.usedMs) / thread.nowMs).toBeGreaterThan(0.95 * percent);
  // A turn of the event loop between two sleeps is what it gets anyway.
  const leastPercent = (100 * CPU_LOOK_MS) / (CPU_LOOK_MS + CPU_SLEEP_MS_MAX);
  expect((100 * thread.usedMs) / thread.nowMs).toBeLessThan(
    Math.max(1.05 * percent, leastPercent + 1),
  );
  expect(thread.longestSleepMs).toBeLessThanOrEqual(CPU_SLEEP_MS_MAX);
});

test('who stays below its share, or bursts after a rest, never sleeps', () => {
  const thread = new Thread(50);
  thread.work(40, 60_000);
  thread.work(CPU_LOOK_MS, thread.nowMs + 0.4 * CPU_BURST_MS);
  thread.work(0, thread.nowMs + 60_000);
  thread.work(CPU_LOOK_MS, thread.nowMs + 0.9 * CPU_BURST_MS);
  expect(thread.throttledMs).toBe(0);
});

test('without a bound it is measured and nothing else; released it no longer sleeps', () => {
  const free = new Thread(undefined);
  free.work(CPU_LOOK_MS, 60_000);
  expect([free.throttledMs, free.longestSleepMs]).toEqual([0, 0]);

  const ending = new Thread(10);
  ending.work(CPU_LOOK_MS, 20_000);
  const before = ending.throttledMs;
  ending.budget.release();
  ending.work(CPU_LOOK_MS, ending.nowMs + 5_000);
  expect(ending.throttledMs).toBe(before);
  ending.budget.hold();
  ending.work(CPU_LOOK_MS, ending.nowMs + 5_000);
  expect(ending.throttledMs).toBeGreaterThan(before);
});

test('a turn that took very long is forgiven past a bound', () => {
  const thread = new Thread(10);
  thread.work(600_000, 1);
  thread.work(0, thread.nowMs + 55_000);
  const before = thread.throttledMs;
  thread.work(0, thread.nowMs + 60_000);
  expect(thread.throttledMs).toBe(before);
});
