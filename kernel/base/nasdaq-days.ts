/**
 * On which days NASDAQ trades: by rule, and the days no rule foresaw. Pure; days are counted from
 * 1970-01-01, months from 0.
 *
 * For the years before 2022 this is day by day what the Go server's table says, so that bars
 * aggregated there can be aggregated again. Later that table lacks Juneteenth and 2025-01-09, and it
 * ends with 2029; the rules do not.
 */

export type TradingDay = 'full' | 'early' | 'closed';

const DAY_MS = 86_400_000;
const [SUNDAY, MONDAY, THURSDAY, SATURDAY] = [0, 1, 4, 6];
const [JANUARY, FEBRUARY, MAY, JUNE, JULY, SEPTEMBER, NOVEMBER, DECEMBER] = [
  0, 1, 4, 5, 6, 8, 10, 11,
];

const MARTIN_LUTHER_KING_SINCE = 1998;
const JUNETEENTH_SINCE = 2022;
const EARLY_CLOSES_SINCE = 1993;

/** What no rule says: attacks, storms, days of mourning, and early closes of other years' habits. */
const EXCEPTIONS: Readonly<Record<string, TradingDay>> = {
  '1994-04-27': 'closed',
  '1996-07-03': 'full',
  '1996-07-05': 'early',
  '1997-12-26': 'early',
  '1999-12-31': 'early',
  '2001-09-11': 'closed',
  '2001-09-12': 'closed',
  '2001-09-13': 'closed',
  '2001-09-14': 'closed',
  '2002-07-03': 'full',
  '2002-07-05': 'early',
  '2003-12-26': 'early',
  '2004-06-11': 'closed',
  '2007-01-02': 'closed',
  '2012-10-29': 'closed',
  '2012-10-30': 'closed',
  '2018-12-05': 'closed',
  '2025-01-09': 'closed',
};

const exceptions = new Map(
  Object.entries(EXCEPTIONS).map(([date, kind]) => [Date.parse(date) / DAY_MS, kind]),
);
/** The special days of the years asked for: at most as many as there are years. */
const years = new Map<number, ReadonlyMap<number, TradingDay>>();

/** `day` counts from 1970-01-01. */
export function nasdaqDay(day: number): TradingDay {
  const weekday = weekdayOf(day);
  if (weekday === SUNDAY || weekday === SATURDAY) return 'closed';
  const year = new Date(day * DAY_MS).getUTCFullYear();
  return exceptions.get(day) ?? specialDays(year).get(day) ?? 'full';
}

function specialDays(year: number): ReadonlyMap<number, TradingDay> {
  let days = years.get(year);
  if (days === undefined) {
    days = new Map([
      ...earlyCloses(year).map((day) => [day, 'early'] as const),
      // Later entries win: no early close on a holiday.
      ...holidays(year).map((day) => [day, 'closed'] as const),
    ]);
    years.set(year, days);
  }
  return days;
}

function holidays(year: number): readonly number[] {
  const newYear = dayOf(year, JANUARY, 1);
  return [
    // On a Saturday it is not observed: the last day of the year is one of business.
    ...(weekdayOf(newYear) === SATURDAY ? [] : [observed(newYear)]),
    ...(year < MARTIN_LUTHER_KING_SINCE ? [] : [nth(3, MONDAY, year, JANUARY)]),
    nth(3, MONDAY, year, FEBRUARY),
    easterSunday(year) - 2,
    last(MONDAY, year, MAY),
    ...(year < JUNETEENTH_SINCE ? [] : [observed(dayOf(year, JUNE, 19))]),
    observed(dayOf(year, JULY, 4)),
    nth(1, MONDAY, year, SEPTEMBER),
    nth(4, THURSDAY, year, NOVEMBER),
    observed(dayOf(year, DECEMBER, 25)),
  ];
}

function earlyCloses(year: number): readonly number[] {
  if (year < EARLY_CLOSES_SINCE) return [];
  // From Monday to Thursday: then the holiday itself is on a weekday.
  const eves = [dayOf(year, JULY, 3), dayOf(year, DECEMBER, 24)].filter((day) => {
    const weekday = weekdayOf(day);
    return weekday >= MONDAY && weekday <= THURSDAY;
  });
  return [...eves, nth(4, THURSDAY, year, NOVEMBER) + 1];
}

/** Saturday's holiday is kept on Friday, Sunday's on Monday. */
function observed(day: number): number {
  const weekday = weekdayOf(day);
  if (weekday === SATURDAY) return day - 1;
  return weekday === SUNDAY ? day + 1 : day;
}

function nth(count: number, weekday: number, year: number, month: number): number {
  const first = dayOf(year, month, 1);
  return first + ((weekday - weekdayOf(first) + 7) % 7) + 7 * (count - 1);
}

function last(weekday: number, year: number, month: number): number {
  const end = dayOf(year, month + 1, 0);
  return end - ((weekdayOf(end) - weekday + 7) % 7);
}

/** The anonymous Gregorian algorithm (Meeus, Astronomical Algorithms, ch. 8). */
function easterSunday(year: number): number {
  const golden = year % 19;
  const century = Math.floor(year / 100);
  const ofCentury = year % 100;
  const epact =
    (19 * golden +
      century -
      Math.floor(century / 4) -
      Math.floor((century - Math.floor((century + 8) / 25) + 1) / 3) +
      15) %
    30;
  const toSunday =
    (32 + 2 * (century % 4) + 2 * Math.floor(ofCentury / 4) - epact - (ofCentury % 4)) % 7;
  const correction = Math.floor((golden + 11 * epact + 22 * toSunday) / 451);
  const sum = epact + toSunday - 7 * correction + 114;
  return dayOf(year, Math.floor(sum / 31) - 1, (sum % 31) + 1);
}

function dayOf(year: number, month: number, day: number): number {
  return new Date(0).setUTCFullYear(year, month, day) / DAY_MS;
}

/** 1970-01-01 was a Thursday. */
function weekdayOf(day: number): number {
  return (((day + THURSDAY) % 7) + 7) % 7;
}
