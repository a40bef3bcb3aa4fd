/**
 * Index cells of VARIABLE year files: which chunk of the tail holds the ticks of an interval.
 *
 *   +0 i64 index   +8 i64 offset of the chunk   +16 i64 bytes of the chunk as stored
 *
 * The pages of cells in memory are those the last checkpoint left: they are changed only when a
 * write-back is durable. What is newer lives in intervals.
 */

import type { CorruptionError } from '../base/errors.ts';
import type { Piece } from './pages.ts';
import type { RecordMemory } from './record-layout.ts';
import { type ChunkEntries, sumOf } from './sums-format.ts';
import { decodeChunk } from './tick-chunk.ts';
import type { YearFile } from './year-file.ts';

export const CELL_BYTES = 24;
const WORD_RANGE = 4_294_967_296;
const WINDOW_BYTES = 65_536;
const windowBytes = new Uint8Array(WINDOW_BYTES);
/** Sums of chunks that are read at a time. */
const WINDOW_ENTRIES = 512;

export interface Cell {
  readonly offset: number;
  readonly length: number;
}

/**
 * The chunk a cell points at; undefined for an empty cell. A cell that cannot be right is reported
 * and counts as empty: `fileBytes` is where the file ends.
 */
export function readCell(
  file: YearFile,
  position: number,
  memory: RecordMemory,
  slot: number,
  fileBytes: number,
): Cell | undefined {
  const cell = decodeCell(file, position, memory, slot, fileBytes);
  if (typeof cell !== 'string') return cell;
  file.reportCell(position, cell);
  return undefined;
}

/** As `readCell`; what is wrong with a cell is returned. */
export function decodeCell(
  file: YearFile,
  position: number,
  memory: RecordMemory,
  slot: number,
  fileBytes: number,
): Cell | string | undefined {
  const index = integerAt(memory.words, slot);
  const length = integerAt(memory.words, slot + 16);
  const isFilled = position === -1 ? length > 0 : index !== 0;
  if (!isFilled && index === 0) return undefined;
  const offset = integerAt(memory.words, slot + 8);
  if (index !== position + 1) return `its index is ${index}, not ${position + 1}`;
  const cell = { offset, length };
  return isChunkInFile(file, cell, fileBytes)
    ? cell
    : `its chunk of ${length} bytes at ${offset} is not in the file`;
}

export function isChunkInFile(
  file: YearFile,
  { offset, length }: Cell,
  fileBytes: number,
): boolean {
  return length > 0 && offset >= tailStart(file) && offset + length <= fileBytes;
}

export function putCell(bytes: Uint8Array, at: number, position: number, cell: Cell): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, CELL_BYTES);
  putInteger(view, 0, cell.length === 0 ? 0 : position + 1);
  putInteger(view, 8, cell.offset);
  putInteger(view, 16, cell.length);
}

/** Reads chunks, taking neighbours along; lives for one synchronous step. */
export class ChunkReader {
  readonly #file: YearFile;
  readonly #isBackward: boolean;
  readonly #stride: number;
  #start = 0;
  #end = 0;
  #entries: ChunkEntries | undefined;

  constructor(file: YearFile, stride: number, isBackward: boolean) {
    this.#file = file;
    this.#stride = stride;
    this.#isBackward = isBackward;
  }

  /** Why the bytes of a chunk are not what was written; undefined if they are, or nothing is known. */
  fault(position: number, cell: Cell): CorruptionError | undefined {
    const { sums } = this.#file;
    if (!sums.isRead) return undefined;
    const entry = this.#entriesAt(position).get(position);
    return sums.chunkFault(position, cell, () => this.#stored(cell), entry);
  }

  /** True if the chunk of a cell has a sum. */
  isSummed(position: number, cell: Cell): boolean {
    const { sums } = this.#file;
    return sums.isRead && this.#entriesAt(position).get(position).isOf(cell);
  }

  /** Of the stored bytes of a chunk. */
  sum(cell: Cell): number {
    return sumOf(this.#stored(cell));
  }

  #entriesAt(position: number): ChunkEntries {
    if (this.#entries?.has(position) !== true) {
      const { sums, firstPosition } = this.#file;
      const from = this.#isBackward ? position - WINDOW_ENTRIES + 1 : position;
      this.#entries = sums.chunkEntries(Math.max(from, firstPosition), WINDOW_ENTRIES);
    }
    return this.#entries;
  }

  /** Records of a chunk, valid until the next call; damage is reported and gives undefined. */
  records(position: number, cell: Cell): Uint8Array | undefined {
    const records = this.decode(cell);
    if (typeof records !== 'string') return records;
    this.#file.reportCell(position, records);
    return undefined;
  }

  /** As `records`; what is wrong with a chunk is returned. */
  decode(cell: Cell): Uint8Array | string {
    return decodeChunk(this.#stored(cell), this.#stride);
  }

  #stored({ offset, length }: Cell): Uint8Array {
    if (length > WINDOW_BYTES) {
      const bytes = new Uint8Array(length);
      this.#file.read(bytes, offset);
      return bytes;
    }
    if (offset < this.#start || offset + length > this.#end) {
      const low = offset + length - WINDOW_BYTES;
      this.#start = this.#isBackward ? Math.max(low, tailStart(this.#file)) : offset;
      this.#end = this.#start + WINDOW_BYTES;
      this.#file.read(windowBytes, this.#start);
    }
    return windowBytes.subarray(offset - this.#start, offset - this.#start + length);
  }
}

/** Byte of the first slot of a piece that lies at `position`. */
export function slotOf(piece: Piece, position: number): number {
  return piece.offset + (position - piece.first) * CELL_BYTES;
}

export function integerAt(words: Int32Array, byteOffset: number): number {
  const at = byteOffset >> 2;
  return (words[at + 1] ?? 0) * WORD_RANGE + ((words[at] ?? 0) >>> 0);
}

/** Where chunks may begin, at the earliest. */
function tailStart(file: YearFile): number {
  return file.offsetOf(file.grid.slotCount);
}

function putInteger(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setInt32(at + 4, Math.floor(value / WORD_RANGE), true);
}
