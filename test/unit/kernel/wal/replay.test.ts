import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { FLOAT64 } from '../../../../kernel/base/element-type.ts';
import type { Catalog } from '../../../../kernel/storage/catalog.ts';
import { realFilesystem } from '../../../../kernel/storage/filesystem.ts';
import { encodeCreateYear, encodeDestroy } from '../../../../kernel/wal/entries.ts';
import { readLog } from '../../../../kernel/wal/reader.ts';
import {
  type AppliedRows,
  type ReplayReport,
  removeLog,
  replay,
} from '../../../../kernel/wal/replay.ts';
import { segmentPath } from '../../../../kernel/wal/segments.ts';
import type { WalWriter } from '../../../../kernel/wal/writer.ts';
import { BARS, barGroup, bucketOf, groupOf, openLog, TICKS } from '../../../support/log.ts';
import { blockOfRows, openStore, rowsOf } from '../../../support/store.ts';
import { temporaryDirectory } from '../../../support/temporary-directory.ts';

const T0 = 1_600_000_020;

function replayInto(root: string, catalog: Catalog): ReplayReport {
  return replay({ root, filesystem: realFilesystem, catalog, onReport: () => undefined });
}

async function rowsIn(catalog: Catalog, id: number): Promise<number[][] | undefined> {
  const bucket = catalog.bucket(bucketOf(id).path);
  return bucket === undefined ? undefined : rowsOf(await bucket.scan({ fromEnd: false }));
}

/** A start as the kernel makes it: replay, then a checkpoint in a new log. */
async function start(
  root: string,
): Promise<{ catalog: Catalog; writer: WalWriter; report: ReplayReport }> {
  const { catalog } = openStore(root);
  const report = replayInto(root, catalog);
  const writer = await openLog(root, { nextSequence: report.lastSequence + 1n });
  await checkpoint(catalog, writer, report.lastSequence);
  removeLog(root, realFilesystem, report.segments);
  return { catalog, writer, report };
}

async function checkpoint(catalog: Catalog, writer: WalWriter, sequence: bigint): Promise<void> {
  const writeBack = catalog.beginWriteBack();
  await writer.checkpointIntent(sequence, writeBack.cells);
  await writeBack.run();
  await writer.checkpointComplete(sequence, []);
}

test('rows of buckets nobody has on disk are there, and stay after the checkpoint', async () => {
  const root = temporaryDirectory();
  const writer = await openLog(root);
  await writer.append(
    groupOf({
      bucket: 1,
      rows: [
        [T0, 1, 2],
        [T0 + 60, 3, 4],
      ],
    }),
  );
  await writer.append(
    groupOf({ bucket: 2, rows: [[T0, 5, 250_000_000]] }, { bucket: 1, rows: [[T0, 9, 9]] }),
  );
  const first = await start(root);
  expect(first.report).toMatchObject({ groups: 2, rows: 4, damage: [] });
  expect(await rowsIn(first.catalog, 1)).toEqual([
    [T0 - (T0 % 60), 9, 9],
    [T0 + 60 - (T0 % 60), 3, 4],
  ]);
  const second = await start(root);
  expect(second.report).toMatchObject({ groups: 0, rows: 0, damage: [] });
  expect(await rowsIn(second.catalog, 2)).toEqual([[T0, 5, 250_000_000]]);
  await second.writer.close();
  expect(readdirSync(root).filter((name) => name.endsWith('.wal'))).toEqual([]);
});

test('rows find their bucket by any number the log may give it', async () => {
  const root = temporaryDirectory();
  const writer = await openLog(root);
  const ids = [70_001, 1, 4_294_967_295, 65_535, 65_537];
  for (const [value, bucket] of ids.entries())
    await writer.append(groupOf({ bucket, rows: [[T0, value, 0]] }));
  const { catalog } = openStore(root);
  expect(replayInto(root, catalog)).toMatchObject({ groups: 5, rows: 5, damage: [] });
  for (const [value, id] of ids.entries())
    expect((await rowsIn(catalog, id))?.map(([, open]) => open)).toEqual([value]);
});

test('what was applied is told by its times, block by block', async () => {
  const root = temporaryDirectory();
  const writer = await openLog(root);
  const rows = [T0 + 60, T0, T0 + 120].map((time) => [time, 1, 1]);
  await writer.append(groupOf({ bucket: 1, rows }, { bucket: 3, rows: rows.slice(1) }));
  await writer.append(groupOf({ bucket: 1, rows: rows.slice(2) }));
  const { catalog } = openStore(root);
  const told: unknown[] = [];
  const onRows = (applied: AppliedRows): void => {
    told.push({ ...applied });
  };
  replay({ root, filesystem: realFilesystem, catalog, onReport: () => undefined, onRows });
  const times = (key: string, fromSeconds: number, toSeconds: number): AppliedRows => {
    return { key, fromSeconds, toSeconds };
  };
  expect(told).toEqual([
    times('B1/1Min/OHLCV', T0, T0 + 120),
    times('B3/1Min/OHLCV', T0, T0 + 120),
    times('B1/1Min/OHLCV', T0 + 120, T0 + 120),
  ]);
});

describe('a checkpoint cut short', () => {
  /** Ticks in the log, a checkpoint that ran but did not complete. */
  async function interrupted(root: string): Promise<void> {
    const { catalog, writer } = await start(root);
    const bucket = catalog.declare(
      {
        symbol: 'B2',
        timeframe: '1Min',
        attributeGroup: 'TICK',
        timeframeSeconds: 60,
        path: 'B2/1Min/TICK',
      },
      TICKS,
    );
    for (const value of [1, 2, 3]) {
      const sequence = await writer.append(
        groupOf({ bucket: 2, rows: [[T0, value, 1000 * value]] }),
      );
      bucket.apply(blockOfRows(TICKS, [[T0, value, 1000 * value]]));
      if (value === 1) await checkpoint(catalog, writer, sequence);
      if (value === 3) {
        const writeBack = catalog.beginWriteBack();
        await writer.checkpointIntent(sequence, writeBack.cells);
        await writeBack.run();
      }
    }
    catalog.close();
  }

  test('adds each tick once', async () => {
    const root = temporaryDirectory();
    await interrupted(root);
    const { catalog, report } = await start(root);
    expect(report).toMatchObject({ groups: 2, rows: 2, restoredCells: 1, damage: [] });
    expect((await rowsIn(catalog, 2))?.map(([, price]) => price)).toEqual([1, 2, 3]);
  });

  test('and a start that is cut short in its own checkpoint as well', async () => {
    const root = temporaryDirectory();
    await interrupted(root);
    for (let attempt = 0; attempt < 3; attempt++) {
      const { catalog } = openStore(root);
      const { lastSequence } = replayInto(root, catalog);
      const writer = await openLog(root, { nextSequence: lastSequence + 1n });
      const writeBack = catalog.beginWriteBack();
      await writer.checkpointIntent(lastSequence, writeBack.cells);
      await writeBack.run();
      catalog.close();
    }
    const { catalog } = await start(root);
    expect((await rowsIn(catalog, 2))?.map(([, price]) => price)).toEqual([1, 2, 3]);
    const again = await start(root);
    expect((await rowsIn(again.catalog, 2))?.map(([, price]) => price)).toEqual([1, 2, 3]);
  });

  test('a completion that is damaged does not take back what its segments no longer hold', async () => {
    const root = temporaryDirectory();
    const { catalog, writer } = await start(root);
    const { key } = catalog.declare(
      {
        symbol: 'B2',
        timeframe: '1Min',
        attributeGroup: 'TICK',
        timeframeSeconds: 60,
        path: 'B2/1Min/TICK',
      },
      TICKS,
    );
    const bucket = catalog.declare(key, TICKS);
    let sequence = 0n;
    for (let value = 1; value <= 120; value++) {
      const rows = [[T0, value, value]];
      sequence = await writer.append(groupOf({ bucket: 2, rows }));
      bucket.apply(blockOfRows(TICKS, rows));
      if (value === 60) await checkpoint(catalog, writer, sequence);
    }
    await checkpoint(catalog, writer, sequence);
    catalog.close();
    // The last record of the log is the completion.
    const current = readLog(root, realFilesystem).segments.findLast(({ path }) =>
      readFileSync(path).includes(Buffer.from('MKRC')),
    );
    expect(current).toBeDefined();
    damageLastRecord(root);
    const reopened = openStore(root);
    replayInto(root, reopened.catalog);
    expect((await rowsIn(reopened.catalog, 2))?.length).toBe(120);
  });
});

/** Flips a byte of the body of the record with the highest sequence. */
function damageLastRecord(root: string): void {
  let last: { path: string; at: number; sequence: bigint } | undefined;
  for (const { path } of readLog(root, realFilesystem).segments) {
    const bytes = readFileSync(path);
    for (let at = bytes.indexOf('MKRC'); at >= 0; at = bytes.indexOf('MKRC', at + 8)) {
      const sequence = bytes.readBigUInt64LE(at + 16);
      if (last === undefined || sequence > last.sequence) last = { path, at, sequence };
    }
  }
  if (last === undefined) throw new Error('no record');
  const bytes = readFileSync(last.path);
  bytes[last.at + 45] = (bytes[last.at + 45] ?? 0) ^ 1;
  writeFileSync(last.path, bytes);
}

describe('create and destroy', () => {
  test('an empty year is created, and may be created again', async () => {
    const root = temporaryDirectory();
    const writer = await openLog(root);
    await writer.append(groupOf({ bucket: 1, raw: (target) => encodeCreateYear(target, 1, 2024) }));
    for (let attempt = 0; attempt < 2; attempt++) {
      const { catalog } = openStore(root);
      expect(replayInto(root, catalog).damage).toEqual([]);
      expect(catalog.bucket('B1/1Min/OHLCV')?.years).toEqual([2024]);
    }
  });

  test('a created file that was damaged in the making is made again', async () => {
    const root = temporaryDirectory();
    const leaf = join(root, 'B1/1Min/OHLCV');
    const first = openStore(root);
    first.catalog.materialize(first.catalog.declare(keyOfB1, BARS), 2024);
    await first.catalog.beginWriteBack().run();
    writeFileSync(join(leaf, '2024.bin'), 'torn');
    const writer = await openLog(root);
    await writer.append(groupOf({ bucket: 1, raw: (target) => encodeCreateYear(target, 1, 2024) }));
    await writer.append(groupOf({ bucket: 1, rows: [[1_704_067_200, 1, 2]] }));
    const { catalog, report } = await start(root);
    expect(report.damage).toEqual([]);
    expect(await rowsIn(catalog, 1)).toEqual([[1_704_067_200, 1, 2]]);
  });

  test('rows of a bucket destroyed later are left out, rows after it are not', async () => {
    const root = temporaryDirectory();
    const writer = await openLog(root);
    await writer.append(barGroup(1));
    await writer.append(groupOf({ raw: (target) => encodeDestroy(target, 'B1/1Min/OHLCV') }));
    await writer.append(groupOf({ bucket: 3, rows: [[T0, 1, 1]] }));
    const { catalog } = openStore(root);
    expect(replayInto(root, catalog)).toMatchObject({ rows: 1, destroyedRows: 1, damage: [] });
    expect(catalog.bucket('B1/1Min/OHLCV')).toBeUndefined();
    await writer.append(barGroup(7));
    const again = openStore(temporaryDirectory());
    expect(replayInto(root, again.catalog)).toMatchObject({ rows: 2, destroyedRows: 1 });
    expect((await rowsIn(again.catalog, 1))?.map((row) => row[1])).toEqual([7]);
  });

  test('a bucket on disk goes when the log destroys it', async () => {
    const root = temporaryDirectory();
    const { catalog, writer } = await start(root);
    await writer.append(barGroup(1));
    await writer.close();
    catalog.close();
    const second = await start(root);
    expect(second.catalog.bucket('B1/1Min/OHLCV')).toBeDefined();
    await second.writer.append(
      groupOf({ raw: (target) => encodeDestroy(target, 'B1/1Min/OHLCV') }),
    );
    const third = await start(root);
    expect(third.catalog.bucket('B1/1Min/OHLCV')).toBeUndefined();
    expect(readdirSync(root)).not.toContain('B1');
  });
});

const keyOfB1 = {
  symbol: 'B1',
  timeframe: '1Min',
  attributeGroup: 'OHLCV',
  timeframeSeconds: 60,
  path: 'B1/1Min/OHLCV',
};

describe('what cannot be applied', () => {
  test('rows with other columns than the bucket has are reported, and their segment kept', async () => {
    const root = temporaryDirectory();
    const first = openStore(root);
    const other = { recordType: 'fixed', columns: [{ name: 'X', type: FLOAT64 }] } as const;
    first.catalog.materialize(first.catalog.declare(keyOfB1, other), 2020);
    await first.catalog.beginWriteBack().run();
    const writer = await openLog(root);
    await writer.append(barGroup(1));
    await writer.append(groupOf({ bucket: 3, rows: [[T0, 1, 1]] }));
    const { report, catalog } = await start(root);
    expect(report.damage.map(({ message }) => message)).toEqual([
      expect.stringMatching(/B1\/1Min\/OHLCV \(1 row, .*\) of group 2: .*columns/),
    ]);
    expect(report.rows).toBe(1);
    expect(await rowsIn(catalog, 3)).toHaveLength(1);
    expect(readdirSync(root)).toContain('mkts-0000000000000001.wal.damaged');
    expect((await start(root)).report.damage).toEqual([]);
  });

  test('rows outside the calendar are reported', async () => {
    const root = temporaryDirectory();
    const writer = await openLog(root);
    await writer.append(groupOf({ bucket: 1, rows: [[300_000_000_000, 1, 1]] }));
    await writer.append(barGroup(1));
    const { report } = await start(root);
    expect(report.damage).toHaveLength(1);
    expect(report.rows).toBe(1);
  });

  test('a group damaged in the middle is reported, and the others are applied', async () => {
    const root = temporaryDirectory();
    const writer = await openLog(root);
    for (let value = 1; value <= 4; value++) await writer.append(barGroup(value));
    const path = segmentPath(root, 1);
    const bytes = readFileSync(path);
    // Open of the third bar.
    const at = bytes.indexOf(Buffer.from(new Float32Array([3]).buffer), 64);
    bytes[at] = 0xaa;
    writeFileSync(path, bytes);
    const { report, catalog } = await start(root);
    expect(report.damage).toMatchObject([{ code: 'MKTS_WAL_CORRUPT', fields: { path } }]);
    expect(report.damage[0]?.message, 'whose rows, and of when').toMatch(
      /B1\/1Min\/OHLCV \(1 row, \d{4}-\d\d-\d\dT/,
    );
    expect((await rowsIn(catalog, 1))?.map((row) => row[1])).toEqual([1, 2, 4]);
    expect(readdirSync(root)).toContain('mkts-0000000000000001.wal.damaged');
  });
});
