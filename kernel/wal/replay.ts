/**
 * Start after a stop of any kind: brings the store to where the log says it was. Main thread, before
 * anything else touches the store.
 *
 * How kernel.ts starts:
 *
 *   replay(own log) → replayReferenceLogs (reference-log.ts) → WalWriter.open(lastSequence + 1)
 *   → catalog.beginWriteBack → writer.checkpointIntent(lastSequence, cells) → run
 *   → writer.checkpointComplete(lastSequence, owed) → removeLog, retireReferenceLogs → writes are taken
 *
 * Order: the old segments go only when what they hold is in the year files, durably. A crash at any
 * point before that replays them again, and the new log's intent undoes what the unfinished
 * write-back did to index cells; so ticks, which are added and not overwritten, are there once.
 *
 * Order: what was read is durable before a file changes for it. A process that was killed, or ended by
 * a failed sync, leaves records in the page cache; the power could go next and take them, and leave
 * half of what they say in the year files.
 *
 * Damage isolates: what cannot be applied (a read-only bucket, another schema) is reported, its
 * segment is kept for repair under another name, and everything else is applied.
 */

import { CorruptionError, MktsError } from '../base/errors.ts';
import { ROW_BLOCK_HEADER_BYTES } from '../base/row-block.ts';
import { type BucketSchema, sameSchema } from '../base/schema.ts';
import type { StateChange } from '../base/state-entry.ts';
import type { TimeBucketKey } from '../base/time-bucket-key.ts';
import type { Filesystem } from '../storage/filesystem.ts';
import { isRefusal } from '../storage/refusal.ts';
import {
  type BucketDefinition,
  type CellImage,
  type DeletedTimes,
  EPOCH_END,
  EPOCH_MIN,
  type OwedBatch,
} from './entries.ts';
import { lostText, rowsLost } from './lost-rows.ts';
import { type LogRange, readLog, type SegmentReport } from './reader.ts';
import type {
  GroupPlace,
  GroupVisitor,
  LogEntry,
  LogRows,
  OtherEntry,
  RowsSink,
} from './record-entries.ts';
import { DAMAGED_SUFFIX } from './segments.ts';

const WORD_RANGE = 4_294_967_296;

/** What replay needs of a bucket: storage/bucket.ts has it. */
export interface ReplayBucket {
  readonly key: TimeBucketKey;
  readonly schema: BucketSchema;
  /** Leaf directory, relative to the root. */
  readonly directory: string;
  readonly readOnlyReason: string | undefined;
  readonly years: readonly number[];
  apply(block: LogRows): void;
  deleteRows(times: DeletedTimes): void;
  /** First and last instant of its years. */
  readonly span: { readonly from: number; readonly to: number } | undefined;
}

/** What replay needs of the store: storage/catalog.ts has it. */
export interface ReplayStore {
  bucket(path: string): ReplayBucket | undefined;
  buckets(): readonly ReplayBucket[];
  declare(key: TimeBucketKey, schema: BucketSchema): ReplayBucket;
  /** Makes a year visible; a file of it that failed its check is set aside and begun anew. */
  recreateYear(path: string, schema: BucketSchema, year: number): ReplayBucket;
  destroy(path: string): void;
  restoreCells(cells: readonly CellImage[]): void;
}

export interface ReplayOptions {
  readonly root: string;
  readonly filesystem: Filesystem;
  readonly catalog: ReplayStore;
  /** Called for each thing that is damaged or cannot be applied. */
  onReport(error: CorruptionError): void;
  /**
   * Called for the rows of each block that is applied, and for each range that is deleted; what it is
   * given is valid until it returns.
   */
  onRows?(rows: AppliedRows): void;
  /** Called for each change of a plugin's state, in order. */
  onState?(plugin: string, change: StateChange): void;
}

/** Which times of a bucket rows were applied to, or deleted from: both ends inclusive, in Unix seconds. */
export interface AppliedRows {
  readonly key: string;
  readonly fromSeconds: number;
  readonly toSeconds: number;
}

export interface ReplayReport {
  /** Groups and rows applied: those past the last checkpoint. */
  readonly groups: number;
  readonly rows: number;
  /** Rows left out because the log destroys their bucket later. */
  readonly destroyedRows: number;
  /** Index cells put back to where they were before a checkpoint that did not complete. */
  readonly restoredCells: number;
  /** What triggers were still to be told of what is not replayed any more. */
  readonly owed: readonly OwedBatch[];
  /** Sequence of the last record; 0 for no log. The next log goes on after it. */
  readonly lastSequence: bigint;
  readonly damage: readonly CorruptionError[];
  readonly tornBytes: number;
  /** The segments read: for removeLog. */
  readonly segments: readonly SegmentReport[];
}

/** Applies what the log holds past its last checkpoint. Throws StorageError if a disk fails. */
export function replay(options: ReplayOptions): ReplayReport {
  return new Replay(options).run();
}

/** Removes segments replay has read, oldest first, or keeps damaged ones under another name. */
export function removeLog(
  root: string,
  filesystem: Filesystem,
  segments: readonly SegmentReport[],
): void {
  for (const { path, isDamaged } of segments)
    if (isDamaged) filesystem.rename(path, `${path}${DAMAGED_SUFFIX}`);
    else filesystem.remove(path);
  if (segments.length > 0) filesystem.syncDirectory(root);
}

class Replay implements GroupVisitor {
  readonly #options: ReplayOptions;
  readonly #catalog: ReplayStore;
  readonly #damage: CorruptionError[] = [];
  readonly #damagedPaths = new Set<string>();
  /** Path → sequence of the last group that destroys it. */
  #destroyedAt: ReadonlyMap<string, bigint> = new Map();
  /** What is shown now. */
  #group: GroupPlace = { sequence: 0n, path: '', offset: 0 };
  /** Buckets destroyed and years made: what was looked up before may be another one now. */
  #changes = 0;
  #groups = 0;
  #rows = 0;
  #destroyedRows = 0;

  constructor(options: ReplayOptions) {
    this.#options = options;
    this.#catalog = options.catalog;
  }

  run(): ReplayReport {
    const { root, filesystem } = this.#options;
    const log = readLog(root, filesystem);
    for (const error of log.damage) this.#report(error);
    settle(filesystem, log.unsynced);
    // Order: before any group. The cells must lead to what was there before those groups.
    if (log.interruptedCells.length > 0) this.#catalog.restoreCells(log.interruptedCells);
    if (log.lastSequence > log.checkpointed) {
      this.#destroyedAt = log.destroyed;
      log.visitGroups(log.checkpointed, this);
    }
    return {
      groups: this.#groups,
      rows: this.#rows,
      destroyedRows: this.#destroyedRows,
      restoredCells: log.interruptedCells.length,
      owed: log.owed,
      lastSequence: log.lastSequence,
      damage: this.#damage,
      tornBytes: log.tornBytes,
      segments: log.segments.map((segment) => ({
        ...segment,
        isDamaged: segment.isDamaged || this.#damagedPaths.has(segment.path),
      })),
    };
  }

  onGroup(group: GroupPlace): void {
    this.#groups++;
    this.#group = group;
  }

  sinkOf(definition: BucketDefinition): RowsSink {
    /** Found and right; undefined after one was destroyed or made. */
    let bucket: ReplayBucket | undefined;
    let changes = this.#changes;
    const times = { key: definition.key.path, fromSeconds: 0, toSeconds: 0 };
    return {
      take: (rows) => {
        if (changes !== this.#changes) bucket = undefined;
        changes = this.#changes;
        try {
          if (bucket === undefined && this.#isDestroyedLater(definition)) {
            this.#destroyedRows += rows.rowCount;
            return;
          }
          checkEpochs(rows, times);
          bucket ??= this.#bucketOf(definition);
          bucket.apply(rows);
          this.#options.onRows?.(times);
          this.#rows += rows.rowCount;
        } catch (error) {
          this.#setAside(
            { kind: 'rows', bucket: definition, origin: undefined, block: rows },
            error,
          );
        }
      },
    };
  }

  onEntry(entry: OtherEntry): void {
    try {
      this.#applyEntry(entry);
    } catch (error) {
      this.#setAside(entry, error);
    }
  }

  /** Reports what cannot be applied. Throws if that says nothing of the log. */
  #setAside(entry: LogEntry, error: unknown): void {
    // A removal that fails says nothing of the log: it must be made, and be durable, before that goes.
    const isDisk = isRefusal(error) || entry.kind === 'destroy';
    if (!(error instanceof MktsError) || isDisk) throw error;
    const { path, offset, sequence } = this.#group;
    const reason = `${nameOf(entry)} of group ${sequence}: ${error.message}`;
    this.#report(
      new CorruptionError('MKTS_WAL_CORRUPT', { path, offset, reason }, { cause: error }),
    );
    this.#damagedPaths.add(path);
  }

  #applyEntry(entry: OtherEntry): void {
    switch (entry.kind) {
      case 'destroy':
        this.#catalog.destroy(entry.path);
        this.#changes++;
        return;
      case 'state':
        this.#options.onState?.(entry.plugin, entry.change);
        return;
      case 'create-year':
        if (!this.#isDestroyedLater(entry.bucket)) this.#createYear(entry.bucket, entry.year);
        return;
      case 'delete-rows':
        if (!this.#isDestroyedLater(entry.bucket))
          this.#deleteRows(entry.bucket.key.path, entry.times);
    }
  }

  /** A group's entries do not destroy what the same group writes: a request does one or the other. */
  #isDestroyedLater({ key }: BucketDefinition): boolean {
    return (this.#destroyedAt.get(key.path) ?? 0n) > this.#group.sequence;
  }

  /** Of a bucket that is not there all rows are deleted already. */
  #deleteRows(path: string, times: DeletedTimes): void {
    const bucket = this.#catalog.bucket(path);
    const span = bucket?.span;
    if (bucket === undefined || span === undefined) return;
    bucket.deleteRows(times);
    const fromSeconds = Math.max(times.fromSeconds, span.from);
    const toSeconds = Math.min(times.toSeconds, span.to);
    if (fromSeconds <= toSeconds) this.#options.onRows?.({ key: path, fromSeconds, toSeconds });
  }

  #createYear(definition: BucketDefinition, year: number): void {
    const { key, schema } = definition;
    const known = this.#catalog.bucket(key.path);
    if (known?.years.includes(year) === true) return;
    // Its making may have been cut short: then the file is damaged, and all its rows are in the log.
    this.#catalog.recreateYear(key.path, schema, year);
    this.#changes++;
    this.#bucketOf(definition);
  }

  /** The bucket a definition means: the one that is there, if it has that schema, or a new one. */
  #bucketOf(definition: BucketDefinition): ReplayBucket {
    const { key, schema } = definition;
    const bucket = this.#catalog.bucket(key.path) ?? this.#catalog.declare(key, schema);
    if (bucket.readOnlyReason !== undefined)
      throw new MktsError('MKTS_BUCKET_READ_ONLY', {
        key: key.path,
        reason: bucket.readOnlyReason,
      });
    if (!sameSchema(bucket.schema, schema))
      throw new MktsError('MKTS_BUCKET_READ_ONLY', {
        key: key.path,
        reason: 'its columns are not those the log has rows for',
      });
    return bucket;
  }

  #report(error: CorruptionError): void {
    this.#damage.push(error);
    this.#options.onReport(error);
  }
}

/** What an entry is about, with the times of its rows. */
function nameOf(entry: LogEntry): string {
  if (entry.kind === 'state') return `state of plugin ${entry.plugin}`;
  if (entry.kind === 'destroy') return entry.path;
  const { key } = entry.bucket;
  if (entry.kind === 'create-year') return `year ${entry.year} of ${key.path}`;
  if (entry.kind === 'delete-rows') return `a deletion of rows of ${key.path}`;
  return lostText([rowsLost(key.path, entry.block)]) ?? key.path;
}

/** Notes a block's first and last time. Throws at a row outside the calendar: it would find no year. */
function checkEpochs(block: LogRows, times: { fromSeconds: number; toSeconds: number }): void {
  const { words, offset, rowCount } = block;
  const first = (offset + ROW_BLOCK_HEADER_BYTES) >> 2;
  let fromSeconds = Number.POSITIVE_INFINITY;
  let toSeconds = Number.NEGATIVE_INFINITY;
  for (let row = 0; row < rowCount; row++) {
    const word = first + 2 * row;
    const epoch = (words[word + 1] ?? 0) * WORD_RANGE + ((words[word] ?? 0) >>> 0);
    if (!(epoch >= EPOCH_MIN && epoch < EPOCH_END))
      throw new MktsError('MKTS_EPOCH_RANGE', { epoch, row });
    if (epoch < fromSeconds) fromSeconds = epoch;
    if (epoch > toSeconds) toSeconds = epoch;
  }
  times.fromSeconds = fromSeconds;
  times.toSeconds = toSeconds;
}

/**
 * Makes what was read durable: written again, since after a failed sync the system takes it for
 * written, and another sync would do nothing. Throws StorageError.
 */
function settle(filesystem: Filesystem, unsynced: LogRange | undefined): void {
  if (unsynced === undefined) return;
  const { path, from, to } = unsynced;
  const bytes = new Uint8Array(to - from);
  const file = filesystem.open(path, 'read-write');
  try {
    file.read(bytes, from);
    file.write(bytes, from);
    file.datasyncBlocking();
  } finally {
    file.close();
  }
}
