import { expect, test } from 'vitest';
import { TOUCHED_RANGES_MAX } from '../../../../kernel/base/limits.ts';
import { TouchedRanges } from '../../../../kernel/triggers/touched-ranges.ts';

test('bars one after the other are one range', () => {
  const ranges = new TouchedRanges(60);
  for (let minute = 0; minute < 1000; minute++) ranges.add(60 * minute, 60 * minute);
  expect(ranges.take()).toEqual([{ from: 0, to: 59_940 }]);
  expect(ranges.isEmpty).toBe(true);
  expect(ranges.take()).toEqual([]);
});

test('a hole of a slot keeps ranges apart, and filling it joins them', () => {
  const ranges = new TouchedRanges(60);
  ranges.add(0, 60);
  ranges.add(180, 240);
  ranges.add(600, 600);
  ranges.add(120, 120);
  expect(ranges.take()).toEqual([
    { from: 0, to: 240 },
    { from: 600, to: 600 },
  ]);
});

test('a range before, inside, over and after the others finds its place', () => {
  const ranges = new TouchedRanges(1);
  ranges.add(100, 110);
  ranges.add(50, 60);
  ranges.add(102, 105);
  ranges.add(200, 210);
  ranges.add(58, 104);
  expect(ranges.take()).toEqual([
    { from: 50, to: 110 },
    { from: 200, to: 210 },
  ]);
  ranges.add(10, 20);
  ranges.add(30, 40);
  ranges.add(0, 100);
  expect(ranges.take()).toEqual([{ from: 0, to: 100 }]);
});

test('at the bound all ranges are kept; one past it the two nearest become one', () => {
  const ranges = new TouchedRanges(1);
  for (let at = 0; at < TOUCHED_RANGES_MAX; at++) ranges.add(1000 * at, 1000 * at);
  ranges.add(5500, 5500);
  const taken = ranges.take();
  expect(taken).toHaveLength(TOUCHED_RANGES_MAX);
  expect(taken[5]).toEqual({ from: 5000, to: 5500 });
});
