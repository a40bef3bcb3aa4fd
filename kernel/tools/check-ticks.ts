/**
 * A VARIABLE year file: each cell must carry the index of its place and lead to a whole chunk that
 * decodes, and no two chunks may share bytes.
 *
 * Repair: the index of a cell is known from its place, so where the chunk it leads to is whole and
 * nobody else's, the index is put right and the ticks are back. A cell that leads nowhere is emptied.
 * What is wrong with a chunk itself is left as it is: its bytes may be of use to an operator.
 */

import { tickBytesOf } from '../base/schema.ts';
import {
  CELL_BYTES,
  type Cell,
  ChunkReader,
  decodeCell,
  integerAt,
  isChunkInFile,
  putCell,
} from '../storage/tick-cells.ts';
import { tickAt } from '../storage/tick-chunk.ts';
import type { YearFile } from '../storage/year-file.ts';
import { CellFaults } from './cell-faults.ts';
import { chunkFinding, type SumsCount } from './check-sums.ts';
import { ChunkRanges } from './chunk-ranges.ts';
import type { Findings } from './findings.ts';
import { eachSlotBatch } from './slot-batches.ts';

export interface TickCheck {
  readonly file: YearFile;
  readonly key: string;
  /** Cells that replay puts back before it does anything else, by offset: those count. */
  readonly restored: ReadonlyMap<number, Uint8Array>;
  /** Undefined: sums are not looked at. */
  readonly sums: SumsCount | undefined;
}

/** A cell that is wrong, until all chunks are known. */
interface Suspect {
  readonly position: number;
  readonly before: Uint8Array;
  readonly cell: Cell;
  readonly what: string;
}

/** Returns the number of filled cells. Throws StorageError if the disk does. */
export function checkTicks({ file, key, restored, sums }: TickCheck, findings: Findings): number {
  const stride = tickBytesOf(file.schema);
  const fileBytes = file.size();
  const reader = new ChunkReader(file, stride, false);
  const chunkFaults = new CellFaults(file, key, findings);
  const ranges = new ChunkRanges();
  const suspects: Suspect[] = [];
  eachSlotBatch(file, ({ first, end, words, bytes }) => {
    for (let position = first; position < end; position++) {
      const slot = (position - first) * CELL_BYTES;
      const image = restored.get(file.offsetOf(position));
      if (image !== undefined) bytes.set(image, slot);
      if (isZero(words, slot)) continue;
      const cell = decodeCell(file, position, { words, bytes }, slot, fileBytes);
      if (typeof cell === 'object') {
        ranges.add(position, cell);
        const records = reader.decode(cell);
        if (typeof records === 'string') chunkFaults.found(position, 'chunk', records);
        if (sums === undefined || !file.sums.isRead) continue;
        sums.chunks++;
        if (!reader.isSummed(position, cell)) continue;
        sums.coveredChunks++;
        const fault = reader.fault(position, cell);
        if (fault !== undefined) chunkFinding({ file, key }, position, fault, findings);
        continue;
      }
      suspects.push({
        position,
        before: bytes.slice(slot, slot + CELL_BYTES),
        cell: { offset: integerAt(words, slot + 8), length: integerAt(words, slot + 16) },
        what: cell ?? 'there is a place of a chunk, and no index',
      });
    }
  });
  chunkFaults.end();
  const faults = new CellFaults(file, key, findings);
  const mended = new ChunkRanges();
  for (const { position, before, cell, what } of suspects) {
    const isMendable =
      isChunkInFile(file, cell, fileBytes) &&
      !ranges.touches(cell) &&
      !mended.touches(cell) &&
      isWhole(reader.decode(cell), stride);
    faults.found(position, isMendable ? 'index' : 'place', what);
    const after = new Uint8Array(CELL_BYTES);
    if (isMendable) {
      putCell(after, 0, position, cell);
      mended.add(position, cell);
    }
    faults.change(position, before, after);
  }
  faults.end();
  for (const { first, second } of ranges.overlaps()) {
    const overlap = new CellFaults(file, key, findings);
    const other = file.offsetOf(first);
    overlap.found(second, 'overlap', `its chunk shares bytes with that of the cell at ${other}`);
    overlap.end();
  }
  return ranges.count;
}

function isZero(words: Int32Array, slot: number): boolean {
  for (let word = slot >> 2; word < (slot + CELL_BYTES) >> 2; word++)
    if (words[word] !== 0) return false;
  return true;
}

/** Bytes that are no chunk can pass for plain records; then their times are in disorder. */
function isWhole(records: Uint8Array | string, stride: number): boolean {
  if (typeof records === 'string') return false;
  for (let end = 2 * stride; end <= records.length; end += stride)
    if (tickAt(records, end) < tickAt(records, end - stride)) return false;
  return true;
}
