/** The kline streams of the local Binance keep the contract of the real ones. */

import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import WebSocket from 'ws';
import { Follower } from '../../../support/exchange/client.ts';
import { type Exchange, startExchange } from '../../../support/exchange/exchange.ts';
import { HandClock } from '../../../support/exchange/venue-clock.ts';
import { recordedWeek } from '../../../support/fixture.ts';

const MINUTE = 60_000;
const DAY = 1440 * MINUTE;
const binance = recordedWeek('binance');
const BINANCE_START = Date.parse('2021-02-19T00:00:00Z');
let exchange: Exchange<HandClock>;

async function start(nowMs: number): Promise<void> {
  exchange = await startExchange({ clock: new HandClock(nowMs), binance: { series: [binance] } });
}

afterEach(() => exchange.stop());

interface KlineEvent {
  e: string;
  E: number;
  s: string;
  k: { t: number; T: number; i: string; o: string; c: string; v: string; x: boolean; n: number };
}

describe('binance streams', () => {
  const NOW = BINANCE_START + 100 * MINUTE;
  beforeEach(() => start(NOW));

  test('a minute goes out as it grows, and once with x true, as recorded', async () => {
    const follower = await Follower.open(`${exchange.binanceStreamUrl}/ws/btcusdt@kline_1m`);
    await exchange.clock.advance(2 * MINUTE);
    const ofNext = (event: KlineEvent): boolean => event.k.t === NOW + 2 * MINUTE;
    const events: KlineEvent[] = [];
    while (!events.some(ofNext)) events.push(...(await follower.take<KlineEvent>(1)));
    const closed = events.filter(({ k }) => k.x);
    expect(closed.map(({ k }) => [k.t, k.T])).toEqual([
      [NOW, NOW + MINUTE - 1],
      [NOW + MINUTE, NOW + 2 * MINUTE - 1],
    ]);
    expect(closed.map(({ k }) => [k.o, k.c, k.v])).toEqual(
      [100, 101].map((i) => {
        const bar = binance.bars[i];
        return [bar?.open, bar?.close, bar?.volume];
      }),
    );
    expect(events.every(({ e, s, E }) => e === 'kline' && s === 'BTCUSDT' && E % 2000 === 0)).toBe(
      true,
    );
    expect(events.length).toBeGreaterThan(6);
  });

  test('combined streams name theirs, and commands change what comes', async () => {
    const follower = await Follower.open(
      `${exchange.binanceStreamUrl}/stream?streams=btcusdt@kline_1m/btcusdt@kline_5m`,
    );
    await exchange.clock.advance(2_000);
    const names = (await follower.take<{ stream: string }>(2)).map(({ stream }) => stream);
    expect(names).toEqual(['btcusdt@kline_1m', 'btcusdt@kline_5m']);
    follower.send({ method: 'UNSUBSCRIBE', params: ['btcusdt@kline_5m'], id: 1 });
    follower.send({ method: 'SUBSCRIBE', params: ['btcusdt@kline_1h', 'nope@kline_1m'], id: 'b' });
    follower.send({ method: 'LIST_SUBSCRIPTIONS', id: 3 });
    follower.send({ method: 'DANCE', id: 4 });
    expect(await follower.take(3)).toEqual([
      { result: null, id: 1 },
      { result: null, id: 'b' },
      { result: ['btcusdt@kline_1m', 'btcusdt@kline_1h', 'nope@kline_1m'], id: 3 },
    ]);
    expect(await follower.take(1)).toMatchObject([{ error: { code: 2 }, id: 4 }]);
  });

  test('more than five commands a second end the connection', async () => {
    const follower = await Follower.open(`${exchange.binanceStreamUrl}/ws`);
    for (let id = 0; id < 6; id++) follower.send({ method: 'LIST_SUBSCRIPTIONS', id });
    expect(await follower.closed).toBe(1008);
  });

  test('a ping comes every 20 seconds, and its pong keeps the connection', async () => {
    const follower = await Follower.open(`${exchange.binanceStreamUrl}/ws`);
    const pinged = once(follower.socket, 'ping');
    await exchange.clock.advance(20_000);
    expect(String((await pinged)[0])).toBe(String(NOW + 20_000));
    await exchange.clock.advance(5 * MINUTE);
    expect(follower.socket.readyState).toBe(WebSocket.OPEN);
  });

  test('a connection ends after a day, announced by serverShutdown', async () => {
    const follower = await Follower.open(`${exchange.binanceStreamUrl}/ws`);
    await exchange.clock.advance(DAY + 2_000);
    expect(await follower.take(1)).toMatchObject([{ e: 'serverShutdown' }]);
    expect(await follower.closed).toBe(1001);
  });

  test('a shutdown is announced ten seconds before', async () => {
    const follower = await Follower.open(`${exchange.binanceStreamUrl}/ws`);
    exchange.announceShutdown();
    expect(await follower.take(1)).toEqual([{ e: 'serverShutdown', E: NOW }]);
    await exchange.clock.advance(12_000);
    expect(await follower.closed).toBe(1001);
  });

  test('a path that is no stream is refused', async () => {
    const follower = new Follower(`${exchange.binanceStreamUrl}/klines`);
    expect(await follower.closed).toBe(1006);
    expect(exchange.requests.list('/klines')[0]?.status).toBe(404);
  });
});
