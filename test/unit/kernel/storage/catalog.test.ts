import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FLOAT32, INT32, STRING16 } from '../../../../kernel/base/element-type.ts';
import { StorageError } from '../../../../kernel/base/errors.ts';
import type { BucketSchema } from '../../../../kernel/base/schema.ts';
import { parseTimeBucketKey } from '../../../../kernel/base/time-bucket-key.ts';
import type { CellImage } from '../../../../kernel/storage/catalog.ts';
import { realFilesystem } from '../../../../kernel/storage/filesystem.ts';
import { encodeHeader } from '../../../../kernel/storage/header.ts';
import {
  blockOfRows,
  openStore,
  rowsOf,
  type TestStore,
  temporaryRoot,
} from '../../../support/store.ts';

const schema: BucketSchema = { recordType: 'fixed', columns: [{ name: 'A', type: INT32 }] };
const ticks: BucketSchema = { recordType: 'variable', columns: [{ name: 'A', type: FLOAT32 }] };
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

function apply(path: string, rows: number[][] = [[T, 1]], as: BucketSchema = schema): void {
  store.catalog.declare(parseTimeBucketKey(path), as).apply(blockOfRows(as, rows));
}

async function reopen(): Promise<void> {
  await store.catalog.beginWriteBack().run();
  openAgain();
}

function openAgain(): void {
  store.catalog.close();
  store = openStore(scratch.root);
}

function inRoot(...parts: string[]): string {
  return join(scratch.root, ...parts);
}

function codes(): string[] {
  return store.damage.map(({ code }) => code);
}

test('a new directory holds nothing; its root gets a category with the first bucket', async () => {
  expect(store.catalog.buckets()).toEqual([]);
  await reopen();
  expect(readdirSync(scratch.root)).toEqual([]);
  apply('AAPL/1Min/OHLCV');
  await reopen();
  const categories = ['', 'AAPL', 'AAPL/1Min', 'AAPL/1Min/OHLCV'].map((directory) =>
    readFileSync(inRoot(directory, 'category_name'), 'utf8'),
  );
  expect(categories).toEqual(['Symbol', 'Timeframe', 'AttributeGroup', 'Year']);
  expect(readdirSync(inRoot('AAPL/1Min/OHLCV')).sort()).toEqual(['2021.bin', 'category_name']);
});

test('a declared bucket is seen when rows come, and not before', () => {
  const key = parseTimeBucketKey('A/1Min/B');
  const declared = store.catalog.declare(key, schema);
  expect(store.catalog.bucket(key.path)).toBeUndefined();
  expect(store.catalog.bucketById(declared.id)).toBe(declared);
  expect(store.catalog.declare(key, ticks)).toBe(declared);
  declared.apply(blockOfRows(schema, [[T, 1]]));
  expect(store.catalog.bucket(key.path)).toBe(declared);
  expect(store.catalog.symbols()).toEqual(['A']);
});

test('a bucket nobody applied can be dropped; one that was applied stays', () => {
  const key = parseTimeBucketKey('A/1Min/B');
  const declared = store.catalog.declare(key, schema);
  store.catalog.undeclare(declared);
  expect(store.catalog.bucketById(declared.id)).toBeUndefined();
  apply('A/1Min/B');
  const shown = store.catalog.bucket('A/1Min/B');
  if (shown !== undefined) store.catalog.undeclare(shown);
  expect(store.catalog.bucket('A/1Min/B')).toBe(shown);
});

test('Create makes an empty year file, once', async () => {
  const bucket = store.catalog.declare(parseTimeBucketKey('A/1Min/B'), schema);
  store.catalog.materialize(bucket, 2021);
  store.catalog.materialize(bucket, 2021);
  await reopen();
  const found = store.catalog.bucket('A/1Min/B');
  expect(found?.years).toEqual([2021]);
  expect(found?.lastRow().rowCount).toBe(0);
  const description = readFileSync(inRoot('A/1Min/B/2021.bin')).subarray(8, 16);
  expect(description.toString()).toBe('Default\0');
});

test('buckets and symbols are sorted', () => {
  for (const path of ['B/1Min/X', 'A/5Min/X', 'A/1Min/Y', 'A/1Min/X']) apply(path);
  expect(store.catalog.buckets().map(({ key }) => key.path)).toEqual([
    'A/1Min/X',
    'A/1Min/Y',
    'A/5Min/X',
    'B/1Min/X',
  ]);
  expect(store.catalog.symbols()).toEqual(['A', 'B']);
});

test.each([
  ['A/1W/X', schema, 'MKTS_TIMEFRAME_UNSUPPORTED'],
  ['A/7Min/X', ticks, 'MKTS_TIMEFRAME_UNSUPPORTED'],
  [
    'A/1Min/X',
    { recordType: 'fixed', columns: [{ name: 'Epoch', type: INT32 }] },
    'MKTS_COLUMN_NAME',
  ],
  ['A/1D/X', wide(46), 'MKTS_RECORD_TOO_LONG'],
] as const)('%s cannot be made (%#)', (path, as, code) => {
  expect(() => store.catalog.declare(parseTimeBucketKey(path), as)).toThrow(
    expect.objectContaining({ code }),
  );
});

test('a daily bucket may have records up to the tail of the header', () => {
  expect(store.catalog.declare(parseTimeBucketKey('A/1D/X'), wide(45)).isVisible).toBe(false);
});

test('destroy removes the files, and parents left empty', async () => {
  apply('A/1Min/X');
  apply('A/1Min/Y');
  apply('B/1Min/X');
  await reopen();
  store.catalog.destroy('A/1Min/X');
  expect(readdirSync(inRoot('A/1Min')).sort()).toEqual(['Y', 'category_name']);
  store.catalog.destroy('A/1Min/Y');
  expect(readdirSync(scratch.root).sort()).toEqual(['B', 'category_name']);
  store.catalog.destroy('B/1Min/X');
  expect(readdirSync(scratch.root)).toEqual(['category_name']);
  store.catalog.destroy('B/1Min/X');
  expect(store.catalog.buckets()).toEqual([]);
  expect(store.catalog.dirtyBytes).toBe(0);
});

test('a bucket destroyed before its first write-back leaves nothing, and may come back', async () => {
  apply('A/1Min/X');
  store.catalog.destroy('A/1Min/X');
  await store.catalog.beginWriteBack().run();
  expect(readdirSync(scratch.root)).toEqual([]);
  apply('A/1Min/X', [[T, 9]], ticks);
  await reopen();
  expect(store.catalog.bucket('A/1Min/X')?.schema.recordType).toBe('variable');
});

test('a damaged year file makes its bucket read-only; the other years and buckets go on', async () => {
  apply('A/1Min/X', [[T, 1]]);
  apply('A/1Min/X', [[T - 366 * 86_400, 2]]);
  apply('B/1Min/X');
  await reopen();
  truncateSync(inRoot('A/1Min/X/2020.bin'), 100);
  openAgain();
  expect(codes()).toEqual(['MKTS_YEAR_FILE_CORRUPT']);
  expect(store.catalog.damaged()).toEqual(store.damage);
  const bucket = store.catalog.bucket('A/1Min/X');
  expect(bucket?.readOnlyReason).toBe('a year file is damaged');
  expect(rowsOf((await bucket?.scan({ fromEnd: false })) ?? { rowCount: 0, columns: [] })).toEqual([
    [T, 1],
  ]);
  expect(() => bucket?.apply(blockOfRows(schema, [[T, 1]]))).toThrow('is read-only');
  expect(() => apply('A/1Min/X')).toThrow('is read-only');
  apply('B/1Min/X');
});

test('replay begins a broken year anew, and keeps what was there', async () => {
  apply('A/1Min/X');
  await reopen();
  truncateSync(inRoot('A/1Min/X/2021.bin'), 100);
  openAgain();
  expect(store.catalog.bucket('A/1Min/X')).toBeUndefined();
  expect(() => apply('A/1Min/X')).toThrow('is read-only');
  store.catalog.recreateYear('A/1Min/X', schema, 2021).apply(blockOfRows(schema, [[T, 7]]));
  await reopen();
  expect(codes()).toEqual([]);
  expect(
    rowsOf(store.catalog.bucket('A/1Min/X')?.lastRow() ?? { rowCount: 0, columns: [] }),
  ).toEqual([[T, 7]]);
  expect(existsSync(inRoot('A/1Min/X/2021.bin.damaged-1'))).toBe(true);
});

test.each<[string, () => void]>([
  [
    'another year in its header',
    () => copyFileSync(inRoot('A/1Min/X/2021.bin'), inRoot('A/1Min/X/2019.bin')),
  ],
  [
    'another timeframe in its header',
    () => {
      mkdirSync(inRoot('A/5Min/X'), { recursive: true });
      writeFileSync(inRoot('A/5Min/category_name'), 'AttributeGroup');
      writeFileSync(inRoot('A/5Min/X/category_name'), 'Year');
      copyFileSync(inRoot('A/1Min/X/2021.bin'), inRoot('A/5Min/X/2021.bin'));
    },
  ],
  [
    'other columns than the newest',
    () => {
      const header = { description: '', year: 2019, timeframeSeconds: 60, schema: wide(1) };
      writeFileSync(inRoot('A/1Min/X/2019.bin'), encodeHeader(header));
      truncateSync(inRoot('A/1Min/X/2019.bin'), 80_000_000);
    },
  ],
])('a year file with %s is set aside', async (_what, spoil) => {
  apply('A/1Min/X');
  await reopen();
  spoil();
  openAgain();
  expect(codes()).toEqual(['MKTS_YEAR_FILE_CORRUPT']);
  expect(store.catalog.bucket('A/1Min/X')?.years).toEqual([2021]);
});

test('stray files and directories are reported or passed over, and stop nothing', async () => {
  apply('A/1Min/X');
  await reopen();
  for (const name of ['notes.txt', 'mkts.lock', 'mkts-1.wal']) writeFileSync(inRoot(name), '');
  writeFileSync(inRoot('A/1Min/X/foo.bin'), '');
  writeFileSync(inRoot('A/1Min/X/02021.bin'), '');
  writeFileSync(inRoot('A/1Min/X/2022.bin.new'), '');
  mkdirSync(inRoot('metadata.db'));
  mkdirSync(inRoot('empty'));
  // What a power cut leaves of a bucket that was being made, or removed.
  mkdirSync(inRoot('half/made'), { recursive: true });
  writeFileSync(inRoot('half/made/category_name.new'), '');
  mkdirSync(inRoot('lost+found/x'), { recursive: true });
  writeFileSync(inRoot('lost+found/x/2021.bin'), '');
  openAgain();
  expect(store.damage.map(({ code, fields }) => [code, fields.path])).toEqual(
    expect.arrayContaining([
      ['MKTS_CATALOG_CORRUPT', 'A/1Min/X/foo.bin'],
      ['MKTS_CATALOG_CORRUPT', 'A/1Min/X/02021.bin'],
      ['MKTS_CATALOG_CORRUPT', 'lost+found'],
    ]),
  );
  expect(store.damage).toHaveLength(3);
  expect(store.catalog.symbols()).toEqual(['A']);
});

test('a tree with permuted categories is read, and takes no rows and no new buckets', async () => {
  apply('A/1Min/X');
  await reopen();
  mkdirSync(inRoot('p/1Min/X/A'), { recursive: true });
  const categories = ['Timeframe', 'AttributeGroup', 'Symbol', 'Year'];
  ['', '1Min', '1Min/X', '1Min/X/A'].forEach((directory, at) => {
    writeFileSync(inRoot('p', directory, 'category_name'), categories[at] ?? '');
  });
  copyFileSync(inRoot('A/1Min/X/2021.bin'), inRoot('p/1Min/X/A/2021.bin'));
  store.catalog.close();
  store = openStore(inRoot('p'));
  expect(
    rowsOf(store.catalog.bucket('A/1Min/X')?.lastRow() ?? { rowCount: 0, columns: [] }),
  ).toEqual([[T, 1]]);
  expect(() => apply('A/1Min/X')).toThrow('other categories');
  expect(() => apply('B/1Min/X')).toThrow(
    expect.objectContaining({ code: 'MKTS_CATEGORY_MISMATCH' }),
  );
});

test('a bucket of weeks is read with its last, partial interval, and takes no rows', () => {
  const week = { description: '', year: 2021, timeframeSeconds: 604_800, schema };
  const file = Buffer.alloc(37_024 + 53 * 16);
  file.set(encodeHeader(week));
  file.writeInt32LE(53, 37_024 + 52 * 16);
  file.writeInt32LE(5, 37_024 + 52 * 16 + 8);
  mkdirSync(inRoot('A/1W/X'), { recursive: true });
  ['', 'A', 'A/1W', 'A/1W/X'].forEach((directory, at) => {
    const category = ['Symbol', 'Timeframe', 'AttributeGroup', 'Year'][at] ?? '';
    writeFileSync(inRoot(directory, 'category_name'), category);
  });
  writeFileSync(inRoot('A/1W/X/2021.bin'), file);
  openAgain();
  const found = store.catalog.bucket('A/1W/X')?.lastRow();
  expect(found === undefined ? [] : rowsOf(found)).toEqual([[Date.UTC(2021, 11, 31) / 1000, 5]]);
  expect(() => apply('A/1W/X')).toThrow('does not divide 24 hours');
});

test('cells of a checkpoint cut short are put back, so that a replay adds each tick once', async () => {
  const first = [T, 1, 0];
  const second = [T + 1, 2, 0];
  apply('A/1Min/X', [first], ticks);
  await reopen();
  apply('A/1Min/X', [second], ticks);
  const work = store.catalog.beginWriteBack();
  const cells: readonly CellImage[] = work.cells.map(({ path, offset, bytes }) => ({
    path,
    offset,
    bytes: bytes.slice(),
  }));
  expect(cells).toHaveLength(1);
  await work.run();
  openAgain();
  store.catalog.restoreCells(cells);
  expect(
    rowsOf(store.catalog.bucket('A/1Min/X')?.lastRow() ?? { rowCount: 0, columns: [] }),
  ).toEqual([first]);
  apply('A/1Min/X', [second], ticks);
  await reopen();
  const found = await store.catalog.bucket('A/1Min/X')?.scan({ fromEnd: false });
  expect(found === undefined ? [] : rowsOf(found)).toEqual([first, second]);
});

function wide(count: number): BucketSchema {
  const columns = Array.from({ length: count }, (_, at) => ({ name: `c${at}`, type: STRING16 }));
  return { recordType: 'fixed', columns };
}

test.each([
  ['', ''],
  ['', 'garbage'],
  ['A', ''],
  ['A/1Min', 'garbage'],
  ['A/1Min/B', 'garbage'],
])(
  'rows behind a category file of %j that holds %j are not made a second time',
  async (at, text) => {
    apply('A/1Min/B');
    await reopen();
    writeFileSync(inRoot(at, 'category_name'), text);
    openAgain();
    expect(store.catalog.buckets()).toEqual([]);
    expect(codes()).toEqual(['MKTS_CATALOG_CORRUPT']);
    expect(() => apply('A/1Min/B')).toThrow(
      expect.objectContaining({ code: 'MKTS_CATEGORY_MISMATCH' }),
    );
  },
);

test('a directory that cannot be read, such as lost+found, hides itself and nothing else', async () => {
  apply('A/1Min/B');
  await reopen();
  mkdirSync(inRoot('lost+found'));
  store.catalog.close();
  store = openStore(scratch.root, {
    filesystem: {
      ...realFilesystem,
      list: (path) =>
        path.endsWith('lost+found')
          ? raise(new StorageError('MKTS_DISK', { operation: 'list', path, reason: 'EACCES' }))
          : realFilesystem.list(path),
    },
  });
  expect(store.catalog.buckets()).toHaveLength(1);
  expect(codes()).toEqual(['MKTS_CATALOG_CORRUPT']);
});

function raise(error: Error): never {
  throw error;
}
