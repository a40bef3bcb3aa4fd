/**
 * Asks for page after page until the last closed bar is stored: the back-fill of a start, the seam
 * after a disconnect, and a poll are the same loop. Which bars are closed is judged by the venue's
 * time in each answer, so it holds for a venue whose clock is not ours.
 */

import type { Context } from '../sdk.ts';
import { type Bar, fillEmptyIntervals, tidyBars } from './bar.ts';
import { formatPointInTime } from './point-in-time.ts';
import type { Series } from './series.ts';
import type { BarSource, Page } from './source.ts';

export interface CaughtUp {
  readonly rowCount: number;
  /** Opens of the first and last bar stored. */
  readonly first: number | undefined;
  readonly last: number | undefined;
  /** Bars that open before this were closed when the venue last answered. */
  readonly closedBefore: number;
  readonly venueSeconds: number;
}

/** Stores all bars that are closed by now. `overlap`: begins one bar early, to see it corrected. */
export async function catchUp(
  ctx: Context<unknown>,
  series: Series,
  source: BarSource,
  options: { readonly overlap: boolean },
): Promise<CaughtUp> {
  const { step } = series;
  const { settleSeconds, queryEnd = Number.POSITIVE_INFINITY } = series.options;
  const fillEmpty = series.options.fillEmpty && source.isSparse;
  let from = options.overlap && series.hasBegun ? series.next - step : series.next;
  let rowCount = 0;
  let first: number | undefined;
  let last: number | undefined;
  for (;;) {
    const before = series.next;
    const page = await source.page(series.symbol, from);
    const closedBefore = Math.floor((page.venueSeconds - settleSeconds) / step) * step;
    const limit = Math.min(closedBefore, queryEnd);
    const isEmptyPast = page.bars.length === 0 && page.until < closedBefore;
    if (isEmptyPast && !series.hasBegun)
      await skipEmptyHistory(ctx, series, source, closedBefore - step);
    else if (isEmptyPast && !source.isSparse) series.skipTo(Math.min(page.until, limit));
    const bars = barsToStore(ctx, series, page, { from, limit, closedBefore, fillEmpty });
    if (bars.length > 0) {
      rowCount += await series.store(bars, page.venueSeconds);
      first ??= bars[0]?.epoch;
      last = bars.at(-1)?.epoch;
      // The next page is asked for only when this one is on disk: a crash costs one page at most.
      await ctx.flush();
    }
    if (source.isSparse) series.skipTo(Math.min(page.until, limit, closedBefore - step));
    // All that was asked for is past, and the venue has no more of it.
    if (series.next === before && closedBefore - step >= queryEnd) series.skipTo(queryEnd);
    ctx.log.debug('page', {
      symbol: series.symbol,
      from: formatPointInTime(from),
      rows: bars.length,
      next: formatPointInTime(series.next),
    });
    // A page that reached past the last closed bar has told all there is to tell for now.
    if (series.next === before || series.next >= limit || page.until >= limit)
      return { rowCount, first, last, closedBefore, venueSeconds: page.venueSeconds };
    from = series.next;
  }
}

/** As `catchUp`, told to the operator: one line at its start, one at its end. */
export async function backfill(
  ctx: Context<unknown>,
  series: Series,
  source: BarSource,
): Promise<void> {
  const { symbol } = series;
  ctx.log.info('backfill started', { symbol, from: formatPointInTime(series.next) });
  const { rowCount, first, last } = await catchUp(ctx, series, source, { overlap: false });
  ctx.log.info('backfill finished', {
    symbol,
    rows: rowCount,
    ...(first === undefined ? {} : { first: formatPointInTime(first) }),
    ...(last === undefined ? {} : { last: formatPointInTime(last) }),
  });
}

/** Nothing is there, nor was before: goes straight to where the venue's history begins. */
async function skipEmptyHistory(
  ctx: Context<unknown>,
  series: Series,
  source: BarSource,
  lastClosed: number,
): Promise<void> {
  const open = await source.firstOpen(series.symbol, series.next);
  if (open === undefined) {
    // Listed, never traded: there is nothing to walk through.
    series.skipTo(lastClosed);
    return;
  }
  series.hasBegun = true;
  if (open <= series.next) return;
  ctx.log.debug('history begins later', {
    symbol: series.symbol,
    at: formatPointInTime(open),
  });
  series.skipTo(open);
}

interface Window {
  readonly from: number;
  /** First open that is not closed, or not wanted. */
  readonly limit: number;
  readonly closedBefore: number;
  readonly fillEmpty: boolean;
}

/** The closed bars of a page, in order, with flat ones between if the series wants them. */
function barsToStore(
  ctx: Context<unknown>,
  series: Series,
  page: Page,
  { from, limit, closedBefore, fillEmpty }: Window,
): Bar[] {
  const whole = tidyBars(page.bars, (count) => {
    ctx.metrics.count('dropped_rows', { reason: 'not_a_number' }, count);
    ctx.log.debug('rows that are not numbers', { symbol: series.symbol, count });
  });
  const bars = whole.filter(({ epoch }) => epoch >= from && epoch < limit);
  const early = whole.filter(({ epoch }) => epoch < from).length;
  const open = whole.length - bars.length - early;
  if (early > 0) ctx.metrics.count('dropped_rows', { reason: 'before_range' }, early);
  if (open > 0) ctx.metrics.count('dropped_rows', { reason: 'not_closed' }, open);
  if (!fillEmpty) return bars;
  // An interval is known to be empty once the venue shows a later bar, open ones included, or once
  // it has been over for as long again: until then its bar may just be late.
  const shown = whole.at(-1)?.epoch ?? from;
  const over = Math.min(page.until, closedBefore - series.step);
  return fillEmptyIntervals(bars, {
    closeBefore: series.closeBefore,
    from: series.next,
    until: Math.min(limit, Math.max(shown, over)),
    timeframeSeconds: series.step,
  });
}
