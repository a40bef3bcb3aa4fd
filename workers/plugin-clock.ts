/** `ctx.clock` and `ctx.slots`: time as a plugin needs it. Runs in the worker. */

import { RequestError } from '../kernel/base/errors.ts';
import { isStorable, parseBucketTimeframe } from '../kernel/base/timeframe.ts';
import { YearGrid } from '../kernel/base/year-grid.ts';
import { Zone } from '../kernel/base/zone.ts';
import type { Clock, Slots } from '../plugins/sdk.ts';

/** Longest delay a timer takes; a longer one would fire at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** A clock whose sleeps also end, rejecting, when the plugin shall stop. */
export function createClock(stopSignal: AbortSignal): Clock {
  return Object.freeze({
    now: () => Date.now(),
    sleep: async (ms: number, signal?: AbortSignal): Promise<void> => {
      const endMs = performance.now() + Math.max(0, Number(ms) || 0);
      do {
        await pause(
          Math.min(Math.max(0, endMs - performance.now()), TIMER_MS_MAX),
          stopSignal,
          signal,
        );
      } while (performance.now() < endMs);
    },
  });
}

function pause(
  ms: number,
  stopSignal: AbortSignal,
  signal: AbortSignal | undefined,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      clearTimeout(timer);
      stopSignal.removeEventListener('abort', settle);
      signal?.removeEventListener('abort', settle);
      if (signal?.aborted === true) reject(signal.reason);
      else if (stopSignal.aborted) reject(stopSignal.reason);
      else resolve();
    };
    const timer = setTimeout(settle, ms);
    stopSignal.addEventListener('abort', settle);
    signal?.addEventListener('abort', settle);
    if (stopSignal.aborted || signal?.aborted === true) settle();
  });
}

/** Slots of the server's time zone, by the same grid the store writes by. */
export function createSlots(timezone: string): Slots {
  const zone = new Zone(timezone);
  const grids = new Map<string, YearGrid>();
  const gridOf = (epochSeconds: number, timeframe: string): YearGrid => {
    const seconds = parseBucketTimeframe(timeframe);
    if (seconds === undefined || !isStorable(seconds))
      throw new RequestError('MKTS_TIMEFRAME_UNSUPPORTED', { timeframe });
    const year = zone.yearOf(epochSeconds);
    const id = `${seconds} ${year}`;
    let grid = grids.get(id);
    if (grid === undefined) {
      grid = new YearGrid(zone, seconds, year);
      grids.set(id, grid);
    }
    return grid;
  };
  return Object.freeze({
    start: (epochSeconds: number, timeframe: string) => {
      const grid = gridOf(epochSeconds, timeframe);
      return grid.startOf(grid.positionOf(epochSeconds));
    },
    end: (epochSeconds: number, timeframe: string) => {
      const grid = gridOf(epochSeconds, timeframe);
      return grid.endOf(grid.positionOf(epochSeconds));
    },
    midnight: (year: number, month: number, day: number) => zone.midnight(year, month - 1, day),
    seconds: (timeframe: string) => {
      const seconds = parseBucketTimeframe(timeframe);
      return seconds !== undefined && isStorable(seconds) ? seconds : undefined;
    },
  });
}
