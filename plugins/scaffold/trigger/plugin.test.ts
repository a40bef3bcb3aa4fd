/** `mkts plugin test` runs this: no network, no waiting. */

import { assert, FakeKernel, test } from 'mkts/testing';
import plugin from './plugin.ts';

const BARS = 'AAPL/1Min/OHLCV';
const RANGES = 'AAPL/1Min/RANGE';
const MINUTE = Date.parse('2026-01-05T15:00:00Z') / 1000;

test('each bar that is written gets its range, and a corrected one a new one', async () => {
  const kernel = new FakeKernel();
  const run = kernel.start(plugin);
  await run.fire(kernel.put(BARS, { Epoch: [MINUTE, MINUTE + 60], High: [12, 15], Low: [10, 12] }));
  await run.fire(kernel.put(BARS, { Epoch: [MINUTE + 60], High: [16], Low: [12] }));
  assert.deepEqual(kernel.rows(RANGES), [
    { Epoch: MINUTE, Range: 2 },
    { Epoch: MINUTE + 60, Range: 4 },
  ]);
});

test('the range can be a percentage', async () => {
  const kernel = new FakeKernel();
  const run = kernel.start(plugin, { unit: 'percent' });
  await run.fire(kernel.put(BARS, { Epoch: [MINUTE], High: [11], Low: [10] }));
  assert.deepEqual(kernel.rows(RANGES), [{ Epoch: MINUTE, Range: 10 }]);
});

test('rows that are no bars are left alone', async () => {
  const kernel = new FakeKernel();
  const run = kernel.start(plugin);
  await run.fire(kernel.put('AAPL/1Min/QUOTE', { Epoch: [MINUTE], Bid: [10], Ask: [11] }));
  assert.deepEqual(kernel.rows(RANGES), []);
});
