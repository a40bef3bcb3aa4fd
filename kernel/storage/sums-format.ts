/**
 * The bytes of `<year>.sums`, the checksums of a year file (FORMAT.md): a header, a word for each
 * page of slots, and for ticks a pair of words for each slot. A Go server does not look at the name.
 *
 *   header, 64 bytes | page*: u32 sum | zeros up to 8 | slot*: u32 sum of its chunk, u32 its offset
 *
 * A missing end reads as zeros, and zeros say nothing: what was never written covers nothing. Each
 * entry lies within one sector, so none is ever torn. On disk: never renumber.
 */

import { crc32 } from 'node:zlib';

export const SUMS_HEADER_BYTES = 64;
export const PAGE_ENTRY_BYTES = 4;
export const CHUNK_ENTRY_BYTES = 8;
/** Nothing is known of the bytes. */
export const NO_SUM = 0;
/** The bytes were written over what did not match its sum: refused until an operator accepts them. */
export const POISONED = 0xff_ff_ff_ff;

const MAGIC: Uint8Array = new TextEncoder().encode('mktssums');
const VERSION = 1;
const CHECKED_BYTES = 36;

/** The CRC-32 of bytes, kept off the two values that mean something else. */
export function sumOf(bytes: Uint8Array): number {
  const sum = crc32(bytes);
  if (sum === NO_SUM) return 1;
  return sum === POISONED ? POISONED - 1 : sum;
}

/** What is kept of a chunk: its sum, and the low 32 bits of its offset. */
export class ChunkEntry {
  readonly sum: number;
  readonly offset: number;

  constructor(sum: number, offset: number) {
    this.sum = sum;
    this.offset = offset;
  }

  /** True if it says something of the chunk a cell leads to. */
  isOf({ offset }: { readonly offset: number }): boolean {
    return this.sum !== NO_SUM && this.offset === offset >>> 0;
  }
}

/** Entries of chunks of some neighbouring positions. */
export class ChunkEntries {
  readonly #from: number;
  readonly #words: Uint32Array;

  constructor(from: number, words: Uint32Array) {
    this.#from = from;
    this.#words = words;
  }

  has(position: number): boolean {
    return position >= this.#from && 2 * (position - this.#from) < this.#words.length;
  }

  get(position: number): ChunkEntry {
    const at = 2 * (position - this.#from);
    return new ChunkEntry(this.#words[at] ?? NO_SUM, this.#words[at + 1] ?? 0);
  }
}

/** Where the slots of a year file lie, and how they are cut into pages. */
export interface SummedSlots {
  /** Offset of the first page in the year file. */
  readonly from: number;
  /** Where the slots end, and with them the last page. */
  readonly to: number;
  readonly pageBytes: number;
  readonly slotBytes: number;
}

export class SumsLayout {
  readonly slots: SummedSlots;
  readonly pageCount: number;
  readonly #chunksAt: number;

  constructor(slots: SummedSlots) {
    this.slots = slots;
    this.pageCount = Math.max(0, Math.ceil((slots.to - slots.from) / slots.pageBytes));
    this.#chunksAt = SUMS_HEADER_BYTES + ((this.pageCount * PAGE_ENTRY_BYTES + 7) & ~7);
  }

  /** Where the sum of a page lies. */
  pageEntryAt(page: number): number {
    return SUMS_HEADER_BYTES + page * PAGE_ENTRY_BYTES;
  }

  /** Where the sum of the chunk lies that the n-th slot leads to. */
  chunkEntryAt(slot: number): number {
    return this.#chunksAt + slot * CHUNK_ENTRY_BYTES;
  }

  /** The page of a byte of the year file; not one of this file if the byte is in no slot. */
  pageOf(offset: number): number {
    return Math.floor((offset - this.slots.from) / this.slots.pageBytes);
  }

  /** Bytes of a page: the last one may be shorter. */
  placeOf(page: number): { readonly offset: number; readonly bytes: number } {
    const offset = this.slots.from + page * this.slots.pageBytes;
    return { offset, bytes: Math.min(this.slots.pageBytes, this.slots.to - offset) };
  }

  header(): Uint8Array {
    const bytes = new Uint8Array(SUMS_HEADER_BYTES);
    const view = new DataView(bytes.buffer);
    const { from, to, pageBytes, slotBytes } = this.slots;
    bytes.set(MAGIC);
    view.setUint32(8, VERSION, true);
    view.setUint32(12, pageBytes, true);
    view.setBigInt64(16, BigInt(from), true);
    view.setBigInt64(24, BigInt(to), true);
    view.setUint32(32, slotBytes, true);
    view.setUint32(CHECKED_BYTES, crc32(bytes.subarray(0, CHECKED_BYTES)), true);
    return bytes;
  }

  /**
   * Whether a file that begins so has sums for these slots. `half`: its making was cut short. `other`:
   * it is whole, and of pages cut otherwise or a version that is not ours. `damaged`: it is neither.
   */
  judge(found: Uint8Array): 'own' | 'half' | 'other' | 'damaged' {
    if (found.every((byte) => byte === 0)) return 'half';
    if (Buffer.compare(found, this.header()) === 0) return 'own';
    if (found.length < SUMS_HEADER_BYTES) return 'damaged';
    const view = new DataView(found.buffer, found.byteOffset, found.length);
    const isWhole =
      Buffer.compare(found.subarray(0, MAGIC.length), MAGIC) === 0 &&
      view.getUint32(CHECKED_BYTES, true) === crc32(found.subarray(0, CHECKED_BYTES));
    return isWhole ? 'other' : 'damaged';
  }
}
