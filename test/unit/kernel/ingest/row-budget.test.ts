/** The rate of rows the drain takes from one plugin, on a clock the test turns. */

import { expect, test } from 'vitest';
import { RowBudget } from '../../../../kernel/ingest/row-budget.ts';

/** Frames of `frameRows` taken whenever the bucket is open, looked at each 10 ms. */
function taken(frameRows: number, perSecond: number, milliseconds: number): number {
  let nowMs = 0;
  const budget = new RowBudget(perSecond, () => nowMs);
  let rows = 0;
  for (; nowMs < milliseconds; nowMs += 10)
    while (budget.isOpen) {
      budget.spend(frameRows);
      rows += frameRows;
    }
  return rows;
}

test.each([1, 7, 1000, 32_000])('over time the rate holds with frames of %d rows', (frameRows) => {
  const rows = taken(frameRows, 1000, 100_000);
  // A second's worth at the start, and the last frame whole.
  expect(rows).toBeGreaterThanOrEqual(100_000);
  expect(rows).toBeLessThanOrEqual(101_000 + frameRows);
});

test('a rest saves up a second’s worth and no more', () => {
  let nowMs = 0;
  const budget = new RowBudget(100, () => nowMs);
  while (budget.isOpen) budget.spend(10);
  nowMs = 3_600_000;
  let rows = 0;
  while (budget.isOpen) {
    budget.spend(10);
    rows += 10;
  }
  expect(rows).toBe(100);
});

test('a clock that goes back gives nothing', () => {
  let nowMs = 1000;
  const budget = new RowBudget(10, () => nowMs);
  budget.spend(10);
  nowMs = 0;
  expect(budget.isOpen).toBe(false);
});

test('lifted it is open whatever was spent; held again it starts with a second’s worth', () => {
  const budget = new RowBudget(10, () => 0);
  budget.spend(1000);
  expect(budget.isOpen).toBe(false);
  budget.lift();
  expect(budget.isOpen).toBe(true);
  budget.spend(1000);
  budget.hold();
  expect(budget.isOpen).toBe(true);
  budget.spend(10);
  expect(budget.isOpen).toBe(false);
});
