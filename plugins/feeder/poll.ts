/**
 * Follows a venue by asking: once per bar, a little after its end, and again after 2, 4 and 8
 * seconds while the bar is not there. A bar that still is not there is asked for with the next one.
 * All times are the venue's; only waiting is ours.
 */

import type { Context } from '../sdk.ts';
import { catchUp } from './catch-up.ts';
import type { Series } from './series.ts';
import type { BarSource } from './source.ts';

const ASK_AGAIN_MS: readonly number[] = [2_000, 4_000, 8_000];
/** So that many symbols do not ask in the same instant. */
const JITTER_MS = 1_000;

/** Until the series is finished or the plugin stops (then it rejects). */
export async function pollBars(
  ctx: Context<unknown>,
  series: Series,
  source: BarSource,
  random: () => number,
): Promise<void> {
  const { step } = series;
  let seconds = await source.venueSeconds();
  while (!series.isFinished) {
    const boundary = Math.ceil(seconds / step) * step;
    const due = Math.max(series.next + step, boundary) + series.options.settleSeconds;
    const jitterMs = source.localMs(random() * JITTER_MS);
    await ctx.clock.sleep(source.msUntil(due) + jitterMs, ctx.signal);
    seconds = await pollOnce(ctx, series, source);
  }
}

/** Asks for the bar that closed last until it is there; returns the venue's time. */
async function pollOnce(ctx: Context<unknown>, series: Series, source: BarSource): Promise<number> {
  let caughtUp = await catchUp(ctx, series, source, { overlap: true });
  for (const waitMs of ASK_AGAIN_MS) {
    if (series.isFinished || series.next >= caughtUp.closedBefore) break;
    await ctx.clock.sleep(source.localMs(waitMs), ctx.signal);
    caughtUp = await catchUp(ctx, series, source, { overlap: true });
  }
  return caughtUp.venueSeconds;
}
