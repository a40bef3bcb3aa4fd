/**
 * Follows a stream of closed bars of a venue that has a bar for every interval. A bar that comes
 * later than the next one expected means that bars were missed (a disconnect, a lost message, a
 * full inbox): they are asked for before it is stored, so no bar is skipped and order is kept.
 */

import type { Context } from '../sdk.ts';
import { catchUp } from './catch-up.ts';
import type { Inbox } from './inbox.ts';
import type { LazyFlush } from './lazy-flush.ts';
import { formatPointInTime } from './point-in-time.ts';
import type { Series } from './series.ts';
import type { BarSource } from './source.ts';

/** How long the venue is given to show a bar that its stream has passed. */
const ASK_AGAIN_MS: readonly number[] = [2_000, 4_000, 8_000];

export interface FollowOptions {
  readonly source: BarSource;
  readonly inbox: Inbox;
  readonly flush: LazyFlush;
}

/** Until the series is finished or the plugin stops (then it rejects). */
export async function followStream(
  ctx: Context<unknown>,
  series: Series,
  { source, inbox, flush }: FollowOptions,
): Promise<void> {
  const { queryEnd = Number.POSITIVE_INFINITY } = series.options;
  while (!series.isFinished) {
    const { hasSeam, mustReload, bars } = await inbox.take(ctx.signal);
    if (mustReload) await series.load(() => source.venueSeconds());
    if (hasSeam || mustReload) await catchUp(ctx, series, source, { overlap: false });
    for (const bar of bars) {
      const isMissing = bar.epoch > series.next;
      if (isMissing) await fetchMissed(ctx, series, source, Math.min(bar.epoch, queryEnd));
      // Stored before, by this stream or by the request for what was missed.
      if (bar.epoch < series.next || bar.epoch >= queryEnd) continue;
      await series.store([bar], await source.venueSeconds());
      flush.touch();
    }
  }
}

/** Stores the bars from `series.next` up to `until`, which the venue's stream has passed. */
async function fetchMissed(
  ctx: Context<unknown>,
  series: Series,
  source: BarSource,
  until: number,
): Promise<void> {
  for (const waitMs of [0, ...ASK_AGAIN_MS]) {
    if (waitMs > 0) await ctx.clock.sleep(source.localMs(waitMs), ctx.signal);
    await catchUp(ctx, series, source, { overlap: false });
    if (series.next >= until) return;
  }
  const { symbol, next, step } = series;
  ctx.metrics.count('missing_bars', { symbol }, (until - next) / step);
  ctx.log.warn('the venue has no bars for a time its stream has passed', {
    symbol,
    from: formatPointInTime(next),
    until: formatPointInTime(until),
  });
  series.skipTo(until);
}
