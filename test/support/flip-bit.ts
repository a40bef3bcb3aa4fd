/** Rot: one bit of a file is not what it was. */

import { closeSync, openSync, readSync, writeSync } from 'node:fs';

/** Called twice, everything is as before. */
export function flipBit(path: string, offset: number, bit: number = 0): void {
  const descriptor = openSync(path, 'r+');
  try {
    const byte = new Uint8Array(1);
    if (readSync(descriptor, byte, 0, 1, offset) !== 1) throw new Error('the file ends before');
    byte[0] = (byte[0] ?? 0) ^ (1 << bit);
    writeSync(descriptor, byte, 0, 1, offset);
  } finally {
    closeSync(descriptor);
  }
}
