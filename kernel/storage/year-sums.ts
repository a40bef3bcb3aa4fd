/**
 * The checksums of one year file (sums-file.ts, sums-format.ts): asked when bytes are read from the
 * year file, kept right when bytes are written to it. Main thread.
 *
 * Invariant: a sum that can be found on the disk, after whatever end of process or power, is that of
 * the bytes found with it. Therefore
 *
 *   sum of a page on disk ─▶ entry cleared ─▶ sums synced ─▶ slots written ─▶ synced ─▶ sum, unsynced
 *
 * and an entry is cleared again by each process, whatever it reads there: what a killed one cleared
 * may be with the system and not on the disk. The sum of a chunk counts for the chunk at its offset
 * only, and chunks are never overwritten: there an old entry says nothing, and needs no order but to
 * come after the sync of the chunk.
 */

import { assert } from '../base/assert.ts';
import type { CorruptionError } from '../base/errors.ts';
import { SumFaults } from './sum-faults.ts';
import { SumsFile } from './sums-file.ts';
import {
  ChunkEntries,
  type ChunkEntry,
  NO_SUM,
  POISONED,
  type SumsLayout,
  sumOf,
} from './sums-format.ts';
import type { YearFile } from './year-file.ts';

/** A page about to be overwritten; with a fault, it stays refused. */
export interface OverwrittenPage {
  readonly index: number;
  readonly fault: CorruptionError | undefined;
}

/** A durable chunk that a cell is about to be pointed at. */
export interface WrittenChunk {
  readonly position: number;
  readonly offset: number;
  /** POISONED if it holds ticks of a chunk that did not match. */
  readonly sum: number;
}

export interface PageFault {
  readonly index: number;
  readonly error: CorruptionError;
}

/** What the disk may have for a page. */
type Coverage = 'none' | 'sum' | 'poisoned';

interface WaitingSum {
  readonly sum: number;
  /** The write-back that wrote the page; before all of them once the page was let go. */
  writtenIn: number;
}

const LET_GO = Number.NEGATIVE_INFINITY;

export class YearSums {
  readonly sumsFile: SumsFile;
  readonly #file: YearFile;
  readonly #faults: SumFaults;
  readonly #coverage = new Map<number, Coverage>();
  /** Becomes `#coverage` when it is durable. */
  readonly #unsettled = new Map<number, Coverage>();
  /** Sums of pages that are on disk, by page, which are not on disk themselves. */
  readonly #waiting = new Map<number, WaitingSum>();

  constructor(file: YearFile) {
    this.#file = file;
    this.sumsFile = new SumsFile(file);
    this.#faults = new SumFaults(file);
  }

  get layout(): SumsLayout {
    return this.sumsFile.layout;
  }

  /** True if bytes read from the year file may have sums. */
  get isRead(): boolean {
    return this.#waiting.size > 0 || this.sumsFile.isUsable;
  }

  /** True if whoever writes slots must say so before: there are sums, or will be. */
  get isKept(): boolean {
    return this.#file.context.checksums || this.sumsFile.isThere;
  }

  /** Sums that wait to be written. */
  get waiting(): number {
    return this.#waiting.size;
  }

  // ---- reading --------------------------------------------------------------------------------

  /**
   * Whole pages as they were read, from page `first` on: the first of them whose bytes do not match,
   * or from the end the last. It is reported, once.
   */
  verify(first: number, bytes: Uint8Array, isBackward: boolean = false): PageFault | undefined {
    const { pageBytes } = this.layout.slots;
    const count = Math.ceil(bytes.length / pageBytes);
    const entries = this.pageSums(first, count);
    for (let step = 0; step < count; step++) {
      const at = isBackward ? count - 1 - step : step;
      const index = first + at;
      const wanted = this.#waiting.get(index)?.sum ?? entries[at] ?? NO_SUM;
      if (wanted === NO_SUM) continue;
      const found = sumOf(bytes.subarray(at * pageBytes, (at + 1) * pageBytes));
      if (found === wanted) continue;
      const place = { ...this.layout.placeOf(index), ...this.positionsOf(index) };
      return { index, error: this.#faults.found(place, wanted, found) };
    }
    return undefined;
  }

  /** The stored bytes of a chunk; what does not match is reported, once. */
  chunkFault(
    position: number,
    cell: { readonly offset: number; readonly length: number },
    stored: () => Uint8Array,
    entry: ChunkEntry,
  ): CorruptionError | undefined {
    if (!entry.isOf(cell)) return undefined;
    const found = sumOf(stored());
    if (found === entry.sum) return undefined;
    const { offset, length: bytes } = cell;
    return this.#faults.found({ offset, bytes, first: position, last: position }, entry.sum, found);
  }

  /** Sums on disk of pages from `first` on. */
  pageSums(first: number, count: number): Uint32Array {
    return this.sumsFile.read(count, this.layout.pageEntryAt(first));
  }

  /** Entries of chunks from a position on. */
  chunkEntries(from: number, count: number): ChunkEntries {
    const words = this.sumsFile.read(2 * count, this.layout.chunkEntryAt(this.#slotOf(from)));
    return new ChunkEntries(from, words);
  }

  /** Positions of the first and the last slot of a page. */
  positionsOf(page: number): { readonly first: number; readonly last: number } {
    const { firstPosition, endPosition } = this.#file;
    const { pageBytes, slotBytes } = this.layout.slots;
    const first = firstPosition + (page * pageBytes) / slotBytes;
    return { first, last: Math.min(first + pageBytes / slotBytes, endPosition) - 1 };
  }

  // ---- writing --------------------------------------------------------------------------------

  /**
   * Order: called, and what it returns awaited or done, before slots of these pages are written, and
   * after these chunks are durable. True: a sync of the sums must follow, and then `settle`.
   */
  beforeSlots(pages: readonly OverwrittenPage[], chunks: readonly WrittenChunk[]): boolean {
    const { sumsFile } = this;
    for (const { index } of pages) this.#waiting.delete(index);
    sumsFile.removeIfUseless();
    const isPoisoned = chunks.some(({ sum }) => sum === POISONED);
    const summed = this.#file.context.checksums || isPoisoned ? chunks : [];
    const hasFault = pages.some(({ fault }) => fault !== undefined);
    if (!sumsFile.isUsable && !hasFault && summed.length === 0) return false;
    this.#makeFile();
    this.#unsettled.clear();
    for (const { index, fault } of pages) {
      const coverage = fault === undefined ? 'none' : 'poisoned';
      if (this.#coverageOf(index) === coverage) continue;
      this.#unsettled.set(index, coverage);
      sumsFile.write([coverage === 'none' ? NO_SUM : POISONED], this.layout.pageEntryAt(index));
    }
    for (const run of runsOf(summed, ({ position }) => position)) {
      const words = run.flatMap(({ sum, offset }) => [sum, offset >>> 0]);
      sumsFile.write(words, this.layout.chunkEntryAt(this.#slotOf(run[0]?.position ?? 0)));
    }
    return this.#unsettled.size > 0 || isPoisoned;
  }

  /** What `beforeSlots` wrote is durable. */
  settle(): void {
    for (const [index, coverage] of this.#unsettled) this.#coverage.set(index, coverage);
    this.#unsettled.clear();
  }

  /** Slots [offset, offset + bytes) are written now. */
  assertUncovered(offset: number, bytes: number): void {
    const { slots } = this.layout;
    if (offset >= slots.to || offset + bytes <= slots.from || !this.sumsFile.isThere) return;
    const last = this.layout.pageOf(Math.min(offset + bytes, slots.to) - 1);
    for (let page = this.layout.pageOf(Math.max(offset, slots.from)); page <= last; page++)
      assert(
        !this.#waiting.has(page) && this.#coverageOf(page) !== 'sum',
        'the sum of a page is cleared before the page is written',
      );
  }

  /** A page is durably as its bytes were when this was their sum. */
  written(index: number, sum: number): void {
    const { context, isDestroyed } = this.#file;
    if (!context.checksums || isDestroyed) return;
    this.#waiting.set(index, { sum, writtenIn: context.coldPages.writeBack });
    context.coldPages.watch(this);
  }

  /** Memory has let a page go. */
  letGo(index: number): void {
    const waiting = this.#waiting.get(index);
    if (waiting !== undefined) waiting.writtenIn = LET_GO;
  }

  /** See WaitingSums. */
  writeCold(writeBack: number): void {
    const cold = [...this.#waiting].filter(([, { writtenIn }]) => writtenIn <= writeBack);
    if (cold.length === 0 || this.#file.isDestroyed) return;
    this.#makeFile();
    cold.sort(([a], [b]) => a - b);
    for (const run of runsOf(cold, ([index]) => index)) {
      // Order: noted before it is written, since a write that fails may have been one.
      for (const [index] of run) this.#coverage.set(index, 'sum');
      const sums = run.map(([, { sum }]) => sum);
      this.sumsFile.write(sums, this.layout.pageEntryAt(run[0]?.[0] ?? 0));
    }
    for (const [index] of cold) this.#waiting.delete(index);
  }

  /** The year file is gone. */
  destroy(): void {
    this.#waiting.clear();
    this.#unsettled.clear();
    this.#file.context.coldPages.forget(this);
    this.sumsFile.close();
  }

  #makeFile(): void {
    if (this.sumsFile.makeIfNeeded()) this.#coverage.clear();
  }

  /** Of a file that was found each entry may be a sum; of one made here those that were written are. */
  #coverageOf(index: number): Coverage {
    return this.#coverage.get(index) ?? (this.sumsFile.isOfOthers ? 'sum' : 'none');
  }

  #slotOf(position: number): number {
    return position - this.#file.firstPosition;
  }
}

/** Ascending items in groups whose numbers follow each other. */
function* runsOf<T>(items: readonly T[], numberOf: (item: T) => number): Generator<T[]> {
  let run: T[] = [];
  let next: number | undefined;
  for (const item of items) {
    const number = numberOf(item);
    if (number !== next && run.length > 0) {
      yield run;
      run = [];
    }
    run.push(item);
    next = number + 1;
  }
  if (run.length > 0) yield run;
}
