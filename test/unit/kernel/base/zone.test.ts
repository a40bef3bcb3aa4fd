import { expect, test } from 'vitest';
import { UTC, Zone } from '../../../../kernel/base/zone.ts';

const newYork = new Zone('America/New_York');

test('a year begins at local midnight of Jan 1', () => {
  expect(UTC.yearStart(2021)).toBe(1_609_459_200);
  expect(newYork.yearStart(2018)).toBe(1_514_782_800);
});

test('an instant belongs to the year of the local calendar', () => {
  expect(UTC.yearOf(1_609_459_199)).toBe(2020);
  expect(newYork.yearOf(1_609_459_200)).toBe(2020);
  expect(newYork.yearOf(newYork.yearStart(2021))).toBe(2021);
  expect(UTC.yearOf(-1)).toBe(1969);
});

test('days of a clock change are found by calendar', () => {
  // 2021-03-14 has 23 hours, 2021-11-07 has 25.
  for (const [month, day, hours] of [
    [2, 14, 23],
    [10, 7, 25],
  ] as const) {
    const midnight = newYork.midnight(2021, month, day);
    expect(newYork.midnight(2021, month, day + 1) - midnight).toBe(hours * 3600);
    const dayOfYear = newYork.dayOf(2021, midnight);
    expect(newYork.dayOf(2021, midnight - 1)).toBe(dayOfYear - 1);
    expect(newYork.dayOf(2021, midnight + hours * 3600 - 1)).toBe(dayOfYear);
    expect(newYork.dayStart(2021, dayOfYear)).toBe(midnight);
  }
});

test('leap years have 366 days, centuries most often not', () => {
  expect([2020, 2021, 1900, 2000].map((year) => UTC.daysOf(year))).toEqual([366, 365, 365, 366]);
});

test('a zone that does not exist is a configuration error', () => {
  expect(() => new Zone('Mars/Olympus')).toThrow('invalid timezone:Mars/Olympus');
});
