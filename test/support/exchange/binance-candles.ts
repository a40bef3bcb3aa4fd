/** How Binance cuts time into candles and writes one: as a row of REST and as an event of a stream. */

import { formatDecimal } from './decimal.ts';
import { type Candle, fixedInterval, type Interval } from './market.ts';

const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
/** 1970-01-05, a Monday: weeks start on it. */
const FIRST_MONDAY_MS = 4 * DAY_MS;
/** Binance writes amounts with eight places. */
const PLACES = 8;

/** Everything but `1s`, which minutes cannot answer. Case matters: 1m is a minute, 1M a month. */
const LENGTHS_MS: Readonly<Record<string, number>> = {
  '1m': MINUTE_MS,
  '3m': 3 * MINUTE_MS,
  '5m': 5 * MINUTE_MS,
  '15m': 15 * MINUTE_MS,
  '30m': 30 * MINUTE_MS,
  '1h': HOUR_MS,
  '2h': 2 * HOUR_MS,
  '4h': 4 * HOUR_MS,
  '6h': 6 * HOUR_MS,
  '8h': 8 * HOUR_MS,
  '12h': 12 * HOUR_MS,
  '1d': DAY_MS,
  '3d': 3 * DAY_MS,
  '1w': 7 * DAY_MS,
};

/** `zoneMs` moves the boundaries: with +8 h a day starts at 16:00 UTC. Undefined: no such interval. */
export function binanceInterval(name: string, zoneMs: number): Interval | undefined {
  if (name === '1M') return monthInterval(zoneMs);
  if (!Object.hasOwn(LENGTHS_MS, name)) return undefined;
  const lengthMs = LENGTHS_MS[name] ?? MINUTE_MS;
  return fixedInterval(lengthMs, (name === '1w' ? FIRST_MONDAY_MS : 0) - zoneMs);
}

/** `-1:00`, `05:45`, `8`, `+08:00`, from -12:00 to +14:00, in milliseconds; else undefined. */
export function zoneOffsetMs(text: string): number | undefined {
  const match = /^([+-]?)(\d{1,2})(?::(\d{2}))?$/.exec(text);
  if (match === null) return undefined;
  const [, sign, hours, minutes = '0'] = match;
  const size = Number(hours) * HOUR_MS + Number(minutes) * MINUTE_MS;
  const offsetMs = sign === '-' ? -size : size;
  const valid = Number(minutes) < 60 && offsetMs >= -12 * HOUR_MS && offsetMs <= 14 * HOUR_MS;
  return valid ? offsetMs : undefined;
}

/** A row of /api/v3/klines, as JSON text. */
export function klineRow(candle: Candle): string {
  return JSON.stringify([
    candle.openMs,
    amount(candle.open),
    amount(candle.high),
    amount(candle.low),
    amount(candle.close),
    amount(candle.volume),
    candle.endMs - 1,
    amount(candle.quoteVolume),
    tradeCount(candle),
    amount(candle.takerVolume),
    amount(candle.takerQuoteVolume),
    '0',
  ]);
}

/** A kline event as a stream sends it at `atMs`. */
export function klineEvent(
  candle: Candle,
  event: { readonly symbol: string; readonly interval: string; readonly atMs: number },
): object {
  return {
    e: 'kline',
    E: event.atMs,
    s: event.symbol,
    k: {
      t: candle.openMs,
      T: candle.endMs - 1,
      s: event.symbol,
      i: event.interval,
      f: candle.firstTradeId,
      L: candle.lastTradeId,
      o: amount(candle.open),
      c: amount(candle.close),
      h: amount(candle.high),
      l: amount(candle.low),
      v: amount(candle.volume),
      n: tradeCount(candle),
      x: candle.endMs <= event.atMs,
      q: amount(candle.quoteVolume),
      V: amount(candle.takerVolume),
      Q: amount(candle.takerQuoteVolume),
      B: '0',
    },
  };
}

function amount(value: bigint): string {
  return formatDecimal(value, PLACES);
}

/** Ids have no holes except where a minute had too little volume for all its trades. */
function tradeCount(candle: Candle): number {
  return candle.lastTradeId - candle.firstTradeId + 1;
}

function monthInterval(zoneMs: number): Interval {
  const monthStart = (timeMs: number, monthsOn: number): number => {
    const local = new Date(timeMs + zoneMs);
    return Date.UTC(local.getUTCFullYear(), local.getUTCMonth() + monthsOn, 1) - zoneMs;
  };
  return {
    start: (timeMs) => monthStart(timeMs, 0),
    next: (startMs) => monthStart(startMs, 1),
  };
}
