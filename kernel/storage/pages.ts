/**
 * The slots of a year file in pages of whole records, kept in memory when touched.
 *
 * A page is loaded by one read on first touch, or by none if it lies outside the filled bounds.
 * Invariant: the bytes of a page are the truth about its slots; the file equals them outside the
 * dirty range, but for slots that were cleared (cleared-slots.ts) and are not yet on disk.
 *
 * A page whose bytes in the file do not match their sum (year-sums.ts) is refused to readers. Writers
 * take it as it is: what they put there is newer, and must not be lost.
 */

import type { CorruptionError } from '../base/errors.ts';
import { SCAN_SLICE_BYTES } from '../base/limits.ts';
import { ClearedSlots, type SlotRange } from './cleared-slots.ts';
import type { RecordMemory } from './record-layout.ts';
import type { Resident } from './residents.ts';
import { recordsPerPageOf } from './sums-file.ts';
import type { YearFile } from './year-file.ts';
import type { OverwrittenPage } from './year-sums.ts';

export class Page implements Resident, RecordMemory {
  readonly slots: SlotPages;
  readonly index: number;
  /** Position of the first slot. */
  readonly first: number;
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  /** Byte range not yet handed to a write-back; empty if `dirtyTo` is 0. */
  dirtyFrom = 0;
  dirtyTo = 0;
  isInFlight = false;
  /** The bytes were not those of their sum when they were read. */
  fault: CorruptionError | undefined;

  constructor(slots: SlotPages, index: number, first: number, bytes: number) {
    this.slots = slots;
    this.index = index;
    this.first = first;
    const memory = new ArrayBuffer(bytes);
    this.bytes = new Uint8Array(memory);
    this.words = new Int32Array(memory);
  }

  get residentBytes(): number {
    return this.bytes.length;
  }

  get isHeld(): boolean {
    return this.dirtyTo > 0 || this.isInFlight;
  }

  evict(): void {
    this.slots.forget(this);
  }
}

/** Slots [first, end) in one memory; slot `first` begins at byte `offset`. `memory` undefined: hole. */
export interface Piece {
  readonly first: number;
  readonly end: number;
  readonly offset: number;
  readonly memory: RecordMemory | undefined;
}

/** A file system allocates no less. */
const BLOCK_BYTES = 4096;
/** Used within one synchronous step only. */
const scratch: RecordMemory = memoryOf(SCAN_SLICE_BYTES);
const zeros: Uint8Array = new Uint8Array(SCAN_SLICE_BYTES);

export class SlotPages {
  readonly file: YearFile;
  readonly recordBytes: number;
  readonly recordsPerPage: number;
  readonly #pages = new Map<number, Page>();
  /** The page rows went to last: mostly the next ones do, too. */
  #recent: Page | undefined;
  /** By page: 1 if the file was read there and holds zeros only. Made when a first hole is met. */
  #holes: Uint8Array | undefined;
  readonly #cleared = new ClearedSlots();

  constructor(file: YearFile) {
    this.file = file;
    this.recordBytes = file.recordBytes;
    this.recordsPerPage = recordsPerPageOf(this.recordBytes);
  }

  /** The page of a position, loaded if need be; for writers, who must heed its fault themselves. */
  pageOf(position: number): Page {
    let page = this.#recent;
    const isRecent =
      page !== undefined && position >= page.first && position < page.first + this.recordsPerPage;
    if (page === undefined || !isRecent) {
      const index = this.#indexOf(position);
      page = this.#pages.get(index) ?? this.#load(index);
      this.#recent = page;
    }
    if (!page.isHeld) this.file.context.residents.touch(page);
    return page;
  }

  residentPageOf(position: number): Page | undefined {
    return this.#pages.get(this.#indexOf(position));
  }

  /** The slots of a page are no longer all empty on disk, or will not be. */
  markFilled(position: number): void {
    if (this.#holes !== undefined) this.#holes[this.#indexOf(position)] = 0;
  }

  /** Bytes [from, to) of a page differ from the file. */
  markDirty(page: Page, from: number, to: number): void {
    if (this.#holes !== undefined) this.#holes[page.index] = 0;
    if (page.dirtyTo === 0) {
      if (!page.isInFlight) this.file.context.residents.hold(page);
      page.dirtyFrom = from;
      page.dirtyTo = to;
    } else {
      if (from < page.dirtyFrom) page.dirtyFrom = from;
      if (to > page.dirtyTo) page.dirtyTo = to;
    }
  }

  /** Empties slots [from, to), in memory now and in the file with the next write-back. Reads nothing. */
  clear(range: SlotRange): void {
    const { recordBytes, recordsPerPage } = this;
    for (const page of this.#pages.values()) {
      const from = Math.max(0, range.from - page.first);
      const to = Math.min(recordsPerPage, range.to - page.first);
      if (from >= to) continue;
      page.bytes.fill(0, from * recordBytes, to * recordBytes);
      if (this.#isWhole(page.index, range)) page.fault = undefined;
    }
    this.#cleared.add(range);
  }

  /** A write-back begins: the slots cleared so far, for `writeCleared`. */
  beginCleared(): readonly SlotRange[] {
    return this.#cleared.begin();
  }

  /**
   * Writes the zeros of cleared slots, in pieces. Order: before the dirty pages of the same write-back,
   * since a slot may have been filled again. Holes of the file stay holes.
   */
  *writeCleared(ranges: readonly SlotRange[]): Generator<void> {
    const { file, recordBytes } = this;
    const slots = Math.max(1, Math.floor(SCAN_SLICE_BYTES / recordBytes));
    for (const { from, to } of ranges)
      for (let first = from; first < to; first += slots) {
        const bytes = scratch.bytes.subarray(0, Math.min(slots, to - first) * recordBytes);
        file.read(bytes, file.offsetOf(first));
        for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
          const filled = filledPart(bytes.subarray(at, at + BLOCK_BYTES));
          if (filled === undefined) continue;
          const { from: start, to: end } = filled;
          file.write(zeros.subarray(0, end - start), file.offsetOf(first) + at + start);
        }
        yield;
      }
  }

  /** The pages `writeCleared` may write to. What is left of one that was cleared in part is looked at. */
  *clearedPages(ranges: readonly SlotRange[]): Generator<OverwrittenPage> {
    for (const range of ranges)
      for (let index = this.#indexOf(range.from); this.#firstOf(index) < range.to; index++) {
        const isWhole = this.#isWhole(index, range);
        const position = Math.max(range.from, this.#firstOf(index));
        yield { index, fault: isWhole ? undefined : this.pageOf(position).fault };
      }
  }

  /** True if slots of a page were cleared since the write-back began: memory is ahead of the file. */
  isClearedAgain(index: number): boolean {
    return this.#cleared.isWaiting(this.#firstOf(index), this.#firstOf(index + 1));
  }

  /** How the write-back ended that was to write the zeros. */
  endCleared(how: 'durable' | 'failed'): void {
    this.#cleared.end(how);
  }

  dirtyPages(): Page[] {
    const dirty: Page[] = [];
    for (const page of this.#pages.values()) if (page.dirtyTo > 0) dirty.push(page);
    return dirty.sort((a, b) => a.index - b.index);
  }

  forget(page: Page): void {
    if (this.#recent === page) this.#recent = undefined;
    this.#pages.delete(page.index);
    this.file.sums.letGo(page.index);
  }

  discard(): void {
    for (const page of this.#pages.values()) this.file.context.residents.discard(page, page.isHeld);
    this.#pages.clear();
    this.#recent = undefined;
  }

  /** The longest piece at the low end of [from, to), at most `bytesMax` long. Throws MKTS_PAGE_CORRUPT. */
  pieceAtStart(from: number, to: number, bytesMax: number): Piece {
    const page = this.residentPageOf(from);
    if (page !== undefined) return this.#pagePiece(page, from, to);
    const index = this.#indexOf(from);
    const isHole = this.#isHole(index);
    const pages = isHole ? Number.POSITIVE_INFINITY : this.#pagesIn(bytesMax);
    let next = index + 1;
    while (next - index < pages && this.#firstOf(next) < to && this.#isAlike(next, isHole)) next++;
    const end = Math.min(to, this.#firstOf(next));
    return isHole ? holeOf(from, end) : this.#filePiece(from, end, false);
  }

  /** The longest piece at the high end of [from, to), as above. */
  pieceAtEnd(from: number, to: number, bytesMax: number): Piece {
    const page = this.residentPageOf(to - 1);
    if (page !== undefined) return this.#pagePiece(page, Math.max(from, page.first), to);
    const index = this.#indexOf(to - 1);
    const isHole = this.#isHole(index);
    const pages = isHole ? Number.POSITIVE_INFINITY : this.#pagesIn(bytesMax);
    let low = index;
    while (index - low + 1 < pages && this.#firstOf(low) > from && this.#isAlike(low - 1, isHole))
      low--;
    const first = Math.max(from, this.#firstOf(low));
    return isHole ? holeOf(first, to) : this.#filePiece(first, to, true);
  }

  #pagePiece(page: Page, from: number, to: number): Piece {
    if (page.fault !== undefined) throw page.fault;
    if (!page.isHeld) this.file.context.residents.touch(page);
    const end = Math.min(to, page.first + this.recordsPerPage);
    return { first: from, end, offset: (from - page.first) * this.recordBytes, memory: page };
  }

  /** Slots of no resident page: from the file, through a page if they are few. */
  #filePiece(first: number, end: number, isBackward: boolean): Piece {
    if (this.#indexOf(first) === this.#indexOf(end - 1))
      return this.#pagePiece(this.pageOf(first), first, end);
    if (this.file.sums.isRead) return this.#checkedPiece(first, end, isBackward);
    const bytes = (end - first) * this.recordBytes;
    const target = scratch.bytes.subarray(0, bytes);
    this.file.read(target, this.file.offsetOf(first));
    this.#cleared.mask(target, first, this.recordBytes);
    if (Buffer.compare(target, zeros.subarray(0, bytes)) !== 0)
      return { first, end, offset: 0, memory: scratch };
    this.#rememberHole(first, end);
    return holeOf(first, end);
  }

  /**
   * As `#filePiece`, of pages that may have sums: they are read whole. A page that does not match ends
   * the piece before it, since the scan may have enough by then; if it comes first, it is thrown.
   */
  #checkedPiece(first: number, end: number, isBackward: boolean): Piece {
    const { file, recordBytes } = this;
    const low = this.#indexOf(first);
    const readFrom = this.#firstOf(low);
    const readTo = Math.min(this.#firstOf(this.#indexOf(end - 1) + 1), file.endPosition);
    const target = scratch.bytes.subarray(0, (readTo - readFrom) * recordBytes);
    file.read(target, file.offsetOf(readFrom));
    const fault = file.sums.verify(low, target, isBackward);
    this.#cleared.mask(target, readFrom, recordBytes);
    let [from, to] = [first, end];
    if (fault !== undefined) {
      if (isBackward) from = Math.max(from, this.#firstOf(fault.index + 1));
      else to = Math.min(to, this.#firstOf(fault.index));
      if (from >= to) throw fault.error;
    }
    const offset = (from - readFrom) * recordBytes;
    const bytes = (to - from) * recordBytes;
    const looked = target.subarray(offset, offset + bytes);
    if (Buffer.compare(looked, zeros.subarray(0, bytes)) !== 0)
      return { first: from, end: to, offset, memory: scratch };
    this.#rememberHole(from, to);
    return holeOf(from, to);
  }

  /** Holes inside a year are remembered per page, so that a sparse year is read through once. */
  #rememberHole(first: number, end: number): void {
    this.#holes ??= new Uint8Array(this.#indexOf(this.file.endPosition) + 1);
    for (let index = this.#indexOf(first); this.#firstOf(index) < end; index++)
      if (
        this.#firstOf(index) >= first &&
        Math.min(this.#firstOf(index + 1), this.file.endPosition) <= end
      )
        this.#holes[index] = 1;
  }

  /** Nothing is to be read there. */
  #isHole(index: number): boolean {
    if (!this.file.isOnDisk || this.#holes?.[index] === 1) return true;
    return this.#cleared.covers(this.#firstOf(index), this.#endOf(index));
  }

  #isWhole(index: number, { from, to }: SlotRange): boolean {
    return from <= this.#firstOf(index) && to >= this.#endOf(index);
  }

  #isAlike(index: number, isHole: boolean): boolean {
    return !this.#pages.has(index) && this.#isHole(index) === isHole;
  }

  #load(index: number): Page {
    const { file } = this;
    const first = this.#firstOf(index);
    // A page is whole even where the file ends inside it: what lies beyond is never written.
    const page = new Page(this, index, first, this.recordsPerPage * this.recordBytes);
    const end = Math.min(first + this.recordsPerPage, file.endPosition);
    const isEmpty = this.#isHole(index) || first >= file.filledTo || end <= file.filledFrom;
    if (!isEmpty) {
      const bytes = page.bytes.subarray(0, (end - first) * this.recordBytes);
      file.read(bytes, file.offsetOf(first));
      if (file.sums.isRead) page.fault = file.sums.verify(index, bytes)?.error;
      this.#cleared.mask(bytes, first, this.recordBytes);
    }
    this.#pages.set(index, page);
    return page;
  }

  /** Bytes of a page that are slots of the file: the last page may have fewer. */
  slotBytesOf({ first, bytes }: Page): Uint8Array {
    const end = Math.min(first + this.recordsPerPage, this.file.endPosition);
    return bytes.subarray(0, (end - first) * this.recordBytes);
  }

  #pagesIn(bytes: number): number {
    const whole = Math.floor(
      Math.min(bytes, SCAN_SLICE_BYTES) / (this.recordsPerPage * this.recordBytes),
    );
    return Math.max(1, whole);
  }

  #indexOf(position: number): number {
    return Math.floor((position - this.file.firstPosition) / this.recordsPerPage);
  }

  /** One past the last slot of a page. */
  #endOf(index: number): number {
    return Math.min(this.#firstOf(index + 1), this.file.endPosition);
  }

  #firstOf(index: number): number {
    return this.file.firstPosition + index * this.recordsPerPage;
  }
}

/** From the first byte that is not zero to the last; undefined if all are. */
function filledPart(bytes: Uint8Array): { readonly from: number; readonly to: number } | undefined {
  if (Buffer.compare(bytes, zeros.subarray(0, bytes.length)) === 0) return undefined;
  const isFilled = (byte: number): boolean => byte !== 0;
  return { from: bytes.findIndex(isFilled), to: bytes.findLastIndex(isFilled) + 1 };
}

function holeOf(first: number, end: number): Piece {
  return { first, end, offset: 0, memory: undefined };
}

function memoryOf(bytes: number): RecordMemory {
  const buffer = new ArrayBuffer(bytes);
  return { bytes: new Uint8Array(buffer), words: new Int32Array(buffer) };
}
