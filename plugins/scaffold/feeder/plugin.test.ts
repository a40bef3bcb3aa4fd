/** `mkts plugin test` runs this: no network, no waiting. `mkts plugin record` makes other tapes. */

import { assert, FakeKernel, readTape, test } from 'mkts/testing';
import plugin from './plugin.ts';

const KEY = 'BTC-USD/1Min/OHLCV';
const SETTINGS = { symbols: ['BTC-USD'], history: 3 };
const tape = readTape(new URL('./tape.jsonl', import.meta.url));
const at = (time: string): number => Date.parse(`2026-01-05T${time}Z`) / 1000;

test('bars are stored as they close, whatever the venue does in between', async () => {
  const kernel = new FakeKernel({ tape });
  const run = kernel.start(plugin, SETTINGS);
  await kernel.until(() => kernel.rows(KEY).length === 5);

  assert.deepEqual(kernel.rows(KEY), [
    { Epoch: at('14:57:00'), Open: 101, High: 103, Low: 100, Close: 102, Volume: 1 },
    { Epoch: at('14:58:00'), Open: 102, High: 104, Low: 101, Close: 103, Volume: 1.5 },
    { Epoch: at('14:59:00'), Open: 103, High: 105, Low: 102, Close: 104, Volume: 2 },
    { Epoch: at('15:00:00'), Open: 104, High: 106, Low: 103, Close: 105, Volume: 3 },
    { Epoch: at('15:01:00'), Open: 105, High: 107, Low: 104, Close: 106, Volume: 4 },
  ]);
  assert.equal(kernel.lines('warn').length, 1);
  assert.deepEqual(kernel.unplayed, []);

  await run.stop();
  assert.ok(run.ended);
  assert.equal(run.failure, undefined);
});

test('a restart goes on where the stored rows end', async () => {
  const kernel = new FakeKernel({ tape });
  const first = kernel.start(plugin, SETTINGS);
  await kernel.until(() => kernel.rows(KEY).length === 3);
  await first.stop();
  await kernel.clock.advance(120_000);
  const asked = kernel.requests.length;

  kernel.start(plugin, SETTINGS);
  await kernel.until(() => kernel.rows(KEY).length === 5);
  assert.equal(kernel.requests[asked]?.url.searchParams.get('start'), '2026-01-05T15:00:00.000Z');
});

test('settings that make no sense are refused', () => {
  const kernel = new FakeKernel();
  assert.throws(() => kernel.start(plugin, { symbols: [] }), /symbols/);
  assert.throws(() => kernel.start(plugin, { symbol: 'BTC-USD' }), /symbol/);
});
