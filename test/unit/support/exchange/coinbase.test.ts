/** The local Coinbase keeps the contract of the real one: what is not asserted here a feeder may not
 * rely on.
 */

import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import WebSocket from 'ws';
import { Follower, get, json } from '../../../support/exchange/client.ts';
import { type Decimal, parseDecimal, shortDecimal } from '../../../support/exchange/decimal.ts';
import { type Exchange, startExchange } from '../../../support/exchange/exchange.ts';
import { HandClock } from '../../../support/exchange/venue-clock.ts';
import { expectedFacts, recordedWeek } from '../../../support/fixture.ts';

const MINUTE = 60_000;
const DAY = 1440 * MINUTE;
const coinbase = recordedWeek('coinbase');
const COINBASE_START = Date.parse('2020-02-10T00:00:00Z');
let exchange: Exchange<HandClock>;

async function start(nowMs: number): Promise<void> {
  exchange = await startExchange({ clock: new HandClock(nowMs), coinbase: { series: [coinbase] } });
}

afterEach(() => exchange.stop());

describe('coinbase REST', () => {
  const NOW = COINBASE_START + 1200 * MINUTE + 30_000;
  const seconds = (minute: number): number => (COINBASE_START + minute * MINUTE) / 1000;
  const candles = (query: string): Promise<number[][]> =>
    json(`${exchange.coinbaseUrl}/products/BTC-USD/candles?${query}`);
  const problem = async (path: string): Promise<[number, string]> => {
    const { status, text } = await get(`${exchange.coinbaseUrl}${path}`);
    return [status, (JSON.parse(text) as { message: string }).message];
  };

  beforeEach(() => start(NOW));

  test('time and products answer', async () => {
    expect(await json(`${exchange.coinbaseUrl}/time`)).toEqual({
      iso: new Date(NOW).toISOString(),
      epoch: NOW / 1000,
    });
    const product = {
      id: 'BTC-USD',
      base_currency: 'BTC',
      quote_currency: 'USD',
      status: 'online',
    };
    expect(await json(`${exchange.coinbaseUrl}/products`)).toMatchObject([
      { ...product, trading_disabled: false },
    ]);
    expect(await json(`${exchange.coinbaseUrl}/products/BTC-USD`)).toMatchObject(product);
    expect(await problem('/products/NOPE-USD')).toEqual([404, 'NotFound']);
  });

  test('candles are [time, low, high, open, close, volume], newest first, as recorded', async () => {
    const iso = (minute: number): string => new Date(seconds(minute) * 1000).toISOString();
    const { text } = await get(
      `${exchange.coinbaseUrl}/products/BTC-USD/candles?granularity=60&start=${iso(5)}&end=${iso(7)}`,
    );
    const expected = [7, 6, 5, 4].map((minute) => {
      const bar = coinbase.bars[minute];
      return `[${seconds(minute)},${bar?.low},${bar?.high},${bar?.open},${bar?.close},${bar?.volume}]`;
    });
    // The fourth lies before the start: the venue may answer it.
    expect(text).toBe(`[${expected.join(',')}]`);
  });

  test('start and end are Unix seconds too; one without the other is ignored', async () => {
    const bounded = await candles(`granularity=60&start=${seconds(5)}&end=${seconds(5)}`);
    expect(bounded.map(([time]) => time)).toEqual([seconds(5), seconds(4)]);
    const newest = await candles(`granularity=60&start=${seconds(5)}`);
    expect(newest).toHaveLength(300);
    expect(newest[0]?.[0]).toBe(seconds(1200));
  });

  test('300 candles may be asked for, 301 not', async () => {
    const span = (minutes: number): string =>
      `granularity=60&start=${seconds(1)}&end=${seconds(minutes)}`;
    expect(await candles(span(300))).toHaveLength(300);
    const [status, message] = await problem(`/products/BTC-USD/candles?${span(301)}`);
    expect(status).toBe(400);
    expect(message).toContain('granularity too small');
    expect(message).toContain('exceeds 300');
  });

  test.each([
    ['granularity=120', 'Unsupported granularity'],
    ['granularity=60&start=x&end=1', 'Invalid start'],
    ['granularity=60&start=2&end=1', 'start must be before end'],
  ])('%s is refused', async (query, message) => {
    expect(await problem(`/products/BTC-USD/candles?${query}`)).toEqual([400, message]);
  });

  test('larger candles are the sums of the minutes', async () => {
    await exchange.clock.advanceTo(COINBASE_START + 7 * DAY);
    const day = `start=${seconds(0)}&end=${seconds(1439)}`;
    const expected = expectedFacts('coinbase').aggregates_utc_day['2020-02-10'];
    const found = (await candles(`granularity=300&${day}`)).reverse();
    expect(
      found.map(([time, low, high, open, close, volume]) => [time, open, high, low, close, volume]),
    ).toEqual(expected?.['5Min']);
    const days = (await candles('granularity=86400')).reverse();
    expect(days.map(([time, low, high, open, close]) => [time, open, high, low, close])).toEqual(
      expectedFacts('coinbase').all_1D_utc.map((bar) => bar.slice(0, 5)),
    );
  });

  test('a minute without trades is absent', async () => {
    const bars = coinbase.bars.filter((_bar, index) => index !== 6);
    await exchange.stop();
    exchange = await startExchange({
      clock: new HandClock(NOW),
      coinbase: { series: [{ ...coinbase, bars }], candlesBeforeStart: 0 },
    });
    const found = await candles(`granularity=60&start=${seconds(5)}&end=${seconds(7)}`);
    expect(found.map(([time]) => time)).toEqual([seconds(7), seconds(5)]);
  });

  test('15 requests at once are served, the next is 429, and ten more a second later', async () => {
    const ask = async (): Promise<number> => (await get(`${exchange.coinbaseUrl}/time`)).status;
    for (let i = 0; i < 15; i++) expect(await ask()).toBe(200);
    expect(await problem('/time')).toEqual([429, 'Public rate limit exceeded']);
    await exchange.clock.advance(1_000);
    for (let i = 0; i < 10; i++) expect(await ask()).toBe(200);
    expect(await ask()).toBe(429);
  });
});

interface Match {
  type: string;
  trade_id: number;
  price: string;
  size: string;
  time: string;
  product_id: string;
  sequence: number;
}

describe('coinbase feed', () => {
  const NOW = COINBASE_START + 100 * MINUTE;
  beforeEach(() => start(NOW));

  test('who does not subscribe within five seconds is closed', async () => {
    const silent = await Follower.open(exchange.coinbaseFeedUrl);
    const prompt = await Follower.open(exchange.coinbaseFeedUrl);
    prompt.send({ type: 'subscribe', product_ids: ['BTC-USD'], channels: ['matches'] });
    await prompt.take(2);
    await exchange.clock.advance(5_000);
    expect(await silent.closed).toBe(1008);
    expect(prompt.socket.readyState).toBe(WebSocket.OPEN);
  });

  test('matches of a minute give its bar, after last_match and subscriptions', async () => {
    const follower = await Follower.open(exchange.coinbaseFeedUrl);
    follower.send({ type: 'subscribe', product_ids: ['BTC-USD'], channels: ['matches'] });
    const [last, subscriptions] = await follower.take<Match>(2);
    // The trade on the very start of this minute had been made.
    expect(last).toMatchObject({
      type: 'last_match',
      time: new Date(NOW).toISOString().replace('Z', '000Z'),
    });
    expect(subscriptions).toEqual({
      type: 'subscriptions',
      channels: [{ name: 'matches', product_ids: ['BTC-USD'] }],
    });
    await exchange.clock.advance(2 * MINUTE - 1);
    const matches = await follower.take<Match>(15);
    expect(
      matches.every(({ type, product_id }) => type === 'match' && product_id === 'BTC-USD'),
    ).toBe(true);
    const ids = matches.map(({ trade_id }) => trade_id);
    expect(ids).toEqual(ids.map((_id, i) => (last?.trade_id ?? 0) + 1 + i));
    const minute = matches.filter(({ time }) => Date.parse(time) >= NOW + MINUTE);
    const bar = coinbase.bars[101];
    expect(minute).toHaveLength(8);
    expect(minute[0]?.price).toBe(bar?.open);
    expect(minute.at(-1)?.price).toBe(bar?.close);
    expect(shortDecimal(minute.reduce((sum: Decimal, m) => sum + parseDecimal(m.size), 0n))).toBe(
      bar?.volume,
    );
    expect(minute[3]?.time).toMatch(/^2020-02-10T01:41:\d\d\.\d{6}Z$/);
  });

  test('heartbeats come every second with the last trade, until unsubscribed', async () => {
    const follower = await Follower.open(exchange.coinbaseFeedUrl);
    const channels = [{ name: 'heartbeat', product_ids: ['BTC-USD'] }];
    follower.send({ type: 'subscribe', channels });
    await follower.take(1);
    await exchange.clock.advance(3_000);
    const beats = await follower.take<{ type: string; last_trade_id: number; time: string }>(3);
    expect(beats.map(({ type }) => type)).toEqual(['heartbeat', 'heartbeat', 'heartbeat']);
    expect(beats.map(({ time }) => Date.parse(time) - NOW)).toEqual([1000, 2000, 3000]);
    expect(beats[0]?.last_trade_id).toBe(801);
    follower.send({ type: 'unsubscribe', channels: ['heartbeat'] });
    expect(await follower.take(1)).toEqual([{ type: 'subscriptions', channels: [] }]);
  });

  test.each([
    [
      { type: 'subscribe', product_ids: ['NOPE-USD'], channels: ['matches'] },
      'not a valid product',
    ],
    [{ type: 'subscribe', product_ids: ['BTC-USD'], channels: ['full'] }, 'not a valid channel'],
    [{ type: 'subscribe', channels: ['matches'] }, 'no product ids'],
    [{ type: 'dance' }, 'not a valid type'],
  ])('%j is answered by an error', async (command, reason) => {
    const follower = await Follower.open(exchange.coinbaseFeedUrl);
    follower.send(command);
    const [error] = await follower.take<{ type: string; reason: string }>(1);
    expect(error?.type).toBe('error');
    expect(error?.reason).toContain(reason);
  });
});
