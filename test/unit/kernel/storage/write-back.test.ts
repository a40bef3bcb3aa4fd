import { readdirSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FLOAT32, INT32 } from '../../../../kernel/base/element-type.ts';
import { StorageError } from '../../../../kernel/base/errors.ts';
import type { BucketSchema } from '../../../../kernel/base/schema.ts';
import { parseTimeBucketKey } from '../../../../kernel/base/time-bucket-key.ts';
import type { Bucket } from '../../../../kernel/storage/bucket.ts';
import {
  type Filesystem,
  type OpenFile,
  realFilesystem,
} from '../../../../kernel/storage/filesystem.ts';
import {
  blockOfRows,
  openStore,
  rowsOf,
  type TestStore,
  temporaryRoot,
} from '../../../support/store.ts';

const bars: BucketSchema = { recordType: 'fixed', columns: [{ name: 'A', type: INT32 }] };
const ticks: BucketSchema = { recordType: 'variable', columns: [{ name: 'A', type: FLOAT32 }] };
const T = 1_625_412_600;
const NEW_YEAR = 1_609_459_200;
/** Where the chunks of a year of minutes begin. */
const TAIL = 12_651_424;

let scratch: ReturnType<typeof temporaryRoot>;
let store: TestStore;
let log: string[];
let failAt: string | undefined;
beforeEach(() => {
  scratch = temporaryRoot();
  log = [];
  failAt = undefined;
  store = openStore(scratch.root, { filesystem: recording() });
});
afterEach(() => {
  store.catalog.close();
  scratch.remove();
});

/** The real disk, with a list of what is done to it, and a place to fail at. */
function recording(): Filesystem {
  const note = (operation: string, path: string): void => {
    const line = `${operation} ${path.slice(scratch.root.length + 1)}`;
    log.push(line);
    if (line === failAt) throw new StorageError('MKTS_DISK', { operation, path, reason: 'test' });
  };
  const wrap = (file: OpenFile): OpenFile => ({
    path: file.path,
    read: (target, offset) => file.read(target, offset),
    write: (source, offset) => {
      note(offset >= TAIL ? 'append' : 'write', file.path);
      file.write(source, offset);
    },
    size: () => file.size(),
    truncate: (bytes) => file.truncate(bytes),
    datasyncBlocking: () => file.datasyncBlocking(),
    datasync: async () => {
      note('sync', file.path);
      await file.datasync();
    },
    close: () => file.close(),
  });
  return {
    ...realFilesystem,
    open: (path, mode) => wrap(realFilesystem.open(path, mode)),
    rename: (from, to) => {
      note('rename', to);
      realFilesystem.rename(from, to);
    },
    syncDirectory: (path) => {
      note('sync-directory', path);
      realFilesystem.syncDirectory(path);
    },
  };
}

function apply(path: string, rows: number[][], schema: BucketSchema): Bucket {
  const bucket = store.catalog.declare(parseTimeBucketKey(path), schema);
  bucket.apply(blockOfRows(schema, rows));
  return bucket;
}

async function read(path: string): Promise<number[][]> {
  const found = await store.catalog.bucket(path)?.scan({ fromEnd: false });
  return found === undefined ? [] : rowsOf(found);
}

function openAgain(): void {
  store.catalog.close();
  failAt = undefined;
  store = openStore(scratch.root, { filesystem: recording() });
}

test('a file is whole before it has its name, a chunk is durable before its cell is written', async () => {
  apply('A/1Min/T', [[T, 1, 0]], ticks);
  await store.catalog.beginWriteBack().run();
  const file = 'A/1Min/T/2021.bin';
  expect(log.filter((line) => line.includes('2021'))).toEqual([
    `write ${file}.new`,
    `sync ${file}.new`,
    `rename ${file}`,
    `append ${file}`,
    `sync ${file}`,
    `write ${file}`,
    `sync ${file}`,
  ]);
  const names = log.filter((line) => line.startsWith('sync-directory') || line.endsWith(file));
  expect(names.filter((line) => !line.startsWith('sync A'))).toEqual([
    // The categories first: the file appears where the next start will look.
    'sync-directory A/1Min/T',
    'sync-directory A/1Min',
    'sync-directory A',
    'sync-directory ',
    `rename ${file}`,
    `append ${file}`,
    `write ${file}`,
    'sync-directory A/1Min/T',
  ]);
});

test('rows of one page are written at once', async () => {
  apply(
    'A/1Min/B',
    Array.from({ length: 500 }, (_, n) => [NEW_YEAR + n * 60, n]),
    bars,
  );
  await store.catalog.beginWriteBack().run();
  expect(log.filter((line) => line === 'write A/1Min/B/2021.bin')).toHaveLength(1);
});

test('nothing dirty, nothing done', async () => {
  apply('A/1Min/B', [[T, 1]], bars);
  await store.catalog.beginWriteBack().run();
  log.length = 0;
  await store.catalog.beginWriteBack().run();
  expect(log).toEqual([]);
});

test.each([
  'rename A/1Min/T/2021.bin',
  'append A/1Min/T/2021.bin',
  'sync A/1Min/T/2021.bin',
  'write A/1Min/T/2021.bin',
  'write A/1Min/B/2021.bin',
  'sync A/1Min/B/2021.bin',
  'sync-directory A/1Min/T',
])(
  'after a failure of "%s" everything is dirty still, and the next one writes it',
  async (line) => {
    apply('A/1Min/T', [[T, 1, 0]], ticks);
    apply('A/1Min/B', [[T, 1]], bars);
    failAt = line;
    const first = store.catalog.beginWriteBack();
    await expect(first.run()).rejects.toBeInstanceOf(StorageError);
    expect(store.catalog.dirtyBytes).toBeGreaterThan(0);
    expect(await read('A/1Min/T')).toEqual([[T, 1, 0]]);
    failAt = undefined;
    apply('A/1Min/T', [[T + 1, 2, 0]], ticks);
    const second = store.catalog.beginWriteBack();
    // Still the cells of before the failure: that is what replay has to start from.
    expect(second.cells).toEqual(first.cells);
    await second.run();
    expect(store.catalog.dirtyBytes).toBe(0);
    openAgain();
    expect(await read('A/1Min/T')).toEqual([
      [T, 1, 0],
      [T + 1, 2, 0],
    ]);
    expect(await read('A/1Min/B')).toEqual([[T, 1]]);
  },
);

test('ticks applied while a write-back runs are not in its chunks, and stay dirty', async () => {
  apply('A/1Min/T', [[T + 30, 1, 0]], ticks);
  const work = store.catalog.beginWriteBack();
  apply(
    'A/1Min/T',
    [
      [T + 10, 2, 0],
      [T + 40, 3, 0],
    ],
    ticks,
  );
  await work.run();
  expect(store.catalog.dirtyBytes).toBeGreaterThan(0);
  expect((await read('A/1Min/T')).map(([, value]) => value)).toEqual([2, 1, 3]);
  openAgain();
  expect(await read('A/1Min/T')).toEqual([[T + 30, 1, 0]]);
});

test('bars applied while a write-back runs stay dirty', async () => {
  apply('A/1Min/B', [[T, 1]], bars);
  const work = store.catalog.beginWriteBack();
  const run = work.run();
  apply('A/1Min/B', [[T + 60, 2]], bars);
  await run;
  expect(store.catalog.dirtyBytes).toBeGreaterThan(0);
  await store.catalog.beginWriteBack().run();
  expect(store.catalog.dirtyBytes).toBe(0);
  openAgain();
  expect(await read('A/1Min/B')).toEqual([
    [T, 1],
    [T + 60, 2],
  ]);
});

test('a bucket destroyed while it is written back does not come back', async () => {
  for (const [path, schema, row] of [
    ['A/1Min/T', ticks, [T, 1, 0]],
    ['B/1Min/B', bars, [T, 1]],
    ['C/1Min/B', bars, [T, 1]],
  ] as const)
    apply(path, [[...row]], schema);
  const run = store.catalog.beginWriteBack().run();
  store.catalog.destroy('A/1Min/T');
  await new Promise((resolve) => setImmediate(resolve));
  store.catalog.destroy('B/1Min/B');
  await run;
  expect(readdirSync(scratch.root).sort()).toEqual(['C', 'category_name']);
  openAgain();
  expect(store.catalog.symbols()).toEqual(['C']);
  expect(store.catalog.dirtyBytes).toBe(0);
});

test('two write-backs at a time are a mistake of ours', () => {
  store.catalog.beginWriteBack();
  expect(() => store.catalog.beginWriteBack()).toThrow('one write-back at a time');
});

test('pages that are clean give way to new ones, and are read again', async () => {
  // 80 MB of pages, more than are kept.
  for (let day = 0; day < 2600; day++)
    apply(`S${day % 26}/1Sec/B`, [[T + Math.floor(day / 26) * 86_400, day]], bars);
  await store.catalog.beginWriteBack().run();
  for (let symbol = 0; symbol < 26; symbol++)
    expect(store.catalog.bucket(`S${symbol}/1Sec/B`)?.lastRow().rowCount).toBe(1);
  apply('S0/1Sec/B', [[T + 60, -1]], bars);
  const rows = await store.catalog
    .bucket('S0/1Sec/B')
    ?.scan({ fromSeconds: T, toSeconds: T + 86_400, fromEnd: false });
  expect(rows === undefined ? [] : rowsOf(rows)).toEqual([
    [T, 0],
    [T + 60, -1],
    [T + 86_400, 26],
  ]);
});
