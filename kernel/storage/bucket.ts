/**
 * One bucket: a key, its schema, and a year at a time the rows.
 *
 * Runs on the main thread, which alone touches the store: an apply is not interrupted, and a scan
 * shows a piece either before or after it. A bucket is *declared* (known to a writer, seen by
 * nobody), then visible, then perhaps destroyed.
 */

import { assert } from '../base/assert.ts';
import type { ColumnSeries } from '../base/column-series.ts';
import { RequestError } from '../base/errors.ts';
import { SCAN_SLICE_BYTES } from '../base/limits.ts';
import type { BucketSchema } from '../base/schema.ts';
import type { TimeBucketKey } from '../base/time-bucket-key.ts';
import { FixedYear, type RowBlockRef } from './fixed-year.ts';
import { DESCRIPTION_OF_WRITE, HEADER_COLUMNS_MAX } from './header.ts';
import { blockOffsets, type RecordLayout, slotLayout, tickLayout } from './record-layout.ts';
import {
  type Bounds,
  type ScanCursor,
  ScanParts,
  type ScanRequest,
  selectPlaces,
} from './scan-parts.ts';
import type { StoreContext } from './store-context.ts';
import { TickYear } from './tick-file.ts';
import { YearFile } from './year-file.ts';

export type { RowBlockRef } from './fixed-year.ts';
export type { Bounds } from './scan-parts.ts';

export interface ScanRange {
  readonly fromSeconds?: number;
  readonly fromNanos?: number;
  readonly toSeconds?: number;
  /** 0 if not given: the end is included up to this nanosecond. */
  readonly toNanos?: number;
  /** Rows at most; not given: all. */
  readonly limit?: number;
  /** With a limit: the newest rows of the range rather than the oldest. */
  readonly fromEnd: boolean;
  /** Names to materialise, in this order; Epoch (and Nanoseconds of ticks) always come. */
  readonly columns?: readonly string[];
}

export interface RowCount {
  readonly rows: number;
  /** Epoch of the first and of the last of them; undefined: there are none. */
  readonly first: number | undefined;
  readonly last: number | undefined;
}

export interface BucketOptions {
  readonly context: StoreContext;
  readonly id: number;
  readonly key: TimeBucketKey;
  readonly schema: BucketSchema;
  /** Leaf directory relative to the root; the key's path, save in trees of other categories. */
  readonly directory: string;
  /** Called when rows of a declared bucket are applied. */
  onVisible(bucket: Bucket): void;
}

type State = 'declared' | 'visible' | 'destroyed';

const WORD_RANGE = 4_294_967_296;
const SECOND_NANOS = 1_000_000_000;
const FIRST_STEP_BYTES = 32_768;
/** Where the columns of the block that is applied begin; used within one call. */
const blockColumns = new Int32Array(HEADER_COLUMNS_MAX + 2);

export class Bucket {
  readonly id: number;
  readonly key: TimeBucketKey;
  readonly schema: BucketSchema;
  readonly directory: string;
  readonly #context: StoreContext;
  readonly #layout: RecordLayout;
  readonly #onVisible: (bucket: Bucket) => void;
  readonly #years = new Map<number, FixedYear | TickYear>();
  /** The year rows went to last: mostly the next ones do, too. */
  #recent: FixedYear | TickYear | undefined;
  #ascending: readonly number[] = [];
  #state: State = 'declared';
  #readOnlyReason: string | undefined;

  constructor(options: BucketOptions) {
    this.id = options.id;
    this.key = options.key;
    this.schema = options.schema;
    this.directory = options.directory;
    this.#context = options.context;
    this.#onVisible = options.onVisible;
    this.#layout =
      this.schema.recordType === 'fixed' ? slotLayout(this.schema) : tickLayout(this.schema);
  }

  get isVisible(): boolean {
    return this.#state === 'visible';
  }

  /** Why the bucket takes no rows: damage, or a kind of tree or timeframe we only read. */
  get readOnlyReason(): string | undefined {
    return this.#readOnlyReason;
  }

  /** For the catalog: marks damage, or its repair. */
  setReadOnly(reason: string | undefined): void {
    this.#readOnlyReason = reason;
  }

  /** Years that have a file, or will have one at the next checkpoint; ascending. */
  get years(): readonly number[] {
    return this.#ascending;
  }

  get latestYear(): number | undefined {
    return this.#ascending.at(-1);
  }

  /** For the catalog: a year found on disk, or made by Create. A year that is there stays. */
  addYear(year: number, description: string, options: { readonly isOnDisk: boolean }): void {
    if (this.#years.has(year)) return;
    const stored = this.#makeYear(year, description, options.isOnDisk);
    if (!options.isOnDisk) this.#context.pending.add(stored);
  }

  show(): void {
    assert(this.#state !== 'destroyed', 'a destroyed bucket does not come back');
    this.#state = 'visible';
  }

  /** For the catalog: cells of a year are about to be restored. */
  beforeRestore(year: number, offsets: readonly number[]): void {
    const stored = this.#years.get(year);
    if (stored instanceof TickYear) stored.beforeRestore(offsets);
  }

  /** For the catalog: puts back a cell of a year file; other years are none of the log's. */
  restoreCell(year: number, offset: number, bytes: Uint8Array): void {
    const stored = this.#years.get(year);
    if (stored instanceof TickYear) stored.restoreCell(offset, bytes);
  }

  /** Forgets everything; the catalog removes the files. */
  destroy(): void {
    this.#state = 'destroyed';
    for (const stored of this.#years.values()) {
      this.#context.pending.delete(stored);
      stored.discard();
      stored.file.destroy();
    }
    this.#years.clear();
    this.#recent = undefined;
    this.#ascending = [];
  }

  close(): void {
    for (const { file } of this.#years.values()) file.close();
  }

  /**
   * Puts a validated block's rows into memory: FIXED, the last row of a slot stays; VARIABLE, rows
   * join the ticks of their interval. Throws MKTS_BUCKET_READ_ONLY, or StorageError if what is to be
   * changed cannot be read: then `progress` says from which row on to apply it again.
   */
  apply(block: RowBlockRef, progress?: { row: number }): void {
    if (this.#readOnlyReason !== undefined)
      throw readOnlyError(this.key.path, this.#readOnlyReason);
    assert(this.#state !== 'destroyed', 'rows are applied to a bucket that exists');
    if (this.#state === 'declared') {
      this.#state = 'visible';
      this.#onVisible(this);
    }
    blockOffsets(this.#layout, block.offset, block.rowCount, blockColumns);
    for (let row = progress?.row ?? 0; row < block.rowCount; ) {
      // A year takes no row of another one: so it is asked before it is looked for.
      let next = this.#recent?.applyRows(block, blockColumns, row) ?? row;
      if (next === row) {
        this.#recent = this.#yearOfRow(block, row);
        next = this.#recent.applyRows(block, blockColumns, row);
        assert(next > row, 'a row goes to the year it lies in');
      }
      row = next;
      if (progress !== undefined) progress.row = next;
    }
  }

  /**
   * Deletes the rows a scan of these bounds shows; a bucket that is only declared has none. May be
   * repeated. Throws as `apply`.
   */
  deleteRows(bounds: Bounds): void {
    if (this.#readOnlyReason !== undefined)
      throw readOnlyError(this.key.path, this.#readOnlyReason);
    for (const stored of this.#years.values()) stored.deleteRows(bounds);
  }

  /** First and last instant of the years it has rows of; undefined: none. */
  get span(): { readonly from: number; readonly to: number } | undefined {
    const [first] = this.#ascending;
    const last = this.latestYear;
    if (first === undefined || last === undefined) return undefined;
    const { zone } = this.#context;
    return { from: zone.yearStart(first), to: zone.yearStart(last + 1) - 1 };
  }

  /**
   * Rows of a range, ascending: Epoch first, ticks with Nanoseconds last. FIXED: the lower bound is
   * taken down to the start of its slot; VARIABLE: both bounds are exact. Answers at once, or after
   * pauses if it has to look at more than SCAN_SLICE_BYTES.
   */
  async scan(range: ScanRange, signal?: AbortSignal): Promise<ColumnSeries> {
    const request = this.#request(range);
    const parts = new ScanParts(request, range.limit ?? Number.POSITIVE_INFINITY);
    let bytes = 0;
    for (const stepBytes of this.#steps(request, parts, range.limit !== undefined)) {
      bytes += stepBytes;
      if (bytes < SCAN_SLICE_BYTES) continue;
      bytes = 0;
      await this.#pause(signal);
    }
    return parts.join();
  }

  /** What `scan` of a range would answer, counted. Pauses as that does, and keeps no rows. */
  async count(range: Pick<ScanRange, keyof Bounds>, signal?: AbortSignal): Promise<RowCount> {
    const request = this.#request({ ...range, fromEnd: false, columns: [] });
    const parts = new ScanParts(request, Number.POSITIVE_INFINITY);
    let rows = 0;
    let first: number | undefined;
    let last: number | undefined;
    let bytes = 0;
    for (const stepBytes of this.#steps(request, parts, false)) {
      for (const { rowCount, columns } of parts.take()) {
        const epochs = columns[0]?.data;
        if (rowCount === 0 || epochs === undefined) continue;
        rows += rowCount;
        first ??= Number(epochs[0]);
        last = Number(epochs[rowCount - 1]);
      }
      bytes += stepBytes;
      if (bytes < SCAN_SLICE_BYTES) continue;
      bytes = 0;
      await this.#pause(signal);
    }
    return { rows, first, last };
  }

  /** Others have the thread; throws if the scan is to go no further. */
  async #pause(signal: AbortSignal | undefined): Promise<void> {
    await nextTurn();
    signal?.throwIfAborted();
    if (this.#state === 'destroyed')
      throw new RequestError('MKTS_BUCKET_UNKNOWN', { key: this.key.path });
  }

  /** The newest row, or none. */
  lastRow(): ColumnSeries {
    const request = this.#request({ fromEnd: true });
    const parts = new ScanParts(request, 1);
    for (const _bytes of this.#steps(request, parts, true));
    return parts.join();
  }

  *#steps(request: ScanRequest, parts: ScanParts, isLimited: boolean): Generator<number> {
    const years = request.fromEnd ? [...this.#ascending].reverse() : this.#ascending;
    let stepBytes = isLimited ? FIRST_STEP_BYTES : SCAN_SLICE_BYTES;
    for (const year of years) {
      const stored = this.#years.get(year);
      if (stored === undefined) continue;
      const cursor: ScanCursor = { ...stored.clip(request.bounds), stepBytes };
      while (cursor.from < cursor.to && parts.remaining > 0) {
        yield stored.scanStep(cursor, request, parts);
        cursor.stepBytes = Math.min(2 * cursor.stepBytes, SCAN_SLICE_BYTES);
      }
      stepBytes = cursor.stepBytes;
      if (parts.remaining <= 0) return;
    }
  }

  #request(range: ScanRange): ScanRequest {
    return {
      bounds: {
        fromSeconds: range.fromSeconds ?? Number.NEGATIVE_INFINITY,
        fromNanos: range.fromNanos ?? 0,
        toSeconds: range.toSeconds ?? Number.POSITIVE_INFINITY,
        toNanos: range.toNanos ?? 0,
      },
      fromEnd: range.fromEnd,
      places: selectPlaces(this.#layout, this.schema, range.columns),
      withNanoseconds: this.schema.recordType === 'variable',
    };
  }

  #yearOfRow(block: RowBlockRef, row: number): FixedYear | TickYear {
    const { words } = block;
    const at = ((blockColumns[0] ?? 0) >> 2) + 2 * row;
    let epoch = (words[at + 1] ?? 0) * WORD_RANGE + ((words[at] ?? 0) >>> 0);
    if (this.schema.recordType === 'variable') {
      const nanos = (blockColumns[this.schema.columns.length + 1] ?? 0) >> 2;
      epoch += Math.floor((words[nanos + row] ?? 0) / SECOND_NANOS);
    }
    const year = this.#context.zone.yearOf(epoch);
    return this.#years.get(year) ?? this.#makeYear(year, this.#description(), false);
  }

  /** A further year of a bucket is described as its others are. */
  #description(): string {
    const year = this.latestYear;
    const latest = year === undefined ? undefined : this.#years.get(year);
    return latest?.file.description ?? DESCRIPTION_OF_WRITE;
  }

  #makeYear(year: number, description: string, isOnDisk: boolean): FixedYear | TickYear {
    const file = new YearFile({
      context: this.#context,
      directory: this.directory,
      schema: this.schema,
      timeframeSeconds: this.key.timeframeSeconds,
      year,
      description,
      isOnDisk,
    });
    const Year = this.schema.recordType === 'fixed' ? FixedYear : TickYear;
    const stored = new Year(file, this.#layout, this.key);
    this.#years.set(year, stored);
    this.#ascending = [...this.#years.keys()].sort((a, b) => a - b);
    return stored;
  }
}

export function readOnlyError(key: string, reason: string): RequestError {
  return new RequestError('MKTS_BUCKET_READ_ONLY', { key, reason });
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
