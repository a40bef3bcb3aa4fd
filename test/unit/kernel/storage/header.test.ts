import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { FLOAT32, INT32 } from '../../../../kernel/base/element-type.ts';
import { sameSchema } from '../../../../kernel/base/schema.ts';
import {
  DESCRIPTION_OF_WRITE,
  decodeHeader,
  encodeHeader,
  type YearHeader,
} from '../../../../kernel/storage/header.ts';

const header: YearHeader = {
  description: DESCRIPTION_OF_WRITE,
  year: 2021,
  timeframeSeconds: 60,
  schema: {
    recordType: 'fixed',
    columns: [
      ...['Open', 'High', 'Low', 'Close'].map((name) => ({ name, type: FLOAT32 })),
      { name: 'Volume', type: INT32 },
    ],
  },
};

function decode(bytes: Uint8Array): ReturnType<typeof decodeHeader> {
  return decodeHeader((offset, count) => bytes.subarray(offset, offset + count));
}

test('the header of AAPL/1Min/OHLCV 2021 is the one the reference writes', () => {
  const digest = createHash('md5').update(encodeHeader(header)).digest('hex');
  expect(digest).toBe('ba0b33457e87b16dc6c740a024fa0887');
});

test('a header is read as it was written, with as many columns as it has room for', () => {
  const columns = Array.from({ length: 1024 }, (_, at) => ({ name: `c${at}`, type: INT32 }));
  for (const schema of [header.schema, { recordType: 'variable' as const, columns }]) {
    const read = decode(encodeHeader({ ...header, schema }));
    if ('reason' in read) throw new Error(read.reason);
    expect(read).toMatchObject({
      year: 2021,
      timeframeSeconds: 60,
      description: header.description,
    });
    expect(sameSchema(read.schema, schema)).toBe(true);
  }
});

test('a name of 32 bytes has no NUL behind it', () => {
  const columns = [
    { name: 'n'.repeat(32), type: INT32 },
    { name: 'm', type: INT32 },
  ];
  const read = decode(encodeHeader({ ...header, schema: { recordType: 'fixed', columns } }));
  if ('reason' in read) throw new Error(read.reason);
  expect(read.schema.columns.map(({ name }) => name)).toEqual(['n'.repeat(32), 'm']);
});

test.each<[string, number, number[], string]>([
  ['version 3', 0, [3], 'version is 3'],
  ['intervals per day of version 1', 272, [0xa0, 5, 0, 0, 0, 0], 'header version 1'],
  ['no timeframe', 272, [0, 0, 0, 0, 0, 0], 'timeframe is 0 ns'],
  ['half a nanosecond too much', 272, [1], 'timeframe is'],
  ['year 0', 264, [0, 0], 'year is 0'],
  ['record type 2', 280, [2], 'record type is 2'],
  ['1025 columns', 288, [1, 4], 'number of columns is 1025'],
  ['minus one columns', 288, [255, 255, 255, 255, 255, 255, 255, 255], 'number of columns is -1'],
  ['a record too short', 296, [24], 'record length is 24, not 32'],
  ['a nameless column', 312, [0, 0, 0, 0], 'name of column 0 is empty'],
  ['a name that is not UTF-8', 312, [0xff], 'is not UTF-8'],
  ['a name twice', 344, [0x4f, 0x70, 0x65, 0x6e], 'column Open is there twice'],
  ['Epoch among the columns', 312, [0x45, 0x70, 0x6f, 0x63, 0x68], 'Epoch is among the columns'],
  ['a type without width', 33_080, [4], 'type of column Open is 4'],
  ['an unknown type', 33_080, [99], 'type of column Open is 99'],
])('a header with %s is refused', (_what, at, bytes, reason) => {
  const damaged = encodeHeader(header);
  damaged.set(bytes, at);
  const read = decode(damaged);
  expect('reason' in read && read.reason).toContain(reason);
});

test('a header cut anywhere is refused, never thrown over', () => {
  const bytes = encodeHeader(header);
  for (const length of [0, 1, 311, 312, 400, 471, 33_080, 33_084]) {
    const read = decode(bytes.subarray(0, length));
    expect('reason' in read && read.reason, String(length)).toContain('ends inside the header');
  }
});
