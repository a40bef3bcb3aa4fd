import { describe, expect, test } from 'vitest';
import plugin from '../../../../plugins/gdaxfeeder/plugin.ts';
import { type FakeAnswer, FakeKernel } from '../../../../plugins/testing/fake-kernel.ts';
import { FakeCoinbase } from '../../../support/fake-venues.ts';

const KEY = 'gdax_BTC-USD/1Min/OHLCV';
const NOW_MS = 1_795_446_150_000;
const DATE = { date: 'Mon, 23 Nov 2026 15:02:30 GMT' };
/** Newest first; 15:02 is open, 15:01 had no trades, 14:59 lies before the range. */
const CANDLES = [
  [1795446120, 98380.0, 98395.0, 98390.01, 98384.7, 1.2],
  [1795446000, 98400.55, 98450.0, 98412.1, 98431.2, 12.4821],
  [1795445940, 98390.0, 98420.0, 98395.5, 98412.1, 8.25],
];
const BAR = {
  Epoch: 1795446000,
  Open: 98412.1,
  High: 98450,
  Low: 98400.55,
  Close: 98431.2,
  Volume: 12.4821,
};

function begin(candles: (url: URL) => FakeAnswer | Error, date = DATE): FakeKernel {
  return new FakeKernel({
    nowMs: NOW_MS,
    fetch: (url) =>
      url.pathname === '/time'
        ? { headers: date, body: { epoch: Date.parse(date.date) / 1000 } }
        : candles(url),
  });
}

const asked = (world: FakeKernel): URL[] =>
  world.requests.map(({ url }) => url).filter(({ pathname }) => pathname.endsWith('/candles'));

describe('pages of candles', () => {
  test('V1: only the closed candle within the range is stored', async () => {
    const world = begin(() => ({ headers: DATE, body: CANDLES }));
    world.start(plugin, { symbols: 'BTC-USD', query_start: '2026-11-23 15:00' });
    await world.until(() => world.rows(KEY).length > 0);
    expect(`${asked(world)[0]?.pathname}${asked(world)[0]?.search}`).toBe(
      '/products/BTC-USD/candles?granularity=60&start=2026-11-23T15:00:00Z&end=2026-11-23T15:02:00Z',
    );
    expect(world.rows(KEY)).toEqual([BAR]);
    expect(world.counters.get('dropped_rows not_closed')).toBe(1);
    expect(world.counters.get('dropped_rows before_range')).toBe(1);
  });

  test('V1: with fill_empty the minute without trades is a flat bar', async () => {
    const world = begin(() => ({ headers: DATE, body: CANDLES }));
    world.start(plugin, {
      symbols: 'BTC-USD',
      query_start: '2026-11-23 15:00',
      fill_empty: 'true',
    });
    await world.until(() => world.rows(KEY).length > 0);
    const close = 98431.2;
    expect(world.rows(KEY)).toEqual([
      BAR,
      { Epoch: 1795446060, Open: close, High: close, Low: close, Close: close, Volume: 0 },
    ]);
  });

  test('V2: a page has 300 candles, both ends told', async () => {
    const date = { date: 'Tue, 24 Nov 2026 15:00:00 GMT' };
    const world = begin(() => ({ headers: date, body: [] }), date);
    world.start(plugin, { symbols: 'BTC-USD', query_start: '2026-11-23 15:00' });
    await world.until(() => asked(world).length > 0);
    expect(asked(world)[0]?.search).toBe(
      '?granularity=60&start=2026-11-23T15:00:00Z&end=2026-11-23T19:59:00Z',
    );
  });

  test('V3: a page found too wide is halved, and that is told once', async () => {
    const date = { date: 'Tue, 24 Nov 2026 15:00:00 GMT' };
    const world = begin((url) => {
      const [start, end] = ['start', 'end'].map((name) =>
        Date.parse(url.searchParams.get(name) ?? ''),
      );
      const count = ((end ?? 0) - (start ?? 0)) / 60_000 + 1;
      return count > 80
        ? { status: 400, headers: date, body: { message: `${count} aggregations exceed 300` } }
        : { headers: date, body: CANDLES };
    }, date);
    world.start(plugin, { symbols: 'BTC-USD', query_start: '2026-11-23 15:00' });
    await world.until(() => world.rows(KEY).length > 0);
    expect(
      asked(world)
        .slice(0, 3)
        .map(({ search }) => search.slice(-8)),
    ).toEqual(['9:59:00Z', '7:29:00Z', '6:14:00Z']);
    expect(world.lines('warn')).toHaveLength(1);
  });

  test('V3: after 429 the same window is asked for again, with growing pauses', async () => {
    let refusals = 3;
    const world = begin(() =>
      refusals-- > 0 ? { status: 429, headers: DATE } : { headers: DATE, body: CANDLES },
    );
    world.start(plugin, { symbols: 'BTC-USD', query_start: '2026-11-23 15:00' });
    await world.until(() => world.rows(KEY).length > 0);
    const windows = asked(world).slice(0, 4);
    expect(new Set(windows.map(({ search }) => search)).size).toBe(1);
    const waitedMs = world.clock.now() - NOW_MS;
    // 1 + 2 + 4 seconds, each half to one and a half times that.
    expect(waitedMs).toBeGreaterThanOrEqual(3_500);
    expect(waitedMs).toBeLessThanOrEqual(12_000);
  });
});

test('a bar that is late is asked for again after 2, 4 and 8 seconds', async () => {
  const world = begin(() => ({ headers: DATE, body: [] }));
  let isThere = false;
  world.onFetch = (url) => {
    const seconds = world.clock.now() / 1000;
    const headers = { date: new Date(world.clock.now()).toUTCString() };
    if (url.pathname === '/time') return { headers, body: { epoch: seconds } };
    isThere = seconds >= 1795446180 + 10;
    const late = [1795446120, 1, 2, 1, 2, 3];
    return { headers, body: isThere ? [late, ...CANDLES.slice(1)] : CANDLES.slice(1) };
  };
  world.start(plugin, { symbols: 'BTC-USD', query_start: '2026-11-23 15:00' });
  await world.until(() => world.epochs(KEY).includes(1795446120));
  const polls = world.requests.map(({ atMs }) => atMs / 1000 - 1795446180).filter((at) => at > 0);
  expect(polls[0]).toBeGreaterThanOrEqual(2);
  expect(polls[0]).toBeLessThanOrEqual(3.1);
  const gaps = polls.slice(1).map((at, index) => Math.round(at - (polls[index] ?? 0)));
  expect(gaps.slice(0, 2)).toEqual([2, 4]);
});

test('a restart with fill_empty goes on from a flat bar', async () => {
  const world = begin(() => ({ headers: DATE, body: CANDLES }));
  const config = { symbols: 'BTC-USD', query_start: '2026-11-23 15:00', fill_empty: true };
  const first = world.start(plugin, config);
  await world.until(() => world.rows(KEY).length === 2);
  await first.stop();
  const date = { date: 'Mon, 23 Nov 2026 15:06:30 GMT' };
  world.onFetch = () => ({ headers: date, body: [] });
  await world.clock.advance(240_000);
  world.start(plugin, config);
  await world.until(() => world.rows(KEY).length >= 5);
  expect(world.epochs(KEY)).toEqual([0, 60, 120, 180, 240].map((more) => 1795446000 + more));
  expect(world.rows(KEY).at(-1)).toMatchObject({ Close: 98431.2, Volume: 0 });
});

test.each([true, false])('a lull longer than a page, fill_empty %s', async (fillEmpty) => {
  const world = new FakeKernel({ nowMs: NOW_MS });
  const from = 1795446000 - 1_000 * 60;
  const isEmpty = (epoch: number): boolean => epoch > from && epoch < from + 700 * 60;
  new FakeCoinbase(world, { nowSeconds: NOW_MS / 1000, pace: 1, listedSeconds: from, isEmpty });
  world.start(plugin, { symbols: 'BTC-USD', query_start: '2026-11-22', fill_empty: fillEmpty });
  await world.until(() => world.epochs(KEY).at(-1) === 1795446060);
  const epochs = world.epochs(KEY);
  expect(epochs).toHaveLength(fillEmpty ? 1_002 : 303);
  expect(epochs[0]).toBe(from);
});
