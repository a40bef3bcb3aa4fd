import { expect, test } from 'vitest';
import { FLOAT64, INT64 } from '../../../../kernel/base/element-type.ts';
import { StorageError } from '../../../../kernel/base/errors.ts';
import { GROUP_BYTES_MAX } from '../../../../kernel/base/limits.ts';
import type { BucketSchema } from '../../../../kernel/base/schema.ts';
import { parseTimeBucketKey } from '../../../../kernel/base/time-bucket-key.ts';
import type { WriteBatch } from '../../../../kernel/ingest/ingest.ts';
import { startIngestion } from '../../../support/ingestion.ts';

const JAN_1 = Date.UTC(2021, 0, 1) / 1000;
const SCHEMA: BucketSchema = { recordType: 'fixed', columns: [{ name: 'Close', type: FLOAT64 }] };

function batch(path: string, rowCount: number, from = 0): WriteBatch {
  const numbers = Array.from({ length: rowCount }, (_, row) => from + row);
  return {
    key: parseTimeBucketKey(path),
    schema: SCHEMA,
    rowCount,
    columns: [
      {
        name: 'Epoch',
        type: INT64,
        data: BigInt64Array.from(numbers, (n) => BigInt(JAN_1 + n * 60)),
      },
      { name: 'Close', type: FLOAT64, data: Float64Array.from(numbers) },
    ],
  };
}

test('a request larger than a group gets a group of its own, and is there as a whole', async () => {
  const { catalog, ingest, watermarks } = await startIngestion();
  const rowCount = Math.ceil(GROUP_BYTES_MAX / 16) + 1000;
  await Promise.all([
    ingest.write([batch('BIG/1Min/OHLCV', rowCount)]),
    ingest.write([batch('SMALL/1Min/OHLCV', 1)]),
  ]);
  const big = await catalog.bucket('BIG/1Min/OHLCV')?.scan({ fromEnd: false });
  expect(big?.rowCount).toBe(rowCount);
  expect(catalog.bucket('SMALL/1Min/OHLCV')?.lastRow().rowCount).toBe(1);
  expect(watermarks.get('applied')).toBe(watermarks.get('committed'));
});

test('a request with one bad batch writes none of its batches', async () => {
  const { catalog, ingest } = await startIngestion();
  const { columns, ...rest } = batch('BAD/1Min/OHLCV', 3);
  await expect(
    ingest.write([batch('OK/1Min/OHLCV', 3), { ...rest, columns: columns.slice(0, 1) }]),
  ).rejects.toMatchObject({ code: 'MKTS_COLUMN_MISMATCH' });
  expect(catalog.buckets()).toEqual([]);
  expect(catalog.known('OK/1Min/OHLCV')).toBeUndefined();
});

test('requests made at the same time share groups and are all answered', async () => {
  const { catalog, ingest, wal } = await startIngestion();
  await Promise.all(
    Array.from({ length: 200 }, (_, n) => ingest.write([batch(`S${n % 20}/1Min/OHLCV`, 1, n)])),
  );
  let rows = 0;
  for (const bucket of catalog.buckets()) rows += (await bucket.scan({ fromEnd: false })).rowCount;
  expect(rows).toBe(200);
  expect(wal.pendingBytes).toBeGreaterThan(0);
});

test('a write after a removal of the same key is not removed with it', async () => {
  const { catalog, ingest } = await startIngestion();
  await ingest.write([batch('A/1Min/OHLCV', 5)]);
  const removed = ingest.destroy('A/1Min/OHLCV');
  const written = ingest.write([batch('A/1Min/OHLCV', 1, 100)]);
  await Promise.all([removed, written]);
  expect((await catalog.bucket('A/1Min/OHLCV')?.scan({ fromEnd: false }))?.rowCount).toBe(1);
});

test('creating what exists, and destroying what does not, are refused', async () => {
  const { ingest } = await startIngestion();
  const key = parseTimeBucketKey('A/1Min/OHLCV');
  await ingest.create(key, SCHEMA, 2021);
  await expect(ingest.create(key, SCHEMA, 2021)).rejects.toMatchObject({
    code: 'MKTS_BUCKET_EXISTS',
  });
  await expect(ingest.destroy('B/1Min/OHLCV')).rejects.toMatchObject({
    code: 'MKTS_DESTROY_UNKNOWN',
  });
});

test('a log that cannot be synced fails the write, all that wait, and every later one', async () => {
  let broken = false;
  const { catalog, ingest, fatal } = await startIngestion((sync) => ({
    ...sync,
    write(request) {
      if (broken) return Promise.reject(new StorageError('MKTS_DISK', { reason: 'EIO' }));
      return sync.write(request);
    },
  }));
  await ingest.write([batch('A/1Min/OHLCV', 1)]);
  broken = true;
  const failed = await Promise.allSettled([
    ingest.write([batch('A/1Min/OHLCV', 1, 1)]),
    ingest.write([batch('A/1Min/OHLCV', 1, 2)]),
  ]);
  expect(failed.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  await expect(ingest.write([batch('A/1Min/OHLCV', 1, 3)])).rejects.toMatchObject({
    code: 'MKTS_WRITES_STOPPED',
  });
  expect(fatal).toHaveLength(1);
  // What was acknowledged is still answered.
  expect((await catalog.bucket('A/1Min/OHLCV')?.scan({ fromEnd: false }))?.rowCount).toBe(1);
});
