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

/** Every page of a year file, empty ones too; `bytes` are valid until the next one. */
export function eachPage(file: YearFile, visit: (page: number, bytes: Uint8Array) => void): void {
  const { layout } = file.sums;
  const { from, to, pageBytes } = layout.slots;
  // Slots longer than the tail of the header: that of Jan 1 would begin before the file.
  if (from < 0) return;
  const batchPages = Math.max(1, Math.floor(BATCH_BYTES / pageBytes));
  const buffer = new Uint8Array(batchPages * pageBytes);
  for (let first = 0; first < layout.pageCount; first += batchPages) {
    const { offset } = layout.placeOf(first);
    const batch = buffer.subarray(0, Math.min(buffer.length, to - offset));
    file.read(batch, offset);
    for (let at = 0; at < batch.length; at += pageBytes)
      visit(first + at / pageBytes, batch.subarray(at, at + pageBytes));
  }
}

export function isEmpty(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += zeros.length) {
    const piece = bytes.subarray(at, at + zeros.length);
    if (Buffer.compare(piece, zeros.subarray(0, piece.length)) !== 0) return false;
  }
  return true;
}

export function eachSlotBatch(file: YearFile, visit: (batch: SlotBatch) => void): void {
  const { recordBytes, endPosition } = file;
  const slots = Math.max(1, Math.floor(BATCH_BYTES / recordBytes));
  const buffer = new ArrayBuffer(slots * recordBytes);
  const memory = { bytes: new Uint8Array(buffer), words: new Int32Array(buffer) };
  for (let first = file.filledFrom; first < endPosition; first += slots) {
    const end = Math.min(first + slots, endPosition);
    const piece = memory.bytes.subarray(0, (end - first) * recordBytes);
    file.read(piece, file.offsetOf(first));
    if (!isEmpty(piece)) visit({ first, end, ...memory });
  }
}
