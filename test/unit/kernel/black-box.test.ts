/** What the watchdog is told, and how seldom. */

import { expect, test } from 'vitest';
import { BlackBox, type BlackBoxRecord } from '../../../kernel/black-box.ts';
import type { MemoryLook, WorkerLook } from '../../../kernel/supervisor/process-memory-watch.ts';

const WORKER: WorkerLook = {
  plugin: 'a',
  ageMs: 0,
  usedMb: 20,
  limitMb: 256,
  silentMs: 0,
  unansweredMs: 0,
  isEnding: false,
};

function look(rssMb: number, workers: readonly WorkerLook[] = [WORKER]): MemoryLook {
  return { rssMb, growthMb: 0, workers };
}

function scene() {
  const records: BlackBoxRecord[] = [];
  const dones: (() => void)[] = [];
  const box = new BlackBox(
    (record, done) => {
      records.push(record);
      dones.push(done);
    },
    () => 0.123,
  );
  return { box, records, next: () => dones.shift()?.() };
}

test('a calm process says one word, and nothing more', () => {
  const { box, records, next } = scene();
  for (let at = 0; at < 1000; at++) {
    box.observe(look(200 + (at % 30), [{ ...WORKER, ageMs: at, silentMs: at % 75 }]));
    next();
  }
  expect(records).toHaveLength(1);
  expect(records[0]).toMatchObject({ rssMb: 200, kernelHeapPart: 0.12 });
});

test.each([
  ['the process grew', look(240)],
  ['the process shrank', look(160)],
  ['a worker came', look(200, [WORKER, { ...WORKER, plugin: 'b' }])],
  ['a worker went', look(200, [])],
  ['a worker was replaced by another', look(200, [{ ...WORKER, plugin: 'b' }])],
  ['a worker grew', look(200, [{ ...WORKER, usedMb: 40 }])],
  ['a worker fell silent', look(200, [{ ...WORKER, silentMs: 150 }])],
  ['a worker does not answer', look(200, [{ ...WORKER, unansweredMs: 150 }])],
  ['a worker was told to end', look(200, [{ ...WORKER, isEnding: true }])],
])('news is that %s', (_what, seen) => {
  const { box, records, next } = scene();
  box.observe(look(200));
  next();
  box.observe(seen);
  expect(records).toHaveLength(2);
});

test('a new worker of the same plugin is news', () => {
  const { box, records, next } = scene();
  box.observe(look(200, [{ ...WORKER, ageMs: 5000 }]));
  next();
  box.observe(look(200, [{ ...WORKER, ageMs: 0 }]));
  expect(records).toHaveLength(2);
});

test('while one is on its way the newest waits, and no more than that', () => {
  const { box, records, next } = scene();
  for (let step = 0; step < 100; step++) box.observe(look(200 + 50 * step));
  expect(records).toHaveLength(1);
  next();
  expect(records.map(({ rssMb }) => rssMb)).toEqual([200, 5150]);
  next();
  expect(records).toHaveLength(2);
});
