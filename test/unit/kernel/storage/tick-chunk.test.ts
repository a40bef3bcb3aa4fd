import snappy from 'snappy';
import { expect, test } from 'vitest';
import {
  decodeChunk,
  encodeChunk,
  sortRecords,
  tickAt,
} from '../../../../kernel/storage/tick-chunk.ts';

const tick = Buffer.from('0000803f0000004099999919', 'hex');

test('a short chunk is the snappy block the reference writes', () => {
  expect(Buffer.from(encodeChunk(tick, 12, true)).toString('hex')).toBe(
    `0c2c${tick.toString('hex')}`,
  );
});

test('without compression a chunk is its records', () => {
  expect(Buffer.from(encodeChunk(tick, 12, false)).equals(tick)).toBe(true);
  expect(decodeChunk(tick, 12)).toEqual(Buffer.from(tick));
});

test.each([1, 5, 6, 21, 22, 1000, 100_000])(
  'a chunk of %d equal ticks is kept as literals, for readers that guess its size',
  (count) => {
    const records = Buffer.concat(Array<Buffer>(count).fill(tick));
    const stored = encodeChunk(records, 12, true);
    expect(count * 20).toBeLessThanOrEqual(4 * stored.length);
    const back = decodeChunk(stored, 12);
    expect(typeof back !== 'string' && records.equals(back)).toBe(true);
  },
);

test('a chunk that shrinks little is compressed', () => {
  const records = Buffer.alloc(24_000, 'abcdefghijklmnopqrstuvwxyz0123456789-');
  for (let at = 0; at < records.length; at += 12)
    records.writeUInt32LE((at * 2654435761) >>> 0, at);
  const stored = encodeChunk(records, 12, true);
  expect(stored.length).toBeLessThan(records.length);
  expect(decodeChunk(stored, 12)).toEqual(records);
});

test.each<[string, Buffer]>([
  ['nothing', Buffer.alloc(0)],
  ['half a tick', tick.subarray(0, 6)],
  ['a block of half a tick', snappy.compressSync(tick.subarray(0, 6))],
  ['a block cut short', snappy.compressSync(tick).subarray(0, 13)],
  ['a claim of four gigabytes', Buffer.from('ffffffff0f00', 'hex')],
  ['bytes behind the block', Buffer.concat([snappy.compressSync(tick), Buffer.from([0])])],
])('%s is no chunk', (_what, stored) => {
  expect(decodeChunk(stored, 12)).toContain('neither a snappy block nor records');
});

test('sorting is stable and leaves the old memory alone', () => {
  const record = (ticks: number, value: number): Buffer => {
    const bytes = Buffer.alloc(8);
    bytes.writeUInt32LE(value, 0);
    bytes.writeUInt32LE(ticks, 4);
    return bytes;
  };
  const bytes = Buffer.concat([
    record(5, 1),
    record(0xffffffff, 2),
    record(5, 3),
    record(1, 4),
    record(0xfffffff0, 5),
  ]);
  const before = Buffer.from(bytes);
  const sorted = Buffer.from(sortRecords(bytes, 5, 2, 8));
  expect([0, 1, 2, 3, 4].map((at) => sorted.readUInt32LE(at * 8))).toEqual([4, 1, 3, 5, 2]);
  expect(tickAt(sorted, 40)).toBe(0xffffffff);
  expect(bytes).toEqual(before);
});
