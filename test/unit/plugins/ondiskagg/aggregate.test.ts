import { expect, test } from 'vitest';
import { Aggregation, isAggregable } from '../../../../plugins/ondiskagg/aggregate.ts';
import type { QueriedRows } from '../../../../plugins/sdk.ts';

type Columns = QueriedRows['columns'];
type Volume = Exclude<Columns[string], undefined>;

function pageOf(epochs: readonly number[], columns: Columns): QueriedRows {
  return { rowCount: epochs.length, Epoch: Float64Array.from(epochs), columns };
}

const prices = (values: readonly number[]): Columns => {
  const column = Float32Array.from(values);
  return { Open: column, High: column, Low: column, Close: column };
};

/** Windows of 300 seconds; everything is touched unless told otherwise. */
function fiveMinutes(touched = [{ from: 0, to: 1e9 }]): Aggregation {
  return new Aggregation({
    start: (epoch) => epoch - (epoch % 300),
    end: (epoch) => epoch - (epoch % 300) + 300,
    touched,
  });
}

/** Volumes of one window, summed; and how many sums were cut. */
function sumOf(volumes: Volume): { readonly Volume: unknown; readonly saturatedCount: number } {
  const aggregation = fiveMinutes();
  const count = volumes.length;
  const epochs = Array.from({ length: count }, (_, at) => at);
  const page = pageOf(epochs, { ...prices(epochs.map(() => 1)), Volume: volumes });
  aggregation.add(page, 0, count);
  aggregation.finish();
  const { saturatedCount } = aggregation;
  return { Volume: aggregation.take()?.Volume, saturatedCount };
}

test('a window over several pages is one bar', () => {
  const aggregation = fiveMinutes();
  aggregation.add(pageOf([0, 60], prices([2, 5])), 0, 2);
  aggregation.add(pageOf([120, 300], prices([1, 7])), 0, 2);
  expect(aggregation.rowCount).toBe(1);
  aggregation.finish();
  expect(aggregation.take()).toEqual({
    Epoch: [0, 300],
    Open: Float32Array.of(2, 7),
    High: Float32Array.of(5, 7),
    Low: Float32Array.of(1, 7),
    Close: Float32Array.of(1, 7),
  });
  expect(aggregation.take()).toBeUndefined();
});

test('only rows of the page that are asked for count', () => {
  const aggregation = fiveMinutes();
  aggregation.add(pageOf([0, 60, 120], prices([9, 1, 9])), 1, 2);
  aggregation.finish();
  expect(aggregation.take()).toMatchObject({ Open: Float32Array.of(1), High: Float32Array.of(1) });
});

test('a window gives a bar only if a touched range reaches into it', () => {
  const aggregation = fiveMinutes([
    { from: 0, to: 0 },
    { from: 599, to: 600 },
    { from: 1800, to: 1800 },
  ]);
  const epochs = Array.from({ length: 30 }, (_, minute) => 60 * minute);
  aggregation.add(pageOf(epochs, prices(epochs)), 0, 30);
  aggregation.finish();
  expect(aggregation.take()?.Epoch).toEqual([0, 300, 600]);
});

test('a NaN is no high and no low unless there is nothing else', () => {
  const aggregation = fiveMinutes();
  aggregation.add(pageOf([0, 60, 120, 300], prices([Number.NaN, 2, Number.NaN, Number.NaN])), 0, 4);
  aggregation.finish();
  expect(aggregation.take()).toMatchObject({
    High: Float32Array.of(2, Number.NaN),
    Low: Float32Array.of(2, Number.NaN),
  });
});

test('float volumes are summed as f8, and f4 is rounded once', () => {
  expect(sumOf(Float64Array.of(2e9, 2e9)).Volume).toEqual(Float64Array.of(4e9));
  expect(sumOf(Float32Array.from({ length: 200 }, () => 16_777_217)).Volume).toEqual(
    Float32Array.of(200 * 16_777_216),
  );
  expect(sumOf(Float32Array.of(16_777_216, 1, 1)).Volume).toEqual(Float32Array.of(16_777_218));
});

const INTEGERS: readonly (readonly [string, Volume, Volume, Volume, Volume])[] = [
  // name, sum at the bound, that, one past it, cut
  ['i1', Int8Array.of(100, 27), Int8Array.of(127), Int8Array.of(100, 28), Int8Array.of(127)],
  [
    'i2',
    Int16Array.of(-32_767, -1),
    Int16Array.of(-32_768),
    Int16Array.of(-32_767, -2),
    Int16Array.of(-32_768),
  ],
  [
    'i4',
    Int32Array.of(2 ** 30, 2 ** 30 - 1),
    Int32Array.of(2 ** 31 - 1),
    Int32Array.of(2 ** 30, 2 ** 30),
    Int32Array.of(2 ** 31 - 1),
  ],
  ['u1', Uint8Array.of(200, 55), Uint8Array.of(255), Uint8Array.of(200, 56), Uint8Array.of(255)],
  [
    'u2',
    Uint16Array.of(65_535, 0),
    Uint16Array.of(65_535),
    Uint16Array.of(65_535, 1),
    Uint16Array.of(65_535),
  ],
  [
    'u4',
    Uint32Array.of(2 ** 31, 2 ** 31 - 1),
    Uint32Array.of(2 ** 32 - 1),
    Uint32Array.of(2 ** 31, 2 ** 31),
    Uint32Array.of(2 ** 32 - 1),
  ],
  [
    'i8',
    BigInt64Array.of(2n ** 62n, 2n ** 62n - 1n),
    BigInt64Array.of(2n ** 63n - 1n),
    BigInt64Array.of(2n ** 62n, 2n ** 62n),
    BigInt64Array.of(2n ** 63n - 1n),
  ],
  [
    'u8',
    BigUint64Array.of(2n ** 63n, 2n ** 63n - 1n),
    BigUint64Array.of(2n ** 64n - 1n),
    BigUint64Array.of(2n ** 63n, 2n ** 63n),
    BigUint64Array.of(2n ** 64n - 1n),
  ],
];

test.each(INTEGERS)(
  '%s volumes are summed exactly, and cut to their type',
  (_name, most, sum, over, cut) => {
    expect(sumOf(most)).toEqual({ Volume: sum, saturatedCount: 0 });
    expect(sumOf(over)).toEqual({ Volume: cut, saturatedCount: 1 });
  },
);

test('prices of any type keep it', () => {
  const column = BigInt64Array.of(5n, 9n, -3n);
  const aggregation = fiveMinutes();
  aggregation.add(
    pageOf([0, 60, 120], { Open: column, High: column, Low: column, Close: column }),
    0,
    3,
  );
  aggregation.finish();
  expect(aggregation.take()).toEqual({
    Epoch: [0],
    Open: BigInt64Array.of(5n),
    High: BigInt64Array.of(9n),
    Low: BigInt64Array.of(-3n),
    Close: BigInt64Array.of(-3n),
  });
});

test('rows without a price, or with texts for prices, cannot be aggregated', () => {
  const whole = prices([1, 2]);
  expect(isAggregable(pageOf([0, 60], whole))).toBe(true);
  const { Close: _close, ...rest } = whole;
  expect(isAggregable(pageOf([0, 60], rest))).toBe(false);
  expect(isAggregable(pageOf([0, 60], { ...whole, Low: new Uint32Array(32) }))).toBe(false);
});
