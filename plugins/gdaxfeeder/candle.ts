/**
 * Coinbase's answers and messages. Pure.
 *
 *   candle  [open seconds, low, high, open, close, volume]     low first; newest candle first
 *   match   { type: 'match' | 'last_match', product_id, trade_id, time, price, size }
 *   pulse   { type: 'heartbeat', product_id, last_trade_id, time }
 */

import { type Bar, decimal } from '../feeder/bar.ts';
import { fieldOf } from '../feeder/venue-http.ts';

/** Bars of an answer of /candles; what is not a row becomes a bar of NaN, to be counted. */
export function parseCandles(answer: unknown): readonly Bar[] {
  if (!Array.isArray(answer)) throw new Error('the answer is not a list of candles');
  return answer.map((given: unknown) => {
    const row: readonly unknown[] = Array.isArray(given) ? given : [];
    return {
      epoch: decimal(row[0]),
      low: decimal(row[1]),
      high: decimal(row[2]),
      open: decimal(row[3]),
      close: decimal(row[4]),
      volume: decimal(row[5]),
    };
  });
}

export interface Match {
  readonly kind: 'match';
  readonly product: string;
  readonly tradeId: number;
  /** The venue's time of the trade, milliseconds. */
  readonly timeMs: number;
  readonly price: number;
  readonly size: number;
  /** True for the trade before the subscription: it is told once, and belongs to no bar of ours. */
  readonly isBefore: boolean;
}

export interface Heartbeat {
  readonly kind: 'heartbeat';
  readonly product: string;
  readonly lastTradeId: number;
  readonly timeMs: number;
}

export interface Refused {
  readonly kind: 'error';
  readonly reason: string;
}

/** A message of the feed; undefined for one that says nothing to us. */
export function parseFeedMessage(message: unknown): Match | Heartbeat | Refused | undefined {
  const type = fieldOf(message, 'type');
  const product = String(fieldOf(message, 'product_id'));
  const timeMs = Date.parse(String(fieldOf(message, 'time')));
  if (type === 'match' || type === 'last_match')
    return {
      kind: 'match',
      product,
      tradeId: decimal(fieldOf(message, 'trade_id')),
      timeMs,
      price: decimal(fieldOf(message, 'price')),
      size: decimal(fieldOf(message, 'size')),
      isBefore: type === 'last_match',
    };
  if (type === 'heartbeat')
    return {
      kind: 'heartbeat',
      product,
      lastTradeId: decimal(fieldOf(message, 'last_trade_id')),
      timeMs,
    };
  if (type !== 'error') return undefined;
  const reason = `${String(fieldOf(message, 'message'))} ${String(fieldOf(message, 'reason') ?? '')}`;
  return { kind: 'error', reason: reason.trim() };
}
