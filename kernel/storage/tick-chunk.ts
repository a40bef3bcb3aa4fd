/**
 * The ticks of one interval: in memory as packed records in order of arrival, on disk as a chunk,
 * which is the same records sorted by their fraction of the interval (stable), as one snappy block
 * or plain. Nothing in a file says which: the reader finds out per chunk (spec storage.md 3.2).
 */

import snappy from 'snappy';

/** The fraction, at the end of each record. */
export const TICK_BYTES = 4;
/** No snappy element makes more than 64 bytes of 3: a larger claim is not worth the memory. */
const EXPANSION_MAX = 22;
const LITERAL_WITH_LENGTH_32 = 63 << 2;

/** The fraction at the end of a record. */
export function tickAt(bytes: Uint8Array, recordEnd: number): number {
  const at = recordEnd - TICK_BYTES;
  return (
    ((bytes[at] ?? 0) |
      ((bytes[at + 1] ?? 0) << 8) |
      ((bytes[at + 2] ?? 0) << 16) |
      ((bytes[at + 3] ?? 0) << 24)) >>>
    0
  );
}

/** How many records at the start are in order. */
export function sortedPart(bytes: Uint8Array, count: number, stride: number): number {
  let last = 0;
  for (let record = 0; record < count; record++) {
    const tick = tickAt(bytes, (record + 1) * stride);
    if (tick < last) return record;
    last = tick;
  }
  return count;
}

/**
 * Sorts records whose first `sortedCount` are in order, into new memory with room for `capacity`
 * bytes; equal ticks keep their order. The old memory stays as it is: a write-back may hold it.
 */
export function sortRecords(
  bytes: Uint8Array,
  count: number,
  sortedCount: number,
  stride: number,
): Uint8Array {
  const tick = (record: number): number => tickAt(bytes, (record + 1) * stride);
  const late = new Uint32Array(count - sortedCount);
  for (let at = 0; at < late.length; at++) late[at] = sortedCount + at;
  late.sort((a, b) => tick(a) - tick(b) || a - b);
  const sorted = new Uint8Array(new ArrayBuffer((bytes.length + 7) & ~7));
  let write = 0;
  let early = 0;
  const put = (from: number, to: number): void => {
    sorted.set(bytes.subarray(from * stride, to * stride), write);
    write += (to - from) * stride;
  };
  for (const record of late) {
    const start = early;
    const bound = tick(record);
    while (early < sortedCount && tick(early) <= bound) early++;
    put(start, early);
    put(record, record + 1);
  }
  put(early, sortedCount);
  return sorted;
}

/**
 * Bytes of a chunk as stored. A chunk that shrinks more than about fourfold is kept as literals:
 * a Go server guesses the room its rows need from the stored length, and fails past it (W38).
 */
export function encodeChunk(
  records: Uint8Array,
  stride: number,
  isCompressed: boolean,
): Uint8Array {
  if (!isCompressed) return records;
  const packed = snappy.compressSync(records, { copyOutputData: true });
  const rowBytes = (records.length / stride) * (stride + 8);
  return rowBytes > 4 * packed.length ? literalBlock(records) : packed;
}

/** Records of a stored chunk, or why there are none. */
export function decodeChunk(stored: Uint8Array, stride: number): Uint8Array | string {
  const claimed = claimedLength(stored);
  if (claimed > 0 && claimed % stride === 0 && claimed <= stored.length * EXPANSION_MAX) {
    const block = uncompress(stored);
    if (block !== undefined && block.length === claimed) return block;
  }
  if (stored.length > 0 && stored.length % stride === 0) return stored;
  return `a chunk of ${stored.length} bytes is neither a snappy block nor records of ${stride} bytes`;
}

function uncompress(stored: Uint8Array): Uint8Array | undefined {
  try {
    const block = snappy.uncompressSync(stored, { asBuffer: true, copyOutputData: true });
    return typeof block === 'string' ? undefined : block;
  } catch {
    // Not a block: the caller tries the plain form, and says so if that fails too.
    return undefined;
  }
}

/** The varint at the start of a snappy block; -1 if there is none. */
function claimedLength(stored: Uint8Array): number {
  let length = 0;
  for (let at = 0, scale = 1; at < 5; at++, scale *= 128) {
    const byte = stored[at];
    if (byte === undefined) return -1;
    length += (byte & 0x7f) * scale;
    if (byte < 0x80) return length;
  }
  return -1;
}

function literalBlock(records: Uint8Array): Uint8Array {
  const head: number[] = [];
  let rest = records.length;
  for (; rest >= 128; rest = Math.floor(rest / 128)) head.push((rest % 128) | 0x80);
  head.push(rest);
  const last = records.length - 1;
  if (last < 60) head.push(last << 2);
  else
    head.push(
      LITERAL_WITH_LENGTH_32,
      last & 255,
      (last >> 8) & 255,
      (last >> 16) & 255,
      last >>> 24,
    );
  const block = new Uint8Array(head.length + records.length);
  block.set(head);
  block.set(records, head.length);
  return block;
}
