import { expect, test } from 'vitest';
import { YearGrid } from '../../../../kernel/base/year-grid.ts';
import { UTC, Zone } from '../../../../kernel/base/zone.ts';

const newYork = new Zone('America/New_York');
const HEADER_BYTES = 37_024;

function placeOf(grid: YearGrid, epoch: number, recordBytes: number): [number, number] {
  const position = grid.positionOf(epoch);
  return [position + 1, HEADER_BYTES + position * recordBytes];
}

test.each([
  [1_609_459_200, 2021, 1, 37_024],
  [1_614_556_800, 2021, 84_961, 2_755_744],
  [1_583_020_800, 2020, 86_401, 2_801_824],
  [1_582_977_600, 2020, 85_681, 2_778_784],
  [1_625_412_600, 2021, 265_891, 8_545_504],
  [1_625_412_659, 2021, 265_891, 8_545_504],
  [1_640_995_140, 2021, 525_600, 16_856_192],
  [1_609_459_140, 2020, 527_040, 16_902_272],
])('1Min: %d in %d has index %d at %d', (epoch, year, index, offset) => {
  expect(placeOf(new YearGrid(UTC, 60, year), epoch, 32)).toEqual([index, offset]);
});

test.each([
  [1, 15_953_401, 16_039_801],
  [10, 1_595_341, 1_603_981],
  [300, 53_179, 53_467],
  [900, 17_727, 17_823],
  [3600, 4_432, 4_456],
  [14_400, 1_108, 1_114],
  [86_400, 184, 185],
])('Jul 4 15:30 at %d s has index %d in 2021 and %d in 2020', (timeframe, index21, index20) => {
  const y21 = new YearGrid(UTC, timeframe, 2021);
  const y20 = new YearGrid(UTC, timeframe, 2020);
  expect(y21.positionOf(1_625_412_600) + 1).toBe(index21);
  expect(y20.positionOf(Date.UTC(2020, 6, 4, 15, 30) / 1000) + 1).toBe(index20);
});

test('Jan 1 of a daily bucket lies before the first slot, Dec 31 before the last', () => {
  const grid = new YearGrid(UTC, 86_400, 2021);
  expect(placeOf(grid, 1_609_459_200, 32)).toEqual([0, 36_992]);
  expect(placeOf(grid, 1_609_459_200 + 86_400, 32)).toEqual([1, 37_024]);
  expect(grid.positionOf(grid.endSeconds - 1) + 1).toBe(364);
  expect(grid.endPosition).toBe(364);
});

test.each([
  [60, 2018, 1_514_782_800, 1, 37_024],
  [300, 2018, 1_514_783_100, 2, 37_052],
  [86_400, 2018, 1_517_806_800, 35, 37_976],
  [86_400, 2018, 1_546_232_400, 364, 47_188],
  [60, 2018, 1_546_318_740, 525_600, 14_753_796],
  [60, 2021, 1_625_412_600, 265_591, 7_473_544],
])(
  'New York, %d s: an instant of %d (%d) has index %d at %d',
  (timeframe, year, epoch, index, offset) => {
    expect(placeOf(new YearGrid(newYork, timeframe, year), epoch, 28)).toEqual([index, offset]);
  },
);

test('slots are elapsed time: after a clock change they are shifted against the wall', () => {
  const grid = new YearGrid(newYork, 14_400, 2021);
  const position = grid.positionOf(1_625_414_400);
  expect(position + 1).toBe(1_107);
  expect(1_625_414_400 - grid.startOf(position)).toBe(3 * 3600);
});

test.each([
  [1, 31_536_000, 31_622_400],
  [60, 525_600, 527_040],
  [7200, 4_380, 4_392],
  [86_400, 365, 366],
  [604_800, 52, 52],
])('a year of %d s has %d slots, a leap year %d', (timeframe, common, leap) => {
  expect(new YearGrid(UTC, timeframe, 2021).slotCount).toBe(common);
  expect(new YearGrid(UTC, timeframe, 2020).slotCount).toBe(leap);
});

test('start and position are inverse for every slot of a year', () => {
  for (const zone of [UTC, newYork])
    for (const timeframe of [3600, 86_400]) {
      const grid = new YearGrid(zone, timeframe, 2021);
      for (let position = grid.firstPosition; position < grid.endPosition; position++) {
        expect(grid.positionOf(grid.startOf(position))).toBe(position);
        expect(grid.positionOf(grid.endOf(position) - 1)).toBe(position);
      }
    }
});
