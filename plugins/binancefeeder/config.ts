/** What an entry `module: binancefeeder` of mkts.yml may say. */

import {
  address,
  numberIn,
  pointInTime,
  prefix,
  span,
  textList,
  timeframeOf,
} from '../feeder/settings.ts';
import type { Timeframe } from '../feeder/timeframe.ts';
import { z } from '../sdk.ts';
import { INTERVALS } from './kline.ts';

/** Half of the 6,000 the venue grants an address in a minute. */
const WEIGHT_PER_MINUTE = 3_000;

const shape = {
  symbols: textList.describe(
    'Base assets such as BTC. With neither symbols nor pairs: all that trade.',
  ),
  base_currencies: textList
    .transform((given) => (given.length === 0 ? ['USDT'] : given))
    .describe('Quote assets; each symbol is kept in each of them.'),
  pairs: textList.describe('Whole pairs: BTCUSDT or BTC-USDT.'),
  base_timeframe: timeframeOf(Object.keys(INTERVALS)).prefault('1Min'),
  query_start: pointInTime.optional().describe('Where history begins; UTC without an offset.'),
  query_end: pointInTime.optional().describe('First instant not wanted; the plugin ends there.'),
  lookback: span
    .optional()
    .describe('History without query_start. Default: 1H, or 300 daily bars.'),
  live: z.enum(['stream', 'poll']).default('stream'),
  base_url: address('http').prefault('https://data-api.binance.vision'),
  stream_url: address('ws').prefault('wss://data-stream.binance.vision'),
  exchange_prefix: prefix.default('binance'),
  rate_limit: numberIn(1, 6_000).default(WEIGHT_PER_MINUTE).describe('Request weight a minute.'),
  settle: numberIn(0, 3_600).default(2).describe('Seconds after its end a bar counts as closed.'),
};

export interface BinanceConfig {
  readonly symbols: readonly string[];
  readonly base_currencies: readonly string[];
  readonly pairs: readonly string[];
  readonly base_timeframe: Timeframe;
  readonly query_start?: number | undefined;
  readonly query_end?: number | undefined;
  readonly lookback?: number | undefined;
  readonly live: 'stream' | 'poll';
  readonly base_url: string;
  readonly stream_url: string;
  readonly exchange_prefix: string;
  readonly rate_limit: number;
  readonly settle: number;
}

export const KNOWN_KEYS: readonly string[] = Object.keys(shape);

/** Loose: a key it does not know is told to the operator at start, and does no harm. */
export const config: z.ZodType<BinanceConfig> = z.looseObject(shape);
