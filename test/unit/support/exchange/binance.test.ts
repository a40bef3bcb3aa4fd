/** The local Binance keeps the contract of the real one: what is not asserted here a feeder may not
 * rely on.
 */

import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { get, json } from '../../../support/exchange/client.ts';
import { type Exchange, startExchange } from '../../../support/exchange/exchange.ts';
import { HandClock } from '../../../support/exchange/venue-clock.ts';
import { expectedFacts, recordedWeek } from '../../../support/fixture.ts';

const MINUTE = 60_000;
const DAY = 1440 * MINUTE;
const binance = recordedWeek('binance');
const BINANCE_START = Date.parse('2021-02-19T00:00:00Z');
let exchange: Exchange<HandClock>;

async function start(nowMs: number): Promise<void> {
  exchange = await startExchange({
    clock: new HandClock(nowMs),
    binance: {
      series: [binance],
      listings: [{ symbol: 'LUNAUSDT', base: 'LUNA', quote: 'USDT', status: 'BREAK' }],
    },
  });
}

afterEach(() => exchange.stop());

type Kline = [number, string, string, string, string, string, number, ...unknown[]];

describe('binance REST', () => {
  /** Half a minute into the 1,200th minute. */
  const NOW = BINANCE_START + 1200 * MINUTE + 30_000;
  const klines = (query: string): Promise<Kline[]> =>
    json(`${exchange.binanceUrl}/api/v3/klines?symbol=BTCUSDT&${query}`);
  const opens = async (query: string): Promise<number[]> =>
    (await klines(query)).map(([openMs]) => (openMs - BINANCE_START) / MINUTE);
  const problem = async (path: string): Promise<[number, number, string]> => {
    const { status, text } = await get(`${exchange.binanceUrl}${path}`);
    const { code, msg } = JSON.parse(text) as { code: number; msg: string };
    return [status, code, msg];
  };

  beforeEach(() => start(NOW));

  test('ping and time answer, and Date is the venue clock', async () => {
    expect((await get(`${exchange.binanceUrl}/api/v3/ping`)).text).toBe('{}');
    const { headers, text } = await get(`${exchange.binanceUrl}/api/v3/time`);
    expect(JSON.parse(text)).toEqual({ serverTime: NOW });
    expect(headers.get('date')).toBe(new Date(NOW).toUTCString());
  });

  test('a kline is twelve fields with the recorded text', async () => {
    const [row] = await klines(`interval=1m&startTime=${BINANCE_START}&limit=1`);
    const bar = binance.bars[0];
    expect(row).toHaveLength(12);
    expect(row?.slice(0, 7)).toEqual([
      BINANCE_START,
      bar?.open,
      bar?.high,
      bar?.low,
      bar?.close,
      bar?.volume,
      BINANCE_START + MINUTE - 1,
    ]);
    expect(row?.[8]).toBe(8);
    expect(row?.[11]).toBe('0');
  });

  test('both bounds are inclusive, by open time', async () => {
    const from = BINANCE_START + 10 * MINUTE;
    expect(await opens(`interval=1m&startTime=${from}&endTime=${from + 2 * MINUTE}`)).toEqual([
      10, 11, 12,
    ]);
    expect(
      await opens(`interval=1m&startTime=${from + 1}&endTime=${from + 2 * MINUTE - 1}`),
    ).toEqual([11]);
    expect(await opens(`interval=1m&startTime=${from}000&endTime=${from}000`)).toEqual([10]);
    expect(await opens(`interval=1m&startTime=${from}&endTime=${from - 1}`)).toEqual([]);
  });

  test('with a start the oldest are answered, without one the newest', async () => {
    expect(await opens('interval=1m&startTime=0&limit=1')).toEqual([0]);
    expect(await opens('interval=1m&limit=2')).toEqual([1199, 1200]);
    expect(await opens(`interval=1m&limit=2&endTime=${BINANCE_START + 5 * MINUTE}`)).toEqual([
      4, 5,
    ]);
  });

  test('500 come by default, 1000 at most', async () => {
    expect(await klines('interval=1m')).toHaveLength(500);
    expect(await klines('interval=1m&limit=1000')).toHaveLength(1000);
    expect(await klines('interval=1m&limit=5000')).toHaveLength(1000);
  });

  test('the candle that is open comes last, and grows into the recorded one', async () => {
    const recorded = binance.bars[1200];
    const [open] = await klines('interval=1m&limit=1');
    expect(open?.[0]).toBe(recorded?.openMs);
    expect(open?.[1]).toBe(recorded?.open);
    expect(open?.[6]).toBeGreaterThan(NOW);
    expect(Number(open?.[5])).toBeLessThan(Number(recorded?.volume));
    await exchange.clock.advance(30_000 - 1);
    const [ended] = await klines('interval=1m&limit=1');
    expect(ended?.slice(1, 6)).toEqual([
      recorded?.open,
      recorded?.high,
      recorded?.low,
      recorded?.close,
      recorded?.volume,
    ]);
  });

  test('nothing comes after the end of the recording', async () => {
    await exchange.clock.advanceTo(BINANCE_START + 8 * DAY);
    expect((await opens('interval=1m&limit=1')).at(-1)).toBe(7 * 1440 - 1);
    expect(await opens(`interval=1m&startTime=${BINANCE_START + 7 * DAY}`)).toEqual([]);
  });

  test.each([
    ['5m', '5Min'],
    ['1h', '1H'],
    ['1d', '1D'],
  ] as const)('%s candles are the sums of the minutes', async (interval, timeframe) => {
    await exchange.clock.advanceTo(BINANCE_START + 7 * DAY);
    const expected = expectedFacts('binance').aggregates_utc_day['2021-02-19']?.[timeframe] ?? [];
    const found = await klines(
      `interval=${interval}&startTime=${BINANCE_START}&endTime=${BINANCE_START + DAY - 1}&limit=1000`,
    );
    expect(expected.length).toBeGreaterThan(0);
    expect(found.map((row) => [row[0] / 1000, ...row.slice(1, 6).map(Number)])).toEqual(expected);
  });

  test('weeks start on Monday, months on their first, and timeZone moves days', async () => {
    await exchange.clock.advanceTo(BINANCE_START + 7 * DAY);
    const starts = async (query: string): Promise<string[]> =>
      (await klines(query)).map(([openMs]) => new Date(openMs).toISOString().slice(0, 13));
    expect(await starts('interval=1w')).toEqual(['2021-02-15T00', '2021-02-22T00']);
    expect(await starts('interval=1M')).toEqual(['2021-02-01T00']);
    expect(await starts('interval=1d&limit=1&timeZone=%2B8:00')).toEqual(['2021-02-25T16']);
    expect(await starts('interval=1d&limit=1&timeZone=-5')).toEqual(['2021-02-25T05']);
  });

  test.each([
    ['symbol=NOPEUSDT&interval=1m', -1121, 'Invalid symbol.'],
    ['symbol=BTCUSDT&interval=1Min', -1120, 'Invalid interval.'],
    ['symbol=BTC/USDT&interval=1m', -1100, 'Illegal characters found'],
    ['symbol=BTCUSDT&interval=1m&startTime=now', -1100, 'Illegal characters found'],
    ['interval=1m', -1102, "Mandatory parameter 'symbol'"],
    ['symbol=BTCUSDT', -1102, "Mandatory parameter 'interval'"],
    ['symbol=BTCUSDT&interval=1m&limit=0', -1130, 'limit'],
    ['symbol=BTCUSDT&interval=1d&timeZone=15', -1130, 'timeZone'],
    ['symbol=BTCUSDT&interval=1m&from=1', -1101, 'Too many parameters'],
  ])('%s is refused by %i', async (query, code, text) => {
    const [status, found, message] = await problem(`/api/v3/klines?${query}`);
    expect([status, found]).toEqual([400, code]);
    expect(message).toContain(text);
  });

  test('exchangeInfo lists and filters symbols', async () => {
    const symbols = async (query: string): Promise<string[]> => {
      const { symbols } = await json<{ symbols: { symbol: string; status: string }[] }>(
        `${exchange.binanceUrl}/api/v3/exchangeInfo${query}`,
      );
      return symbols.map(({ symbol, status }) => `${symbol} ${status}`);
    };
    expect(await symbols('')).toEqual(['BTCUSDT TRADING', 'LUNAUSDT BREAK']);
    expect(await symbols('?symbolStatus=TRADING&permissions=SPOT')).toEqual(['BTCUSDT TRADING']);
    expect(await symbols('?symbol=LUNAUSDT')).toEqual(['LUNAUSDT BREAK']);
    expect(await symbols('?symbols=%5B%22BTCUSDT%22%5D')).toEqual(['BTCUSDT TRADING']);
    expect(await symbols('?permissions=%5B%22MARGIN%22%5D')).toEqual([]);
    expect((await problem('/api/v3/exchangeInfo?symbol=NOPE')).slice(0, 2)).toEqual([400, -1121]);
    expect((await problem('/api/v3/exchangeInfo?symbol=BTCUSDT&symbolStatus=BREAK'))[1]).toBe(
      -1128,
    );
  });

  test('weights add up, run out by 429, and asking on is banned by 418', async () => {
    await exchange.stop();
    exchange = await startExchange({
      clock: new HandClock(NOW),
      binance: { series: [binance], weightPerMinute: 6 },
    });
    const ask = () =>
      get(`${exchange.binanceUrl}/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1`);
    const used: (string | null)[] = [];
    for (let i = 0; i < 3; i++) used.push((await ask()).headers.get('x-mbx-used-weight-1m'));
    expect(used).toEqual(['2', '4', '6']);
    const refused = await ask();
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '30']);
    expect(JSON.parse(refused.text)).toMatchObject({ code: -1003 });
    for (let i = 0; i < 10; i++) await ask();
    const banned = await ask();
    expect([banned.status, banned.headers.get('retry-after')]).toEqual([418, '120']);
    await exchange.clock.advance(119_000);
    expect((await ask()).status).toBe(418);
    await exchange.clock.advance(MINUTE);
    expect((await ask()).status).toBe(200);
  });

  test('an unknown path is 404', async () => {
    expect((await get(`${exchange.binanceUrl}/api/v1/klines`)).status).toBe(404);
  });
});
