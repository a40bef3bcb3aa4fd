/** From the settings that feeders of bars share to the options of a series. */

import type { SeriesOptions } from './series.ts';
import type { BarSource } from './source.ts';
import type { Timeframe } from './timeframe.ts';

const LOOKBACK_SECONDS = 3_600;
const DAILY_LOOKBACK_SECONDS = 300 * 86_400;

export interface BarSettings {
  readonly base_timeframe: Timeframe;
  readonly query_start?: number | undefined;
  readonly query_end?: number | undefined;
  readonly lookback?: number | undefined;
  readonly settle: number;
}

type Shared = Pick<
  SeriesOptions,
  'timeframe' | 'queryStart' | 'queryEnd' | 'lookbackSeconds' | 'settleSeconds'
>;

export function seriesOptions(settings: BarSettings): Shared {
  const { base_timeframe, query_start, query_end, lookback, settle } = settings;
  const isDaily = base_timeframe.name === '1D';
  return {
    timeframe: base_timeframe,
    queryStart: query_start,
    queryEnd: query_end,
    lookbackSeconds: lookback ?? (isDaily ? DAILY_LOOKBACK_SECONDS : LOOKBACK_SECONDS),
    settleSeconds: settle,
  };
}

/** 'binance_BTC-USDT'; without a prefix 'BTC-USDT'. */
export function bucketOf(exchangePrefix: string, symbol: string): string {
  const name = symbol.replaceAll('/', '.');
  return exchangePrefix === '' ? name : `${exchangePrefix}_${name}`;
}

/** True if all that is wanted has long happened: then there is nothing to follow. */
export async function isPast(settings: BarSettings, source: BarSource): Promise<boolean> {
  if (settings.query_end === undefined) return false;
  const venueSeconds = await source.venueSeconds();
  return settings.query_end + 2 * settings.base_timeframe.seconds + settings.settle < venueSeconds;
}
