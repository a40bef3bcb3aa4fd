import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  BYTE,
  FLOAT32,
  FLOAT64,
  INT32,
  STRING16,
  UINT16,
} from '../../../../kernel/base/element-type.ts';
import { type BucketSchema, recordBytesOf } from '../../../../kernel/base/schema.ts';
import { parseTimeBucketKey } from '../../../../kernel/base/time-bucket-key.ts';
import type { Bucket } from '../../../../kernel/storage/bucket.ts';
import {
  encodeHeader,
  HEADER_BYTES,
  HEADER_COLUMNS_MAX,
} from '../../../../kernel/storage/header.ts';
import {
  blockOf,
  blockOfRows,
  openStore,
  rowsOf,
  type TestStore,
  temporaryRoot,
} from '../../../support/store.ts';

const bars: BucketSchema = {
  recordType: 'fixed',
  columns: [
    ...['Open', 'High', 'Low', 'Close'].map((name) => ({ name, type: FLOAT32 })),
    { name: 'Volume', type: INT32 },
  ],
};
const ticks: BucketSchema = {
  recordType: 'variable',
  columns: ['Bid', 'Ask'].map((name) => ({ name, type: FLOAT32 })),
};
/** 2021-07-04 15:30 UTC. */
const T = 1_625_412_600;

let scratch: ReturnType<typeof temporaryRoot>;
let store: TestStore;
beforeEach(() => {
  scratch = temporaryRoot();
  store = openStore(scratch.root);
});
afterEach(() => {
  store.catalog.close();
  scratch.remove();
});

function bucket(path: string, schema: BucketSchema): Bucket {
  return store.catalog.declare(parseTimeBucketKey(path), schema);
}

async function writeBack(): Promise<void> {
  await store.catalog.beginWriteBack().run();
}

/** Writes back and opens the directory anew. */
async function reopen(path: string, options = {}): Promise<Bucket> {
  await writeBack();
  store.catalog.close();
  store = openStore(scratch.root, options);
  const found = store.catalog.bucket(path);
  if (found === undefined) throw new Error(`no bucket ${path}`);
  return found;
}

function bytesAt(path: string, offset: number, count: number): string {
  return readFileSync(join(scratch.root, path))
    .subarray(offset, offset + count)
    .toString('hex');
}

test('a bar lies where the reference puts it, and reads back at the start of its slot', async () => {
  const subject = bucket('AAPL/1Min/OHLCV', bars);
  subject.apply(blockOfRows(bars, [[T + 59, 100, 200, 50.5, 150.25, 1000]]));
  await writeBack();
  const path = 'AAPL/1Min/OHLCV/2021.bin';
  expect(bytesAt(path, 8_545_504, 32)).toBe(
    'a30e0400000000000000c8420000484300004a4200401643e803000000000000',
  );
  expect(statSync(join(scratch.root, path)).size).toBe(16_856_224);
  expect(rowsOf(await subject.scan({ fromEnd: false }))).toEqual([
    [T, 100, 200, 50.5, 150.25, 1000],
  ]);
});

test('odd widths are packed without alignment', async () => {
  const schema: BucketSchema = {
    recordType: 'fixed',
    columns: [
      { name: 'A', type: BYTE },
      { name: 'B', type: UINT16 },
      { name: 'C', type: FLOAT64 },
    ],
  };
  const noon = 1_582_977_600;
  bucket('X/1Sec/ODD', schema).apply(blockOfRows(schema, [[noon, -1, 65_535, 1.5]]));
  const subject = await reopen('X/1Sec/ODD');
  const size = statSync(join(scratch.root, 'X/1Sec/ODD/2020.bin')).size;
  expect(size).toBe(758_974_624);
  expect(rowsOf(await subject.scan({ fromEnd: true, limit: 1 }))).toEqual([
    [noon, -1, 65_535, 1.5],
  ]);
});

test('a string of 16 code points takes 64 bytes', async () => {
  const schema: BucketSchema = { recordType: 'fixed', columns: [{ name: 'S', type: STRING16 }] };
  const data = new Uint32Array(16);
  data.set([...'hello'].map((letter) => letter.codePointAt(0) ?? 0));
  const epoch = new BigInt64Array([BigInt(Date.UTC(2021, 1, 1) / 1000)]);
  bucket('X/1D/S', schema).apply(
    blockOf(
      schema,
      [
        { name: 'Epoch', type: { ...STRING16, bytes: 8 }, data: epoch },
        { name: 'S', type: STRING16, data },
      ],
      1,
    ),
  );
  await writeBack();
  expect(bytesAt('X/1D/S/2021.bin', 39_184, 28)).toBe(
    '1f0000000000000068000000650000006c0000006c0000006f000000',
  );
});

test('the payload of a NaN survives the way to disk and back', async () => {
  const schema: BucketSchema = { recordType: 'fixed', columns: [{ name: 'A', type: FLOAT64 }] };
  const block = blockOfRows(schema, [[T, 0]]);
  block.view.setBigUint64(32, 0xfff8_0000_dead_beefn, true);
  bucket('X/1Min/NAN', schema).apply(block);
  const subject = await reopen('X/1Min/NAN');
  const data = (await subject.scan({ fromEnd: false })).columns[1]?.data;
  if (data === undefined) throw new Error('no column');
  expect(new DataView(data.buffer, data.byteOffset).getBigUint64(0, true)).toBe(
    0xfff8_0000_dead_beefn,
  );
});

test('of two rows for one slot the later stays, whole, in one block and in two', async () => {
  const subject = bucket('A/1Min/B', bars);
  subject.apply(
    blockOfRows(bars, [
      [T, 1, 1, 1, 1, 1],
      [T + 60, 2, 2, 2, 2, 2],
      [T + 1, 3, 3, 3, 3, 3],
    ]),
  );
  subject.apply(blockOfRows(bars, [[T + 60, 4, 4, 4, 4, 4]]));
  expect(rowsOf(await subject.scan({ fromEnd: false }))).toEqual([
    [T, 3, 3, 3, 3, 3],
    [T + 60, 4, 4, 4, 4, 4],
  ]);
});

test('rows of one block may lie in several years, back and forth', async () => {
  const subject = bucket('A/1H/B', bars);
  const years = [2020, 2022, 2020, 2021];
  subject.apply(
    blockOfRows(
      bars,
      years.map((year, at) => [Date.UTC(year, 5, at + 1) / 1000, at, at, at, at, at]),
    ),
  );
  expect(subject.years).toEqual([2020, 2021, 2022]);
  expect(subject.latestYear).toBe(2022);
  const values = rowsOf(await subject.scan({ fromEnd: false })).map(([, open]) => open);
  expect(values).toEqual([0, 2, 3, 1]);
  expect(rowsOf(subject.lastRow())[0]?.[1]).toBe(1);
});

test('rows may go from year to year a block at a time, too', async () => {
  const path = 'X/1Min/OHLCV';
  const year = 366 * 86_400;
  const times = [T, T + year, T + 60, T - year, T + year + 60];
  for (const [at, time] of times.entries())
    bucket(path, bars).apply(blockOfRows(bars, [[time, at, at, at, at, at]]));
  const rows = rowsOf(await (await reopen(path)).scan({ fromEnd: false }));
  expect(rows.map(([epoch, open]) => [epoch, open])).toEqual([
    [T - year, 3],
    [T, 0],
    [T + 60, 2],
    [T + year, 1],
    [T + year + 60, 4],
  ]);
});

test.each(['fixed', 'variable'] as const)(
  'a %s bucket found with more columns than we make takes rows',
  async (recordType) => {
    const path = 'X/1H/WIDE';
    store.catalog.materialize(bucket(path, { ...bars, recordType }), 2021);
    await writeBack();
    const columns = Array.from({ length: HEADER_COLUMNS_MAX }, (_, at) => ({
      name: `C${at}`,
      type: at % 2 === 0 ? BYTE : UINT16,
    }));
    const schema = { recordType, columns };
    const file = join(scratch.root, path, '2021.bin');
    writeFileSync(
      file,
      encodeHeader({ description: '', year: 2021, schema, timeframeSeconds: 3600 }),
    );
    truncateSync(file, HEADER_BYTES + 365 * 24 * recordBytesOf(schema));
    const wide = await reopen(path);
    expect(wide.readOnlyReason).toBeUndefined();
    const rows = [T - 1800, T + 1800].map((time) => [time, ...columns.map((_, at) => at % 127), 0]);
    wide.apply(blockOfRows(schema, rows));
    wide.apply(blockOfRows(schema, rows.slice(1)));
    const found = rowsOf(await (await reopen(path)).scan({ fromEnd: false }));
    const isFixed = recordType === 'fixed';
    expect(found).toEqual(isFixed ? rows.map((row) => row.slice(0, -1)) : [...rows, rows[1]]);
  },
);

test('buckets whose columns differ in nothing but a name keep their own', async () => {
  const named = (name: string): BucketSchema => ({
    recordType: 'fixed',
    columns: [{ name, type: FLOAT64 }],
  });
  for (const name of ['A', 'B'])
    bucket(`X/1Min/${name}`, named(name)).apply(blockOfRows(named(name), [[T, 1]]));
  for (const name of ['A', 'B']) {
    const series = await bucket(`X/1Min/${name}`, named(name)).scan({
      fromEnd: false,
      columns: [name],
    });
    expect(series.columns.map((column) => column.name)).toEqual(['Epoch', name]);
  }
});

test('a bar of Jan 1 of a daily bucket is kept in the tail of the header', async () => {
  const jan1 = Date.UTC(2021, 0, 1) / 1000;
  bucket('A/1D/B', bars).apply(
    blockOfRows(bars, [
      [jan1, 1, 2, 3, 4, 5],
      [jan1 + 86_400, 6, 7, 8, 9, 10],
    ]),
  );
  const subject = await reopen('A/1D/B');
  expect(bytesAt('A/1D/B/2021.bin', 36_992, 12)).toBe('00000000000000000000803f');
  expect(rowsOf(await subject.scan({ fromEnd: false })).map(([epoch]) => epoch)).toEqual([
    jan1,
    jan1 + 86_400,
  ]);
  expect(store.damage).toEqual([]);
});

test('columns come in the order asked for, once, and unknown ones not at all', async () => {
  const subject = bucket('A/1Min/B', bars);
  subject.apply(blockOfRows(bars, [[T, 1, 2, 3, 4, 5]]));
  const columns = ['Volume', 'Nothing', 'Open', 'Volume', 'Epoch'];
  const found = await subject.scan({ fromEnd: false, columns });
  expect(found.columns.map(({ name }) => name)).toEqual(['Epoch', 'Volume', 'Open']);
  expect(rowsOf(found)).toEqual([[T, 5, 1]]);
});

test('FIXED: the bar that contains the start is the first, the end is included', async () => {
  const subject = bucket('A/1Min/B', bars);
  subject.apply(
    blockOfRows(
      bars,
      [0, 60, 120].map((at) => [T + at, at, 0, 0, 0, 0]),
    ),
  );
  const found = await subject.scan({ fromSeconds: T + 30, toSeconds: T + 60, fromEnd: false });
  expect(rowsOf(found).map(([epoch]) => epoch)).toEqual([T, T + 60]);
  expect((await subject.scan({ fromSeconds: T + 60, toSeconds: T, fromEnd: false })).rowCount).toBe(
    0,
  );
});

const at = (seconds: number, nanos = 0): number[] => [T + seconds, 1, 2, nanos];

test.each<[string, number[][], object, number[]]>([
  ['no tick of the last interval leaks', [at(50)], { fromSeconds: T, toSeconds: T + 10 }, []],
  ['nor do two', [at(50), at(55)], { fromSeconds: T, toSeconds: T + 10 }, []],
  ['a limit counts rows, not intervals', [at(10), at(65)], { fromSeconds: T + 30, limit: 1 }, [65]],
  [
    'a start at a millisecond has its tick',
    [at(0, 140e6)],
    { fromSeconds: T, fromNanos: 140e6 },
    [0],
  ],
  ['an end at a millisecond has its tick', [at(0, 140e6)], { toSeconds: T, toNanos: 140e6 }, [0]],
  ['one nanosecond before it has not', [at(0, 140e6)], { toSeconds: T, toNanos: 140e6 - 1 }, []],
  [
    'the newest of a range over intervals',
    [at(1), at(61), at(121)],
    { toSeconds: T + 100, limit: 1, fromEnd: true },
    [61],
  ],
])('VARIABLE: %s', async (_what, rows, range, seconds) => {
  const subject = bucket('A/1Min/T', ticks);
  subject.apply(blockOfRows(ticks, rows));
  for (const place of ['memory', 'disk']) {
    const read = place === 'memory' ? subject : await reopen('A/1Min/T');
    const found = rowsOf(await read.scan({ fromEnd: false, ...range }));
    expect(
      found.map(([epoch = 0]) => epoch - T),
      place,
    ).toEqual(seconds);
  }
});

test('nanoseconds outside a second carry', async () => {
  const subject = bucket('A/1Sec/T', ticks);
  subject.apply(blockOfRows(ticks, [at(10, -1), at(10, 1_500_000_000)]));
  expect(rowsOf(await subject.scan({ fromEnd: false }))).toEqual([
    [T + 9, 1, 2, 999_999_999],
    [T + 11, 1, 2, 500_000_000],
  ]);
});

test('ticks over a year boundary are answered from the end, whole', async () => {
  const newYear = Date.UTC(2021, 0, 1) / 1000;
  bucket('A/1Min/T', ticks).apply(
    blockOfRows(
      ticks,
      Array.from({ length: 40 }, (_, n) => [newYear - 600 + n * 30, n, n, 0]),
    ),
  );
  const subject = await reopen('A/1Min/T');
  const found = rowsOf(await subject.scan({ fromEnd: true, limit: 30 }));
  expect(found.map(([, bid]) => bid)).toEqual(Array.from({ length: 30 }, (_, n) => n + 10));
});

test('the life of a tick file: cells and chunks as in the format, old chunks left alone', async () => {
  const subject = bucket('EURUSD/1Min/TICK', ticks);
  const path = 'EURUSD/1Min/TICK/2021.bin';
  subject.apply(blockOfRows(ticks, [[T + 20, 1.05185, 1.05197, 383_000_000]]));
  await writeBack();
  const first = '0c2c05a3863ff4a6863fe5abf756';
  expect(bytesAt(path, 12_651_424, 14)).toBe(first);
  expect(bytesAt(path, 6_418_384, 24)).toBe('a30e040000000000a00bc100000000000e00000000000000');
  subject.apply(blockOfRows(ticks, [[T + 5, 1.05188, 1.052, 0]]));
  await writeBack();
  expect(bytesAt(path, 12_651_424, 14)).toBe(first);
  expect(bytesAt(path, 12_651_438, 26)).toBe(
    '185c01a4863ff0a7863f5555551505a3863ff4a6863fe5abf756',
  );
  expect(bytesAt(path, 6_418_384, 24)).toBe('a30e040000000000ae0bc100000000001a00000000000000');
});

test('reference mode rounds as the reference does', async () => {
  bucket('A/1Min/T', ticks).apply(blockOfRows(ticks, [at(5)]));
  const subject = await reopen('A/1Min/T', { tickReadMode: 'reference' });
  expect(rowsOf(await subject.scan({ fromEnd: false }))).toEqual([[T + 5, 1, 2, 999_999_995]]);
});

test('a slot with the index of another is reported once and skipped', async () => {
  bucket('A/1Min/B', bars).apply(
    blockOfRows(bars, [
      [T, 1, 1, 1, 1, 1],
      [T + 60, 2, 2, 2, 2, 2],
    ]),
  );
  await writeBack();
  damage('A/1Min/B/2021.bin', 8_545_504, 0x77);
  const subject = await reopen('A/1Min/B');
  for (let time = 0; time < 2; time++)
    expect(rowsOf(await subject.scan({ fromEnd: false })).map(([epoch]) => epoch)).toEqual([
      T + 60,
    ]);
  expect(store.damage.map(({ code, fields }) => [code, fields.offset])).toEqual([
    ['MKTS_CELL_CORRUPT', 8_545_504],
  ]);
});

test.each<[string, number, number]>([
  ['a cell of another interval', 6_418_384, 0x77],
  ['a cell that points into the slots', 6_418_384 + 10, 0],
  ['a cell that points behind the file', 6_418_384 + 20, 0x77],
  ['a chunk that is none', 12_651_424, 0x0b],
])('%s is reported and skipped, and its neighbours are read', async (_what, offset, value) => {
  bucket('A/1Min/T', ticks).apply(blockOfRows(ticks, [at(1), at(61)]));
  await writeBack();
  damage('A/1Min/T/2021.bin', offset, value);
  const subject = await reopen('A/1Min/T');
  expect(rowsOf(await subject.scan({ fromEnd: false })).map(([epoch = 0]) => epoch - T)).toEqual([
    61,
  ]);
  expect(store.damage.map(({ code }) => code)).toEqual(['MKTS_CELL_CORRUPT']);
  // New ticks of the damaged interval are kept.
  subject.apply(blockOfRows(ticks, [at(2)]));
  const healed = await reopen('A/1Min/T');
  expect(rowsOf(await healed.scan({ fromEnd: false })).map(([epoch = 0]) => epoch - T)).toEqual([
    2, 61,
  ]);
  expect(store.damage).toEqual([]);
});

test('a long scan gives the thread away, and ends when told', async () => {
  const seconds: BucketSchema = { recordType: 'fixed', columns: [{ name: 'A', type: FLOAT64 }] };
  const subject = bucket('A/1Sec/B', seconds);
  const rows = Array.from({ length: 200_000 }, (_, n) => [T + n, n]);
  subject.apply(blockOfRows(seconds, rows));
  let turns = 0;
  const timer = setInterval(() => turns++, 0);
  expect((await subject.scan({ fromEnd: false })).rowCount).toBe(200_000);
  clearInterval(timer);
  expect(turns).toBeGreaterThan(0);
  const controller = new AbortController();
  const scan = subject.scan({ fromEnd: false }, controller.signal);
  controller.abort();
  await expect(scan).rejects.toThrow('aborted');
});

test('a scan of a bucket that is destroyed meanwhile ends with an error', async () => {
  const subject = bucket('A/1Sec/B', bars);
  subject.apply(
    blockOfRows(
      bars,
      Array.from({ length: 100_000 }, (_, n) => [T + n, n, 0, 0, 0, 0]),
    ),
  );
  const scan = subject.scan({ fromEnd: false });
  store.catalog.destroy('A/1Sec/B');
  await expect(scan).rejects.toMatchObject({ code: 'MKTS_BUCKET_UNKNOWN' });
});

function damage(path: string, offset: number, value: number): void {
  const file = join(scratch.root, path);
  const bytes = readFileSync(file);
  bytes[offset] = value;
  writeFileSync(file, bytes);
}
