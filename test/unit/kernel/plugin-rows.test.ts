import { expect, test } from 'vitest';
import { ROW_GENERATIONS_MAX } from '../../../kernel/base/limits.ts';
import { PluginRows, type RowWords } from '../../../kernel/plugin-rows.ts';

const NOTHING: RowWords = { rowsHanded: 0, rowsRefused: 0 };

test('rows are counted by generation, the newest ones, and all of them in the total', () => {
  const rows = new PluginRows();
  for (let generation = 1; generation <= ROW_GENERATIONS_MAX + 1; generation++) {
    const counter = rows.open('a', generation, () => NOTHING);
    counter.accepted(10);
    counter.close();
  }
  rows.open('a', ROW_GENERATIONS_MAX + 2, () => NOTHING);
  expect(rows.total('a')).toBe(10 * (ROW_GENERATIONS_MAX + 1));
  expect(rows.all().length).toBeLessThanOrEqual(ROW_GENERATIONS_MAX);
  expect(rows.total('b')).toBe(0);
});

test('a parked generation that runs again goes on counting where it was', () => {
  const rows = new PluginRows();
  const first = rows.open('a', 1, () => NOTHING);
  first.accepted(3);
  first.close();
  rows.open('a', 2, () => NOTHING).accepted(4);
  rows.open('a', 1, () => NOTHING).accepted(2);
  expect(rows.all().map(({ generation, accepted }) => [generation, accepted])).toEqual([
    [1, 5],
    [2, 4],
  ]);
});

test('sent is accepted, rejected, and what waits in the ring', () => {
  const rows = new PluginRows();
  const words = { rowsHanded: 0, rowsRefused: 0 };
  const counter = rows.open('a', 1, () => words);
  words.rowsHanded = 100;
  words.rowsRefused = 7;
  counter.accepted(60);
  counter.rejected(10);
  expect(rows.counts('a')).toEqual({ sent: 107, accepted: 60, rejected: 17 });
  // The rest of the ring is never read.
  counter.close();
  expect(rows.counts('a')).toEqual({ sent: 107, accepted: 60, rejected: 47 });
});
