/**
 * One year of a FIXED bucket: a slot per interval, the last write of a slot wins.
 *
 * `applyRows` is the hot path of the server. Rows are taken in runs that share a page; of a run,
 * first the slots are computed, then each column is copied in one loop. Order: rows of a run are
 * copied in row order within each column, so of two rows for one slot the later one stays whole. The
 * last row of a block, mostly its only one, is copied by itself.
 */

import { PAGE_BYTES, SCAN_SLICE_BYTES } from '../base/limits.ts';
import type { TimeBucketKey } from '../base/time-bucket-key.ts';
import { type Page, type Piece, SlotPages } from './pages.ts';
import {
  copyValue,
  gatherColumn,
  type RecordLayout,
  type RecordMemory,
  scatterColumn,
} from './record-layout.ts';
import {
  type Bounds,
  putEpoch,
  type ScanCursor,
  type ScannedYear,
  type ScanParts,
  type ScanRequest,
} from './scan-parts.ts';
import type { StoredYear, YearWork } from './store-context.ts';
import { sumOf } from './sums-format.ts';
import type { YearFile } from './year-file.ts';
import type { OverwrittenPage } from './year-sums.ts';

/** A row block where it lies; `words` covers the whole buffer, `offset` is a multiple of 8. */
export interface RowBlockRef {
  readonly buffer: ArrayBufferLike;
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  readonly offset: number;
  readonly rowCount: number;
}

const WORD_RANGE = 4_294_967_296;
/** Below every position: that of a row in another year. */
const OTHER_YEAR = -2;
/** Rows of a run: as many as a page of the smallest record holds. */
const RUN_ROWS_MAX = PAGE_BYTES / 8;
const runSlots = new Int32Array(RUN_ROWS_MAX);
/** Filled slots of a piece, and their positions; used within one synchronous step. */
const foundSlots = new Int32Array(SCAN_SLICE_BYTES / 8);
const foundPositions = new Int32Array(SCAN_SLICE_BYTES / 8);

export class FixedYear implements StoredYear, ScannedYear {
  readonly file: YearFile;
  readonly layout: RecordLayout;
  readonly key: TimeBucketKey;
  readonly #slots: SlotPages;
  /** Positions are plain division, except that days of a zone with clock changes are not. */
  readonly #isArithmetic: boolean;
  /** Of the file's grid, at hand. */
  readonly #startSeconds: number;
  readonly #endSeconds: number;
  readonly #timeframeSeconds: number;
  readonly #firstPosition: number;

  constructor(file: YearFile, layout: RecordLayout, key: TimeBucketKey) {
    this.file = file;
    this.layout = layout;
    this.key = key;
    this.#slots = new SlotPages(file);
    const { grid, context, firstPosition } = file;
    this.#isArithmetic = !grid.isDaily || context.zone.isUtc;
    this.#startSeconds = grid.startSeconds;
    this.#endSeconds = grid.endSeconds;
    this.#timeframeSeconds = grid.timeframeSeconds;
    this.#firstPosition = firstPosition;
  }

  /**
   * Puts rows into their slots, from `row` on until one lies in another year. `offsets` are those
   * of the block's columns. Returns the first row not taken. If it throws, rows may have been taken:
   * to apply them again changes nothing.
   */
  applyRows(block: RowBlockRef, offsets: Int32Array, row: number): number {
    const { words, rowCount } = block;
    const epochs = (offsets[0] ?? 0) >> 2;
    let next = row;
    while (next < rowCount) {
      const position = this.#positionAt(words, epochs + 2 * next);
      if (position === OTHER_YEAR) return next;
      const page = this.#slots.pageOf(position);
      // A feeder that writes a row at a time makes blocks of one: a run would cost more than the row.
      if (next + 1 === rowCount) this.#applyRow(block, offsets, next++, page, position);
      else next += this.#applyRun(block, offsets, next, page);
    }
    return next;
  }

  /** Position of the epoch at a word; OTHER_YEAR outside this one. */
  #positionAt(words: Int32Array, at: number): number {
    const epoch = (words[at + 1] ?? 0) * WORD_RANGE + ((words[at] ?? 0) >>> 0);
    if (epoch < this.#startSeconds || epoch >= this.#endSeconds) return OTHER_YEAR;
    return this.#isArithmetic
      ? Math.floor((epoch - this.#startSeconds) / this.#timeframeSeconds) + this.#firstPosition
      : this.file.grid.positionOf(epoch);
  }

  #applyRow(
    block: RowBlockRef,
    offsets: Int32Array,
    row: number,
    page: Page,
    position: number,
  ): void {
    const slot = (position - page.first) * this.#slots.recordBytes;
    putIndex(page, slot, position);
    const { columns } = this.layout;
    for (let column = 0; column < columns.length; column++) {
      const place = columns[column];
      if (place === undefined) continue;
      const from = (offsets[column + 1] ?? 0) + row * place.bytes;
      copyValue(place, block, from, page, slot);
    }
    this.#touch(page, position, position);
  }

  /** Takes rows as long as they lie in `page`; returns how many: the first one does. */
  #applyRun(block: RowBlockRef, offsets: Int32Array, row: number, page: Page): number {
    const { recordBytes, recordsPerPage } = this.#slots;
    const { words, rowCount } = block;
    const epochs = (offsets[0] ?? 0) >> 2;
    const { first } = page;
    let lowest = Number.POSITIVE_INFINITY;
    let highest = Number.NEGATIVE_INFINITY;
    const countMax = Math.min(rowCount - row, RUN_ROWS_MAX);
    let count = 0;
    for (; count < countMax; count++) {
      const position = this.#positionAt(words, epochs + 2 * (row + count));
      if (position < first || position >= first + recordsPerPage) break;
      if (position < lowest) lowest = position;
      if (position > highest) highest = position;
      const slot = (position - first) * recordBytes;
      runSlots[count] = slot;
      putIndex(page, slot, position);
    }
    this.#copyColumns(block, offsets, row, page, count);
    this.#touch(page, lowest, highest);
    return count;
  }

  #copyColumns(
    block: RowBlockRef,
    offsets: Int32Array,
    row: number,
    page: Page,
    count: number,
  ): void {
    const { columns } = this.layout;
    for (let column = 0; column < columns.length; column++) {
      const place = columns[column];
      if (place === undefined) continue;
      const from = (offsets[column + 1] ?? 0) + row * place.bytes;
      scatterColumn(place, block, from, page, runSlots, count);
    }
  }

  #touch(page: Page, lowest: number, highest: number): void {
    const { recordBytes } = this.#slots;
    const from = (lowest - page.first) * recordBytes;
    // A year with a dirty page is among the pending already: a write-back takes both away together.
    if (page.dirtyTo === 0) this.file.context.pending.add(this);
    this.#slots.markDirty(page, from, (highest + 1 - page.first) * recordBytes);
    this.file.fill(lowest, highest + 1);
  }

  /** Empties the slots a scan of these bounds looks at. */
  deleteRows(bounds: Bounds): void {
    const range = this.clip(bounds);
    if (range.from >= range.to) return;
    this.#slots.clear(range);
    this.file.context.pending.add(this);
  }

  clip(bounds: Bounds): { from: number; to: number } {
    const { grid, filledFrom, filledTo, endPosition, firstPosition } = this.file;
    if (bounds.toSeconds < grid.startSeconds || bounds.fromSeconds >= grid.endSeconds)
      return { from: 0, to: 0 };
    const from =
      bounds.fromSeconds <= grid.startSeconds ? firstPosition : grid.positionOf(bounds.fromSeconds);
    const to =
      bounds.toSeconds >= grid.endSeconds ? endPosition : grid.positionOf(bounds.toSeconds) + 1;
    return { from: Math.max(from, filledFrom), to: Math.min(to, filledTo) };
  }

  scanStep(cursor: ScanCursor, request: ScanRequest, parts: ScanParts): number {
    const piece = request.fromEnd
      ? this.#slots.pieceAtEnd(cursor.from, cursor.to, cursor.stepBytes)
      : this.#slots.pieceAtStart(cursor.from, cursor.to, cursor.stepBytes);
    if (request.fromEnd) cursor.to = piece.first;
    else cursor.from = piece.end;
    const found = piece.memory === undefined ? 0 : this.#findFilled(piece, piece.memory);
    if (found === 0) this.file.foundEmpty(piece.first, piece.end);
    else if (piece.memory !== undefined) {
      const taken = Math.min(found, parts.remaining);
      this.#take(piece.memory, request, parts, request.fromEnd ? found - taken : 0, taken);
    }
    return Math.min((piece.end - piece.first) * this.#slots.recordBytes, SCAN_SLICE_BYTES);
  }

  /** Lists filled slots of a piece; one whose index is not its own is damage, and left out. */
  #findFilled(piece: Piece, memory: RecordMemory): number {
    const { recordBytes } = this.#slots;
    const { words } = memory;
    let found = 0;
    for (let position = piece.first; position < piece.end; position++) {
      const slot = piece.offset + (position - piece.first) * recordBytes;
      const low = words[slot >> 2] ?? 0;
      const high = words[(slot >> 2) + 1] ?? 0;
      if (low === position + 1 && high === 0) {
        if (position === -1 && !this.#hasPayload(memory.bytes, slot)) continue;
        foundSlots[found] = slot;
        foundPositions[found++] = position;
      } else if (low !== 0 || high !== 0) {
        const index = high * WORD_RANGE + (low >>> 0);
        this.file.reportCell(position, `its index is ${index}, not ${position + 1}`);
      }
    }
    return found;
  }

  /** Jan 1 of a daily bucket carries index 0, like an empty slot: there the values must tell. */
  #hasPayload(bytes: Uint8Array, slot: number): boolean {
    for (let at = 0; at < this.layout.payloadBytes; at++)
      if (bytes[slot + 8 + at] !== 0) return true;
    return false;
  }

  #take(
    memory: RecordMemory,
    request: ScanRequest,
    parts: ScanParts,
    first: number,
    count: number,
  ): void {
    const part = parts.add(count);
    const slots = foundSlots.subarray(first, first + count);
    const [epochs] = part.memory;
    const { grid } = this.file;
    for (let row = 0; epochs !== undefined && row < count; row++)
      putEpoch(epochs.words, row, grid.startOf(foundPositions[first + row] ?? 0));
    for (let column = 0; column < request.places.length; column++) {
      const place = request.places[column];
      const target = part.memory[column + 1];
      if (place !== undefined && target !== undefined)
        gatherColumn(place, memory, slots, count, target);
    }
  }

  beginWork(): YearWork {
    const { file } = this;
    const slots = this.#slots;
    const work = slots.dirtyPages().map((page) => {
      const { dirtyFrom, dirtyTo } = page;
      page.isInFlight = true;
      page.dirtyFrom = page.dirtyTo = 0;
      return { page, from: dirtyFrom, to: dirtyTo, sum: 0 };
    });
    const { residents, checksums } = file.context;
    const cleared = slots.beginCleared();
    return {
      year: this,
      cells: [],
      *writeTail(): Generator<void> {},
      pages() {
        const pages = new Map<number, OverwrittenPage>();
        for (const page of slots.clearedPages(cleared)) pages.set(page.index, page);
        for (const { page } of work) pages.set(page.index, page);
        return [...pages.values()];
      },
      chunks: () => [],
      *writeSlots(): Generator<void> {
        yield* slots.writeCleared(cleared);
        // Rows applied since `beginWork` may travel along: replay puts them there once more.
        for (const written of work) {
          const { page, from, to } = written;
          file.write(page.bytes.subarray(from, to), file.offsetOf(page.first) + from);
          if (checksums) written.sum = sumOf(slots.slotBytesOf(page));
          yield;
        }
      },
      succeed(): void {
        slots.endCleared('durable');
        for (const { page, sum } of work) {
          page.isInFlight = false;
          if (page.dirtyTo > 0 || file.isDestroyed) continue;
          // Order: before it is released, which may let it go.
          if (page.fault === undefined && !slots.isClearedAgain(page.index))
            file.sums.written(page.index, sum);
          residents.release(page);
        }
      },
      fail: (): void => {
        slots.endCleared('failed');
        for (const { page, from, to } of work) {
          if (file.isDestroyed) continue;
          slots.markDirty(page, from, to);
          page.isInFlight = false;
        }
        if (!file.isDestroyed) file.context.pending.add(this);
      },
    };
  }

  discard(): void {
    this.#slots.discard();
  }
}

/** On disk: the index is 1-based, and 0 on Jan 1 of a daily bucket: position + 1 in both. */
function putIndex({ words }: Page, slot: number, position: number): void {
  words[slot >> 2] = position + 1;
  words[(slot >> 2) + 1] = 0;
}
