/**
 * The write-back of one year of ticks: chunks behind the end of the file, then, when they are
 * durable, the cells that point at them.
 *
 * Cells of intervals that were cleared whole are zeroed without an image in the log: what could be
 * replayed into such an interval twice is deleted again by the replay that follows it.
 */

import type { SlotRange } from './cleared-slots.ts';
import type { Interval } from './interval.ts';
import type { CellImage, YearWork } from './store-context.ts';
import { POISONED, sumOf } from './sums-format.ts';
import { CELL_BYTES, type Cell, putCell } from './tick-cells.ts';
import { encodeChunk } from './tick-chunk.ts';
import type { TickYear } from './tick-file.ts';
import type { OverwrittenPage, WrittenChunk } from './year-sums.ts';

const BATCH_BYTES = 262_144;

interface Chunk {
  readonly interval: Interval;
  /** Sorted records of the moment the work began. */
  readonly records: () => Uint8Array;
  cell: Cell;
  sum: number;
}

export class TickWork implements YearWork {
  readonly year: TickYear;
  readonly cells: readonly CellImage[];
  readonly #chunks: readonly Chunk[];
  readonly #cleared: readonly SlotRange[];
  /** Sums of the pages of cells, by page. */
  readonly #sums = new Map<number, number>();

  constructor(year: TickYear, dirty: readonly Interval[]) {
    this.year = year;
    const { file } = year;
    this.#cleared = year.cells.beginCleared();
    this.#chunks = dirty.map((interval) => {
      interval.isDirty = false;
      interval.isInFlight = true;
      return { interval, records: interval.snapshot(), cell: { offset: 0, length: 0 }, sum: 0 };
    });
    // An interval knows its cell as the last complete checkpoint left it. That, not what a failed
    // run may have put on disk since, is where replay has to start from.
    this.cells = dirty.map((interval) => {
      const bytes = new Uint8Array(CELL_BYTES);
      const { position, cellOffset, cellLength } = interval;
      putCell(bytes, 0, position, { offset: cellOffset, length: cellLength });
      return { path: file.path, offset: file.offsetOf(position), bytes };
    });
  }

  *writeTail(): Generator<void> {
    const { file } = this.year;
    const { checksums, compressTicks } = file.context;
    if (this.#chunks.length === 0) return;
    let end = this.year.fileBytes;
    let batch: Uint8Array[] = [];
    let batchBytes = 0;
    for (const chunk of this.#chunks) {
      const { stride } = chunk.interval;
      const records = chunk.records();
      // All its ticks were deleted: its cell becomes an empty one.
      if (records.length === 0) continue;
      const stored = encodeChunk(records, stride, compressTicks);
      chunk.cell = { offset: end + batchBytes, length: stored.length };
      if (chunk.interval.fault !== undefined) chunk.sum = POISONED;
      else if (checksums) chunk.sum = sumOf(stored);
      batch.push(stored);
      batchBytes += stored.length;
      if (batchBytes >= BATCH_BYTES) {
        file.write(Buffer.concat(batch, batchBytes), end);
        end += batchBytes;
        this.year.fileBytes = end;
        batch = [];
        batchBytes = 0;
      }
      yield;
      // The bucket may have been destroyed while the caller paused.
      if (file.isDestroyed) return;
    }
    if (batchBytes > 0) file.write(Buffer.concat(batch, batchBytes), end);
    this.year.fileBytes = end + batchBytes;
  }

  pages(): readonly OverwrittenPage[] {
    const { cells } = this.year;
    const pages = new Map<number, OverwrittenPage>();
    for (const page of cells.clearedPages(this.#cleared)) pages.set(page.index, page);
    let end = Number.NEGATIVE_INFINITY;
    for (const { interval } of this.#chunks) {
      if (interval.position < end) continue;
      const page = cells.pageOf(interval.position);
      pages.set(page.index, page);
      end = page.first + cells.recordsPerPage;
    }
    return [...pages.values()];
  }

  chunks(): readonly WrittenChunk[] {
    const made = this.#chunks.filter(({ cell }) => cell.length > 0);
    return made.map(({ interval: { position }, cell: { offset }, sum }) => ({
      position,
      offset,
      sum,
    }));
  }

  *writeSlots(): Generator<void> {
    const { file, cells } = this.year;
    const { recordsPerPage } = cells;
    yield* cells.writeCleared(this.#cleared);
    for (let at = 0; at < this.#chunks.length; ) {
      const first = this.#chunks[at];
      if (first === undefined || file.isDestroyed) return;
      const low = first.interval.position;
      const page = cells.pageOf(low);
      const group: Chunk[] = [];
      let high = low;
      for (; at < this.#chunks.length; at++) {
        const chunk = this.#chunks[at];
        if (chunk === undefined || chunk.interval.position >= page.first + recordsPerPage) break;
        group.push(chunk);
        high = chunk.interval.position;
      }
      // A copy: the page itself changes only when the cells are durable.
      const from = (low - page.first) * CELL_BYTES;
      const bytes = page.bytes.slice(from, (high + 1 - page.first) * CELL_BYTES);
      for (const { interval, cell } of group)
        putCell(bytes, (interval.position - low) * CELL_BYTES, interval.position, cell);
      file.write(bytes, file.offsetOf(low));
      if (file.context.checksums && page.fault === undefined) {
        const whole = cells.slotBytesOf(page).slice();
        whole.set(bytes, from);
        this.#sums.set(page.index, sumOf(whole));
      }
      yield;
    }
  }

  succeed(): void {
    const { file, cells } = this.year;
    if (file.isDestroyed) return;
    cells.endCleared('durable');
    for (const [index, sum] of this.#sums)
      if (!cells.isClearedAgain(index)) file.sums.written(index, sum);
    for (const { interval, cell } of this.#chunks) {
      const { position } = interval;
      cells.markFilled(position);
      const page = cells.residentPageOf(position);
      if (page !== undefined)
        putCell(page.bytes, (position - page.first) * CELL_BYTES, position, cell);
      interval.cellOffset = cell.offset;
      interval.cellLength = cell.length;
      interval.isInFlight = false;
      if (!interval.isDirty) file.context.residents.release(interval);
    }
  }

  fail(): void {
    if (this.year.file.isDestroyed) return;
    this.year.cells.endCleared('failed');
    this.year.redirty(this.#chunks.map(({ interval }) => interval));
  }
}
