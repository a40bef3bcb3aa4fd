/** The small parts that keep budgets on the main thread: memory, CPU seen from outside, questions. */

import { expect, test } from 'vitest';
import { CPU_OVER_MS, PLUGIN_REQUESTS_WAITING_MAX } from '../../../../kernel/base/limits.ts';
import { RequestGate } from '../../../../kernel/base/request-gate.ts';
import { CpuWatch } from '../../../../kernel/supervisor/cpu-watch.ts';
import { MemoryBudget } from '../../../../kernel/supervisor/memory-budget.ts';

test('memory: a bound counts once it was passed a few times in a row, or by far', () => {
  const budget = new MemoryBudget({ totalMb: 100, heapMb: 50, externalMb: undefined });
  const over = { totalMb: 101 };
  for (let round = 0; round < 3; round++) expect(budget.check(over)).toBeUndefined();
  expect(budget.check({ totalMb: 100 })).toBeUndefined();
  for (let round = 0; round < 3; round++) expect(budget.check(over)).toBeUndefined();
  expect(budget.check(over)).toEqual({ usedMb: 101, limitMb: 100, part: undefined });
  expect(budget.check({ totalMb: 99, heapMb: 101.4 })).toEqual({
    usedMb: 101,
    limitMb: 50,
    part: 'heap',
  });
  expect(budget.check({ totalMb: 99, externalMb: 90 })).toBeUndefined();
});

test('CPU: slowed down in window after window for long is over, and a while without is not', () => {
  const watch = new CpuWatch();
  let [nowMs, cpuMs, throttledMs] = [0, 2 ** 32 - 500, 0];
  const pass = (milliseconds: number, used: number, throttled: number): void => {
    for (let passed = 0; passed < milliseconds; passed += 250) {
      nowMs += 250;
      cpuMs = (cpuMs + used * 250) % 2 ** 32;
      throttledMs += throttled * 250;
      watch.sample({ nowMs, cpuMs, throttledMs });
    }
  };
  pass(CPU_OVER_MS, 0.2, 0.8);
  expect(watch.isOver).toBe(false);
  pass(2_000, 0.2, 0.8);
  expect(watch.isOver).toBe(true);
  // Over 2^32 and on.
  expect(watch.percent).toBeCloseTo(20, 0);
  pass(2_000, 0.1, 0);
  expect(watch.isOver).toBe(true);
  pass(2_500, 0.1, 0);
  expect(watch.isOver).toBe(false);
  for (let round = 0; round < 20; round++) {
    pass(5_000, 0.2, 0.1);
    // Long enough for a window without, wherever windows begin.
    pass(2_000, 0.2, 0);
  }
  expect(watch.isOver).toBe(false);
});

test('requests: turns are taken in order, a failed one gives its turn on, and too many are refused', async () => {
  const gate = new RequestGate('greedy', 2);
  const started: number[] = [];
  const ends: PromiseWithResolvers<void>[] = [];
  const runs = [0, 1, 2, 3].map((at) =>
    gate.run(async () => {
      started.push(at);
      const end = Promise.withResolvers<void>();
      ends.push(end);
      await end.promise;
      return at;
    }),
  );
  expect(started).toEqual([0, 1]);
  expect([gate.underWay, gate.waiting]).toEqual([2, 2]);
  ends[0]?.reject(new Error('no'));
  await expect(runs[0]).rejects.toThrow('no');
  expect(started).toEqual([0, 1, 2]);
  ends[1]?.resolve();
  await runs[1];
  for (const end of ends) end.resolve();
  await runs[2];
  for (const end of ends) end.resolve();
  expect(await runs[3]).toBe(3);
  expect([gate.underWay, gate.waiting]).toEqual([0, 0]);

  const full = new RequestGate('greedy', 1);
  const held = Promise.withResolvers<void>();
  const all = Array.from({ length: 1 + PLUGIN_REQUESTS_WAITING_MAX }, () =>
    full.run(() => held.promise),
  );
  await expect(full.run(async () => undefined)).rejects.toMatchObject({ code: 'MKTS_BUDGET' });
  held.resolve();
  await Promise.all(all);
});
