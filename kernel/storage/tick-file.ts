/**
 * One year of a VARIABLE bucket: any number of ticks per interval, never replaced, ordered by time
 * and then by arrival.
 *
 * A touched interval is loaded whole and grows in memory. A write-back stores it as a new chunk at
 * the end of the file and then points the cell at it; a chunk on disk is never overwritten, so at
 * any moment the cell leads to a whole chunk, old or new. Only a deletion takes ticks away
 * (tick-delete.ts).
 */

import { ticksOf } from '../base/tick-time.ts';
import type { TimeBucketKey } from '../base/time-bucket-key.ts';
import { intervalsPerDay } from '../base/timeframe.ts';
import type { SlotRange } from './cleared-slots.ts';
import type { RowBlockRef } from './fixed-year.ts';
import { Interval } from './interval.ts';
import { SlotPages } from './pages.ts';
import type { RecordLayout } from './record-layout.ts';
import type { Bounds, ScanCursor, ScannedYear, ScanParts, ScanRequest } from './scan-parts.ts';
import type { StoredYear, YearWork } from './store-context.ts';
import { CELL_BYTES, ChunkReader, readCell } from './tick-cells.ts';
import { deleteTicks } from './tick-delete.ts';
import { scanTicks } from './tick-scan.ts';
import { TickWork } from './tick-work.ts';
import type { YearFile } from './year-file.ts';

const WORD_RANGE = 4_294_967_296;
const SECOND_NANOS = 1_000_000_000;
const RUN_ROWS_MAX = 4096;
const runTicks = new Uint32Array(RUN_ROWS_MAX);
const runRecords = new Int32Array(RUN_ROWS_MAX);

export class TickYear implements StoredYear, ScannedYear {
  readonly file: YearFile;
  readonly layout: RecordLayout;
  readonly key: TimeBucketKey;
  readonly cells: SlotPages;
  readonly intervals: Map<number, Interval> = new Map();
  readonly #dirty = new Set<Interval>();
  /** Positions of `intervals`; sorted when asked for. */
  #order: number[] = [];
  #isOrdered = true;
  #isOrderStale = false;
  /** Where the file ends; undefined until asked. */
  #fileBytes: number | undefined;

  constructor(file: YearFile, layout: RecordLayout, key: TimeBucketKey) {
    this.file = file;
    this.layout = layout;
    this.key = key;
    this.cells = new SlotPages(file);
  }

  /** Bytes of the file, chunks included; nobody else appends to it. */
  get fileBytes(): number {
    if (!this.file.isOnDisk) return this.file.sparseBytes;
    this.#fileBytes ??= Math.max(this.file.size(), this.file.sparseBytes);
    return this.#fileBytes;
  }

  set fileBytes(bytes: number) {
    this.#fileBytes = bytes;
  }

  /**
   * As FixedYear.applyRows; `offsets` end with that of Nanoseconds. Ticks are not to be applied twice,
   * so it returns before it reads from the file: what throws has taken no row.
   */
  applyRows(block: RowBlockRef, offsets: Int32Array, row: number): number {
    const { file, layout } = this;
    const { grid } = file;
    const perDay = intervalsPerDay(grid.timeframeSeconds);
    const { words, rowCount } = block;
    const epochs = (offsets[0] ?? 0) >> 2;
    const nanoseconds = (offsets[layout.columns.length + 1] ?? 0) >> 2;
    let next = row;
    while (next < rowCount) {
      const start = next;
      let interval: Interval | undefined;
      let slotStart = 0;
      let slotEnd = 0;
      let count = 0;
      for (; next < rowCount && count < RUN_ROWS_MAX; next++, count++) {
        const at = epochs + 2 * next;
        let epoch = (words[at + 1] ?? 0) * WORD_RANGE + ((words[at] ?? 0) >>> 0);
        let nanos = words[nanoseconds + next] ?? 0;
        if (nanos < 0 || nanos >= SECOND_NANOS) {
          const carried = Math.floor(nanos / SECOND_NANOS);
          epoch += carried;
          nanos -= carried * SECOND_NANOS;
        }
        if (interval === undefined) {
          if (!grid.contains(epoch)) return next;
          const position = Math.min(grid.positionOf(epoch), file.endPosition - 1);
          if (start > row && !this.intervals.has(position)) return start;
          interval = this.intervalAt(position);
          slotStart = grid.startOf(position);
          slotEnd = position === file.endPosition - 1 ? grid.endSeconds : grid.endOf(position);
        } else if (epoch < slotStart || epoch >= slotEnd) break;
        runTicks[count] = ticksOf(epoch - slotStart, nanos, perDay);
      }
      if (interval === undefined) return next;
      this.#grow(interval, count);
      interval.append(block, layout.columns, offsets, start, runTicks, runRecords, count);
    }
    return next;
  }

  /** Marks an interval dirty and makes room in it. */
  #grow(interval: Interval, count: number): void {
    const { context } = this.file;
    if (!interval.isDirty) {
      if (!interval.isHeld) context.residents.hold(interval);
      interval.isDirty = true;
      this.#dirty.add(interval);
      // Among the pending until a write-back takes its dirty intervals.
      context.pending.add(this);
    }
    const before = interval.residentBytes;
    interval.reserve(count);
    context.residents.resize(interval.residentBytes - before);
    this.file.fill(interval.position, interval.position + 1);
  }

  /** Takes records [from, to) of an interval away. */
  cut(interval: Interval, from: number, to: number): void {
    this.#grow(interval, 0);
    const before = interval.residentBytes;
    interval.cut(from, to);
    this.file.context.residents.resize(interval.residentBytes - before);
  }

  /** Empties intervals [from, to) without reading them. */
  clear(range: SlotRange): void {
    for (const interval of [...this.intervals.values()]) {
      const { position, isHeld, count } = interval;
      if (position < range.from || position >= range.to) continue;
      interval.fault = undefined;
      if (isHeld) this.cut(interval, 0, count);
      else this.#drop(interval);
    }
    this.cells.clear(range);
    this.file.context.pending.add(this);
  }

  /** An interval that was loaded and not changed: kept for readers if it has ticks. */
  release(interval: Interval): void {
    if (interval.isHeld) return;
    if (interval.count > 0) this.file.context.residents.touch(interval);
    else this.#drop(interval);
  }

  #drop(interval: Interval): void {
    this.file.context.residents.forgetClean(interval);
    this.#forget(interval);
  }

  /** Loads an interval; whoever asks changes it, or releases it. */
  intervalAt(position: number): Interval {
    const resident = this.intervals.get(position);
    if (resident !== undefined) return resident;
    const interval = new Interval(position, this.layout.strideBytes, (evicted) =>
      this.#forget(evicted),
    );
    const { file } = this;
    if (file.isOnDisk && position >= file.filledFrom && position < file.filledTo) {
      const page = this.cells.pageOf(position);
      const slot = (position - page.first) * CELL_BYTES;
      const cell = readCell(file, position, page, slot, this.fileBytes);
      if (cell !== undefined) {
        const reader = new ChunkReader(file, interval.stride, false);
        // Taken as it is: what is added must not be lost. Readers are refused all of the interval.
        interval.fault = reader.fault(position, cell);
        const records = reader.records(position, cell);
        // A chunk that cannot be read was reported; its bytes stay in the file, unreachable.
        if (records !== undefined) interval.load(records);
        interval.cellOffset = cell.offset;
        interval.cellLength = cell.length;
      }
    }
    this.intervals.set(position, interval);
    const last = this.#order.at(-1);
    if (last !== undefined && last > position) this.#isOrdered = false;
    this.#order.push(position);
    return interval;
  }

  #forget(interval: Interval): void {
    this.intervals.delete(interval.position);
    this.#isOrderStale = true;
  }

  /** Positions of the intervals in memory, ascending. */
  positions(): readonly number[] {
    if (this.#isOrderStale) {
      this.#order = [...this.intervals.keys()];
      this.#isOrderStale = false;
      this.#isOrdered = false;
    }
    if (!this.#isOrdered) this.#order.sort((a, b) => a - b);
    this.#isOrdered = true;
    return this.#order;
  }

  clip(bounds: Bounds): { from: number; to: number } {
    const { grid, filledFrom, filledTo, endPosition, firstPosition } = this.file;
    const { fromSeconds, toSeconds } = bounds;
    if (toSeconds < grid.startSeconds || fromSeconds >= grid.endSeconds) return { from: 0, to: 0 };
    const last = endPosition - 1;
    const from =
      fromSeconds <= grid.startSeconds
        ? firstPosition
        : Math.min(grid.positionOf(fromSeconds), last);
    const to =
      toSeconds >= grid.endSeconds ? endPosition : Math.min(grid.positionOf(toSeconds), last) + 1;
    return { from: Math.max(from, filledFrom), to: Math.min(to, filledTo) };
  }

  deleteRows(bounds: Bounds): void {
    deleteTicks(this, bounds);
  }

  scanStep(cursor: ScanCursor, request: ScanRequest, parts: ScanParts): number {
    return scanTicks(this, cursor, request, parts);
  }

  beginWork(): YearWork {
    const dirty = [...this.#dirty].sort((a, b) => a.position - b.position);
    this.#dirty.clear();
    return new TickWork(this, dirty);
  }

  /** A write-back failed: its intervals are dirty again. */
  redirty(intervals: readonly Interval[]): void {
    for (const interval of intervals) {
      interval.isInFlight = false;
      interval.isDirty = true;
      this.#dirty.add(interval);
    }
    this.file.context.pending.add(this);
  }

  /** Order: before these cells are restored, the sums of their pages go, durably. */
  beforeRestore(offsets: readonly number[]): void {
    const { file, cells } = this;
    if (!file.isOnDisk || !file.sums.isKept) return;
    const pages = new Set(
      offsets.map((offset) => cells.pageOf((offset - file.offsetOf(0)) / CELL_BYTES)),
    );
    if (file.sums.beforeSlots([...pages], [])) file.sums.sumsFile.datasyncBlocking();
    file.sums.settle();
  }

  /** Puts back the cell an interrupted checkpoint has overwritten; before anything is applied. */
  restoreCell(offset: number, bytes: Uint8Array): void {
    if (!this.file.isOnDisk) return;
    this.file.write(bytes, offset);
    const position = (offset - this.file.offsetOf(0)) / CELL_BYTES;
    this.cells.markFilled(position);
    this.file.fill(position, position + 1);
    const page = this.cells.residentPageOf(position);
    page?.bytes.set(bytes, (position - page.first) * CELL_BYTES);
    const interval = this.intervals.get(position);
    if (interval !== undefined && !interval.isHeld) this.#drop(interval);
  }

  discard(): void {
    const { residents } = this.file.context;
    for (const interval of this.intervals.values()) residents.discard(interval, interval.isHeld);
    this.intervals.clear();
    this.#dirty.clear();
    this.#order = [];
    this.cells.discard();
  }
}
