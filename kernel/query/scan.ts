/**
 * From a plan to rows. Main thread: short scans are answered at once, long ones yield (the bucket
 * sees to that) and can be aborted between.
 *
 * The rows of several buckets are not put together here: the answer carries them one bucket after
 * the other, so that its writer sends every column's bytes from where they lie.
 */

import { type Column, type ColumnSeries, columnNamed } from '../base/column-series.ts';
import { RequestError } from '../base/errors.ts';
import type { ColumnShape } from '../base/schema.ts';
import type { TimeBucketKey } from '../base/time-bucket-key.ts';
import type { QueryPlan } from './plan.ts';

/** Rows of one bucket; their columns are the result's `shapes`, in that order. */
export interface QueryPart {
  readonly key: TimeBucketKey;
  readonly series: ColumnSeries;
}

export interface QueryResult {
  readonly shapes: readonly ColumnShape[];
  readonly parts: readonly QueryPart[];
  readonly rowCount: number;
  /** Bytes of all columns. */
  readonly bytes: number;
}

export interface ScanOptions {
  /** Bytes the columns of the result may have; past it MKTS_ANSWER_TOO_LARGE. */
  readonly bytesMax: number;
  readonly signal?: AbortSignal | undefined;
}

/** Reads what a plan names. Rejects with MKTS_ANSWER_TOO_LARGE, or with the signal's reason. */
export async function scanPlan(
  { buckets, shapes, range }: QueryPlan,
  { bytesMax, signal }: ScanOptions,
): Promise<QueryResult> {
  let rowBytes = 0;
  for (const { type } of shapes) rowBytes += type.bytes;
  const rowsMax = Math.floor(bytesMax / rowBytes);
  const parts: QueryPart[] = [];
  let rowCount = 0;
  for (const bucket of buckets) {
    // One row more than there is room for tells "too large" from "just fits", whatever was asked.
    const limit = Math.min(range.limit ?? Number.POSITIVE_INFINITY, rowsMax - rowCount + 1);
    const series = await bucket.scan({ ...range, limit }, signal);
    rowCount += series.rowCount;
    if (rowCount > rowsMax) throw new RequestError('MKTS_ANSWER_TOO_LARGE', { maxBytes: bytesMax });
    parts.push({ key: bucket.key, series: inOrder(series, shapes) });
  }
  return { shapes, parts, rowCount, bytes: rowCount * rowBytes };
}

function inOrder(series: ColumnSeries, shapes: readonly ColumnShape[]): ColumnSeries {
  const { columns, rowCount } = series;
  if (
    columns.length === shapes.length &&
    columns.every(({ name }, at) => name === shapes[at]?.name)
  )
    return series;
  const ordered: Column[] = [];
  for (const { name } of shapes) {
    const column = columnNamed(series, name);
    if (column !== undefined) ordered.push(column);
  }
  return { rowCount, columns: ordered };
}
