/**
 * Calendar arithmetic of one time zone: where years and days begin, in Unix seconds.
 *
 * Year files are cut at local Jan 1 and daily bars at local midnight of the server's `timezone`, so
 * this is part of the format on disk. Rules come from the ICU data of the runtime (IANA tz). A day
 * is found by calendar, never by adding 24 hours: days of a clock change have 23 or 25.
 */

import { MktsError } from './errors.ts';

const DAY_SECONDS = 86_400;

export class Zone {
  readonly name: string;
  readonly isUtc: boolean;
  readonly #format: Intl.DateTimeFormat | undefined;
  readonly #yearStarts = new Map<number, number>();
  readonly #dayStarts = new Map<number, Float64Array>();
  /** The year asked for last: rows come in order, so the next answer is mostly the same. */
  #recent = { year: 0, start: 0, end: 0 };

  /** `name` is an IANA zone. Throws MKTS_CONFIG_INVALID for a name the runtime does not know. */
  constructor(name: string) {
    this.name = name;
    this.isUtc = /^(etc\/)?(utc|gmt|zulu|universal)$/i.test(name);
    if (this.isUtc) return;
    try {
      this.#format = new Intl.DateTimeFormat('en-US', {
        timeZone: name,
        calendar: 'gregory',
        numberingSystem: 'latn',
        hourCycle: 'h23',
        year: 'numeric',
        month: 'numeric',
        day: 'numeric',
        hour: 'numeric',
        minute: 'numeric',
        second: 'numeric',
      });
    } catch (cause) {
      throw new MktsError(
        'MKTS_CONFIG_INVALID',
        { at: '', path: 'timezone', problem: `invalid timezone:${name}` },
        { cause },
      );
    }
  }

  /** Midnight of Jan 1, in Unix seconds. */
  yearStart(year: number): number {
    let start = this.#yearStarts.get(year);
    if (start === undefined) {
      start = this.midnight(year, 0, 1);
      this.#yearStarts.set(year, start);
    }
    return start;
  }

  /** Calendar year of an instant. */
  yearOf(epochSeconds: number): number {
    const { year: recent, start, end } = this.#recent;
    if (epochSeconds >= start && epochSeconds < end) return recent;
    let year = new Date(epochSeconds * 1000).getUTCFullYear();
    if (epochSeconds < this.yearStart(year)) year--;
    else if (epochSeconds >= this.yearStart(year + 1)) year++;
    this.#recent = { year, start: this.yearStart(year), end: this.yearStart(year + 1) };
    return year;
  }

  /** Days of a year: 365 or 366. */
  daysOf(year: number): number {
    return (civil(year + 1, 0, 1) - civil(year, 0, 1)) / DAY_SECONDS;
  }

  /** Midnight of the day `day` (0 = Jan 1) of a year; `day` may be the number of days: next year. */
  dayStart(year: number, day: number): number {
    if (this.isUtc) return this.yearStart(year) + day * DAY_SECONDS;
    const start = this.#daysOfYear(year)[day];
    return start ?? this.midnight(year, 0, 1 + day);
  }

  /** Day of the year of an instant that lies in `year`: 0 for Jan 1. */
  dayOf(year: number, epochSeconds: number): number {
    const guess = Math.floor((epochSeconds - this.yearStart(year)) / DAY_SECONDS);
    if (this.isUtc) return guess;
    // A clock change moves a midnight by at most a day against the plain division.
    for (let day = guess + 1; day > 0; day--)
      if (this.dayStart(year, day) <= epochSeconds) return day;
    return 0;
  }

  /** Local midnight of a date (`month` 0-based), in Unix seconds. */
  midnight(year: number, month: number, day: number): number {
    return this.instantOf(year, month, day, 0);
  }

  /** When local clocks show `secondOfDay` on a date (`month` 0-based), in Unix seconds. */
  instantOf(year: number, month: number, day: number, secondOfDay: number): number {
    const wall = civil(year, month, day) + secondOfDay;
    if (this.isUtc) return wall;
    let instant = wall - this.#offsetAt(wall);
    // The offset at the guess may be that of the other side of a clock change: ask once more there.
    instant = wall - this.#offsetAt(instant);
    return instant;
  }

  #daysOfYear(year: number): Float64Array {
    let starts = this.#dayStarts.get(year);
    if (starts === undefined) {
      starts = new Float64Array(this.daysOf(year) + 1);
      for (let day = 0; day < starts.length; day++) starts[day] = this.midnight(year, 0, 1 + day);
      this.#dayStarts.set(year, starts);
    }
    return starts;
  }

  /** Seconds by which the local clock is ahead of UTC at an instant. */
  #offsetAt(epochSeconds: number): number {
    const part: Record<string, number> = {};
    for (const { type, value } of this.#format?.formatToParts(epochSeconds * 1000) ?? [])
      part[type] = Number(value);
    const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = part;
    const local = civil(year, month - 1, day) + hour * 3600 + minute * 60 + second;
    return local - epochSeconds;
  }
}

export const UTC: Zone = new Zone('UTC');

/** Unix seconds of a proleptic Gregorian date at 00:00 UTC; unlike Date.UTC also for years 0..99. */
function civil(year: number, month: number, day: number): number {
  const date = new Date(0);
  date.setUTCFullYear(year, month, day);
  return date.getTime() / 1000;
}
