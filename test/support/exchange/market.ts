/**
 * One market: its recorded minutes, their trades, and candles of any interval at any moment.
 *
 * A candle is made of the trades up to a moment. For a minute that has ended this gives back the
 * recorded bar, so closed candles are what was recorded and an open one is on its way there.
 */

import type { RecordedBar, RecordedSeries } from '../fixture.ts';
import { type Decimal, larger, multiply, parseDecimal, smaller } from './decimal.ts';
import { MINUTE_MS, tradesOf, type VenueTrade } from './minute-trades.ts';

export interface Candle {
  /** Start and the start of the next, in milliseconds. */
  readonly openMs: number;
  readonly endMs: number;
  readonly open: Decimal;
  readonly high: Decimal;
  readonly low: Decimal;
  readonly close: Decimal;
  readonly volume: Decimal;
  readonly quoteVolume: Decimal;
  readonly takerVolume: Decimal;
  readonly takerQuoteVolume: Decimal;
  readonly firstTradeId: number;
  readonly lastTradeId: number;
}

/** How time is cut: the candle an instant lies in. */
export interface Interval {
  /** Start of the candle that holds `timeMs`. */
  start(timeMs: number): number;
  /** Start of the candle after the one that starts at `startMs`. */
  next(startMs: number): number;
}

/** Candles of `lengthMs` counted from 1970 plus `originMs`. */
export function fixedInterval(lengthMs: number, originMs = 0): Interval {
  return {
    start: (timeMs) => Math.floor((timeMs - originMs) / lengthMs) * lengthMs + originMs,
    next: (startMs) => startMs + lengthMs,
  };
}

export class Market {
  readonly base: string;
  readonly quote: string;
  readonly #bars: readonly RecordedBar[];
  /** Trades and folded candles of minutes, made when first asked for. */
  readonly #trades: (readonly VenueTrade[] | undefined)[] = [];
  readonly #minutes: (Candle | undefined)[] = [];

  constructor(series: RecordedSeries) {
    this.base = series.base;
    this.quote = series.quote;
    // A minute without volume had no trades: for a follower of trades it does not exist.
    this.#bars = series.bars.filter((bar) => parseDecimal(bar.volume) > 0n);
  }

  /**
   * Candles that have a trade by `nowMs` and start in [fromMs, toMs], oldest first, at most
   * `limit`: the oldest, or with `newest` the newest ones.
   */
  candles(options: {
    readonly interval: Interval;
    readonly fromMs: number;
    readonly toMs: number;
    readonly nowMs: number;
    readonly limit: number;
    readonly newest: boolean;
  }): Candle[] {
    const { interval, fromMs, nowMs, limit, newest } = options;
    const found: Candle[] = [];
    const firstMs = this.#bars[0]?.openMs;
    const lastMs = Math.min(options.toMs, nowMs, this.#bars.at(-1)?.openMs ?? 0);
    if (firstMs === undefined) return found;
    if (newest) {
      let startMs = interval.start(lastMs);
      while (found.length < limit && startMs >= fromMs && interval.next(startMs) > firstMs) {
        const candle = this.candleAt(interval, startMs, nowMs);
        if (candle !== undefined) found.push(candle);
        startMs = interval.start(startMs - 1);
      }
      return found.reverse();
    }
    let startMs = interval.start(Math.max(fromMs, firstMs));
    if (startMs < fromMs) startMs = interval.next(startMs);
    while (found.length < limit && startMs <= lastMs) {
      const candle = this.candleAt(interval, startMs, nowMs);
      if (candle !== undefined) found.push(candle);
      startMs = interval.next(startMs);
    }
    return found;
  }

  /** The candle that starts at `startMs`, of what was traded by `nowMs`; undefined if nothing was. */
  candleAt(interval: Interval, startMs: number, nowMs: number): Candle | undefined {
    const endMs = interval.next(startMs);
    let candle: Candle | undefined;
    for (let i = this.#indexAt(startMs); i < this.#bars.length; i++) {
      const openMs = this.#bars[i]?.openMs ?? 0;
      if (openMs >= endMs || openMs > nowMs) break;
      const part = this.#minuteUpTo(i, nowMs);
      if (part !== undefined) candle = candle === undefined ? part : joined(candle, part);
    }
    return candle === undefined ? undefined : { ...candle, openMs: startMs, endMs };
  }

  /** The newest trade at or before `nowMs`. */
  lastTrade(nowMs: number): VenueTrade | undefined {
    const index = this.#indexAt(nowMs + 1) - 1;
    return this.#tradesAt(index).findLast((trade) => trade.timeMs <= nowMs);
  }

  /** The oldest trade after `timeMs`. */
  firstTradeAfter(timeMs: number): VenueTrade | undefined {
    const index = Math.max(0, this.#indexAt(timeMs + 1) - 1);
    const within = this.#tradesAt(index).find((trade) => trade.timeMs > timeMs);
    return within ?? this.#tradesAt(index + 1)[0];
  }

  /** Place of the first bar at or after `timeMs`. */
  #indexAt(timeMs: number): number {
    let low = 0;
    let high = this.#bars.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#bars[middle]?.openMs ?? 0) < timeMs) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #tradesAt(index: number): readonly VenueTrade[] {
    const bar = this.#bars[index];
    if (bar === undefined) return [];
    const trades = this.#trades[index] ?? tradesOf(bar, index);
    this.#trades[index] = trades;
    return trades;
  }

  #minuteUpTo(index: number, nowMs: number): Candle | undefined {
    const openMs = this.#bars[index]?.openMs ?? 0;
    const trades = this.#tradesAt(index);
    if (openMs + MINUTE_MS > nowMs) return folded(trades.filter(({ timeMs }) => timeMs <= nowMs));
    const minute = this.#minutes[index] ?? folded(trades);
    this.#minutes[index] = minute;
    return minute;
  }
}

function folded(trades: readonly VenueTrade[]): Candle | undefined {
  let candle: Candle | undefined;
  for (const trade of trades) {
    const { price, size, id } = trade;
    const quoteVolume = multiply(price, size);
    const part: Candle = {
      openMs: trade.timeMs,
      endMs: trade.timeMs,
      open: price,
      high: price,
      low: price,
      close: price,
      volume: size,
      quoteVolume,
      takerVolume: trade.takerBuys ? size : 0n,
      takerQuoteVolume: trade.takerBuys ? quoteVolume : 0n,
      firstTradeId: id,
      lastTradeId: id,
    };
    candle = candle === undefined ? part : joined(candle, part);
  }
  return candle;
}

function joined(first: Candle, second: Candle): Candle {
  return {
    openMs: first.openMs,
    endMs: second.endMs,
    open: first.open,
    high: larger(first.high, second.high),
    low: smaller(first.low, second.low),
    close: second.close,
    volume: first.volume + second.volume,
    quoteVolume: first.quoteVolume + second.quoteVolume,
    takerVolume: first.takerVolume + second.takerVolume,
    takerQuoteVolume: first.takerQuoteVolume + second.takerQuoteVolume,
    firstTradeId: first.firstTradeId,
    lastTradeId: second.lastTradeId,
  };
}
