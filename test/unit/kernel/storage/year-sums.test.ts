import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { INT32 } from '../../../../kernel/base/element-type.ts';
import type { CorruptionError } from '../../../../kernel/base/errors.ts';
import type { BucketSchema } from '../../../../kernel/base/schema.ts';
import { parseTimeBucketKey } from '../../../../kernel/base/time-bucket-key.ts';
import type { ScanRange } from '../../../../kernel/storage/bucket.ts';
import { HEADER_BYTES } from '../../../../kernel/storage/header.ts';
import { SUMS_HEADER_BYTES } from '../../../../kernel/storage/sums-format.ts';
import { CrashFilesystem, type DiskCall } from '../../../support/crash-filesystem.ts';
import { flipBit } from '../../../support/flip-bit.ts';
import {
  blockOfRows,
  openStore,
  rowsOf,
  type TestStore,
  temporaryRoot,
} from '../../../support/store.ts';

const BAR: BucketSchema = { recordType: 'fixed', columns: [{ name: 'A', type: INT32 }] };
const TICK: BucketSchema = { recordType: 'variable', columns: [{ name: 'A', type: INT32 }] };
const YEAR = Date.UTC(2021, 0, 1) / 1000;
const BAR_BYTES = 16;
const CELL_BYTES = 24;
const HOURS_PER_PAGE = 2048;
const HOURLY = 'A/1H/BAR';
const DAILY = 'A/1D/BAR';
const TICKS = 'A/1H/TICK';

let scratch: ReturnType<typeof temporaryRoot>;
beforeEach(() => {
  scratch = temporaryRoot();
});
afterEach(() => scratch.remove());

function open(options: Parameters<typeof openStore>[1] = {}): TestStore {
  return openStore(scratch.root, { checksums: true, ...options });
}

/** Opens the store, writes rows, writes them back, and closes it in good order. */
async function written(
  path: string,
  rows: number[][],
  options: Parameters<typeof openStore>[1] = {},
): Promise<void> {
  const { catalog } = open(options);
  apply(catalog, path, rows);
  await catalog.beginWriteBack().run();
  catalog.close();
}

function apply(catalog: TestStore['catalog'], path: string, rows: number[][]): void {
  const schema = path.includes('TICK') ? TICK : BAR;
  catalog.declare(parseTimeBucketKey(path), schema).apply(blockOfRows(schema, rows));
}

interface Seen {
  readonly rows: number[][] | undefined;
  readonly error: CorruptionError | undefined;
  readonly damage: readonly CorruptionError[];
}

async function look(path: string, range: Partial<ScanRange> = {}): Promise<Seen> {
  const { catalog, damage } = open();
  try {
    const series = await catalog.bucket(path)?.scan({ fromEnd: false, ...range });
    return { rows: series && rowsOf(series), error: undefined, damage };
  } catch (error) {
    return { rows: undefined, error: error as CorruptionError, damage };
  } finally {
    catalog.close();
  }
}

const fileOf = (path: string, year = 2021): string => join(scratch.root, path, `${year}.bin`);
const sumsOf = (path: string, year = 2021): string => join(scratch.root, path, `${year}.sums`);

function pageEntries(path: string, count: number): number[] {
  const bytes = readFileSync(sumsOf(path));
  return Array.from({ length: count }, (_, page) => {
    const at = SUMS_HEADER_BYTES + 4 * page;
    return at + 4 <= bytes.length ? bytes.readUInt32LE(at) : 0;
  });
}

const hours = (first: number, count: number): number[][] =>
  Array.from({ length: count }, (_, at) => [YEAR + (first + at) * 3600, first + at + 1]);

describe('a bit that rots in the year file', () => {
  test('in any byte of a covered page of bars is refused, with path, offset and times', async () => {
    const days = Array.from({ length: 20 }, (_, at) => [YEAR + at * 86_400, at + 1]);
    await written(DAILY, days);
    expect((await look(DAILY)).rows).toHaveLength(20);
    const first = HEADER_BYTES - BAR_BYTES;
    for (let at = first; at < first + 24 * BAR_BYTES; at++) {
      flipBit(fileOf(DAILY), at, at % 8);
      const { error, damage } = await look(DAILY);
      expect(error, `byte ${at}`).toMatchObject({
        code: 'MKTS_PAGE_CORRUPT',
        fields: {
          path: `${DAILY}/2021.bin`,
          offset: first,
          bytes: 365 * BAR_BYTES,
          from: '2021-01-01T00:00:00Z',
          to: '2022-01-01T00:00:00Z',
        },
      });
      expect(damage).toEqual([error]);
      flipBit(fileOf(DAILY), at, at % 8);
    }
    expect((await look(DAILY)).rows).toHaveLength(20);
  });

  test('in any byte of a covered chunk or cell of ticks is refused', async () => {
    await written(TICKS, [
      [YEAR + 5, 1, 0],
      [YEAR + 6, 2, 0],
      [YEAR + 3605, 3, 0],
    ]);
    const cells = readFileSync(fileOf(TICKS));
    const [offset, length] = [8, 16].map((at) => Number(cells.readBigInt64LE(HEADER_BYTES + at)));
    for (let at = offset ?? 0; at < (offset ?? 0) + (length ?? 0); at++) {
      flipBit(fileOf(TICKS), at, at % 8);
      expect((await look(TICKS)).error, `byte ${at}`).toMatchObject({
        code: 'MKTS_PAGE_CORRUPT',
        fields: { path: `${TICKS}/2021.bin`, offset, bytes: length },
      });
      // The other chunk is served.
      expect((await look(TICKS, { fromSeconds: YEAR + 3600 })).rows).toHaveLength(1);
      flipBit(fileOf(TICKS), at, at % 8);
    }
    for (let at = HEADER_BYTES; at < HEADER_BYTES + 3 * CELL_BYTES; at++) {
      flipBit(fileOf(TICKS), at, at % 8);
      expect((await look(TICKS)).error, `byte ${at}`).toMatchObject({
        code: 'MKTS_PAGE_CORRUPT',
        fields: { offset: HEADER_BYTES },
      });
      flipBit(fileOf(TICKS), at, at % 8);
    }
  });

  test('refuses queries that need its page, and no others', async () => {
    await written(HOURLY, hours(0, 3 * HOURS_PER_PAGE));
    const page = HOURS_PER_PAGE * BAR_BYTES;
    flipBit(fileOf(HOURLY), HEADER_BYTES + page + 99);
    const { error } = await look(HOURLY);
    expect(error?.fields.offset).toBe(HEADER_BYTES + page);
    // Each reads several pages at a time, and has enough before it comes to that one.
    const newest = await look(HOURLY, { fromEnd: true, limit: HOURS_PER_PAGE });
    expect(newest.rows?.[0]?.[1]).toBe(2 * HOURS_PER_PAGE + 1);
    const oldest = await look(HOURLY, { limit: HOURS_PER_PAGE });
    expect(oldest.rows?.at(-1)?.[1]).toBe(HOURS_PER_PAGE);
    const newer = await look(HOURLY, { fromSeconds: YEAR + 2 * HOURS_PER_PAGE * 3600 });
    expect(newer.rows).toHaveLength(HOURS_PER_PAGE);
    expect((await look(HOURLY, { fromEnd: true, limit: HOURS_PER_PAGE + 1 })).error?.code).toBe(
      'MKTS_PAGE_CORRUPT',
    );
  });

  test('parts of pages are read with whole pages, and answered as without sums', async () => {
    await written(HOURLY, hours(100, 3 * HOURS_PER_PAGE));
    for (const [from, to] of [
      [150, 5000],
      [2047, 2048],
      [2048, 6100],
      [0, 8000],
    ] as const) {
      const range = { fromSeconds: YEAR + from * 3600, toSeconds: YEAR + to * 3600 };
      for (const fromEnd of [false, true]) {
        const { rows } = await look(HOURLY, { ...range, fromEnd });
        const first = Math.max(from, 100);
        const last = Math.min(to, 3 * HOURS_PER_PAGE + 99);
        expect(rows?.map(([, value]) => value)).toEqual(
          Array.from({ length: last - first + 1 }, (_, at) => first + at + 1),
        );
      }
    }
  });
});

describe('which pages have sums', () => {
  test('none, and no file for them, unless they are asked for', async () => {
    await written(HOURLY, hours(0, 10), { checksums: false });
    expect(existsSync(sumsOf(HOURLY))).toBe(false);
  });

  test('all that were written, after a stop in good order', async () => {
    await written(HOURLY, hours(0, HOURS_PER_PAGE + 1));
    const [first, second, third] = pageEntries(HOURLY, 3);
    expect([first !== 0, second !== 0, third]).toEqual([true, true, 0]);
  });

  test('one that was not written for some write-backs; one that is written all the time has none', async () => {
    const { catalog } = open({ sumAfterWriteBacks: 2 });
    apply(catalog, HOURLY, hours(0, 1));
    for (let round = 0; round < 6; round++) {
      apply(catalog, HOURLY, hours(HOURS_PER_PAGE + round, 1));
      await catalog.beginWriteBack().run();
      const isCovered = existsSync(sumsOf(HOURLY)) && pageEntries(HOURLY, 1)[0] !== 0;
      expect(isCovered, `round ${round}`).toBe(round >= 2);
    }
    expect(pageEntries(HOURLY, 2)[1]).toBe(0);
    catalog.close();
    expect(pageEntries(HOURLY, 2)[1]).not.toBe(0);
  });

  test('one that memory let go', async () => {
    const path = 'A/1Sec/BAR';
    const { catalog, damage } = open();
    // A row in each of more pages than are kept clean.
    const rows = Array.from({ length: 2100 }, (_, page) => [YEAR + page * HOURS_PER_PAGE, page]);
    apply(catalog, path, rows);
    await catalog.beginWriteBack().run();
    const entries = pageEntries(path, 2100);
    const covered = entries.filter((entry) => entry !== 0).length;
    expect(covered).toBeGreaterThanOrEqual(50);
    expect(covered).toBeLessThan(1000);
    // What was let go is read again, and found right.
    const series = await catalog.bucket(path)?.scan({ fromEnd: false });
    expect(series?.rowCount).toBe(2100);
    expect(damage).toEqual([]);
    catalog.close();
    expect(pageEntries(path, 2100).filter((entry) => entry === 0)).toEqual([]);
  });

  test('those that are there are heeded and kept right where no new ones are asked for', async () => {
    await written(HOURLY, hours(0, 2 * HOURS_PER_PAGE));
    await written(HOURLY, hours(5, 1), { checksums: false });
    const [first, second] = pageEntries(HOURLY, 2);
    expect([first, second !== 0]).toEqual([0, true]);
    flipBit(fileOf(HOURLY), HEADER_BYTES + HOURS_PER_PAGE * BAR_BYTES);
    const { catalog } = open({ checksums: false });
    await expect(catalog.bucket(HOURLY)?.scan({ fromEnd: false })).rejects.toMatchObject({
      code: 'MKTS_PAGE_CORRUPT',
    });
    catalog.close();
  });

  test('none of a page that changed in memory before it was written', async () => {
    const { catalog } = open();
    apply(catalog, HOURLY, hours(0, 2));
    const writeBack = catalog.beginWriteBack();
    // In the page by then, and not in what is written of it.
    apply(catalog, HOURLY, hours(9, 1));
    await writeBack.run();
    catalog.close();
    const { rows, damage } = await look(HOURLY);
    expect([rows, damage]).toEqual([hours(0, 2), []]);
  });

  test('none of pages whose cells replay puts back', async () => {
    await written(TICKS, [[YEAR, 1, 0]]);
    const { catalog } = open();
    const bytes = new Uint8Array(CELL_BYTES);
    catalog.restoreCells([{ path: `${TICKS}/2021.bin`, offset: HEADER_BYTES, bytes }]);
    catalog.close();
    const { rows, damage } = await look(TICKS);
    expect([rows, damage]).toEqual([[], []]);
  });

  test('none of a file that has the name of an earlier one', async () => {
    await written(HOURLY, hours(0, 10));
    rmSync(fileOf(HOURLY));
    await written(HOURLY, hours(3, 1), { checksums: false });
    expect(existsSync(sumsOf(HOURLY))).toBe(false);
    expect((await look(HOURLY)).rows).toEqual(hours(3, 1));
  });

  test('none after a Go server was here', async () => {
    await written(HOURLY, hours(0, 10));
    await written(TICKS, [[YEAR, 1, 0]]);
    const { catalog } = open();
    catalog.dropSums();
    catalog.close();
    expect([existsSync(sumsOf(HOURLY)), existsSync(sumsOf(TICKS))]).toEqual([false, false]);
  });

  test('none that are of use where the header rotted: that is told, and rows are served', async () => {
    await written(HOURLY, hours(0, 10));
    flipBit(sumsOf(HOURLY), 20);
    const { rows, damage } = await look(HOURLY);
    expect(rows).toHaveLength(10);
    expect(damage).toMatchObject([
      { code: 'MKTS_SUMS_CORRUPT', fields: { path: `${HOURLY}/2021.sums` } },
    ]);
    await written(HOURLY, hours(20, 1));
    const after = await look(HOURLY);
    expect([after.rows?.length, after.damage]).toEqual([11, []]);
    expect(pageEntries(HOURLY, 1)).not.toEqual([0]);
  });

  test('none where their file was cut short while it was made', async () => {
    await written(HOURLY, hours(0, 10));
    writeFileSync(sumsOf(HOURLY), new Uint8Array(30));
    const { rows, damage } = await look(HOURLY);
    expect([rows?.length, damage]).toEqual([10, []]);
  });
});

describe('a write into a page that does not match', () => {
  test.each([HOURLY, TICKS])('is taken, and %s stays refused over restarts', async (path) => {
    const isTick = path === TICKS;
    const row = (at: number): number[] => [YEAR + at, at, 0];
    await written(path, isTick ? [row(1)] : hours(0, 10));
    const { length } = readFileSync(fileOf(path));
    flipBit(fileOf(path), isTick ? length - 2 : HEADER_BYTES + 8);
    await written(path, isTick ? [row(2)] : hours(11, 1));
    for (let start = 0; start < 2; start++) {
      const { error, damage } = await look(path);
      expect(error?.code).toBe('MKTS_PAGE_CORRUPT');
      expect(error?.fields.reason).toContain('written over what did not match');
      expect(damage).toHaveLength(1);
      await written(path, isTick ? [row(3)] : hours(12, 1));
    }
  });
});

describe('the order on the disk', () => {
  const ROOT = '/data';
  let filesystem: CrashFilesystem;
  let calls: string[];
  beforeEach(() => {
    filesystem = new CrashFilesystem();
    filesystem.makeDirectory(ROOT);
    filesystem.settle();
    calls = [];
  });

  function onDisk(checksums = true): TestStore {
    return openStore(ROOT, { filesystem, checksums, sumAfterWriteBacks: 1 });
  }
  const isLeaf = ({ path }: DiskCall): boolean => /\/2021\.(bin|sums)$/.test(path);
  function record(): void {
    filesystem.fail((call) => {
      if (isLeaf(call) && ['write', 'fdatasync'].includes(call.operation))
        calls.push(`${call.operation} ${call.path.split('.').at(-1)}`);
      return undefined;
    });
  }

  test('a sum goes, durably, before its page is written; the next time nothing has to go', async () => {
    const first = onDisk();
    apply(first.catalog, HOURLY, hours(0, 1));
    await first.catalog.beginWriteBack().run();
    first.catalog.close();
    const { catalog } = onDisk();
    record();
    apply(catalog, HOURLY, hours(1, 1));
    await catalog.beginWriteBack().run();
    expect(calls).toEqual(['write sums', 'fdatasync sums', 'write bin', 'fdatasync bin']);
    calls.length = 0;
    apply(catalog, HOURLY, hours(2, 1));
    await catalog.beginWriteBack().run();
    expect(calls).toEqual(['write bin', 'fdatasync bin']);
    filesystem.fail(undefined);
    catalog.close();
  });

  test('of ticks: the chunk, then its sum and that of its page, then the cell', async () => {
    const first = onDisk();
    apply(first.catalog, TICKS, [[YEAR, 1, 0]]);
    await first.catalog.beginWriteBack().run();
    first.catalog.close();
    const { catalog } = onDisk();
    record();
    apply(catalog, TICKS, [[YEAR, 2, 0]]);
    await catalog.beginWriteBack().run();
    expect(calls).toEqual([
      ...['write bin', 'fdatasync bin'],
      ...['write sums', 'write sums', 'fdatasync sums'],
      ...['write bin', 'fdatasync bin'],
    ]);
    filesystem.fail(undefined);
    catalog.close();
  });

  test('a sum that cannot be cleared fails the write-back before the page is touched', async () => {
    const first = onDisk();
    apply(first.catalog, HOURLY, hours(0, 1));
    await first.catalog.beginWriteBack().run();
    first.catalog.close();
    const before = filesystem.readFile(`${ROOT}/${HOURLY}/2021.bin`);
    const { catalog } = onDisk();
    for (const operation of ['write', 'fdatasync'] as const) {
      filesystem.fail((call) =>
        call.operation === operation && call.path.endsWith('.sums') ? 'EIO' : undefined,
      );
      apply(catalog, HOURLY, hours(1, 1));
      await expect(catalog.beginWriteBack().run()).rejects.toMatchObject({ code: 'MKTS_DISK' });
      expect(filesystem.readFile(`${ROOT}/${HOURLY}/2021.bin`)).toEqual(before);
    }
    record();
    await catalog.beginWriteBack().run();
    // Cleared again, although it reads as clear: what a failed sync was to write is on no disk.
    expect(calls).toEqual(['write sums', 'fdatasync sums', 'write bin', 'fdatasync bin']);
    filesystem.fail(undefined);
    catalog.close();
  });

  test('a start after a kill clears again what the killed one may not have synced', async () => {
    const first = onDisk();
    apply(first.catalog, HOURLY, hours(0, 1));
    await first.catalog.beginWriteBack().run();
    first.catalog.close();
    filesystem.settle();
    const second = onDisk();
    apply(second.catalog, HOURLY, hours(1, 1));
    filesystem.fail(({ operation, path }) =>
      operation === 'fdatasync' && path.endsWith('.sums') ? 'EIO' : undefined,
    );
    await expect(second.catalog.beginWriteBack().run()).rejects.toThrow();
    filesystem = filesystem.killed();
    const { catalog } = onDisk();
    apply(catalog, HOURLY, hours(1, 1));
    await catalog.beginWriteBack().run();
    filesystem = filesystem.restart(1);
    const { catalog: last, damage } = onDisk();
    const series = await last.bucket(HOURLY)?.scan({ fromEnd: false });
    expect([series?.rowCount, damage]).toEqual([2, []]);
  });

  test('sums that cannot be written cost no write-back, and are written later', async () => {
    const { catalog } = onDisk();
    apply(catalog, HOURLY, hours(0, 1));
    filesystem.fail(({ operation, path }) =>
      operation === 'open' && path.endsWith('.sums') ? 'ENOSPC' : undefined,
    );
    await catalog.beginWriteBack().run();
    apply(catalog, HOURLY, hours(HOURS_PER_PAGE, 1));
    await catalog.beginWriteBack().run();
    expect(filesystem.exists(`${ROOT}/${HOURLY}/2021.sums`)).toBe(false);
    filesystem.fail(undefined);
    catalog.close();
    const sums = filesystem.readFile(`${ROOT}/${HOURLY}/2021.sums`) ?? new Uint8Array(0);
    expect(Buffer.from(sums).readUInt32LE(SUMS_HEADER_BYTES)).not.toBe(0);
  });
});
