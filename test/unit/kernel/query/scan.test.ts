import { expect, test } from 'vitest';
import type { ColumnSeries } from '../../../../kernel/base/column-series.ts';
import { FLOAT32, INT64 } from '../../../../kernel/base/element-type.ts';
import type { BucketSchema } from '../../../../kernel/base/schema.ts';
import { parseTimeBucketKey } from '../../../../kernel/base/time-bucket-key.ts';
import { type PlannedBucket, planQuery } from '../../../../kernel/query/plan.ts';
import { scanPlan } from '../../../../kernel/query/scan.ts';
import type { ScanRange } from '../../../../kernel/storage/bucket.ts';

const SCHEMA: BucketSchema = { recordType: 'fixed', columns: [{ name: 'A', type: FLOAT32 }] };
/** Bytes of a row: an i8 and an f4. */
const ROW_BYTES = 12;

function series(rowCount: number): ColumnSeries {
  return {
    rowCount,
    // Not in the order of an answer.
    columns: [
      { name: 'A', type: FLOAT32, data: new Float32Array(rowCount) },
      { name: 'Epoch', type: INT64, data: new BigInt64Array(rowCount) },
    ],
  };
}

/** A bucket with `rows` rows that records what it is asked. */
function bucket(path: string, rows: number, asked: ScanRange[] = []): PlannedBucket {
  return {
    key: parseTimeBucketKey(path),
    schema: SCHEMA,
    scan(range, signal) {
      asked.push(range);
      if (signal?.aborted === true) return Promise.reject(signal.reason);
      return Promise.resolve(series(Math.min(rows, range.limit ?? rows)));
    },
  };
}

function planOf(...buckets: readonly PlannedBucket[]) {
  const known = new Map(buckets.map((each) => [each.key.path, each]));
  const symbols = buckets.map(({ key }) => key.symbol);
  return planQuery(
    { bucket: (path) => known.get(path), symbols: () => symbols },
    { destination: '*/1Min/X' },
  );
}

test('each bucket is a part, in the order of the plan, its columns in that of the shapes', async () => {
  const result = await scanPlan(planOf(bucket('B/1Min/X', 2), bucket('A/1Min/X', 3)), {
    bytesMax: 1000,
  });
  expect(result.parts.map(({ key }) => key.symbol)).toEqual(['B', 'A']);
  expect(result.parts[0]?.series.columns.map(({ name }) => name)).toEqual(['Epoch', 'A']);
  expect(result.rowCount).toBe(5);
  expect(result.bytes).toBe(5 * ROW_BYTES);
});

test('an answer of exactly the allowed bytes passes, one row more does not', async () => {
  const plan = planOf(bucket('A/1Min/X', 2), bucket('B/1Min/X', 3));
  await expect(scanPlan(plan, { bytesMax: 5 * ROW_BYTES })).resolves.toMatchObject({ rowCount: 5 });
  await expect(scanPlan(plan, { bytesMax: 5 * ROW_BYTES - 1 })).rejects.toMatchObject({
    code: 'MKTS_ANSWER_TOO_LARGE',
  });
});

test('a bucket is never asked for more rows than there is room for, and one', async () => {
  const asked: ScanRange[] = [];
  const plan = planOf(bucket('A/1Min/X', 1_000_000, asked));
  await expect(scanPlan(plan, { bytesMax: 10 * ROW_BYTES })).rejects.toThrow('smaller range');
  expect(asked[0]?.limit).toBe(11);
});

test('an abort rejects with the reason of the signal', async () => {
  const signal = AbortSignal.abort(new Error('gone'));
  await expect(scanPlan(planOf(bucket('A/1Min/X', 1)), { bytesMax: 99, signal })).rejects.toThrow(
    'gone',
  );
});
