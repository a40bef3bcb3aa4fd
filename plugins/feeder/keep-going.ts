/**
 * Keeps the work on one symbol going whatever becomes of it, so that none waits for another: what
 * passes by itself is tried again soon, what waits for somebody every hour. Each try begins at the
 * newest stored row, so a failure costs time, never rows.
 */

import type { Context } from '../sdk.ts';
import { backoffMs } from './backoff.ts';
import { isLasting, reasonOf } from './failure.ts';

const DEGRADED_MS = 3_600_000;

export interface KeepGoing {
  readonly symbol: string;
  readonly random: () => number;
}

/**
 * Runs `work` until it returns. It calls `healthy` when it got somewhere: the state is then logged
 * as good again. Rejects only when the plugin stops.
 */
export async function keepGoing(
  ctx: Context<unknown>,
  { symbol, random }: KeepGoing,
  work: (healthy: () => void) => Promise<void>,
): Promise<void> {
  let state: 'good' | 'retrying' | 'degraded' = 'good';
  let attempt = 0;
  const healthy = (): void => {
    if (state !== 'good') ctx.log.info('symbol is well again', { symbol });
    state = 'good';
    attempt = 0;
  };
  for (;;) {
    try {
      await work(healthy);
      return;
    } catch (failure) {
      ctx.signal.throwIfAborted();
      const reason = reasonOf(failure);
      if (isLasting(failure)) {
        if (state !== 'degraded')
          ctx.log.error('symbol is degraded; tried again hourly', { symbol, reason });
        state = 'degraded';
        await ctx.clock.sleep(DEGRADED_MS, ctx.signal);
        continue;
      }
      if (state === 'good') ctx.log.warn('symbol failed; tried again', { symbol, reason });
      else ctx.log.debug('symbol failed again', { symbol, reason });
      if (state === 'good') state = 'retrying';
      await ctx.clock.sleep(backoffMs(attempt++, random), ctx.signal);
    }
  }
}
