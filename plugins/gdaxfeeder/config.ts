/** What an entry `module: gdaxfeeder` (or coinbasefeeder) of mkts.yml may say. */

import {
  address,
  bucketSymbol,
  flag,
  numberIn,
  pointInTime,
  prefix,
  span,
  textList,
  timeframeOf,
} from '../feeder/settings.ts';
import type { Timeframe } from '../feeder/timeframe.ts';
import { z } from '../sdk.ts';

/** Granularities of the venue that the store can keep; it has no 30Min, 2H or 4H. */
const TIMEFRAMES: readonly string[] = ['1Min', '5Min', '15Min', '1H', '1D'];
const DEFAULT_PRODUCTS: readonly string[] = ['BTC-USD', 'ETH-USD', 'LTC-USD', 'BCH-USD'];

const products = textList
  .transform((given) => (given.length === 0 ? [...DEFAULT_PRODUCTS] : given))
  .transform((given) => [...new Set(given.map((product) => product.toUpperCase()))])
  .refine((given) => given.every((product) => bucketSymbol(product) !== undefined), {
    message: 'holds a name that cannot be the name of a bucket',
  });

const shape = {
  symbols: products.describe('Product ids such as BTC-USD.'),
  base_timeframe: timeframeOf(TIMEFRAMES).prefault('1Min'),
  query_start: pointInTime.optional().describe('Where history begins; UTC without an offset.'),
  query_end: pointInTime.optional().describe('First instant not wanted; the plugin ends there.'),
  lookback: span
    .optional()
    .describe('History without query_start. Default: 1H, or 300 daily bars.'),
  live: z.enum(['poll', 'stream']).default('poll'),
  base_url: address('http').prefault('https://api.exchange.coinbase.com'),
  stream_url: address('ws').prefault('wss://ws-feed.exchange.coinbase.com'),
  exchange_prefix: prefix.default('gdax'),
  fill_empty: flag.default(false).describe('A flat bar where nobody traded.'),
  rate_limit: numberIn(0.01, 10).default(5).describe('Requests a second.'),
  settle: numberIn(0, 3_600).default(2).describe('Seconds after its end a bar counts as closed.'),
};

export interface GdaxConfig {
  readonly symbols: readonly string[];
  readonly base_timeframe: Timeframe;
  readonly query_start?: number | undefined;
  readonly query_end?: number | undefined;
  readonly lookback?: number | undefined;
  readonly live: 'poll' | 'stream';
  readonly base_url: string;
  readonly stream_url: string;
  readonly exchange_prefix: string;
  readonly fill_empty: boolean;
  readonly rate_limit: number;
  readonly settle: number;
}

export const KNOWN_KEYS: readonly string[] = Object.keys(shape);

/** Loose: a key it does not know is told to the operator at start, and does no harm. */
export const config: z.ZodType<GdaxConfig> = z.looseObject(shape);
