import { expect, test } from 'vitest';
import {
  longKey,
  parseNewTimeBucketKey,
  parseTimeBucketKey,
} from '../../../../kernel/base/time-bucket-key.ts';

test('a key is parsed into its parts', () => {
  const key = parseTimeBucketKey('AAPL/1Min/OHLCV');
  expect(key).toEqual({
    symbol: 'AAPL',
    timeframe: '1Min',
    attributeGroup: 'OHLCV',
    timeframeSeconds: 60,
    path: 'AAPL/1Min/OHLCV',
  });
  expect(longKey(key)).toBe('AAPL/1Min/OHLCV:Symbol/Timeframe/AttributeGroup');
});

test('items pair up with the categories that are given', () => {
  expect(parseTimeBucketKey('1Min/OHLCV/AAPL:Timeframe/AttributeGroup/Symbol').path).toBe(
    'AAPL/1Min/OHLCV',
  );
});

test.each([
  '../1Min/OHLCV',
  './1Min/OHLCV',
  'A/1Min',
  'A/1Min/B/C',
  '/1Min/B',
  'A,B/1Min/C',
  '*/1Min/C',
  'category_name/1Min/C',
  'metadata.db/1Min/C',
  'WALFile.1/1Min/C',
  'a\\b/1Min/C',
  'a\0b/1Min/C',
  `${'x'.repeat(256)}/1Min/C`,
  'A/1Min/C:Symbol/Year/AttributeGroup',
])('%j names no bucket', (text) => {
  expect(() => parseTimeBucketKey(text)).toThrow('is not in proper format');
});

test('a part may have 255 bytes', () => {
  expect(parseTimeBucketKey(`${'x'.repeat(255)}/1Min/C`).symbol).toHaveLength(255);
});

test('a week can be named, but not made', () => {
  expect(parseTimeBucketKey('A/1W/C').timeframeSeconds).toBe(604_800);
  expect(() => parseNewTimeBucketKey('A/1W/C')).toThrow('timeframe 1W cannot be stored');
  expect(() => parseTimeBucketKey('A/1M/C')).toThrow('Unable to get timeframe');
});
