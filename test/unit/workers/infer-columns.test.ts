import { expect, test } from 'vitest';
import { inferColumns, inferSchema } from '../../../workers/infer-columns.ts';

test('a typed array says its type, a plain one is f8, bigints are i8', () => {
  const rows = inferColumns({
    Epoch: [1, 2],
    a: [1, 2],
    b: new Float32Array(2),
    c: new Int32Array(2),
    d: new BigInt64Array(2),
    e: new Uint8Array(2),
    f: [1n, 2n] as unknown as number[],
  });
  expect(rows.rowCount).toBe(2);
  expect(rows.columns.map(({ name, type }) => [name, type.wire])).toEqual([
    ['Epoch', 'i8'],
    ['a', 'f8'],
    ['b', 'f4'],
    ['c', 'i4'],
    ['d', 'i8'],
    ['e', 'u1'],
    ['f', 'i8'],
  ]);
  expect(inferSchema(rows, false).columns.map(({ name }) => name)).toEqual([...'abcdef']);
});

test('Nanoseconds belong to the schema of bars, not to that of ticks', () => {
  const rows = inferColumns({ Epoch: [1], Nanoseconds: [5], p: [1] });
  expect(inferSchema(rows, true)).toMatchObject({
    recordType: 'variable',
    columns: [{ name: 'p' }],
  });
  expect(inferSchema(rows, false).columns.map(({ name }) => name)).toEqual(['Nanoseconds', 'p']);
});

test.each([
  ['no object', undefined],
  ['no Epoch', { a: [1] }],
  ['an Epoch that is a text', { Epoch: 'abc', a: [1, 2, 3] }],
  ['half a second', { Epoch: [0.5], a: [1] }],
  ['a NaN Epoch', { Epoch: [Number.NaN], a: [1] }],
  ['a null value', { Epoch: [1], a: [null] }],
  ['an undefined column', { Epoch: [1], a: undefined }],
  ['a text value', { Epoch: [1], a: ['1'] }],
  ['unequal lengths', { Epoch: [1, 2], a: [1] }],
  ['a bigint among numbers', { Epoch: [1, 2], a: [1, 2n] }],
  ['a bigint past 64 bits', { Epoch: [1], a: [2n ** 63n] }],
  ['Nanoseconds past 32 bits', { Epoch: [1], Nanoseconds: [2 ** 31], a: [1] }],
])('%s is refused', (_name, rows) => {
  expect(() => inferColumns(rows as never)).toThrow(
    expect.objectContaining({ code: expect.stringMatching(/^MKTS_/) }),
  );
});

test('Epoch is exact for every whole second, before 1970 too', () => {
  const epochs = [
    0,
    1,
    -1,
    2 ** 31,
    2 ** 32 - 1,
    2 ** 32,
    -(2 ** 32) - 1,
    253402300799,
    -62135596800,
  ];
  expect([...(inferColumns({ Epoch: epochs }).columns[0]?.data ?? [])]).toEqual(epochs.map(BigInt));
});
