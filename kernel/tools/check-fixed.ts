/**
 * The slots of a FIXED year file: the index of each filled slot must be that of its place.
 *
 * Repair never makes a row of what may be none: an index with a single bit flipped is put right, any
 * other slot is emptied. Servers skip such slots, so no row that was seen goes.
 */

import { payloadBytesOf } from '../base/schema.ts';
import type { YearFile } from '../storage/year-file.ts';
import { CellFaults, isOneBitOff } from './cell-faults.ts';
import type { Findings } from './findings.ts';
import { eachSlotBatch } from './slot-batches.ts';

export interface FixedCheck {
  readonly file: YearFile;
  readonly key: string;
  /**
   * Groups wait in the log: a slot torn by a power cut, whose index did not reach the disk, is then
   * what replay mends.
   */
  readonly isReplayDue: boolean;
}

/** Returns the number of filled slots. Throws StorageError if the disk does. */
export function checkFixed({ file, key, isReplayDue }: FixedCheck, findings: Findings): number {
  const payloadBytes = payloadBytesOf(file.schema);
  const { recordBytes } = file;
  const faults = new CellFaults(file, key, findings);
  let filled = 0;
  eachSlotBatch(file, ({ first, end, words, bytes }) => {
    const emptyOf = (position: number, from: number): void =>
      faults.change(position, bytes.slice(from, from + recordBytes), new Uint8Array(recordBytes));
    for (let position = first; position < end; position++) {
      const from = (position - first) * recordBytes;
      const low = words[from >> 2] ?? 0;
      const high = words[(from >> 2) + 1] ?? 0;
      const expected = position + 1;
      const hasIndex = low !== 0 || high !== 0;
      if (low === expected && high === 0) {
        // Jan 1 of a daily bucket has index 0, like an empty slot.
        if (hasIndex || hasBytes(bytes, from + 8, payloadBytes)) filled++;
        continue;
      }
      if (!hasIndex) {
        if (isReplayDue || !hasBytes(bytes, from + 8, payloadBytes)) continue;
        faults.found(position, 'values', 'there are values, and no index');
        emptyOf(position, from);
        continue;
      }
      const index = high * 4_294_967_296 + (low >>> 0);
      if (isOneBitOff(low, high, expected)) {
        faults.found(position, 'bit', `a bit of its index is flipped: ${index}, not ${expected}`);
        const right = new Uint8Array(8);
        new DataView(right.buffer).setUint32(0, expected, true);
        faults.change(position, bytes.slice(from, from + 8), right);
      } else {
        faults.found(position, 'index', `its index is ${index}, not ${expected}`);
        emptyOf(position, from);
      }
    }
  });
  faults.end();
  return filled;
}

function hasBytes(bytes: Uint8Array, from: number, count: number): boolean {
  for (let at = from; at < from + count; at++) if (bytes[at] !== 0) return true;
  return false;
}
