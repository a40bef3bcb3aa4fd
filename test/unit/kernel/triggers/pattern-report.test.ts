import { expect, test } from 'vitest';
import { compilePattern } from '../../../../kernel/triggers/matcher.ts';
import { reportPattern } from '../../../../kernel/triggers/pattern-report.ts';

const bucketsNamed = (...paths: readonly string[]) =>
  paths.map((path) => ({ path, latestYear: 2017 }));

test('a pattern is reported with the buckets it matches, and those only a Go server would', () => {
  const on = '*/1Min/OHLC';
  const buckets = bucketsNamed('A/1Min/OHLC', 'B/1Min/OHLC', 'A/1Min/OHLCV', 'A/5Min/OHLC');
  expect(reportPattern(on, compilePattern(on), buckets)).toEqual({
    matchedCount: 2,
    matched: ['A/1Min/OHLC', 'B/1Min/OHLC'],
    onlyReferenceCount: 1,
    onlyReference: ['A/1Min/OHLCV'],
  });
});

test('only the first five are named', () => {
  const buckets = bucketsNamed(...'abcdefg'.split('').map((symbol) => `${symbol}/1D/X`));
  const report = reportPattern(undefined, compilePattern(undefined), buckets);
  expect(report.matchedCount).toBe(7);
  expect(report.matched).toHaveLength(5);
});

test('a re: pattern is the reference, so nothing differs', () => {
  const report = reportPattern('re:OHLC$', compilePattern('re:OHLC$'), bucketsNamed('A/1D/OHLCV'));
  expect(report).toMatchObject({ matchedCount: 0, onlyReferenceCount: 0 });
});
