/**
 * Which bars have to be read, and the reading: every touched window of every destination, whole.
 * Windows of different destinations lie in each other, so they are read once, in pages, for all.
 */

import type { Context, QueriedRows, Slots } from '../sdk.ts';
import type { TimeRange } from './aggregate.ts';

/** Rows of one page: about 4 MB of bars. A day of 1Sec bars takes two. */
export const PAGE_ROWS = 50_000;

/** [start, end) in Unix seconds. */
export interface Segment {
  readonly start: number;
  readonly end: number;
}

export interface Page {
  readonly rows: QueriedRows;
  /** Rows of the segment: [from, to) of the page. */
  readonly from: number;
  readonly to: number;
}

/**
 * The touched times as times of bars: a row written inside an interval is read back at its start.
 * Where slots of the base do not nest in a destination's (4H in a day that is 23 hours long), the
 * two may lie in different windows, and both count.
 */
export function touchedBars(
  ranges: readonly TimeRange[],
  slots: Slots,
  timeframe: string,
): readonly TimeRange[] {
  return ranges.map(({ from, to }) => ({ from: slots.start(from, timeframe), to }));
}

/**
 * What the touched windows of all destinations cover; overlapping ones are one segment. Usually
 * that is the largest destination's windows, but not always: when a clock change has moved midnight
 * against the 4H windows, one of those reaches over the end of a day.
 */
export function segmentsOf(
  touched: readonly TimeRange[],
  slots: Slots,
  timeframes: readonly string[],
): readonly Segment[] {
  const segments: { start: number; end: number }[] = [];
  for (const { from, to } of touched) {
    const start = Math.min(...timeframes.map((timeframe) => slots.start(from, timeframe)));
    const end = Math.max(...timeframes.map((timeframe) => slots.end(to, timeframe)));
    const last = segments.at(-1);
    if (last !== undefined && start <= last.end) last.end = Math.max(last.end, end);
    else segments.push({ start, end });
  }
  return segments;
}

/**
 * The rows of a segment, ascending. A page that is full may end inside a second with more rows
 * (ticks): its last second is left to the next page.
 */
export async function* readSegment(
  ctx: Pick<Context<unknown>, 'query'>,
  key: string,
  { start, end }: Segment,
  pageRows: number = PAGE_ROWS,
): AsyncGenerator<Page> {
  let from = start;
  let limit = pageRows;
  while (from < end) {
    // `to` is inclusive and whole seconds: asking up to `end` finds ticks of the last second too.
    const rows = await ctx.query({ key, from, to: end, limit, oldest: true });
    const { Epoch, rowCount } = rows;
    // The first bar may begin before the segment: a query rounds `from` down to its interval.
    const first = lowerBound(Epoch, rowCount, from);
    let last = lowerBound(Epoch, rowCount, end);
    const isFull = rowCount >= limit && last === rowCount;
    const lastEpoch = Epoch[rowCount - 1] ?? end;
    if (isFull) last = lowerBound(Epoch, rowCount, lastEpoch);
    if (last > first) yield { rows, from: first, to: last };
    if (!isFull) return;
    // A second with more rows than a page: ask for more of it at once.
    if (lastEpoch === from || last <= first) limit *= 2;
    from = Math.max(from, lastEpoch);
  }
}

/** The first of `count` ascending values that is at least `value`. */
function lowerBound(values: Float64Array, count: number, value: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((values[middle] ?? Infinity) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
