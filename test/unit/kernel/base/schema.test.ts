import { expect, test } from 'vitest';
import { elementTypeOfWire, INT32 } from '../../../../kernel/base/element-type.ts';
import {
  type BucketSchema,
  checkSchema,
  fromPlainSchema,
  recordBytesOf,
  sameSchema,
  tickBytesOf,
  toPlainSchema,
} from '../../../../kernel/base/schema.ts';

function schemaOf(recordType: 'fixed' | 'variable', ...types: string[]): BucketSchema {
  return {
    recordType,
    columns: types.map((wire, at) => ({ name: `c${at}`, type: elementTypeOfWire(wire) ?? INT32 })),
  };
}

test.each([
  [['f4', 'f4', 'f4', 'f4'], 24],
  [['f4', 'f4', 'f4', 'f4', 'i4'], 32],
  [['i1', 'u2', 'f8'], 24],
  [['U16'], 72],
  [[], 8],
])('a FIXED record of %j has %d bytes', (types, bytes) => {
  expect(recordBytesOf(schemaOf('fixed', ...types))).toBe(bytes);
});

test('a VARIABLE cell has 24 bytes whatever the columns, a tick 4 more than its values', () => {
  expect(recordBytesOf(schemaOf('variable', 'f4', 'f4'))).toBe(24);
  expect(tickBytesOf(schemaOf('variable', 'f4', 'f4'))).toBe(12);
});

test.each([
  [[''], 'it is empty'],
  [['Epoch'], 'Epoch is implied'],
  [['a', 'a'], 'it is given twice'],
  [['x'.repeat(33)], 'longer than 32 bytes'],
  [['ä'.repeat(17)], 'longer than 32 bytes'],
])('column names %j are refused', (names, reason) => {
  const columns = names.map((name) => ({ name, type: INT32 }));
  expect(() => checkSchema({ recordType: 'fixed', columns })).toThrow(reason);
});

test('Nanoseconds is a column of FIXED buckets, and implied in VARIABLE ones', () => {
  const columns = [{ name: 'Nanoseconds', type: INT32 }];
  checkSchema({ recordType: 'fixed', columns });
  expect(() => checkSchema({ recordType: 'variable', columns })).toThrow('Nanoseconds is implied');
});

test('254 columns are taken, 255 are not', () => {
  checkSchema(schemaOf('fixed', ...Array<string>(254).fill('i4')));
  expect(() => checkSchema(schemaOf('fixed', ...Array<string>(255).fill('i4')))).toThrow(
    'at most 254 columns, have 255',
  );
});

test('a schema survives the way through plain data; unknown types do not', () => {
  const schema = schemaOf('variable', 'f8', 'U16');
  const back = fromPlainSchema(toPlainSchema(schema));
  expect(back !== undefined && sameSchema(back, schema)).toBe(true);
  expect(fromPlainSchema({ recordType: 'fixed', columns: [{ name: 'a', type: 8 }] })).toBe(
    undefined,
  );
});
