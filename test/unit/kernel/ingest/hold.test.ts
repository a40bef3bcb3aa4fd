/** Files held for a backup: what they are as of, who waits for whom, and when a hold is broken. */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { Backups } from '../../../../kernel/backups.ts';
import { FLOAT64, INT64 } from '../../../../kernel/base/element-type.ts';
import { parseTimeBucketKey } from '../../../../kernel/base/time-bucket-key.ts';
import { UTC } from '../../../../kernel/base/zone.ts';
import { Checkpointer } from '../../../../kernel/ingest/checkpointer.ts';
import type { WriteBatch } from '../../../../kernel/ingest/ingest.ts';
import { Catalog } from '../../../../kernel/storage/catalog.ts';
import { realFilesystem } from '../../../../kernel/storage/filesystem.ts';
import { type Ingestion, startIngestion } from '../../../support/ingestion.ts';

const JAN_1 = Date.UTC(2021, 0, 1) / 1000;

/** Row n holds n + 1, unless all are to hold `value`. */
function batch(path: string, from: number, rowCount = 1, value?: number): WriteBatch {
  const numbers = Array.from({ length: rowCount }, (_, row) => from + row);
  return {
    key: parseTimeBucketKey(path),
    schema: { recordType: 'fixed', columns: [{ name: 'Close', type: FLOAT64 }] },
    rowCount,
    columns: [
      {
        name: 'Epoch',
        type: INT64,
        data: BigInt64Array.from(numbers, (n) => BigInt(JAN_1 + n * 60)),
      },
      { name: 'Close', type: FLOAT64, data: Float64Array.from(numbers, (n) => value ?? n + 1) },
    ],
  };
}

interface Store extends Ingestion {
  readonly checkpointer: Checkpointer;
  readonly failures: unknown[];
  readonly path: (file: string) => string;
}

async function start(heldLogBytesMax?: number): Promise<Store> {
  const store = await startIngestion();
  const { catalog, wal, committer, watermarks } = store;
  const failures: unknown[] = [];
  const checkpointer = new Checkpointer({
    ...{ catalog, wal, committer, watermarks },
    intervalMs: 2 ** 30,
    owed: () => [],
    keepStates: () => async () => undefined,
    onFailed: (error) => failures.push(error),
    ...(heldLogBytesMax === undefined ? {} : { heldLogBytesMax }),
  });
  onTestFinished(() => checkpointer.stop());
  return { ...store, checkpointer, failures, path: (file) => join(store.root, file) };
}

test('files are exactly those of the sequence, and stay so until the hold is released', async () => {
  const { ingest, checkpointer, watermarks, path, catalog } = await start();
  await ingest.write([batch('A/1Min/C', 0, 10), batch('B/1Min/C', 0, 10)]);
  // More comes all the time: what is applied while pages are written must not be in them.
  let isOver = false;
  let written = 10;
  const rowsAt = new Map([[watermarks.get('applied'), written]]);
  const writing = (async () => {
    while (!isOver) {
      // The first row, too, which is in every page that is written back.
      const first = batch('A/1Min/C', 0, 1, written + 1);
      await ingest.write([batch('A/1Min/C', written), first]);
      rowsAt.set(watermarks.get('applied'), ++written);
      await nextTurn();
    }
  })();
  onTestFinished(() => {
    isOver = true;
  });
  const hold = await checkpointer.hold();
  const file = readFileSync(path('A/1Min/C/2021.bin'));
  const rows = Array.from({ length: 5000 }, (_, n) => file.readDoubleLE(37_024 + n * 16 + 8));
  expect(watermarks.get('checkpointed')).toBe(hold.sequence);
  await ingest.destroy('B/1Min/C');
  checkpointer.onApplied();
  isOver = true;
  await writing;
  hold.check();
  expect(rowsAt.get(hold.sequence)).toBeGreaterThan(10);
  expect(rows.filter((value) => value !== 0)).toHaveLength(rowsAt.get(hold.sequence) ?? 0);
  expect(rows[0]).toBe(rowsAt.get(hold.sequence));
  expect(catalog.known('B/1Min/C')).toBeUndefined();
  expect(readFileSync(path('A/1Min/C/2021.bin')).equals(file)).toBe(true);
  expect(existsSync(path('B/1Min/C/2021.bin'))).toBe(true);
  await ingest.write([batch('B/1Min/C', 3)]);

  hold.release();
  hold.release();
  expect(await checkpointer.run()).toBe(true);
  expect(readFileSync(path('A/1Min/C/2021.bin')).equals(file)).toBe(false);
  const anew = readFileSync(path('B/1Min/C/2021.bin'));
  const kept = Array.from({ length: 20 }, (_, n) => anew.readDoubleLE(37_024 + n * 16 + 8));
  expect(kept.filter((value) => value !== 0)).toEqual([4]);
  const again = await checkpointer.hold();
  expect(again.sequence).toBe(watermarks.get('applied'));
  again.release();
});

test('a hold is broken when a checkpoint cannot wait, and then by a stop', async () => {
  const { ingest, checkpointer, watermarks, wal } = await start(64 * 1024);
  await ingest.write([batch('A/1Min/C', 0)]);
  const hold = await checkpointer.hold();
  expect(checkpointer.lateLogBytes).toBe(0);
  for (let at = 0; wal.pendingBytes < 64 * 1024; at += 1000) {
    hold.check();
    await ingest.write([batch('A/1Min/C', at, 1000)]);
    checkpointer.onApplied();
  }
  expect(() => hold.check()).toThrow(expect.objectContaining({ code: 'MKTS_BACKUP' }));
  expect(await checkpointer.run()).toBe(true);
  expect(watermarks.get('checkpointed')).toBe(watermarks.get('applied'));
  hold.release();

  const another = await checkpointer.hold();
  another.check();
  await checkpointer.stop();
  expect(() => another.check()).toThrow(/the server stops/);
});

test('a disk that fails the checkpoint before it means no backup, and writes go on', async () => {
  const { ingest, checkpointer, failures, catalog } = await start();
  await ingest.write([batch('A/1Min/C', 0)]);
  const begin = catalog.beginWriteBack.bind(catalog);
  catalog.beginWriteBack = () => {
    throw new Error('no');
  };
  await expect(checkpointer.hold()).rejects.toMatchObject({ code: 'MKTS_BACKUP' });
  expect(failures).toHaveLength(2);
  catalog.beginWriteBack = begin;
  await ingest.write([batch('A/1Min/C', 1)]);
  (await checkpointer.hold()).release();
});

test('a backup that is given up ends with why, and the next one may begin', async () => {
  const { root, ingest, checkpointer } = await start();
  await ingest.write([batch('A/1Min/C', 0, 1000)]);
  const errors: unknown[] = [];
  const quiet = () => undefined;
  const log = {
    debug: quiet,
    info: quiet,
    warn: quiet,
    error: (line: unknown) => errors.push(line),
  };
  const backups = new Backups({ root, timezone: UTC.name, checkpointer, log });
  const pieces: Uint8Array[] = [];
  const reading = async (): Promise<void> => {
    for await (const piece of backups.stream()) {
      pieces.push(piece);
      await ingest.write([batch('A/1Min/C', 1)]);
      await checkpointer.run();
    }
  };
  await expect(reading()).rejects.toMatchObject({ code: 'MKTS_BACKUP' });
  expect(Buffer.from(pieces.at(-1) ?? []).toString()).toContain('a checkpoint cannot wait');
  expect(errors).toHaveLength(1);

  const whole: Uint8Array[] = [];
  for await (const piece of backups.stream()) whole.push(piece);
  expect(Buffer.concat(whole).toString('latin1')).toContain('mkts-backup.json');
});

test('after a crash in a hold a destroyed bucket does not come back', async () => {
  const { root, ingest, checkpointer } = await start();
  await ingest.write([batch('A/1Min/C', 0), batch('B/1Min/C', 0)]);
  const hold = await checkpointer.hold();
  await ingest.destroy('B/1Min/C');
  hold.check();
  // As the next start finds it: the file is there, and the log says that it goes.
  const { replay } = await import('../../../../kernel/wal/replay.ts');
  const catalog = Catalog.open({
    root,
    filesystem: realFilesystem,
    zone: UTC,
    compressTicks: true,
    tickReadMode: 'exact',
    onDamage: (error) => {
      throw error;
    },
  });
  onTestFinished(() => catalog.close());
  expect(catalog.known('B/1Min/C')).toBeDefined();
  replay({ root, filesystem: realFilesystem, catalog, onReport: () => undefined });
  expect(catalog.known('B/1Min/C')).toBeUndefined();
  expect(existsSync(join(root, 'B'))).toBe(false);
  expect(catalog.known('A/1Min/C')).toBeDefined();
});
