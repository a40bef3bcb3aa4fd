/**
 * The whole way: recorded market data from a venue on loopback, through a feeder's worker, its ring,
 * the log and the store, aggregated by a trigger, and read back through `/rpc`. A real server in a
 * process of its own; it is killed in the middle, and goes on where its committed rows end.
 */

import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { Column } from '../../kernel/base/column-series.ts';
import { type AnsweredBucket, callServer, queryServer } from '../../kernel/cli/rpc-client.ts';
import { type Exchange, startExchange } from '../support/exchange/exchange.ts';
import { runningClock } from '../support/exchange/venue-clock.ts';
import { type ExpectedBar, expectedFacts, recordedWeek } from '../support/fixture.ts';
import { ServerProcess } from '../support/server-process.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const SPEED = 1200;

interface Venue {
  readonly name: 'binance' | 'coinbase';
  readonly key: string;
  /** Live begins here: four hours before the recording ends. */
  readonly liveFrom: string;
  readonly bgworker: (exchange: Exchange) => Record<string, unknown>;
}

const VENUES: readonly Venue[] = [
  {
    name: 'binance',
    key: 'binance_BTC-USDT',
    liveFrom: '2021-02-25T20:00:00Z',
    bgworker: ({ binanceUrl, binanceStreamUrl }) => ({
      module: 'binancefeeder.so',
      config: {
        symbols: ['BTC'],
        base_currencies: ['USDT'],
        query_start: '2021-02-19',
        base_url: binanceUrl,
        stream_url: binanceStreamUrl,
      },
    }),
  },
  {
    name: 'coinbase',
    key: 'gdax_BTC-USD',
    liveFrom: '2020-02-16T20:00:00Z',
    bgworker: ({ coinbaseUrl, coinbaseFeedUrl }) => ({
      module: 'gdaxfeeder.so',
      config: {
        symbols: ['BTC-USD'],
        query_start: '2020-02-10',
        base_url: coinbaseUrl,
        stream_url: coinbaseFeedUrl,
        rate_limit: 10,
      },
    }),
  },
];

function barsOf({ rowCount, columns }: AnsweredBucket): ExpectedBar[] {
  const named = (name: string): Column['data'] | undefined =>
    columns.find((column) => column.name === name)?.data;
  const data = ['Epoch', 'Open', 'High', 'Low', 'Close', 'Volume'].map(named);
  return Array.from(
    { length: rowCount },
    (_, row) => data.map((values) => Number(values?.[row])) as unknown as ExpectedBar,
  );
}

async function stored(url: string, destination: string): Promise<ExpectedBar[]> {
  const [bucket] = await queryServer(url, { destination });
  return bucket === undefined ? [] : barsOf(bucket);
}

/** Asks until the bucket has `count` rows. */
/** Volumes are sums of doubles here and of exact decimals there: equal to a part in 10^12. */
function withRoundedVolume([epoch, open, high, low, close, volume]: ExpectedBar): unknown {
  return [
    epoch,
    open,
    high,
    low,
    close,
    expect.closeTo(volume, 12 - Math.ceil(Math.log10(volume))),
  ];
}

async function untilStored(url: string, key: string, count: number): Promise<void> {
  const deadlineMs = performance.now() + 90_000;
  for (;;) {
    const symbols = (await callServer(url, 'ListSymbols', { format: 'tbk' })) as {
      Results: string[];
    };
    const rows = symbols.Results.includes(key) ? (await stored(url, key)).length : 0;
    if (rows >= count) return;
    expect(performance.now(), `${key} has ${rows} of ${count} rows`).toBeLessThan(deadlineMs);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

test.each(VENUES)(
  'a recorded week of $name arrives bar by bar, aggregated, through a kill in the middle',
  async ({ name, key, liveFrom, bgworker }) => {
    const { bars } = recordedWeek(name);
    const facts = expectedFacts(name);
    const exchange = await startExchange({
      [name]: { series: [recordedWeek(name)] },
      clock: runningClock({ startMs: Date.parse(liveFrom), speed: SPEED }),
    });
    onTestFinished(() => exchange.stop());
    const directory = temporaryDirectory();
    const config = {
      root_directory: join(directory, 'data'),
      bgworkers: [bgworker(exchange)],
      triggers: [
        {
          module: 'ondiskagg.so',
          on: '*/1Min/OHLCV',
          config: { destinations: ['5Min', '15Min', '1H', '1D'] },
        },
      ],
    };

    const first = await ServerProcess.start(directory, config);
    onTestFinished(() => first.kill());
    await untilStored(first.url, `${key}/1Min/OHLCV`, bars.length - 4 * 60 + 20);
    await first.kill();
    const asked = exchange.requests.count();

    const second = await ServerProcess.start(directory, config);
    onTestFinished(() => second.kill());
    await untilStored(second.url, `${key}/1Min/OHLCV`, bars.length);
    const pagesAgain = exchange.requests
      .list()
      .slice(asked)
      .filter(({ path }) => /klines|candles/.test(path)).length;
    expect(pagesAgain, 'a restart continues, it does not start over').toBeLessThan(60);

    const minutes = await stored(second.url, `${key}/1Min/OHLCV`);
    expect(minutes).toEqual(
      bars.map(({ openMs, open, high, low, close, volume }) => [
        openMs / 1000,
        ...[open, high, low, close, volume].map(Number),
      ]),
    );

    await expect
      .poll(() => stored(second.url, `${key}/1D/OHLCV`), { timeout: 30_000 })
      .toEqual(facts.all_1D_utc.map(withRoundedVolume));
    const days = Object.values(facts.aggregates_utc_day);
    expect(days.length).toBeGreaterThan(0);
    for (const timeframe of ['5Min', '1H'] as const) {
      const aggregates = new Map(
        (await stored(second.url, `${key}/${timeframe}/OHLCV`)).map((bar) => [bar[0], bar]),
      );
      for (const expected of days.flatMap((day) => day[timeframe]))
        expect(aggregates.get(expected[0]), timeframe).toEqual(withRoundedVolume(expected));
    }
    expect(await second.stop(), second.stderr).toBe(0);
  },
  180_000,
);
