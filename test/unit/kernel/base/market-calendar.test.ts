import { describe, expect, test } from 'vitest';
import {
  ALWAYS_OPEN,
  type MarketCalendar,
  NASDAQ,
  parseCalendar,
} from '../../../../kernel/base/market-calendar.ts';

const at = (text: string): number => Date.parse(text) / 1000;

function yearsDays(year: number, calendar: MarketCalendar = NASDAQ) {
  const closed: string[] = [];
  const early: string[] = [];
  for (let day = Date.UTC(year, 0, 1); day < Date.UTC(year + 1, 0, 1); day += 86_400_000) {
    const weekday = new Date(day).getUTCDay();
    if (weekday === 0 || weekday === 6) continue;
    const date = new Date(day).toISOString().slice(0, 10);
    const session = calendar.session(date);
    if (session === undefined) closed.push(date.slice(5));
    else if (session.close - session.open === 3.5 * 3600) early.push(date.slice(5));
  }
  return { closed: closed.join(' '), early: early.join(' ') };
}

describe('NASDAQ', () => {
  test('the holidays and early closes the exchange has announced', () => {
    expect(yearsDays(2026)).toEqual({
      closed: '01-01 01-19 02-16 04-03 05-25 06-19 07-03 09-07 11-26 12-25',
      early: '11-27 12-24',
    });
    expect(yearsDays(2027)).toEqual({
      closed: '01-01 01-18 02-15 03-26 05-31 06-18 07-05 09-06 11-25 12-24',
      early: '11-26',
    });
    expect(yearsDays(2028)).toEqual({
      closed: '01-17 02-21 04-14 05-29 06-19 07-04 09-04 11-23 12-25',
      early: '07-03 11-24',
    });
  });

  test('days and times of a session', () => {
    expect(NASDAQ.session('2026-06-19')).toBeUndefined();
    expect(NASDAQ.session('2026-11-24')).toEqual({
      open: at('2026-11-24T14:30Z'),
      close: at('2026-11-24T21:00Z'),
    });
    expect(NASDAQ.session('2026-11-27')).toEqual({
      open: at('2026-11-27T14:30Z'),
      close: at('2026-11-27T18:00Z'),
    });
    expect(NASDAQ.session('2026-07-02')).toEqual({
      open: at('2026-07-02T13:30Z'),
      close: at('2026-07-02T20:00Z'),
    });
    expect(NASDAQ.session('2031-12-25')).toBeUndefined();
    expect(NASDAQ.session('2031-12-24')?.close).toBe(at('2031-12-24T18:00Z'));
    expect(NASDAQ.sessionSeconds).toBe(6.5 * 3600);
  });

  test('what the tests of the Go server expect', () => {
    const newYork = (text: string): boolean => NASDAQ.isOpen(at(text));
    expect(newYork('2017-01-01T11:00-05:00')).toBe(false);
    expect(NASDAQ.isSession('2017-01-01')).toBe(false);
    expect(newYork('2018-01-15T11:00-05:00')).toBe(false);
    expect(NASDAQ.isSession('2018-01-15')).toBe(false);
    expect(NASDAQ.isOpen(1_530_630_000)).toBe(true);
    expect(newYork('2018-07-03T11:00-04:00')).toBe(true);
    expect(newYork('2018-07-03T15:00-04:00')).toBe(false);
    expect(NASDAQ.isSession('2018-07-03')).toBe(true);
    expect(newYork('2021-08-31T11:00-04:00')).toBe(true);
    expect(newYork('2021-08-31T07:00-04:00')).toBe(false);
    expect(newYork('2021-08-31T19:00-04:00')).toBe(false);
    expect(NASDAQ.isSession('2021-08-31')).toBe(true);
  });

  test('a session begins with its first second, and its close is no more of it', () => {
    const { open, close } = NASDAQ.session('2026-07-02') ?? { open: 0, close: 0 };
    expect([open - 1, open, close - 1, close].map((epoch) => NASDAQ.isOpen(epoch))).toEqual([
      false,
      true,
      true,
      false,
    ]);
  });

  test('an ordinary day has a close, whenever on it one asks', () => {
    const close = at('2026-07-02T20:00Z');
    // 00:30 and 23:30 in New York; the second is the next day in UTC.
    for (const text of ['2026-07-02T04:30Z', '2026-07-02T15:00Z', '2026-07-03T03:30Z'])
      expect(NASDAQ.sessionAt(at(text))?.close).toBe(close);
    expect(NASDAQ.sessionAt(at('2026-07-03T04:30Z'))).toBeUndefined();
  });

  test('one-off closures, and the years of which the table knew nothing', () => {
    for (const date of [
      ...['1994-04-27', '2001-09-11', '2001-09-14', '2004-06-11', '2007-01-02'],
      ...['2012-10-29', '2012-10-30', '2018-12-05', '2025-01-09'],
    ])
      expect(NASDAQ.isSession(date), date).toBe(false);
    for (const date of ['2001-09-10', '2001-09-17', '2021-06-18', '1997-01-20', '2028-01-03'])
      expect(NASDAQ.isSession(date), date).toBe(true);
    const juneteenths = ['2022-06-20', '2023-06-19', '2024-06-19', '2025-06-19'];
    for (const date of [...juneteenths, '2027-06-18', '2029-06-19', '2022-12-26'])
      expect(NASDAQ.isSession(date), date).toBe(false);
  });

  test('as many closed weekdays and early closes as in the table of the Go server, and Juneteenth', () => {
    let closed = 0;
    let early = 0;
    for (let year = 1970; year < 2030; year++) {
      const days = yearsDays(year);
      closed += days.closed.split(' ').length;
      early += days.early === '' ? 0 : days.early.split(' ').length;
    }
    // Its 514 include 2030-01-01; it lacks eight Juneteenths and a day of mourning.
    expect(closed).toBe(514 - 1 + 8 + 1);
    expect(early).toBe(81);
    // The early closes of habits that ended.
    expect(yearsDays(1996).early).toBe('07-05 11-29 12-24');
    expect(yearsDays(1997).early).toBe('07-03 11-28 12-24 12-26');
    expect(yearsDays(1999).early).toBe('11-26 12-31');
    expect(yearsDays(2002).early).toBe('07-05 11-29 12-24');
  });

  test('the next opening is over a weekend, over holidays, or now', () => {
    const next = (text: string): string =>
      new Date((NASDAQ.nextOpen(at(text)) ?? 0) * 1000).toISOString().slice(0, 16);
    expect(next('2026-07-02T13:30Z')).toBe('2026-07-02T13:30');
    expect(next('2026-07-02T13:30:01Z')).toBe('2026-07-06T13:30');
    expect(next('2026-07-04T12:00Z')).toBe('2026-07-06T13:30');
    expect(next('2026-12-24T23:00Z')).toBe('2026-12-28T14:30');
  });

  test('what is not a date is refused', () => {
    for (const text of ['2026-02-30', '2026-2-3', '', 'today', '2026-06-19T00:00'])
      expect(() => NASDAQ.session(text), text).toThrow(RangeError);
  });
});

test('a market that is always open', () => {
  for (const text of ['2026-12-25T00:00Z', '2026-03-08T23:59:59Z', '2026-06-20T12:00Z'])
    expect(ALWAYS_OPEN.isOpen(at(text)), text).toBe(true);
  expect(ALWAYS_OPEN.nextOpen(at('2026-12-25T00:00Z'))).toBe(at('2026-12-25T00:00Z'));
});

describe('calendar files', () => {
  const TOKYO = {
    timezone: 'Asia/Tokyo',
    open_time: '09:00:00',
    close_time: '15:30:00',
    early_close_time: '12:00:00',
    non_trading_days: ['2026-01-01'],
    early_closes: ['2026-01-05'],
  };

  test('in the format of the Go server', () => {
    const calendar = parseCalendar(JSON.stringify(TOKYO));
    expect(calendar.session('2026-01-01')).toBeUndefined();
    expect(calendar.session('2026-01-03')).toBeUndefined();
    expect(calendar.session('2026-01-05')?.close).toBe(at('2026-01-05T12:00+09:00'));
    expect(calendar.session('2026-01-06')).toEqual({
      open: at('2026-01-06T09:00+09:00'),
      close: at('2026-01-06T15:30+09:00'),
    });
    expect(calendar.isOpen(at('2026-01-06T00:00Z'))).toBe(true);
  });

  test('days that are otherwise than NASDAQ’s rule', () => {
    const calendar = parseCalendar(
      JSON.stringify({
        extends: 'nasdaq',
        non_trading_days: ['2026-08-12'],
        early_closes: ['2026-08-13'],
        trading_days: ['2026-06-19'],
      }),
    );
    expect(calendar.isSession('2026-08-12')).toBe(false);
    expect(calendar.session('2026-08-13')?.close).toBe(at('2026-08-13T17:00Z'));
    expect(calendar.isSession('2026-06-19')).toBe(true);
    expect(calendar.isSession('2026-07-03')).toBe(false);
    expect(yearsDays(2027, calendar)).toEqual(yearsDays(2027));
  });

  test('hours of the day the clocks change are those on the wall', () => {
    const calendar = parseCalendar(
      JSON.stringify({
        timezone: 'Asia/Jerusalem',
        open_time: '10:00',
        close_time: '17:00',
        early_close_time: '14:00',
      }),
    );
    // Friday 2026-03-27: 02:00 becomes 03:00.
    expect(calendar.session('2026-03-27')).toEqual({
      open: at('2026-03-27T10:00+03:00'),
      close: at('2026-03-27T17:00+03:00'),
    });
    expect(calendar.sessionAt(at('2026-03-26T22:30Z'))?.open).toBe(at('2026-03-27T10:00+03:00'));
  });

  test('one that never opens says so', () => {
    const days = Array.from({ length: 4000 }, (_, day) =>
      new Date(Date.UTC(2026, 0, 1) + day * 86_400_000).toISOString().slice(0, 10),
    );
    const calendar = parseCalendar(JSON.stringify({ ...TOKYO, non_trading_days: days }));
    expect(calendar.nextOpen(at('2026-01-01T00:00Z'))).toBeUndefined();
  });

  test.each([
    ['{', /not JSON/],
    ['[]', /not a JSON object/],
    [JSON.stringify({ ...TOKYO, open: '09:00' }), /key 'open' is not known/],
    [JSON.stringify({ ...TOKYO, early_close: [] }), /did you mean 'early_closes'/],
    [JSON.stringify({ ...TOKYO, timezone: 'Asia/Tokio' }), /timezone: .*Asia\/Tokio/],
    [JSON.stringify({ ...TOKYO, timezone: undefined }), /timezone: expected/],
    [JSON.stringify({ ...TOKYO, open_time: '25:00' }), /open_time: .*25:00/],
    [JSON.stringify({ ...TOKYO, close_time: undefined }), /close_time: expected/],
    [JSON.stringify({ ...TOKYO, close_time: '08:00' }), /must close after it opens/],
    [JSON.stringify({ ...TOKYO, non_trading_days: ['2026-02-30'] }), /non_trading_days: .*02-30/],
    [JSON.stringify({ ...TOKYO, early_closes: '2026-02-03' }), /early_closes: expected a list/],
    [JSON.stringify({ extends: 'nyse' }), /extends: expected 'nasdaq'/],
  ])('%s is refused', (text, message) => {
    expect(() => parseCalendar(text)).toThrow(message);
  });
});
