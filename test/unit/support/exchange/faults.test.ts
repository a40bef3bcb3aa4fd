/** What a test can make go wrong at the local exchange. */

import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Follower, get } from '../../../support/exchange/client.ts';
import { type Exchange, startExchange } from '../../../support/exchange/exchange.ts';
import { HandClock } from '../../../support/exchange/venue-clock.ts';
import { recordedWeek } from '../../../support/fixture.ts';

const MINUTE = 60_000;
const binance = recordedWeek('binance');
const BINANCE_START = Date.parse('2021-02-19T00:00:00Z');
let exchange: Exchange<HandClock>;

async function start(nowMs: number): Promise<void> {
  exchange = await startExchange({ clock: new HandClock(nowMs), binance: { series: [binance] } });
}

afterEach(() => exchange.stop());

describe('faults', () => {
  const NOW = BINANCE_START + 100 * MINUTE;
  const ping = (): string => `${exchange.binanceUrl}/api/v3/ping`;
  beforeEach(() => start(NOW));

  test('failNext fails as often as asked, only where it matches, and is logged', async () => {
    exchange.faults.failNext({ status: 429, retryAfter: 7, times: 2, path: '/ping' });
    expect((await get(`${exchange.binanceUrl}/api/v3/time`)).status).toBe(200);
    const failed = await get(ping());
    expect([failed.status, failed.headers.get('retry-after')]).toEqual([429, '7']);
    expect((await get(ping())).status).toBe(429);
    expect((await get(ping())).status).toBe(200);
    expect(exchange.requests.list('/ping').map(({ status }) => status)).toEqual([429, 429, 200]);
    expect(exchange.requests.count()).toBe(4);
  });

  test('refused connections fail, also kept-alive ones, until they are let in again', async () => {
    await get(ping());
    exchange.faults.refuseConnections = true;
    await expect(get(ping())).rejects.toThrow();
    exchange.faults.refuseConnections = false;
    expect((await get(ping())).status).toBe(200);
  });

  test('disconnectAll breaks streams without a goodbye', async () => {
    const follower = await Follower.open(`${exchange.binanceStreamUrl}/ws/btcusdt@kline_1m`);
    expect(exchange.streamCount).toBe(1);
    exchange.disconnectAll();
    expect(await follower.closed).toBe(1006);
  });

  test('dropped stream messages are lost, answers to commands are not', async () => {
    const follower = await Follower.open(`${exchange.binanceStreamUrl}/ws/btcusdt@kline_1m`);
    exchange.faults.dropStreamMessages = true;
    await exchange.clock.advance(MINUTE);
    follower.send({ method: 'LIST_SUBSCRIPTIONS', id: 1 });
    expect(await follower.take(1)).toEqual([{ result: ['btcusdt@kline_1m'], id: 1 }]);
  });

  test('an answer that is held is of the moment it was asked, and comes when let go', async () => {
    const letGo = exchange.faults.holdAnswers();
    const asked = get(`${exchange.binanceUrl}/api/v3/time`);
    while (exchange.requests.count('/time') === 0) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    await exchange.clock.advance(MINUTE);
    letGo();
    expect(JSON.parse((await asked).text)).toEqual({ serverTime: NOW });
  });
});
