/**
 * Deletes the ticks of a range of times from one year: exactly those a scan of the range shows.
 *
 *   |······xxxx|xxxxxxxxxx|xxxxxxxxxx|xxx·······|     x deleted
 *    cut: read  cleared: not even read  cut
 *
 * A cut interval is dirty like one that got rows: its rest becomes a new chunk. Cells of cleared ones
 * become empty. The chunks themselves stay where they are, and nothing leads to them.
 */

import type { Bounds } from './scan-parts.ts';
import type { TickYear } from './tick-file.ts';
import { TickClock } from './tick-scan.ts';

/** Throws StorageError if an interval cannot be read; what was deleted by then may be deleted again. */
export function deleteTicks(year: TickYear, bounds: Bounds): void {
  const { from, to } = year.clip(bounds);
  if (from >= to) return;
  const { grid, endPosition } = year.file;
  const { fromSeconds, fromNanos } = bounds;
  const clock = new TickClock(year);
  const beginsWithin = (position: number): boolean => {
    const start = grid.startOf(position);
    return start > fromSeconds || (start === fromSeconds && fromNanos === 0);
  };
  // The last interval takes in what a year is longer than its whole intervals.
  const endOf = (position: number): number =>
    position === endPosition - 1 ? grid.endSeconds : grid.endOf(position);
  let first = from;
  while (first < to && !beginsWithin(first)) cut(year, first++, bounds, clock);
  let last = to;
  while (last > first && !clock.endsWithin(endOf(last - 1), bounds))
    cut(year, --last, bounds, clock);
  if (first < last) year.clear({ from: first, to: last });
}

function cut(year: TickYear, position: number, bounds: Bounds, clock: TickClock): void {
  const interval = year.intervalAt(position);
  interval.sort();
  const records = interval.bytes.subarray(0, interval.count * interval.stride);
  const kept = clock.keep(records, year.file.grid.startOf(position), bounds);
  if (kept.from < kept.to) year.cut(interval, kept.from, kept.to);
  else year.release(interval);
}
