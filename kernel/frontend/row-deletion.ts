/**
 * Deletes rows by key and time, or says which they are: behind `DataService.Delete` and
 * `DELETE /api/v1/rows`. Main thread.
 *
 * A range means what it means in a query, so that the query of the same range shows what goes. Rows
 * are counted first; then all buckets that have some lose theirs in one group of the log, all or none.
 */

import { RequestError } from '../base/errors.ts';
import { compileGlob } from '../base/glob.ts';
import type { Bounds, Bucket } from '../storage/bucket.ts';
import type { Catalog } from '../storage/catalog.ts';

export interface DeletionRequest {
  /** A key, or a pattern of keys as `on:` of a trigger has: '*' + '/1Min/OHLCV'. */
  readonly key: string;
  /** Both ends included; at least one is given. */
  readonly times: Partial<Bounds>;
  /** Only says what would be deleted. */
  readonly isDryRun: boolean;
}

/** Rows of one bucket that were in the range when they were counted, just before they went. */
export interface DeletedRows {
  readonly key: string;
  readonly rows: number;
  /** Epoch of the first and of the last of them. */
  readonly first: number;
  readonly last: number;
}

export interface RowDeletionOptions {
  readonly catalog: Pick<Catalog, 'bucket' | 'buckets'>;
  readonly ingestion: {
    /** Of all these buckets or of none; resolves when the rows are gone, durably. */
    deleteRows(keys: readonly string[], times: Bounds): Promise<void>;
  };
  readonly log: { info(fields: object, message: string): void };
}

export class RowDeletion {
  readonly #options: RowDeletionOptions;

  constructor(options: RowDeletionOptions) {
    this.#options = options;
  }

  /**
   * Buckets that have rows in the range, by key. Throws RequestError: MKTS_DELETE_RANGE,
   * MKTS_DELETE_NO_BUCKET, MKTS_TRIGGER_PATTERN's text for a bad pattern, and what a write throws.
   */
  async run(
    { key, times, isDryRun }: DeletionRequest,
    signal: AbortSignal,
  ): Promise<readonly DeletedRows[]> {
    const { ingestion, log } = this.#options;
    const bounds = boundsOf(times);
    const deleted: DeletedRows[] = [];
    for (const bucket of this.#bucketsOf(key)) {
      const { rows, first, last } = await bucket.count(bounds, signal);
      if (first === undefined || last === undefined) continue;
      deleted.push({ key: bucket.key.path, rows, first, last });
    }
    if (isDryRun || deleted.length === 0) return deleted;
    await ingestion.deleteRows(
      deleted.map((each) => each.key),
      bounds,
    );
    const rows = deleted.reduce((sum, each) => sum + each.rows, 0);
    log.info({ key, ...times, buckets: deleted.length, rows }, 'rows were deleted');
    return deleted;
  }

  #bucketsOf(text: string): readonly Bucket[] {
    const { catalog } = this.#options;
    const path = text.split(':', 1)[0] ?? '';
    const exact = catalog.bucket(path);
    if (exact !== undefined) return [exact];
    const pattern = patternOf(path);
    const buckets = catalog.buckets().filter(({ key }) => pattern.test(key.path));
    if (buckets.length === 0) throw new RequestError('MKTS_DELETE_NO_BUCKET', { key: path });
    return buckets;
  }
}

function patternOf(text: string): RegExp {
  const { key, year } = compileGlob(text);
  if (year !== undefined)
    throw new RequestError('MKTS_DELETE_RANGE', {
      reason: `${text} names a year: say from and to instead`,
    });
  return key;
}

/** To delete all there is is to destroy the bucket, which nobody should do by leaving something out. */
function boundsOf(times: Partial<Bounds>): Bounds {
  const { fromSeconds, fromNanos = 0, toSeconds, toNanos = 0 } = times;
  if (fromSeconds === undefined && toSeconds === undefined)
    throw new RequestError('MKTS_DELETE_RANGE', { reason: 'say from, to, or both' });
  const bounds = {
    fromSeconds: fromSeconds ?? Number.NEGATIVE_INFINITY,
    fromNanos,
    toSeconds: toSeconds ?? Number.POSITIVE_INFINITY,
    toNanos,
  };
  const isEmpty =
    bounds.fromSeconds > bounds.toSeconds ||
    (bounds.fromSeconds === bounds.toSeconds && fromNanos > toNanos);
  if (isEmpty) throw new RequestError('MKTS_DELETE_RANGE', { reason: 'it ends before it begins' });
  return bounds;
}
