/**
 * A bar as a venue names it, and what is done to bars before they are written: order, doubles,
 * rows that are not numbers. Prices are never computed with. Pure.
 */

import type { Rows } from '../sdk.ts';

export interface Bar {
  /** Open of the bar by the venue, Unix seconds. */
  readonly epoch: number;
  readonly open: number;
  readonly high: number;
  readonly low: number;
  readonly close: number;
  readonly volume: number;
}

/** The number a venue wrote, as number or decimal text; NaN for anything else ('' is not 0). */
export function decimal(given: unknown): number {
  if (typeof given === 'number') return given;
  return typeof given === 'string' && given.trim() !== '' ? Number(given) : Number.NaN;
}

/** True if every field is a finite number: else the row is dropped and counted. */
export function isWhole(bar: Bar): boolean {
  const { epoch, open, high, low, close, volume } = bar;
  return [epoch, open, high, low, close, volume].every(Number.isFinite);
}

/** Whole bars, ascending; of bars of the same time the last one given. */
export function tidyBars(bars: readonly Bar[], onDropped: (count: number) => void): Bar[] {
  const byEpoch = new Map<number, Bar>();
  let dropped = 0;
  for (const bar of bars) {
    if (isWhole(bar)) byEpoch.set(bar.epoch, bar);
    else dropped++;
  }
  if (dropped > 0) onDropped(dropped);
  return [...byEpoch.values()].sort((a, b) => a.epoch - b.epoch);
}

/** True if writing `b` over `a` would change nothing. */
export function sameBar(a: Bar | undefined, b: Bar | undefined): boolean {
  if (a === undefined || b === undefined) return false;
  return (
    a.epoch === b.epoch &&
    a.open === b.open &&
    a.high === b.high &&
    a.low === b.low &&
    a.close === b.close &&
    a.volume === b.volume
  );
}

export interface EmptyIntervals {
  /** Close before the first of `bars`; undefined: nothing is known before it. */
  readonly closeBefore: number | undefined;
  /** First interval to fill, and the first not to. */
  readonly from: number;
  readonly until: number;
  readonly timeframeSeconds: number;
}

/** `bars` (ascending) and, for each interval without one, a flat bar at the close before it. */
export function fillEmptyIntervals(bars: readonly Bar[], empty: EmptyIntervals): Bar[] {
  const filled: Bar[] = [];
  let close = empty.closeBefore;
  let epoch = empty.from;
  const fillTo = (end: number): void => {
    for (; epoch < end; epoch += empty.timeframeSeconds)
      if (close !== undefined)
        filled.push({ epoch, open: close, high: close, low: close, close, volume: 0 });
  };
  for (const bar of bars) {
    fillTo(bar.epoch);
    filled.push(bar);
    close = bar.close;
    epoch = bar.epoch + empty.timeframeSeconds;
  }
  fillTo(empty.until);
  return filled;
}

/** Bars as the columns of an OHLCV bucket; `label` turns a bar's open into its stored Epoch. */
export function barRows(bars: readonly Bar[], label: (open: number) => number): Rows {
  return {
    Epoch: Float64Array.from(bars, (bar) => label(bar.epoch)),
    Open: Float64Array.from(bars, (bar) => bar.open),
    High: Float64Array.from(bars, (bar) => bar.high),
    Low: Float64Array.from(bars, (bar) => bar.low),
    Close: Float64Array.from(bars, (bar) => bar.close),
    Volume: Float64Array.from(bars, (bar) => bar.volume),
  };
}
