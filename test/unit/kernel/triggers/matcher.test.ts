import { expect, test } from 'vitest';
import { PATTERN_BYTES_MAX, PATTERN_VERDICTS_MAX } from '../../../../kernel/base/limits.ts';
import { compilePattern, referenceMatches } from '../../../../kernel/triggers/matcher.ts';

/** pattern, key, whether it matches */
const GLOBS: readonly (readonly [string, string, boolean])[] = [
  ['*/1Min/OHLC', 'TSLA/1Min/OHLC', true],
  ['*/1Min/OHLC', 'TSLA/5Min/OHLC', false],
  ['*/1Min/OHLCV', 'X/1Min/OHLCV2', false],
  ['*/1Min/OHLC', 'X/1Min/OHLCV', false],
  ['AAPL/1Min/OHLCV', 'XAAPL/1Min/OHLCV', false],
  ['*.A/1D/OHLCV', 'BRK.A/1D/OHLCV', true],
  ['*.A/1D/OHLCV', 'BRKxA/1D/OHLCV', false],
  ['*/*/OHLCV', 'A/1D/OHLCV', true],
  ['*/*/*', 'A/1D/TRADE', true],
  ['binance_*/1Min/OHLCV', 'binance_BTC-USDT/1Min/OHLCV', true],
  ['binance_*/1Min/OHLCV', 'binance_/1Min/OHLCV', false],
  ['AAP?/1Min/OHLCV', 'AAPL/1Min/OHLCV', true],
  ['AAP?/1Min/OHLCV', 'AAP/1Min/OHLCV', false],
  ['?/1Min/OHLCV', '💹/1Min/OHLCV', true],
  ['{AAPL,TSLA}/1Min/OHLCV', 'TSLA/1Min/OHLCV', true],
  ['{AAPL,TSLA}/1Min/OHLCV', 'MSFT/1Min/OHLCV', false],
  ['BTC{,-*}/{1Min,5Min}/OHLCV', 'BTC/5Min/OHLCV', true],
  ['BTC{,-*}/{1Min,5Min}/OHLCV', 'BTC-USD/1Min/OHLCV', true],
  ['BTC{,-*}/{1Min,5Min}/OHLCV', 'BTC-/1Min/OHLCV', false],
  ['\\^GSPC/1D/OHLCV', '^GSPC/1D/OHLCV', true],
  ['BRK.*/1D/OHLCV', 'BRK.B/1D/OHLCV', true],
];

test.each(GLOBS)('%s on %s: %s', (pattern, key, verdict) => {
  const matcher = compilePattern(pattern);
  expect(matcher.matches(key)).toBe(verdict);
  expect(matcher.matches(key)).toBe(verdict);
});

test('a list matches what one of its patterns matches', () => {
  const matcher = compilePattern(['AAPL/1Min/OHLCV', 're:^T[A-Z]+/5Min']);
  expect(matcher.matches('AAPL/1Min/OHLCV')).toBe(true);
  expect(matcher.matches('TSLA/5Min/OHLCV')).toBe(true);
  expect(matcher.matches('TSLA/1Min/OHLCV')).toBe(false);
  expect(matcher.description).toBe('AAPL/1Min/OHLCV, re:^T[A-Z]+/5Min');
});

test('a fourth part matches the year file, with or without its suffix', () => {
  for (const pattern of ['AAPL/*/*/201?', 'AAPL/*/*/{2016,2017}.bin']) {
    const matcher = compilePattern(pattern);
    expect(matcher.namesYears).toBe(true);
    expect(matcher.matches('AAPL/1Min/OHLCV', 2017)).toBe(true);
    expect(matcher.matches('AAPL/1Min/OHLCV', 2021)).toBe(false);
    expect(matcher.matches('AAPL/1Min/OHLCV'), 'in some year').toBe(true);
    expect(matcher.matches('TSLA/1Min/OHLCV', 2017)).toBe(false);
  }
});

test('re: follows the reference: unanchored, on the path of the year file', () => {
  const verdicts: readonly (readonly [string, string, boolean])[] = [
    ['re:*/1Min/OHLCV', 'X/1Min/OHLCV2', true],
    ['re:AAPL/1Min/OHLCV', 'XAAPL/1Min/OHLCV', true],
    ['re:*.A/1D/OHLCV', 'BRKxA/1D/OHLCV', true],
    ['re:*/1Min/OHLCV$', 'X/1Min/OHLCV', false],
    ['re:(AAPL|TSLA)/1Min', 'TSLA/1Min/OHLCV', true],
  ];
  for (const [pattern, key, verdict] of verdicts)
    expect(compilePattern(pattern).matches(key, 2017), pattern).toBe(verdict);
});

test('no pattern matches everything, and says so', () => {
  for (const on of [undefined, '', ['', 'A/1D/B']]) {
    const matcher = compilePattern(on);
    expect(matcher.matches('A/1Min/TRADE')).toBe(true);
    expect(matcher.description).toBe('every bucket');
    expect(matcher.warning).toContain('told of every write');
  }
  expect(compilePattern('*/1Min/OHLCV').warning).toBeUndefined();
});

test.each([
  ['[', 're:['],
  ['(AAPL|TSLA)/1Min/OHLCV', 're:(AAPL|TSLA)/1Min/OHLCV'],
  ['.*/1Min/OHLCV', 're:.*/1Min/OHLCV'],
  ['*/1Min/OHLCV$', 're:'],
  ['^GSPC/1D/OHLCV', '"\\^"'],
  ['*/1Min', 'it has 2 parts'],
  ['*', 'it has 1 part;'],
  ['a/b/c/d/e', 'it has 5 parts'],
  ['/1Min/OHLCV', 'a part is empty'],
  ['{a/1Min/OHLCV', 'over a "/"'],
  ['a/1Min/{OHLCV', 'not closed'],
  ['a}/1Min/OHLCV', 'no "{"'],
  ['{a,{b}}/1Min/OHLCV', 'in braces'],
  ['a/1Min/OHLCV\\', 'ends in'],
  ['re:[', 'Invalid regular expression'],
])('%s is refused at load', (pattern, reason) => {
  expect(() => compilePattern(pattern)).toThrow(
    expect.objectContaining({
      code: 'MKTS_TRIGGER_PATTERN',
      message: expect.stringContaining(reason),
    }),
  );
});

test('an empty list and a pattern past its bound are refused', () => {
  expect(() => compilePattern([])).toThrow(/list is empty/);
  const longest = `${'a'.repeat(PATTERN_BYTES_MAX - 4)}/b/c`;
  expect(compilePattern(longest).matches(longest)).toBe(true);
  expect(() => compilePattern(`a${longest}`)).toThrow(/longer than/);
});

test('verdicts past the bound are forgotten and found again', () => {
  const matcher = compilePattern('K*/1Min/OHLCV');
  for (let at = 0; at <= PATTERN_VERDICTS_MAX; at++) matcher.matches(`K${at}/1Min/OHLCV`);
  expect(matcher.matches('K0/1Min/OHLCV')).toBe(true);
  expect(matcher.matches('L0/1Min/OHLCV')).toBe(false);
});

test('a pattern the reference cannot compile never matches there', () => {
  expect(referenceMatches('[', 'A/1D/B', 2017)).toBe(false);
  expect(referenceMatches('', 'A/1D/B', 2017)).toBe(true);
  expect(referenceMatches('*/1D/B', 'A/1D/BC', 2017)).toBe(true);
});
