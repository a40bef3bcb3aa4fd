/** The slots of a year file from the first to the last, in pieces that fit in memory; holes are left out. */

import type { RecordMemory } from '../storage/record-layout.ts';
import type { YearFile } from '../storage/year-file.ts';

/** Slots [first, end); slot `first` begins at byte 0. Valid until the next one. */
export interface SlotBatch extends RecordMemory {
  readonly first: number;
  readonly end: number;
}

/** Fits into a processor's cache: a year of seconds is a gigabyte, most of it holes. */
const BATCH_BYTES = 262_144;
const zeros = new Uint8Array(BATCH_BYTES);

export function eachSlotBatch(file: YearFile, visit: (batch: SlotBatch) => void): void {
  const { recordBytes, endPosition } = file;
  const slots = Math.max(1, Math.floor(BATCH_BYTES / recordBytes));
  const buffer = new ArrayBuffer(slots * recordBytes);
  const memory = { bytes: new Uint8Array(buffer), words: new Int32Array(buffer) };
  for (let first = file.filledFrom; first < endPosition; first += slots) {
    const end = Math.min(first + slots, endPosition);
    const piece = memory.bytes.subarray(0, (end - first) * recordBytes);
    file.read(piece, file.offsetOf(first));
    if (Buffer.compare(piece, zeros.subarray(0, piece.length)) !== 0)
      visit({ first, end, ...memory });
  }
}
