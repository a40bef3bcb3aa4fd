/**
 * Makes bars of trades, for one product. A bar is made when its end is `GRACE_SECONDS` past by the
 * venue's time, and only if every trade of it was seen: the connection stood since before it began,
 * and no trade id is missing. For a bar that is not whole the venue has to be asked. Pure.
 */

import type { Bar } from '../feeder/bar.ts';
import type { Heartbeat, Match } from './candle.ts';

/** Trades may be told this late. */
const GRACE_SECONDS = 5;

export interface MatchBarsOptions {
  readonly stepSeconds: number;
  readonly fillEmpty: boolean;
}

export interface Made {
  readonly bars: readonly Bar[];
  /** True if a bar ended that is not whole. */
  readonly isIncomplete: boolean;
}

export class MatchBars {
  readonly #step: number;
  readonly #fillEmpty: boolean;
  readonly #open = new Map<number, Bar>();
  /** Open of the next bar to make; undefined before the first message. */
  #next: number | undefined;
  /** Bars that open earlier are not whole. */
  #wholeFrom = Number.POSITIVE_INFINITY;
  #hasStarted = false;
  #lastTradeId: number | undefined;
  #pulseTradeId: number | undefined;
  /** Close of the last bar before `#next`, as far as known. */
  #close: number | undefined;

  constructor({ stepSeconds, fillEmpty }: MatchBarsOptions) {
    this.#step = stepSeconds;
    this.#fillEmpty = fillEmpty;
  }

  /** A new connection: what happened since the last message of the old one is not known. */
  restart(): void {
    this.#hasStarted = false;
    this.#lastTradeId = undefined;
    this.#pulseTradeId = undefined;
    this.#wholeFrom = Number.POSITIVE_INFINITY;
  }

  add(match: Match): void {
    const { timeMs, tradeId, price, size, isBefore } = match;
    const isNext = this.#lastTradeId === undefined || tradeId === this.#lastTradeId + 1;
    if (!isBefore) this.#start(timeMs);
    // A trade told twice, or out of order: counted already, or found missing already.
    if (this.#lastTradeId !== undefined && tradeId <= this.#lastTradeId) return;
    if (!isNext) this.#lose(timeMs);
    this.#lastTradeId = tradeId;
    if (isBefore) {
      this.#close ??= price;
      return;
    }
    const epoch = this.#openOf(timeMs);
    const bar = this.#open.get(epoch);
    this.#open.set(epoch, {
      epoch,
      open: bar?.open ?? price,
      high: Math.max(bar?.high ?? price, price),
      low: Math.min(bar?.low ?? price, price),
      close: price,
      volume: (bar?.volume ?? 0) + size,
    });
  }

  /** A heartbeat tells the newest trade: one that has not come by the next heartbeat is lost. */
  beat({ lastTradeId, timeMs }: Heartbeat): void {
    this.#start(timeMs);
    const seen = this.#lastTradeId;
    if (seen !== undefined && this.#pulseTradeId !== undefined && seen < this.#pulseTradeId) {
      this.#lose(timeMs);
      this.#lastTradeId = this.#pulseTradeId;
    }
    this.#pulseTradeId = lastTradeId;
  }

  /** The bars that ended by `venueSeconds`, each once. */
  take(venueSeconds: number): Made {
    const bars: Bar[] = [];
    let isIncomplete = false;
    if (this.#next === undefined) return { bars, isIncomplete };
    for (; this.#next + this.#step + GRACE_SECONDS <= venueSeconds; this.#next += this.#step) {
      const bar = this.#open.get(this.#next);
      this.#open.delete(this.#next);
      if (this.#next < this.#wholeFrom) isIncomplete = true;
      else if (bar !== undefined) bars.push(bar);
      else if (this.#fillEmpty && this.#close !== undefined)
        bars.push(flatBar(this.#next, this.#close));
      this.#close = bar?.close ?? this.#close;
    }
    for (const epoch of this.#open.keys()) if (epoch < this.#next) this.#open.delete(epoch);
    return { bars, isIncomplete };
  }

  /** The first message of a connection: bars that open after it are whole. */
  #start(timeMs: number): void {
    if (this.#hasStarted) return;
    this.#hasStarted = true;
    this.#next ??= this.#openOf(timeMs);
    this.#wholeFrom = this.#openOf(timeMs) + this.#step;
  }

  #lose(timeMs: number): void {
    this.#wholeFrom = Math.max(this.#wholeFrom, this.#openOf(timeMs) + this.#step);
  }

  #openOf(timeMs: number): number {
    return Math.floor(timeMs / 1000 / this.#step) * this.#step;
  }
}

function flatBar(epoch: number, close: number): Bar {
  return { epoch, open: close, high: close, low: close, close, volume: 0 };
}
