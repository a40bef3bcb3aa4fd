/**
 * The door through which clients write: validates a request as a whole, encodes all of it into one
 * group, and answers when that group is applied. Main thread only.
 *
 * Rows of plugins do not come this way but by their rings (drain.ts); both meet in the group that
 * fills.
 */

import { type Column, columnNamed } from '../base/column-series.ts';
import type { Durability, LogDurability } from '../base/durability.ts';
import { RequestError, StorageError } from '../base/errors.ts';
import { type CastRule, fitColumnsBy } from '../base/fit-columns.ts';
import { BODY_BYTES_MAX, WAITING_WRITES_MAX } from '../base/limits.ts';
import { encodeRowBlock, type RowBlockTarget, rowBlockBytes } from '../base/row-block.ts';
import { type BucketSchema, checkSchema, NANOSECONDS_SHAPE } from '../base/schema.ts';
import { parseNewTimeBucketKey, type TimeBucketKey } from '../base/time-bucket-key.ts';
import { type Bounds, type Bucket, readOnlyError } from '../storage/bucket.ts';
import type { Catalog } from '../storage/catalog.ts';
import {
  CREATE_YEAR_BYTES,
  DELETE_ROWS_BYTES,
  type DeletedTimes,
  destroyBytes,
  EPOCH_END,
  EPOCH_MIN,
  encodeCreateYear,
  encodeDeleteRows,
  encodeDestroy,
} from '../wal/entries.ts';
import type { Committer } from './committer.ts';
import { CLIENT_ORIGIN_ID } from './origins.ts';
import type { TransactionGroup } from './transaction-group.ts';

const LAST_NANO = 999_999_999;

export interface WriteBatch {
  readonly key: TimeBucketKey;
  /** What the client thinks the bucket is; rules only if there is no bucket yet. */
  readonly schema: BucketSchema;
  /** In any order, with Epoch, and for ticks Nanoseconds. */
  readonly columns: readonly Column[];
  readonly rowCount: number;
}

interface FittedBatch {
  readonly key: TimeBucketKey;
  readonly schema: BucketSchema;
  readonly columns: readonly Column[];
  readonly rowCount: number;
  readonly blockBytes: number;
}

/** A request that was checked, and what puts it into a group with room for it. */
interface Prepared {
  readonly durability?: Durability | undefined;
  readonly bytes: number;
  readonly encode: (group: TransactionGroup) => void;
  /** Called when it is applied, and when it never will be. */
  readonly onEnd?: () => void;
}

/** How a write that is not a client's goes. */
export interface WriteManner {
  /** Who writes; default: a client. */
  readonly originId?: number;
  /** Default: as for clients, whose values are changed by casts as the reference changes them. */
  readonly casts?: CastRule;
  /** Default: that of the server. */
  readonly durability?: Durability | undefined;
}

export interface IngestOptions {
  readonly catalog: Catalog;
  readonly committer: Committer;
  /** Values a client's write changed by a cast, per request. */
  readonly onLossyCasts: (count: number) => void;
  /** Of requests; default: fsync. */
  readonly durability?: LogDurability;
  /** Requests that were answered from memory, and then the disk refused them. */
  readonly onForgotten?: () => void;
}

export class Ingest {
  readonly #options: IngestOptions;
  /** Requests that found no room in the filling group, in order. */
  #waiting: (() => void)[] = [];
  /** Removals that are not applied yet: writes to these keys wait for them. */
  readonly #destroying = new Map<string, Promise<void>>();

  constructor(options: IngestOptions) {
    this.#options = options;
  }

  /**
   * Writes rows to one or several buckets, all or nothing. Resolves when they are on disk and
   * visible; with `durability: memory` when they are checked and in the group that fills. Throws
   * RequestError for what is wrong with them, or MKTS_WRITES_PAUSED while the disk takes nothing;
   * StorageError if the log failed.
   */
  async write(
    batches: readonly WriteBatch[],
    { originId = CLIENT_ORIGIN_ID, casts = 'reference', durability }: WriteManner = {},
  ): Promise<void> {
    const filled = batches.filter(({ rowCount }) => rowCount > 0);
    const paths = filled.map(({ key }) => key.path);
    await this.#append(paths, () => {
      const fitted = filled.map((batch) => this.#fit(batch, casts));
      return {
        durability,
        bytes: fitted.reduce((sum, { blockBytes }) => sum + blockBytes, 0),
        encode: (group) => {
          for (const { key, schema, columns, rowCount, blockBytes } of fitted) {
            const bucket = this.#options.catalog.declare(key, schema);
            const rows = { from: 0, to: rowCount };
            encodeRowBlock(entryTarget(group), bucket.id, originId, columns, rows);
            group.push(blockBytes, rowCount);
            group.buckets.add(bucket.id);
          }
          group.origins.add(originId);
        },
      };
    });
  }

  /** Makes an empty bucket with a file for `year`. Throws MKTS_BUCKET_EXISTS and bad shapes. */
  async create(key: TimeBucketKey, schema: BucketSchema, year: number): Promise<void> {
    checkSchema(schema);
    await this.#append([key.path], () => {
      const { catalog } = this.#options;
      if (catalog.bucket(key.path)?.years.includes(year) === true)
        throw new RequestError('MKTS_BUCKET_EXISTS', { key: key.path });
      parseNewTimeBucketKey(key.path);
      return {
        bytes: CREATE_YEAR_BYTES,
        encode: (group) => {
          const bucket = catalog.declare(key, schema);
          group.push(encodeCreateYear(entryTarget(group), bucket.id, year), 0);
          group.buckets.add(bucket.id);
        },
      };
    });
  }

  /** Removes a bucket with all its years. Throws MKTS_DESTROY_UNKNOWN if there is none. */
  async destroy(path: string): Promise<void> {
    await this.#append([path], () => {
      if (this.#options.catalog.bucket(path) === undefined)
        throw new RequestError('MKTS_DESTROY_UNKNOWN', { item: path.split('/')[0] });
      const { promise, resolve } = Promise.withResolvers<void>();
      return {
        bytes: destroyBytes(path),
        encode: (group) => {
          group.push(encodeDestroy(entryTarget(group), path), 0);
          // Order: from this moment until the removal is applied nothing for this key is queued.
          this.#destroying.set(path, promise);
        },
        onEnd: () => {
          this.#destroying.delete(path);
          resolve();
        },
      };
    });
  }

  /**
   * Deletes the rows that a scan of these times shows when the request is applied, of all these
   * buckets or of none. Throws MKTS_BUCKET_UNKNOWN, MKTS_BUCKET_READ_ONLY, and as `write`.
   */
  async deleteRows(paths: readonly string[], times: Bounds): Promise<void> {
    const deleted = withinCalendar(times);
    await this.#append(paths, () => {
      const buckets = paths.map((path) => this.#writable(path));
      return {
        bytes: buckets.length * DELETE_ROWS_BYTES,
        encode: (group) => {
          for (const { id } of buckets) {
            const deletion = { bucketId: id, originId: CLIENT_ORIGIN_ID, times: deleted };
            group.push(encodeDeleteRows(entryTarget(group), deletion), 0);
            group.buckets.add(id);
          }
          group.origins.add(CLIENT_ORIGIN_ID);
        },
      };
    });
  }

  /** True while rows for a bucket must wait for its removal. */
  isDestroying(path: string): boolean {
    return this.#destroying.size > 0 && this.#destroying.has(path);
  }

  /** The kernel tells it when the filling group is empty again. */
  onRoom(): void {
    for (const retry of this.#waiting.splice(0)) retry();
  }

  #refuseIfStopped(): void {
    const { stopped, paused } = this.#options.committer;
    if (stopped !== undefined)
      throw new StorageError('MKTS_WRITES_STOPPED', { reason: stopped.message });
    if (paused !== undefined) throw paused;
  }

  /**
   * Puts entries into the group that fills, as a whole, and waits until they are applied. `prepare`
   * checks the request against the buckets as they are at that moment, and throws what is wrong with
   * it; it is asked again if the request had to wait, since the buckets may have changed meanwhile.
   */
  #append(paths: readonly string[], prepare: () => Prepared): Promise<void> {
    const { committer } = this.#options;
    return new Promise((resolve, reject) => {
      const attempt = (): void => {
        try {
          this.#refuseIfStopped();
          const removal = paths.map((path) => this.#destroying.get(path)).find(Boolean);
          if (removal !== undefined) {
            void removal.then(attempt);
            return;
          }
          const {
            bytes,
            encode,
            onEnd,
            durability = this.#options.durability ?? 'fsync',
          } = prepare();
          if (bytes === 0) {
            resolve();
            return;
          }
          if (bytes > BODY_BYTES_MAX)
            throw new RequestError('MKTS_BODY_TOO_LARGE', { maxBytes: BODY_BYTES_MAX, bytes });
          if (committer.filling.isEmpty) committer.enlargeFilling(bytes);
          if (!committer.filling.hasRoom(bytes)) {
            this.#waiting.push(attempt);
            return;
          }
          const { filling } = committer;
          const end = (settle: () => void): void => {
            onEnd?.();
            settle();
          };
          const failed = (error: Error): void => {
            if (durability === 'memory') this.#options.onForgotten?.();
            reject(error);
          };
          filling.request(
            { applied: () => end(resolve), failed: (error) => end(() => failed(error)) },
            () => encode(filling),
          );
          filling.want(durability === 'memory' ? 'wal' : durability);
          // After it is in the group: what is wrong with a request is said however it is answered.
          if (durability === 'memory') resolve();
          committer.kick();
        } catch (error) {
          reject(error);
        }
      };
      // Order: who waits already goes first.
      if (this.#waiting.length === 0) attempt();
      else if (this.#waiting.length < WAITING_WRITES_MAX) this.#waiting.push(attempt);
      else reject(new RequestError('MKTS_OVERLOADED', { reason: 'too many writes wait' }));
    });
  }

  #writable(path: string): Bucket {
    const bucket = this.#options.catalog.known(path);
    if (bucket === undefined) throw new RequestError('MKTS_BUCKET_UNKNOWN', { key: path });
    refuseReadOnly(bucket);
    return bucket;
  }

  /** Everything that can be wrong with a batch is found here, before anything is queued. */
  #fit({ key, schema, columns, rowCount }: WriteBatch, casts: CastRule): FittedBatch {
    const { catalog, onLossyCasts } = this.#options;
    const bucket = catalog.known(key.path);
    if (bucket === undefined) {
      checkSchema(schema);
      parseNewTimeBucketKey(key.path);
    } else refuseReadOnly(bucket);
    const stored = bucket?.schema ?? schema;
    const given = casts === 'exact' ? columns : withoutUnstoredNanoseconds(stored, schema, columns);
    const fitted = fitColumnsBy(casts, stored, given, rowCount);
    if (fitted.lossyCount > 0) onLossyCasts(fitted.lossyCount);
    const blockBytes = rowBlockBytes(stored, rowCount);
    return { key, schema: stored, columns: fitted.columns, rowCount, blockBytes };
  }
}

function refuseReadOnly({ key, readOnlyReason: reason }: Bucket): void {
  if (reason !== undefined) throw readOnlyError(key.path, reason);
}

/** The log has no infinite times, and no row lies outside the calendar. */
function withinCalendar({ fromSeconds, fromNanos, toSeconds, toNanos }: Bounds): DeletedTimes {
  const isFromOpen = fromSeconds < EPOCH_MIN;
  const isToOpen = toSeconds >= EPOCH_END;
  return {
    fromSeconds: isFromOpen ? EPOCH_MIN : fromSeconds,
    fromNanos: isFromOpen ? 0 : fromNanos,
    toSeconds: isToOpen ? EPOCH_END - 1 : toSeconds,
    toNanos: isToOpen ? LAST_NANO : toNanos,
  };
}

/** The place of the next entry of a group. */
function entryTarget({ view, bytes, end }: TransactionGroup): RowBlockTarget {
  return { view, bytes, offset: end };
}

/** A tick write to a bucket of bars keeps one row per interval and loses its Nanoseconds. */
function withoutUnstoredNanoseconds(
  stored: BucketSchema,
  given: BucketSchema,
  columns: readonly Column[],
): readonly Column[] {
  const { name } = NANOSECONDS_SHAPE;
  const unstored =
    given.recordType === 'variable' &&
    stored.recordType === 'fixed' &&
    columnNamed({ rowCount: 0, columns }, name) !== undefined &&
    !stored.columns.some((column) => column.name === name);
  return unstored ? columns.filter((column) => column.name !== name) : columns;
}
