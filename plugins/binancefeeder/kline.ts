/**
 * Binance's bars: the interval's name, the row of a REST answer, the event of a stream. Pure.
 *
 *   REST row  [open ms, open, high, low, close, volume, close ms, …]       decimals as text
 *   event     { e: 'kline', E: event ms, s: symbol, k: { t: open ms, o, h, l, c, v, x: closed? } }
 */

import { type Bar, decimal } from '../feeder/bar.ts';
import { fieldOf } from '../feeder/venue-http.ts';

/** The venue's names of the timeframes we keep; case matters to it (1M is a month). */
export const INTERVALS: Readonly<Record<string, string>> = {
  '1Sec': '1s',
  '1Min': '1m',
  '5Min': '5m',
  '15Min': '15m',
  '30Min': '30m',
  '1H': '1h',
  '2H': '2h',
  '4H': '4h',
  '1D': '1d',
};

/** Bars of an answer of /api/v3/klines; what is not a row becomes a bar of NaN, to be counted. */
export function parseKlines(answer: unknown): readonly Bar[] {
  if (!Array.isArray(answer)) throw new Error('the answer is not a list of klines');
  return answer.map((given: unknown) => {
    const row: readonly unknown[] = Array.isArray(given) ? given : [];
    return {
      epoch: epochOf(row[0]),
      open: decimal(row[1]),
      high: decimal(row[2]),
      low: decimal(row[3]),
      close: decimal(row[4]),
      volume: decimal(row[5]),
    };
  });
}

export interface KlineEvent {
  readonly symbol: string;
  /** The venue's time, milliseconds. */
  readonly eventMs: number;
  readonly isClosed: boolean;
  readonly bar: Bar;
}

/** A kline event, bare or wrapped by a combined stream; undefined for any other message. */
export function parseKlineEvent(message: unknown): KlineEvent | undefined {
  const event = fieldOf(message, 'data') ?? message;
  if (fieldOf(event, 'e') !== 'kline') return undefined;
  const kline = fieldOf(event, 'k');
  return {
    symbol: String(fieldOf(event, 's')),
    eventMs: decimal(fieldOf(event, 'E')),
    isClosed: fieldOf(kline, 'x') === true,
    bar: {
      epoch: epochOf(fieldOf(kline, 't')),
      open: decimal(fieldOf(kline, 'o')),
      high: decimal(fieldOf(kline, 'h')),
      low: decimal(fieldOf(kline, 'l')),
      close: decimal(fieldOf(kline, 'c')),
      volume: decimal(fieldOf(kline, 'v')),
    },
  };
}

/** Unix seconds of an open in milliseconds. */
function epochOf(openMs: unknown): number {
  return Math.floor(decimal(openMs) / 1000);
}
