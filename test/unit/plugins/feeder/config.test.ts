import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import binancefeeder from '../../../../plugins/binancefeeder/plugin.ts';
import gdaxfeeder from '../../../../plugins/gdaxfeeder/plugin.ts';

/** The first problem of a config as `path: message`. */
function problemOf(plugin: typeof binancefeeder | typeof gdaxfeeder, config: unknown): string {
  const issue = plugin.config.safeParse(config).error?.issues[0];
  return issue === undefined ? 'none' : `${issue.path.join('.')}: ${issue.message}`;
}

test('an empty config has the defaults', () => {
  expect(binancefeeder.config.parse({})).toEqual({
    symbols: [],
    base_currencies: ['USDT'],
    pairs: [],
    base_timeframe: { name: '1Min', seconds: 60 },
    live: 'stream',
    base_url: 'https://data-api.binance.vision',
    stream_url: 'wss://data-stream.binance.vision',
    exchange_prefix: 'binance',
    rate_limit: 3000,
    settle: 2,
  });
  expect(gdaxfeeder.config.parse({})).toMatchObject({
    symbols: ['BTC-USD', 'ETH-USD', 'LTC-USD', 'BCH-USD'],
    live: 'poll',
    exchange_prefix: 'gdax',
    fill_empty: false,
  });
});

test('form is lenient: a scalar for a list, a number as text, a trailing slash', () => {
  expect(
    binancefeeder.config.parse({
      symbols: 'BTC',
      rate_limit: '1200',
      base_url: 'http://127.0.0.1:8080/',
      lookback: '7D',
      another: 1,
    }),
  ).toMatchObject({
    symbols: ['BTC'],
    rate_limit: 1200,
    base_url: 'http://127.0.0.1:8080',
    lookback: 604_800,
    another: 1,
  });
});

test('meaning is strict: what is not understood refuses the entry and says where', () => {
  expect(problemOf(binancefeeder, { query_start: '01/02/2018' })).toContain('query_start');
  expect(problemOf(binancefeeder, { base_timeframe: '60Min' })).toContain('write 1H');
  expect(problemOf(gdaxfeeder, { base_timeframe: '30Min' })).toContain(
    'allowed: 1Min, 5Min, 15Min, 1H, 1D',
  );
  expect(problemOf(gdaxfeeder, { rate_limit: 'fast' })).toContain('rate_limit');
  expect(problemOf(gdaxfeeder, { live: 'push' })).toContain('live');
  expect(problemOf(gdaxfeeder, { base_url: 'ftp://x' })).toContain('base_url');
  expect(problemOf(gdaxfeeder, { symbols: ['*'] })).toContain('symbols');
});

test.each([
  ['binancefeeder', binancefeeder],
  ['gdaxfeeder', gdaxfeeder],
])('the sample of %s is a config it takes, with keys it knows', (name, plugin) => {
  const path = new URL(`../../../../plugins/${name}/sample.yml`, import.meta.url);
  const { bgworkers } = parse(readFileSync(path, 'utf8')) as {
    bgworkers: { module: string; config: Record<string, unknown> }[];
  };
  expect(bgworkers[0]?.module).toBe(`${name}.so`);
  const parsed = plugin.config.parse(bgworkers[0]?.config) as object;
  expect(Object.keys(parsed)).toEqual(
    expect.arrayContaining(Object.keys(bgworkers[0]?.config ?? {})),
  );
});
