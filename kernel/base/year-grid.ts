/**
 * The slots of one timeframe in one calendar year: instant ↔ place in the year file.
 *
 * On disk a slot carries its *interval index*: 1-based, save that in 24-hour buckets Jan 1 is 0.
 * The file offset of an index is `HEADER_BYTES + (index - 1) * recordBytes` in both cases, so here
 * everything counts in *positions*, `position = index - 1`, which is -1 for Jan 1 of a daily bucket
 * (spec storage.md 2.6). Times are whole Unix seconds.
 */

import { assert } from './assert.ts';
import type { Zone } from './zone.ts';

const DAY_SECONDS = 86_400;

export class YearGrid {
  readonly year: number;
  readonly timeframeSeconds: number;
  /** 24 hours exactly, whatever the spelling: slots are calendar days of the zone. */
  readonly isDaily: boolean;
  /** First and one-past-last instant of the year. */
  readonly startSeconds: number;
  readonly endSeconds: number;
  /** -1 for daily buckets, else 0. */
  readonly firstPosition: number;
  /** Slots the file has room for: floor(length of the year / timeframe). */
  readonly slotCount: number;
  readonly #zone: Zone;

  constructor(zone: Zone, timeframeSeconds: number, year: number) {
    assert(timeframeSeconds >= 1, 'a timeframe has at least one second');
    this.#zone = zone;
    this.year = year;
    this.timeframeSeconds = timeframeSeconds;
    this.isDaily = timeframeSeconds === DAY_SECONDS;
    this.startSeconds = zone.yearStart(year);
    this.endSeconds = zone.yearStart(year + 1);
    this.firstPosition = this.isDaily ? -1 : 0;
    this.slotCount = Math.floor((this.endSeconds - this.startSeconds) / timeframeSeconds);
  }

  /** One past the last position: daily files never use their last slot. */
  get endPosition(): number {
    return this.slotCount + this.firstPosition;
  }

  contains(epochSeconds: number): boolean {
    return epochSeconds >= this.startSeconds && epochSeconds < this.endSeconds;
  }

  /** Position of the slot that holds an instant of this year. */
  positionOf(epochSeconds: number): number {
    if (this.isDaily) return this.#zone.dayOf(this.year, epochSeconds) - 1;
    return Math.floor((epochSeconds - this.startSeconds) / this.timeframeSeconds);
  }

  /** First instant of a slot. */
  startOf(position: number): number {
    if (this.isDaily) return this.#zone.dayStart(this.year, position + 1);
    return this.startSeconds + position * this.timeframeSeconds;
  }

  /** First instant after a slot. */
  endOf(position: number): number {
    return this.startOf(position + 1);
  }
}
