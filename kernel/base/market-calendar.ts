/**
 * When a market trades: sessions of days, each from an opening up to, not including, a close. Pure.
 *
 * Three kinds: `always` (round the clock), `nasdaq` (nasdaq-days.ts), and files as the Go server has
 * them: JSON with `timezone`, `open_time`, `close_time`, `early_close_time`, `non_trading_days` and
 * `early_closes`; Saturdays and Sundays are closed. With `"extends": "nasdaq"` a file needs only the
 * days that are otherwise than the rule has them.
 *
 * Everything asked is an instant in Unix seconds or a plain date ('2026-06-19'): which date an instant
 * belongs to is the calendar's to know, and the zone of who asks has no part in it.
 */

import { reasonOf } from './errors.ts';
import { CALENDAR_CLOSED_DAYS_MAX } from './limits.ts';
import { nasdaqDay, type TradingDay } from './nasdaq-days.ts';
import { suggestion } from './nearest-word.ts';
import { UTC, Zone } from './zone.ts';

const DAY_SECONDS = 86_400;
const DAY_MS = 86_400_000;

/** Unix seconds; `close` is the first second after it. */
export interface Session {
  readonly open: number;
  readonly close: number;
}

/** Local times, in seconds of the day. */
interface Hours {
  readonly zone: Zone;
  readonly open: number;
  readonly close: number;
  readonly earlyClose: number;
}

/** `day` counts from 1970-01-01. */
type DayRule = (day: number) => TradingDay;

export class MarketCalendar {
  /** For people, and to tell two calendars apart: the same text means the same sessions. */
  readonly description: string;
  /** Length of an ordinary session. */
  readonly sessionSeconds: number;
  readonly #hours: Hours;
  readonly #dayRule: DayRule;
  /** The day asked for last, [from, to): questions come in order. */
  #recent: { readonly from: number; readonly to: number; readonly session: Session | undefined } = {
    from: 0,
    to: 0,
    session: undefined,
  };

  constructor(description: string, hours: Hours, dayRule: DayRule) {
    this.description = description;
    this.#hours = hours;
    this.#dayRule = dayRule;
    this.sessionSeconds = hours.close - hours.open;
  }

  /** Throws RangeError for what is not a date. */
  isSession(date: string): boolean {
    return this.#dayRule(dayNumber(date)) !== 'closed';
  }

  /** The session of a date, if it has one. Throws RangeError for what is not a date. */
  session(date: string): Session | undefined {
    return this.#sessionOf(dayNumber(date));
  }

  /** The session of the date an instant falls on, whether it lies in it or not. */
  sessionAt(epochSeconds: number): Session | undefined {
    const { from, to, session } = this.#recent;
    if (epochSeconds >= from && epochSeconds < to) return session;
    return this.#sessionOf(this.#dayAt(epochSeconds));
  }

  isOpen(epochSeconds: number): boolean {
    const session = this.sessionAt(epochSeconds);
    return session !== undefined && epochSeconds >= session.open && epochSeconds < session.close;
  }

  /** The first opening at or after an instant; undefined if the calendar has none for years. */
  nextOpen(epochSeconds: number): number | undefined {
    const today = this.#dayAt(epochSeconds);
    for (let day = today; day <= today + CALENDAR_CLOSED_DAYS_MAX; day++) {
      const open = this.#dayRule(day) === 'closed' ? undefined : this.#sessionOf(day)?.open;
      if (open !== undefined && open >= epochSeconds) return open;
    }
    return undefined;
  }

  #dayAt(epochSeconds: number): number {
    const { zone } = this.#hours;
    if (zone.isUtc) return Math.floor(epochSeconds / DAY_SECONDS);
    const year = zone.yearOf(epochSeconds);
    const newYear = new Date(0).setUTCFullYear(year, 0, 1) / DAY_MS;
    return newYear + zone.dayOf(year, epochSeconds);
  }

  #sessionOf(day: number): Session | undefined {
    const { zone, open, close, earlyClose } = this.#hours;
    const date = new Date(day * DAY_MS);
    const at = (secondOfDay: number): number =>
      zone.instantOf(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate(), secondOfDay);
    const kind = this.#dayRule(day);
    const session =
      kind === 'closed'
        ? undefined
        : { open: at(open), close: at(kind === 'early' ? earlyClose : close) };
    this.#recent = { from: at(0), to: at(DAY_SECONDS), session };
    return session;
  }
}

export const ALWAYS_OPEN: MarketCalendar = new MarketCalendar(
  'always',
  { zone: UTC, open: 0, close: DAY_SECONDS, earlyClose: DAY_SECONDS },
  () => 'full',
);

const NASDAQ_HOURS: Hours = {
  zone: new Zone('America/New_York'),
  open: secondOfDay('09:30'),
  close: secondOfDay('16:00'),
  earlyClose: secondOfDay('13:00'),
};

export const NASDAQ: MarketCalendar = new MarketCalendar('nasdaq', NASDAQ_HOURS, nasdaqDay);

const FILE_KEYS = [
  'extends',
  'timezone',
  'open_time',
  'close_time',
  'early_close_time',
  'non_trading_days',
  'early_closes',
  'trading_days',
] as const;

/** A calendar file. Throws an Error whose message says what is wrong, for an operator. */
export function parseCalendar(text: string): MarketCalendar {
  const keys = parseObject(text);
  const unknown = Object.keys(keys).find((key) => !FILE_KEYS.some((known) => known === key));
  if (unknown !== undefined)
    throw new Error(`key '${unknown}' is not known${suggestion(unknown, FILE_KEYS)}`);
  const base = keys.extends;
  if (base !== undefined && base !== 'nasdaq')
    throw new Error(`extends: expected 'nasdaq', got ${JSON.stringify(base)}`);
  const hours = fileHours(keys, base === undefined ? undefined : NASDAQ_HOURS);
  const own = new Map<number, TradingDay>([
    ...daysOf(keys, 'trading_days').map((day) => [day, 'full'] as const),
    ...daysOf(keys, 'early_closes').map((day) => [day, 'early'] as const),
    ...daysOf(keys, 'non_trading_days').map((day) => [day, 'closed'] as const),
  ]);
  const rule = base === undefined ? weekdays : nasdaqDay;
  return new MarketCalendar(JSON.stringify(keys), hours, (day) => own.get(day) ?? rule(day));
}

function parseObject(text: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new Error(`it is not JSON: ${reasonOf(cause)}`, { cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Error('it is not a JSON object');
  return value as Readonly<Record<string, unknown>>;
}

function fileHours(keys: Readonly<Record<string, unknown>>, base: Hours | undefined): Hours {
  const time = (key: string, inherited: number | undefined): number => {
    const given = keys[key];
    if (given === undefined && inherited !== undefined) return inherited;
    const seconds = typeof given === 'string' ? secondOfDay(given) : Number.NaN;
    if (Number.isNaN(seconds))
      throw new Error(`${key}: expected a time such as '09:30:00', got ${JSON.stringify(given)}`);
    return seconds;
  };
  const open = time('open_time', base?.open);
  const close = time('close_time', base?.close);
  const earlyClose = time('early_close_time', base?.earlyClose ?? close);
  if (open >= close || open >= earlyClose)
    throw new Error('a session must close after it opens, on the same day');
  return { zone: fileZone(keys.timezone, base?.zone), open, close, earlyClose };
}

function fileZone(given: unknown, inherited: Zone | undefined): Zone {
  if (given === undefined && inherited !== undefined) return inherited;
  try {
    if (typeof given === 'string') return new Zone(given);
  } catch {
    // Told below.
  }
  throw new Error(
    `timezone: expected a name such as 'America/New_York', got ${JSON.stringify(given)}`,
  );
}

function daysOf(keys: Readonly<Record<string, unknown>>, key: string): readonly number[] {
  const given = keys[key] ?? [];
  if (!Array.isArray(given)) throw new Error(`${key}: expected a list of dates`);
  return given.map((date: unknown) => {
    try {
      return dayNumber(String(date));
    } catch (cause) {
      throw new Error(`${key}: ${reasonOf(cause)}`, { cause });
    }
  });
}

function weekdays(day: number): TradingDay {
  const weekday = new Date(day * DAY_MS).getUTCDay();
  return weekday === 0 || weekday === 6 ? 'closed' : 'full';
}

/** Days since 1970-01-01 of 'YYYY-MM-DD'. */
function dayNumber(date: string): number {
  const milliseconds = /^\d{4}-\d\d-\d\d$/.test(date) ? Date.parse(date) : Number.NaN;
  // Date.parse takes February 30 for March 2.
  if (Number.isNaN(milliseconds) || !new Date(milliseconds).toISOString().startsWith(date))
    throw new RangeError(`expected a date such as '2026-06-19', got '${date}'`);
  return milliseconds / DAY_MS;
}

/** Of 'hh:mm' or 'hh:mm:ss', '24:00' included; NaN if it is not one. */
function secondOfDay(time: string): number {
  const [, hours = '', minutes = '', seconds = '0'] =
    /^(\d\d?):(\d\d)(?::(\d\d))?$/.exec(time) ?? [];
  const second = Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds);
  const isTime = hours !== '' && Number(minutes) < 60 && Number(seconds) < 60;
  return isTime && second <= DAY_SECONDS ? second : Number.NaN;
}
