import { describe, expect, test } from 'vitest';
import { FLOAT32, FLOAT64, INT32 } from '../../../../kernel/base/element-type.ts';
import type { BucketSchema } from '../../../../kernel/base/schema.ts';
import { parseTimeBucketKey } from '../../../../kernel/base/time-bucket-key.ts';
import {
  type BucketIndex,
  type PlannedBucket,
  planQuery,
  type QueryRequest,
} from '../../../../kernel/query/plan.ts';

const BARS: BucketSchema = {
  recordType: 'fixed',
  columns: [
    { name: 'A', type: FLOAT32 },
    { name: 'B', type: INT32 },
  ],
};
const ONLY_A: BucketSchema = { recordType: 'fixed', columns: [{ name: 'A', type: FLOAT32 }] };
const WIDE_A: BucketSchema = {
  recordType: 'fixed',
  columns: [
    { name: 'A', type: FLOAT64 },
    { name: 'B', type: INT32 },
  ],
};
const TICKS: BucketSchema = { recordType: 'variable', columns: [{ name: 'Bid', type: FLOAT32 }] };

function indexOf(buckets: Readonly<Record<string, BucketSchema>>): BucketIndex {
  const known = new Map<string, PlannedBucket>();
  for (const [path, schema] of Object.entries(buckets))
    known.set(path, {
      key: parseTimeBucketKey(path),
      schema,
      scan: () => Promise.reject(new Error('a plan reads no rows')),
    });
  return {
    bucket: (path) => known.get(path),
    symbols: () => [...new Set([...known.keys()].map((path) => path.split('/')[0] ?? ''))].sort(),
  };
}

const index = indexOf({
  'Q1/1Min/OHLCV': BARS,
  'Q2/1Min/OHLCV': BARS,
  'Q3/1Min/OHLCV': ONLY_A,
  'Q4/1Min/OHLCV': WIDE_A,
  'TT/1Sec/TICK': TICKS,
  'H4/4H/X': BARS,
  'H4/2H/X': BARS,
  'H2/2H/X': BARS,
  'W/1W/X': BARS,
  'T/1T/X': BARS,
});

const plan = (destination: string, request: Partial<QueryRequest> = {}) =>
  planQuery(index, { destination, ...request });
const pathsOf = (destination: string, request: Partial<QueryRequest> = {}) =>
  plan(destination, request).buckets.map(({ key }) => key.path);
const namesOf = (destination: string, columns: readonly string[]) =>
  plan(destination, { columns }).shapes.map(({ name }) => name);

describe('destinations', () => {
  test.each([
    ['Q1/1Min/OHLCV', ['Q1/1Min/OHLCV']],
    ['Q1/1Min/OHLCV:Symbol/Timeframe/AttributeGroup', ['Q1/1Min/OHLCV']],
    ['1Min/Q1/OHLCV:Timeframe/Symbol/AttributeGroup', ['Q1/1Min/OHLCV']],
    ['Q2,Q1/1Min/OHLCV', ['Q2/1Min/OHLCV', 'Q1/1Min/OHLCV']],
    ['Q1,Q1/1Min/OHLCV', ['Q1/1Min/OHLCV']],
    ['Q1,NOPE/1Min/OHLCV', ['Q1/1Min/OHLCV']],
    ['Q1/1Min/NOPE,OHLCV', ['Q1/1Min/OHLCV']],
  ])('%s names %j', (destination, paths) => {
    expect(pathsOf(destination)).toEqual(paths);
  });

  test('the categories beside a destination count unless it has its own', () => {
    const keyCategory = 'Timeframe/Symbol/AttributeGroup';
    expect(pathsOf('1Min/Q1/OHLCV', { keyCategory })).toEqual(['Q1/1Min/OHLCV']);
    const own = 'Q1/1Min/OHLCV:Symbol/Timeframe/AttributeGroup';
    expect(pathsOf(own, { keyCategory })).toEqual(['Q1/1Min/OHLCV']);
  });

  test('a star is every symbol that has such a bucket, and only by itself', () => {
    const columns = ['A'];
    expect(pathsOf('*/2H/X', { columns })).toEqual(['H2/2H/X', 'H4/2H/X']);
    expect(() => plan('NOPE,*/1Min/OHLCV')).toThrow('no files returned from query parse');
  });

  test.each([
    '',
    'Q1',
    'Q1/1Min',
    '//',
    'Q1//OHLCV',
    '/1Min/OHLCV',
    ':',
    'Q1/1Min/OHLCV:Foo/Bar/Baz',
  ])('%j does not name symbol, timeframe and group', (destination) => {
    expect(() => plan(destination)).toThrow(
      'destinations must have a Symbol, Timeframe and AttributeGroup, have: ',
    );
  });

  test.each([
    'NOPE/1Min/OHLCV',
    'q1/1Min/OHLCV',
    'Q1/1Min/*',
    'Q1/1Min/OHLCV/X',
    'Q1/1D/OHLCV',
    'Q1, Q2/5Sec/OHLCV',
    '../1Min/OHLCV',
    '__proto__/1Min/OHLCV',
  ])('%s finds no bucket', (destination) => {
    expect(() => plan(destination)).toThrow('no files returned from query parse');
  });

  test('a timeframe that is none says so', () => {
    expect(() => plan('Q1/*/OHLCV')).toThrow(
      'timeframe not found in TimeBucketKey=Q1/*/OHLCV:Symbol/Timeframe/AttributeGroup: timeframe not found in "*"',
    );
  });
});

describe('timeframes', () => {
  test.each([
    ['Q1/2Min/OHLCV', 'Q1/1Min/OHLCV', 2],
    ['Q1/7Min/OHLCV', 'Q1/1Min/OHLCV', 7],
    ['Q1/60Sec/OHLCV', 'Q1/1Min/OHLCV', 1],
    ['Q1/x1Miny/OHLCV', 'Q1/1Min/OHLCV', 1],
    ['H4/4H/X', 'H4/4H/X', 1],
    ['H2/4H/X', 'H2/2H/X', 2],
    ['H4/12H/X', 'H4/4H/X', 3],
    ['H2/6H/X', 'H2/2H/X', 3],
    ['W/1W/X', 'W/1W/X', 1],
    ['T/1T/X', 'T/1T/X', 1],
  ])('%s reads %s, and a limit of 1 becomes %i', (destination, path, limit) => {
    const { buckets, range } = plan(destination, { limit: 1 });
    expect(buckets.map(({ key }) => key.path)).toEqual([path]);
    expect(range.limit).toBe(limit);
  });
});

describe('columns', () => {
  test('come in the order asked, each once, Epoch first and Nanoseconds last', () => {
    expect(namesOf('Q1/1Min/OHLCV', ['B', 'A'])).toEqual(['Epoch', 'B', 'A']);
    expect(namesOf('Q1/1Min/OHLCV', ['A', 'A', 'Epoch'])).toEqual(['Epoch', 'A']);
    expect(namesOf('Q1/1Min/OHLCV', ['ZZ'])).toEqual(['Epoch']);
    expect(namesOf('Q1/1Min/OHLCV', [])).toEqual(['Epoch', 'A', 'B']);
    expect(namesOf('TT/1Sec/TICK', ['Nanoseconds', 'Bid'])).toEqual([
      'Epoch',
      'Bid',
      'Nanoseconds',
    ]);
    expect(namesOf('TT/1Sec/TICK', ['ZZ'])).toEqual(['Epoch', 'Nanoseconds']);
  });

  test('must be the same in all buckets, types included', () => {
    const message =
      'symbols in a query must have the same data type or be filtered by common columns. ' +
      'symbols=[{Q1/1Min/OHLCV:Symbol/Timeframe/AttributeGroup} {Q3/1Min/OHLCV:Symbol/Timeframe/AttributeGroup}]';
    expect(() => plan('Q1,Q3/1Min/OHLCV')).toThrow(message);
    expect(() => plan('Q1,Q4/1Min/OHLCV')).toThrow('symbols in a query must have the same');
    expect(pathsOf('Q1,Q3/1Min/OHLCV', { columns: ['A'] })).toHaveLength(2);
    expect(pathsOf('Q1,Q4/1Min/OHLCV', { columns: ['B'] })).toHaveLength(2);
  });
});

describe('ranges and limits', () => {
  const rangeOf = (request: Partial<QueryRequest>) => plan('Q1/1Min/OHLCV', request).range;

  test('an absent start is 1970, an absent end none', () => {
    expect(rangeOf({})).toEqual({ fromSeconds: 0, fromNanos: 0, fromEnd: true });
    expect(rangeOf({ epochStartNanos: 5, epochEndNanos: 5 })).toEqual(rangeOf({}));
  });

  test('nanoseconds of any size and sign add to the seconds', () => {
    expect(rangeOf({ epochStart: 10, epochStartNanos: -1 })).toMatchObject({
      fromSeconds: 9,
      fromNanos: 999_999_999,
    });
    expect(rangeOf({ epochEnd: 10, epochEndNanos: 2_500_000_000 })).toMatchObject({
      toSeconds: 12,
      toNanos: 500_000_000,
    });
    expect(rangeOf({ epochEnd: 0, epochEndNanos: -9_223_372_036_854_775_808n })).toMatchObject({
      toSeconds: -9_223_372_037,
      toNanos: 145_224_192,
    });
  });

  test.each([2n ** 62n, 2n ** 64n - 1n, 9_223_371_974_719_179_007n])(
    'an end of %s is the end of time',
    (epochEnd) => {
      expect(rangeOf({ epochEnd })).toMatchObject({
        toSeconds: 253_402_300_799,
        toNanos: 999_999_999,
      });
    },
  );

  test('a start before all time is the first year', () => {
    expect(rangeOf({ epochStart: -(2n ** 63n) })).toMatchObject({ fromSeconds: -62_135_596_800 });
  });

  test('0 is no limit, a negative limit is refused, a huge one kept', () => {
    expect(rangeOf({ limit: 0 }).limit).toBeUndefined();
    expect(rangeOf({ limit: 2_147_483_648 }).limit).toBe(2_147_483_648);
    expect(rangeOf({ limit: 2n ** 64n - 1n }).limit).toBe(2 ** 64);
    for (const limit of [-1, -(2n ** 63n)])
      expect(() => rangeOf({ limit })).toThrow('limit_record_count must not be negative');
  });

  test('rows are the newest unless the oldest are asked for', () => {
    expect(rangeOf({ limit: 2, limitFromStart: true }).fromEnd).toBe(false);
    expect(rangeOf({ limit: 2 }).fromEnd).toBe(true);
  });
});
