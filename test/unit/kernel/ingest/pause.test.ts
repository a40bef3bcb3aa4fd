/** What becomes of writers while the disk refuses writes, and after it. */

import { expect, onTestFinished, test } from 'vitest';
import { FLOAT64, INT64 } from '../../../../kernel/base/element-type.ts';
import type { BucketSchema } from '../../../../kernel/base/schema.ts';
import { parseTimeBucketKey } from '../../../../kernel/base/time-bucket-key.ts';
import { Checkpointer } from '../../../../kernel/ingest/checkpointer.ts';
import type { WriteBatch } from '../../../../kernel/ingest/ingest.ts';
import { CrashFilesystem } from '../../../support/crash-filesystem.ts';
import { closes, type Ingestion, sendFrame, startIngestion } from '../../../support/ingestion.ts';

const JAN_1 = Date.UTC(2021, 0, 1) / 1000;
const CLOSE: BucketSchema = { recordType: 'fixed', columns: [{ name: 'Close', type: FLOAT64 }] };
const OPEN: BucketSchema = { recordType: 'fixed', columns: [{ name: 'Open', type: FLOAT64 }] };
const PAUSED = { code: 'MKTS_WRITES_PAUSED' };

function batch(path: string, value: number, schema: BucketSchema = CLOSE): WriteBatch {
  const [column] = schema.columns;
  return {
    key: parseTimeBucketKey(path),
    schema,
    rowCount: 1,
    columns: [
      { name: 'Epoch', type: INT64, data: BigInt64Array.of(BigInt(JAN_1 + 60 * value)) },
      { name: column?.name ?? '', type: FLOAT64, data: Float64Array.of(value) },
    ],
  };
}

async function start(): Promise<Ingestion & { readonly filesystem: CrashFilesystem }> {
  const filesystem = new CrashFilesystem();
  const ingestion = await startIngestion((sync) => sync, { filesystem, segmentBytes: 65_536 });
  onTestFinished(() => filesystem.fail(undefined));
  return { ...ingestion, filesystem };
}

async function valuesOf({ catalog }: Ingestion, path: string): Promise<number[]> {
  const found = await catalog.bucket(path)?.scan({ fromEnd: false });
  return Array.from(found?.columns[1]?.data ?? [], Number);
}

async function until(isSo: () => boolean): Promise<void> {
  const endMs = performance.now() + 10_000;
  while (!isSo()) {
    if (performance.now() > endMs) throw new Error('it did not become so');
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

test('on a full disk clients are refused and reads go on; then all goes on by itself', async () => {
  const server = await start();
  const { ingest, filesystem, committer, pauses, fatal } = server;
  await ingest.write([batch('A/1Min/C', 1)]);
  filesystem.fail(({ operation }) => (operation === 'write' ? 'ENOSPC' : undefined));
  const outcomes = await Promise.allSettled([
    ingest.write([batch('A/1Min/C', 2)]),
    ingest.write([batch('NEW/1Min/C', 2)]),
    ingest.destroy('A/1Min/C'),
    ingest.create(parseTimeBucketKey('MADE/1Min/C'), CLOSE, 2021),
  ]);
  for (const outcome of outcomes)
    expect(outcome).toMatchObject({ status: 'rejected', reason: PAUSED });
  await expect(ingest.write([batch('A/1Min/C', 3)])).rejects.toMatchObject({
    ...PAUSED,
    fields: { reason: 'ENOSPC' },
  });
  expect(await valuesOf(server, 'A/1Min/C')).toEqual([1]);
  expect(committer.paused).toMatchObject(PAUSED);

  filesystem.fail(undefined);
  await until(() => committer.paused === undefined);
  await ingest.write([batch('A/1Min/C', 4)]);
  // What was refused left nothing behind: neither rows nor columns nor a removal under way.
  expect(await valuesOf(server, 'A/1Min/C')).toEqual([1, 4]);
  await ingest.write([batch('NEW/1Min/C', 5, OPEN)]);
  expect(server.catalog.bucket('NEW/1Min/C')?.schema).toEqual(OPEN);
  expect(server.catalog.bucket('MADE/1Min/C')).toBeUndefined();
  expect(pauses).toEqual([expect.stringContaining('ENOSPC'), undefined]);
  expect(fatal).toEqual([]);
});

test('rows of plugins wait and lose nothing, also those in one group with a client', async () => {
  const server = await start();
  const { ingest, filesystem, committer } = server;
  const { writer, reader } = server.tap([closes('P/1Min/C', CLOSE.columns)]);
  const epochs = (count: number): number[] =>
    Array.from({ length: count }, (_, at) => JAN_1 + 60 * at);
  filesystem.fail(({ operation }) => (operation === 'write' ? 'EROFS' : undefined));
  // Before, between and after clients, in one turn of the drain.
  const first = ingest.write([batch('A/1Min/C', 1)]);
  sendFrame(writer, 0, CLOSE, epochs(1));
  const second = ingest.write([batch('A/1Min/C', 2)]);
  const refused = await Promise.allSettled([first, second]);
  for (const outcome of refused) expect(outcome).toMatchObject({ reason: PAUSED });
  sendFrame(writer, 0, CLOSE, epochs(3));
  await until(() => reader.peek() === undefined && committer.paused !== undefined);
  expect(await valuesOf(server, 'P/1Min/C')).toEqual([]);

  filesystem.fail(undefined);
  await until(() => committer.paused === undefined);
  await committer.idle();
  expect(await valuesOf(server, 'P/1Min/C')).toEqual(epochs(3));
  expect(await valuesOf(server, 'A/1Min/C')).toEqual([]);
});

test('a checkpoint whose beginning the log refuses changes nothing, and the next one is whole', async () => {
  const server = await start();
  const { ingest, catalog, wal, committer, watermarks, filesystem } = server;
  const failures: unknown[] = [];
  const checkpointer = new Checkpointer({
    ...{ catalog, wal, committer, watermarks },
    intervalMs: 2 ** 30,
    owed: () => [],
    keepStates: () => async () => undefined,
    onFailed: (error) => failures.push(error),
  });
  onTestFinished(() => checkpointer.stop());
  await ingest.write([batch('A/1Min/C', 1)]);
  filesystem.fail(({ operation }) => (operation === 'write' ? 'ENOSPC' : undefined));
  expect(await checkpointer.run()).toBe(false);
  expect(failures).toMatchObject([{ code: 'MKTS_DISK_REFUSED' }]);

  filesystem.fail(undefined);
  await ingest.write([batch('A/1Min/C', 2)]);
  expect(await checkpointer.run()).toBe(true);
  expect(watermarks.get('checkpointed')).toBe(watermarks.get('applied'));
  expect(catalog.dirtyBytes).toBe(0);
  const again = await startAgain(server);
  expect(await valuesOf(again, 'A/1Min/C')).toEqual([1, 2]);
});

test('a stop does not wait for the disk', async () => {
  const { ingest, filesystem, committer, fatal, tap } = await start();
  const { writer } = tap([closes('P/1Min/C', CLOSE.columns)]);
  filesystem.fail(({ operation }) => (operation === 'write' ? 'EACCES' : undefined));
  sendFrame(writer, 0, CLOSE, [JAN_1]);
  await until(() => committer.paused !== undefined);
  committer.finish();
  await committer.idle();
  expect(fatal).toHaveLength(1);
  await expect(ingest.write([batch('A/1Min/C', 1)])).rejects.toMatchObject({
    code: 'MKTS_WRITES_STOPPED',
  });
});

test('a committed group whose ticks cannot be read yet is applied later, once', async () => {
  const server = await start();
  const { ingest, catalog, filesystem, committer, fatal } = server;
  const schema: BucketSchema = { recordType: 'variable', columns: CLOSE.columns };
  const ticks = (values: readonly number[]): WriteBatch => ({
    key: parseTimeBucketKey('T/1Min/TICK'),
    schema,
    rowCount: values.length,
    columns: [
      {
        name: 'Epoch',
        type: INT64,
        data: BigInt64Array.from(values, (value) => BigInt(JAN_1 + 60 * value)),
      },
      { name: 'Close', type: FLOAT64, data: Float64Array.from(values) },
    ],
  });
  await ingest.write([ticks([0, 1, 2, 3])]);
  await catalog.beginWriteBack().run();
  catalog.close();
  const again = await startAgain(server);
  let opens = 0;
  // The first interval can be read, the next ones cannot for a while.
  filesystem.fail(({ operation, path }) =>
    path.endsWith('2021.bin') && operation === 'read' && ++opens > 2 && opens < 6
      ? 'EMFILE'
      : undefined,
  );
  await again.ingest.write([ticks([0, 1, 2, 3, 4])]);
  expect(opens).toBeGreaterThanOrEqual(6);
  expect(await valuesOf(again, 'T/1Min/TICK')).toEqual([0, 0, 1, 1, 2, 2, 3, 3, 4]);
  expect(again.pauses).toEqual([expect.stringContaining('EMFILE'), undefined]);
  expect([...fatal, ...again.fatal]).toEqual([]);
  expect(committer.paused).toBeUndefined();
});

/** Another server on the same disk: nothing of what it serves is in memory. */
function startAgain({ filesystem }: { filesystem: CrashFilesystem }): Promise<Ingestion> {
  for (const path of filesystem.files()) if (path.endsWith('.wal')) filesystem.remove(path);
  return startIngestion((sync) => sync, { filesystem, segmentBytes: 65_536 });
}
