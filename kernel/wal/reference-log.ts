/**
 * Takes over what a Go server's logs hold and its year files may not. Main thread, at start, after
 * replay of our own log and before any write (replay.ts draws the order).
 *
 * FIXED rows are written again, which changes nothing where they had arrived. Ticks are counted:
 * for each tick of a slot, by all its bytes, the chunk on disk must hold as many as all logs
 * together have pending; only what is missing is added. So a tick that was both written and logged
 * is there once, where the Go server would double it.
 *
 * A log nothing was wrong with is deleted after the next checkpoint; a log with damage, or with
 * rows that found no place, is kept beside as `<name>.tmp`, which neither server looks at.
 */

import { join } from 'node:path';
import type { Column } from '../base/column-series.ts';
import { INT32, INT64 } from '../base/element-type.ts';
import { CorruptionError, MktsError, reasonOf } from '../base/errors.ts';
import { COLUMN_NAME_BYTES_MAX } from '../base/limits.ts';
import { encodeRowBlock, rowBlockBytes } from '../base/row-block.ts';
import { type BucketSchema, rowShapesOf, tickBytesOf } from '../base/schema.ts';
import { nanosOf } from '../base/tick-time.ts';
import { YearGrid } from '../base/year-grid.ts';
import type { Zone } from '../base/zone.ts';
import type { Filesystem, OpenFile } from '../storage/filesystem.ts';
import { isRefusal } from '../storage/refusal.ts';
import { decodeChunk } from '../storage/tick-chunk.ts';
import { CELL_BYTES, keyOf } from './entries.ts';
import {
  fitsSchema,
  parseReferenceLog,
  type ReferenceGroup,
  STATUS_BYTES,
  type WriteSet,
} from './reference-format.ts';
import type { ReplayBucket, ReplayOptions, ReplayStore } from './replay.ts';

const NAME = /^WALFile\.\d+\.walfile$/;
const KEPT_SUFFIX = '.tmp';
/** Rows gathered for one bucket before they are applied. */
const BATCH_ROWS = 4096;
/** A longer log is kept and not read; a Go server that rotates its log stays far below. */
const LOG_BYTES_MAX = 4 * 1024 * 1024 * 1024;
const READ_BYTES = 64 * 1024 * 1024;
const CHUNK_BYTES_MAX = 1024 * 1024 * 1024;
const SECOND_NANOS = 1_000_000_000;

export interface ReferenceReplayOptions extends ReplayOptions {
  readonly zone: Zone;
}

export interface ReferenceLogReport {
  readonly path: string;
  /** Kept for repair when the log goes. */
  readonly isDamaged: boolean;
}

export interface ReferenceReplayReport {
  readonly logs: readonly ReferenceLogReport[];
  /** Intact groups past the last checkpoint. */
  readonly groups: number;
  /** Rows applied. */
  readonly rows: number;
  /** Ticks the year files already held. */
  readonly presentTicks: number;
  readonly damage: readonly CorruptionError[];
  readonly tornBytes: number;
}

/** Paths of the Go server's logs in `root`, oldest first: names carry the time of their making. */
export function listReferenceLogs(root: string, filesystem: Filesystem): readonly string[] {
  const names = filesystem
    .list(root)
    .filter(({ name, kind }) => kind === 'file' && NAME.test(name))
    .map(({ name }) => name);
  names.sort((a, b) => a.length - b.length || (a < b ? -1 : 1));
  return names.map((name) => join(root, name));
}

/** Applies all logs of the Go server in `root`. Never throws for what is on disk. */
export function replayReferenceLogs(options: ReferenceReplayOptions): ReferenceReplayReport {
  return new ReferenceReplay(options).run();
}

/** After the checkpoint that followed: deletes the logs, or sets damaged ones aside. */
export function retireReferenceLogs(
  root: string,
  filesystem: Filesystem,
  logs: readonly ReferenceLogReport[],
): void {
  for (const { path, isDamaged } of logs)
    if (isDamaged) filesystem.rename(path, freeName(path, filesystem));
    else filesystem.remove(path);
  if (logs.length > 0) filesystem.syncDirectory(root);
}

function freeName(path: string, filesystem: Filesystem): string {
  let name = `${path}${KEPT_SUFFIX}`;
  for (let copy = 1; filesystem.exists(name); copy++) name = `${path}.${copy}${KEPT_SUFFIX}`;
  return name;
}

interface PendingGroup {
  readonly log: string;
  readonly group: ReferenceGroup;
}

/** Rows of one bucket on their way; records are views of the log. */
interface Batch {
  readonly bucket: ReplayBucket;
  readonly epochs: number[];
  readonly nanos: number[];
  readonly records: Uint8Array[];
  /** The log its newest rows are from. */
  log: string;
}

/** A write set that fits no bucket: reported, and its log kept. */
class Unplaced extends Error {}

class ReferenceReplay {
  readonly #options: ReferenceReplayOptions;
  readonly #catalog: ReplayStore;
  readonly #damage: CorruptionError[] = [];
  readonly #damagedPaths = new Set<string>();
  readonly #buckets = new Map<string, ReplayBucket>();
  readonly #batches = new Map<ReplayBucket, Batch>();
  readonly #grids = new Map<string, YearGrid>();
  /** Slot of a year file → tick → how many of them are still to be taken for present. */
  readonly #held = new Map<string, Map<string, number>>();
  #openPath: string | undefined;
  #openFile: OpenFile | undefined;
  #rows = 0;
  #presentTicks = 0;
  #tornBytes = 0;

  constructor(options: ReferenceReplayOptions) {
    this.#options = options;
    this.#catalog = options.catalog;
  }

  run(): ReferenceReplayReport {
    const paths = listReferenceLogs(this.#options.root, this.#options.filesystem);
    const pending = paths.flatMap((path) => this.#read(path));
    for (const bucket of this.#catalog.buckets()) this.#buckets.set(bucket.directory, bucket);
    try {
      for (const { log, group } of pending)
        for (const set of group.sets) this.#apply(log, group, set);
      for (const batch of this.#batches.values()) this.#flush(batch);
    } finally {
      this.#openFile?.close();
    }
    return {
      logs: paths.map((path) => ({ path, isDamaged: this.#damagedPaths.has(path) })),
      groups: pending.length,
      rows: this.#rows,
      presentTicks: this.#presentTicks,
      damage: this.#damage,
      tornBytes: this.#tornBytes,
    };
  }

  #read(path: string): readonly PendingGroup[] {
    let bytes: Uint8Array;
    try {
      bytes = readReferenceLog(path, this.#options.filesystem);
    } catch (cause) {
      if (isRefusal(cause)) throw cause;
      this.#report(path, 0, reasonOf(cause));
      return [];
    }
    // A Go server deletes a log too short for its status as well.
    if (bytes.length < STATUS_BYTES) return [];
    const log = parseReferenceLog(bytes);
    for (const { offset, reason } of log.problems) this.#report(path, offset, reason);
    this.#tornBytes += log.tornBytes;
    return log.groups.map((group) => ({ log: path, group }));
  }

  /** What cannot be applied is reported, and its log kept; everything else goes on. */
  #apply(log: string, group: ReferenceGroup, set: WriteSet): void {
    try {
      const bucket = this.#bucketOf(set);
      const grid = this.#gridOf(bucket, set.year);
      const position = set.index - 1;
      if (position < grid.firstPosition || position >= grid.endPosition)
        throw new Unplaced(`the year has no interval ${set.index}`);
      const batch = this.#batchOf(bucket);
      if (set.recordType === 'fixed') this.#add(batch, grid.startOf(position), 0, set.data);
      else this.#addTicks(batch, grid, position, set);
      batch.log = log;
      if (batch.records.length >= BATCH_ROWS) this.#flush(batch);
    } catch (error) {
      if (!(error instanceof Unplaced || error instanceof MktsError) || isRefusal(error))
        throw error;
      this.#report(log, group.offset, `${set.directory}/${set.year}.bin: ${error.message}`);
    }
  }

  #addTicks(batch: Batch, grid: YearGrid, position: number, set: WriteSet): void {
    const stride = tickBytesOf(batch.bucket.schema);
    const held = this.#heldTicks(set, stride);
    const start = grid.startOf(position);
    // The fraction is of the nominal interval, also on days of a clock change.
    const intervalNanos = grid.timeframeSeconds * SECOND_NANOS;
    const view = new DataView(set.data.buffer, set.data.byteOffset, set.data.byteLength);
    for (let at = 0; at < set.data.length; at += stride) {
      const record = set.data.subarray(at, at + stride);
      const name = identityOf(record);
      const copies = held.get(name) ?? 0;
      if (copies > 0) {
        held.set(name, copies - 1);
        this.#presentTicks++;
        continue;
      }
      const nanos = nanosOf(view.getUint32(at + stride - 4, true), intervalNanos);
      const seconds = Math.floor(nanos / SECOND_NANOS);
      this.#add(batch, start + seconds, nanos - seconds * SECOND_NANOS, record);
    }
  }

  #add(batch: Batch, epoch: number, nanos: number, record: Uint8Array): void {
    batch.epochs.push(epoch);
    batch.nanos.push(nanos);
    batch.records.push(record);
  }

  /**
   * Ticks the chunk of a slot holds on disk, counted; shared by all write sets of the slot, so that
   * each copy on disk stands for one pending tick. A chunk that cannot be read holds nothing.
   */
  #heldTicks(set: WriteSet, stride: number): Map<string, number> {
    const place = `${set.directory}/${set.year}.bin:${set.offset}`;
    let held = this.#held.get(place);
    if (held === undefined) {
      held = new Map();
      this.#held.set(place, held);
      const records = this.#chunkOnDisk(set, stride);
      for (let at = 0; at < records.length; at += stride) {
        const name = identityOf(records.subarray(at, at + stride));
        held.set(name, (held.get(name) ?? 0) + 1);
      }
    }
    return held;
  }

  #chunkOnDisk({ directory, year, offset, index }: WriteSet, stride: number): Uint8Array {
    const none = new Uint8Array(0);
    const file = this.#yearFile(join(this.#options.root, directory, `${year}.bin`));
    if (file === undefined) return none;
    const cell = new DataView(new ArrayBuffer(CELL_BYTES));
    if (file.read(new Uint8Array(cell.buffer), offset) < CELL_BYTES) return none;
    const chunkAt = Number(cell.getBigInt64(8, true));
    const chunkBytes = Number(cell.getBigInt64(16, true));
    const isFilled = Number(cell.getBigInt64(0, true)) === index && chunkBytes > 0;
    if (!isFilled || chunkAt <= 0 || chunkBytes > CHUNK_BYTES_MAX) return none;
    if (chunkAt + chunkBytes > file.size()) return none;
    const stored = new Uint8Array(chunkBytes);
    file.read(stored, chunkAt);
    const records = decodeChunk(stored, stride);
    return typeof records === 'string' ? none : records;
  }

  /** The last year file asked for stays open: a log goes from slot to slot. */
  #yearFile(path: string): OpenFile | undefined {
    if (this.#openPath !== path) {
      this.#openFile?.close();
      this.#openFile = undefined;
      this.#openPath = path;
      const { filesystem } = this.#options;
      if (filesystem.exists(path)) this.#openFile = filesystem.open(path, 'read');
    }
    return this.#openFile;
  }

  /** The bucket of a directory; one whose files are lost is made again from what the log says. */
  #bucketOf(set: WriteSet): ReplayBucket {
    const known = this.#buckets.get(set.directory);
    const bucket = known ?? this.#declare(set);
    if (bucket.readOnlyReason !== undefined)
      throw new MktsError('MKTS_BUCKET_READ_ONLY', {
        key: set.directory,
        reason: bucket.readOnlyReason,
      });
    const { schema } = bucket;
    if (!fitsSchema(set, schema) || (set.columns !== undefined && !hasColumns(schema, set.columns)))
      throw new Unplaced('its columns are not those of the bucket');
    if (known === undefined) this.#buckets.set(set.directory, bucket);
    return bucket;
  }

  #declare({ directory, recordType, columns }: WriteSet): ReplayBucket {
    const key = keyOf(directory);
    if (key === undefined) throw new Unplaced('its path is not that of a bucket');
    if (columns === undefined) throw new Unplaced('its bucket is gone, and the log has no columns');
    return this.#catalog.declare(key, { recordType, columns });
  }

  #gridOf({ key }: ReplayBucket, year: number): YearGrid {
    const name = `${key.timeframeSeconds}/${year}`;
    let grid = this.#grids.get(name);
    if (grid === undefined) {
      grid = new YearGrid(this.#options.zone, key.timeframeSeconds, year);
      this.#grids.set(name, grid);
    }
    return grid;
  }

  #batchOf(bucket: ReplayBucket): Batch {
    let batch = this.#batches.get(bucket);
    if (batch === undefined) {
      batch = { bucket, epochs: [], nanos: [], records: [], log: '' };
      this.#batches.set(bucket, batch);
    }
    return batch;
  }

  #flush({ bucket, epochs, nanos, records, log }: Batch): void {
    const rowCount = records.length;
    if (rowCount === 0) return;
    const { schema } = bucket;
    const buffer = new ArrayBuffer(rowBlockBytes(schema, rowCount));
    const target = { view: new DataView(buffer), bytes: new Uint8Array(buffer), offset: 0 };
    const columns = columnsOf(schema, epochs, nanos, records);
    const fromSeconds = epochs.reduce((least, epoch) => Math.min(least, epoch));
    const toSeconds = epochs.reduce((most, epoch) => Math.max(most, epoch));
    encodeRowBlock(target, 0, 0, columns, { from: 0, to: rowCount });
    epochs.length = 0;
    nanos.length = 0;
    records.length = 0;
    try {
      bucket.apply({ ...target, buffer, words: new Int32Array(buffer), rowCount });
      this.#rows += rowCount;
      this.#options.onRows?.({ key: bucket.key.path, fromSeconds, toSeconds });
    } catch (error) {
      if (!(error instanceof MktsError) || isRefusal(error)) throw error;
      this.#report(log, 0, `${rowCount} rows of ${bucket.key.path}: ${error.message}`);
    }
  }

  #report(path: string, offset: number, reason: string): void {
    const error = new CorruptionError('MKTS_WAL_CORRUPT', { path, offset, reason });
    this.#damage.push(error);
    this.#damagedPaths.add(path);
    this.#options.onReport(error);
  }
}

/** Packed records as columns in row order; values are moved as bytes. */
function columnsOf(
  schema: BucketSchema,
  epochs: readonly number[],
  nanos: readonly number[],
  records: readonly Uint8Array[],
): readonly Column[] {
  let recordAt = 0;
  return rowShapesOf(schema).map(({ name, type }, at) => {
    if (at === 0) return { name, type: INT64, data: BigInt64Array.from(epochs, BigInt) };
    if (at === schema.columns.length + 1)
      return { name, type: INT32, data: Int32Array.from(nanos) };
    const buffer = new ArrayBuffer(type.bytes * records.length);
    const bytes = new Uint8Array(buffer);
    for (const [row, record] of records.entries())
      bytes.set(record.subarray(recordAt, recordAt + type.bytes), row * type.bytes);
    recordAt += type.bytes;
    return { name, type, data: type.view(buffer, 0, records.length) };
  });
}

/** Same types under the same names, as far as a year file's header has room for a name. */
function hasColumns(schema: BucketSchema, columns: BucketSchema['columns']): boolean {
  return (
    schema.columns.length === columns.length &&
    columns.every(({ name, type }, at) => {
      const column = schema.columns[at];
      return column?.type === type && shortName(column.name) === shortName(name);
    })
  );
}

function shortName(name: string): string {
  return Buffer.from(name).subarray(0, COLUMN_NAME_BYTES_MAX).toString('latin1');
}

function identityOf(record: Uint8Array): string {
  return Buffer.from(record.buffer, record.byteOffset, record.length).toString('latin1');
}

/** All of a log's bytes. Throws if there are more than a log has. */
export function readReferenceLog(path: string, filesystem: Filesystem): Uint8Array {
  const file = filesystem.open(path, 'read');
  try {
    const size = file.size();
    if (size > LOG_BYTES_MAX) throw new Error(`a log of ${size} bytes is too long to be read`);
    const bytes = new Uint8Array(size);
    for (let at = 0; at < size; at += READ_BYTES)
      file.read(bytes.subarray(at, Math.min(at + READ_BYTES, size)), at);
    return bytes;
  } finally {
    file.close();
  }
}
