/**
 * One `<year>.bin` on disk: header, slots, and for ticks a tail of chunks (FORMAT.md).
 *
 * Runs on the main thread. A year exists in memory first; its file is made by a write-back, under
 * another name until its header is durable, so that no half-made header is ever found. What is
 * known about filled slots is kept as bounds: every position outside [filledFrom, filledTo) is
 * empty on disk and in memory, which is what saves scans from reading holes.
 */

import { join } from 'node:path';
import { CorruptionError, StorageError } from '../base/errors.ts';
import { DAMAGE_REPORTS_PER_FILE_MAX } from '../base/limits.ts';
import { type BucketSchema, recordBytesOf } from '../base/schema.ts';
import { YearGrid } from '../base/year-grid.ts';
import { newYearFileName, yearFileName } from './file-names.ts';
import { encodeHeader, HEADER_BYTES, RESERVED_TAIL_BYTES } from './header.ts';
import { FileHandle } from './open-files.ts';
import type { StoreContext } from './store-context.ts';
import { YearSums } from './year-sums.ts';

export interface YearFileOptions {
  readonly context: StoreContext;
  /** Leaf directory, relative to the root. */
  readonly directory: string;
  readonly schema: BucketSchema;
  readonly timeframeSeconds: number;
  readonly year: number;
  readonly description: string;
  readonly isOnDisk: boolean;
}

export class YearFile {
  readonly context: StoreContext;
  readonly directory: string;
  readonly schema: BucketSchema;
  readonly description: string;
  readonly year: number;
  readonly grid: YearGrid;
  readonly recordBytes: number;
  /** First position, and one past the last: a partial interval at the end of a year has a slot. */
  readonly firstPosition: number;
  readonly endPosition: number;
  /** Relative to the root: 'AAPL/1Min/OHLCV/2021.bin'. */
  readonly path: string;
  readonly #handle: FileHandle;
  readonly #reported = new Set<number>();
  #sums: YearSums | undefined;
  #isOnDisk: boolean;
  #isDestroyed = false;
  filledFrom: number;
  filledTo: number;

  constructor(options: YearFileOptions) {
    const { context, directory, schema, timeframeSeconds, year } = options;
    this.context = context;
    this.directory = directory;
    this.schema = schema;
    this.description = options.description;
    this.year = year;
    this.grid = new YearGrid(context.zone, timeframeSeconds, year);
    this.recordBytes = recordBytesOf(schema);
    this.firstPosition = this.grid.firstPosition;
    this.endPosition = this.firstPosition + slotsOf(context, this.grid, schema);
    this.path = `${directory}/${yearFileName(year)}`;
    this.#handle = new FileHandle(join(context.root, this.path));
    this.#isOnDisk = options.isOnDisk;
    // Records longer than the header's tail would meet live header bytes on Jan 1: never read there.
    const first = this.recordBytes > RESERVED_TAIL_BYTES ? 0 : this.firstPosition;
    this.filledFrom = options.isOnDisk ? first : Number.POSITIVE_INFINITY;
    this.filledTo = options.isOnDisk ? this.endPosition : Number.NEGATIVE_INFINITY;
  }

  get isOnDisk(): boolean {
    return this.#isOnDisk;
  }

  /** Its checksums, made when they are asked for: of the many years nobody touches there are none. */
  get sums(): YearSums {
    this.#sums ??= new YearSums(this);
    return this.#sums;
  }

  get isDestroyed(): boolean {
    return this.#isDestroyed;
  }

  /** Where a slot lies. Position -1, Jan 1 of a daily bucket, lies in the tail of the header. */
  offsetOf(position: number): number {
    return HEADER_BYTES + position * this.recordBytes;
  }

  /** Bytes of the file before anything is appended: where the chunks of ticks begin. */
  get sparseBytes(): number {
    return this.offsetOf(this.endPosition - this.firstPosition);
  }

  /** A slot is filled: the bounds include it from now on. */
  fill(from: number, to: number): void {
    if (from < this.filledFrom) this.filledFrom = from;
    if (to > this.filledTo) this.filledTo = to;
  }

  /** Nothing is filled in [from, to): the bounds shrink if it lies at one of their ends. */
  foundEmpty(from: number, to: number): void {
    if (from <= this.filledFrom && to > this.filledFrom) this.filledFrom = to;
    if (to >= this.filledTo && from < this.filledTo) this.filledTo = from;
  }

  /** Fills `target` from an offset; zeros where the file has nothing. */
  read(target: Uint8Array, offset: number): void {
    const found = this.#isOnDisk ? this.context.files.use(this.#handle).read(target, offset) : 0;
    if (found < target.length) target.fill(0, found);
  }

  write(source: Uint8Array, offset: number): void {
    this.sums.assertUncovered(offset, source.length);
    this.context.files.use(this.#handle).write(source, offset);
  }

  size(): number {
    return this.context.files.use(this.#handle).size();
  }

  datasync(): Promise<void> {
    return this.context.files.datasync(this.#handle);
  }

  /** As `datasync`, for tools. */
  datasyncBlocking(): void {
    this.context.files.use(this.#handle).datasyncBlocking();
  }

  /**
   * Makes the file; its directory must exist, and is synced by the caller. Nothing happens if the
   * bucket is destroyed meanwhile.
   */
  async create(): Promise<void> {
    const { filesystem, root } = this.context;
    const path = join(root, this.path);
    if (filesystem.exists(path))
      throw new StorageError('MKTS_DISK', {
        operation: 'create',
        path,
        reason: 'a file of this name appeared while the server ran',
      });
    const newPath = join(root, this.directory, newYearFileName(this.year));
    const file = filesystem.open(newPath, 'create');
    try {
      file.write(encodeHeader(this.#header()), 0);
      file.truncate(this.sparseBytes);
      await file.datasync();
    } finally {
      file.close();
    }
    if (this.#isDestroyed) return;
    filesystem.rename(newPath, path);
    this.#isOnDisk = true;
  }

  /** Reports a damaged interval, once; past the bound per file the rest stays unsaid. */
  reportCell(position: number, reason: string): void {
    if (this.#reported.has(position) || this.#reported.size >= DAMAGE_REPORTS_PER_FILE_MAX) return;
    this.#reported.add(position);
    this.context.reportDamage(
      new CorruptionError('MKTS_CELL_CORRUPT', {
        path: this.path,
        offset: this.offsetOf(position),
        reason,
      }),
    );
  }

  close(): void {
    this.#sums?.sumsFile.close();
    this.context.files.drop(this.#handle);
  }

  destroy(): void {
    this.#isDestroyed = true;
    this.#isOnDisk = false;
    this.#sums?.destroy();
    this.close();
  }

  #header(): Parameters<typeof encodeHeader>[0] {
    const { description, year, schema } = this;
    return { description, year, schema, timeframeSeconds: this.grid.timeframeSeconds };
  }
}

/**
 * Slots a year has. Years in which a zone moved its clock for good are not a whole number of hours
 * long: for FIXED the partial interval at their end has a slot too; for ticks the chunks begin
 * there, and such ticks go to the last whole interval. In all other years this is the reference's
 * number.
 */
function slotsOf(context: StoreContext, grid: YearGrid, schema: BucketSchema): number {
  if (grid.isDaily) return Math.max(grid.slotCount, context.zone.daysOf(grid.year));
  if (schema.recordType === 'variable') return grid.slotCount;
  return Math.ceil((grid.endSeconds - grid.startSeconds) / grid.timeframeSeconds);
}
