/** `mkts plugin test` runs this: no network, no waiting. */

import { assert, FakeKernel, test } from 'mkts/testing';
import plugin from './plugin.ts';

const KEY = 'HEARTBEAT/1Min/STATUS';
const NOW_MS = Date.parse('2026-01-05T15:00:20Z');

test('there is a row a minute, and its count goes on after a restart', async () => {
  const kernel = new FakeKernel({ nowMs: NOW_MS });
  const run = kernel.start(plugin);
  await kernel.until(() => kernel.rows(KEY).length === 2);
  await run.stop();
  assert.equal(run.failure, undefined);

  await kernel.clock.advance(60_000);
  kernel.start(plugin);
  await kernel.until(() => kernel.rows(KEY).length === 3);
  const minute = Date.parse('2026-01-05T15:00:00Z') / 1000;
  assert.deepEqual(kernel.rows(KEY), [
    { Epoch: minute, Beats: 1 },
    { Epoch: minute + 60, Beats: 2 },
    { Epoch: minute + 120, Beats: 3 },
  ]);
});

test('settings that make no sense are refused', () => {
  assert.throws(() => new FakeKernel().start(plugin, { every: 0 }), /every/);
});
