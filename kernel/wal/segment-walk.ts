/**
 * The records of one segment: which are intact, in which order, and what ends them. Decides by what
 * comes after a record that is not intact (reader.ts has the rules) whether it is a torn tail, a
 * hole, or nothing at all. Throws only if the disk does.
 */

import type { Filesystem } from '../storage/filesystem.ts';
import { padded } from './entries.ts';
import {
  type Block,
  decodeRecordHeader,
  isRecordIntact,
  RECORD_HEADER_BYTES,
  RECORD_MAGIC,
  type RecordHeader,
  SEGMENT_HEADER_BYTES,
} from './format.ts';
import type { SegmentFile } from './segments.ts';

/** A larger file is not ours, whatever its name. */
const SEGMENT_BYTES_MAX = 1024 * 1024 * 1024;

export interface AlignedBlock extends Block {
  readonly words: Int32Array;
}

/** A used segment in memory. */
export interface OpenSegment {
  readonly file: SegmentFile;
  readonly block: AlignedBlock;
  readonly logId: bigint;
  readonly firstSequence: bigint;
}

export interface RecordPlace {
  readonly offset: number;
  readonly header: RecordHeader;
}

/** Records missing between two segments, up to `until`. */
export interface Gap {
  readonly offset: number;
  readonly reason: string;
  readonly until: bigint;
}

export interface SegmentVisitor {
  /** An intact record, in order. */
  onRecord(place: RecordPlace): void;
  /** A hole [offset, end) with intact records of this segment behind it. */
  onDamage(offset: number, end: number, reason: string): void;
}

export interface WalkedSegment {
  readonly records: readonly RecordPlace[];
  /** The sequence after its last record, or of the next segment's first if some are missing. */
  readonly expected: bigint;
  /** What is missing between it and the next segment. */
  readonly gap: Gap | undefined;
  /** Bytes of the record a crash cut off at the log's end. */
  readonly tornBytes: number;
}

/**
 * Memory for two segments, used again and again: fresh memory for each would cost more than reading
 * into it does.
 */
export class SegmentMemory {
  #buffers: readonly ArrayBuffer[] = [];

  /** Not cleared. Valid until a call that does not `keep` it. */
  take(bytes: number, keep: ArrayBufferLike | undefined): ArrayBuffer {
    const free = this.#buffers.find((buffer) => buffer !== keep && buffer.byteLength >= bytes);
    if (free !== undefined) return free;
    const made = new ArrayBuffer(bytes);
    this.#buffers = [...this.#buffers.filter((buffer) => buffer === keep), made];
    return made;
  }
}

/**
 * A segment's bytes, in memory that is not `keep`'s. Throws if it is longer than one of ours, or the
 * disk fails.
 */
export function readAligned(
  path: string,
  filesystem: Filesystem,
  memory: SegmentMemory,
  keep?: AlignedBlock,
): AlignedBlock {
  const file = filesystem.open(path, 'read');
  try {
    const size = file.size();
    if (size > SEGMENT_BYTES_MAX) throw new Error(`${size} bytes are more than a segment has`);
    const length = padded(size);
    const buffer = memory.take(length, keep?.bytes.buffer);
    const bytes = new Uint8Array(buffer, 0, length);
    bytes.fill(0, file.read(bytes.subarray(0, size), 0));
    return {
      bytes,
      view: new DataView(buffer, 0, length),
      words: new Int32Array(buffer, 0, length >> 2),
    };
  } finally {
    file.close();
  }
}

/** The first bytes of a segment: fewer if it is shorter than its header. */
export function readHeader(path: string, filesystem: Filesystem): Block {
  const file = filesystem.open(path, 'read');
  try {
    const bytes = new Uint8Array(SEGMENT_HEADER_BYTES);
    const found = bytes.subarray(0, file.read(bytes, 0));
    return { bytes: found, view: new DataView(bytes.buffer) };
  } finally {
    file.close();
  }
}

/**
 * Takes the records of a segment in order, and judges what ends them. `from` is the sequence
 * expected, `nextFirst` the first one of the segment after it.
 */
export function walkSegment(
  segment: OpenSegment,
  from: bigint,
  nextFirst: bigint | undefined,
  visitor: SegmentVisitor,
): WalkedSegment {
  const { block, logId } = segment;
  const records: RecordPlace[] = [];
  let expected = from;
  let offset = SEGMENT_HEADER_BYTES;
  while (true) {
    const header = decodeRecordHeader(block.view, offset);
    if (header?.logId === logId && isRecordIntact(block, offset, header)) {
      if (header.sequence > expected)
        visitor.onDamage(offset, offset, missing(expected, header.sequence));
      if (header.sequence >= expected) {
        records.push({ offset, header });
        visitor.onRecord({ offset, header });
        expected = header.sequence + 1n;
      }
      offset += RECORD_HEADER_BYTES + header.bodyBytes;
      continue;
    }
    if (nextFirst === expected) return { records, expected, gap: undefined, tornBytes: 0 };
    const later = allIntact(block, offset + 8, (found) => {
      return found.logId === logId && found.sequence >= expected;
    });
    const [first] = later;
    const isPromised =
      (nextFirst !== undefined && nextFirst > expected) ||
      later.some(({ header: { synced } }) => synced >= expected);
    if (!isPromised) {
      const torn = nextFirst === undefined ? tornBytes(segment, offset, expected, later) : 0;
      return { records, expected, gap: undefined, tornBytes: torn };
    }
    const resumed = first?.header.sequence ?? nextFirst ?? expected;
    const reason = missing(expected, resumed);
    expected = resumed;
    if (first === undefined)
      return { records, expected, gap: { offset, reason, until: resumed - 1n }, tornBytes: 0 };
    visitor.onDamage(offset, first.offset, reason);
    offset = first.offset;
  }
}

function missing(from: bigint, to: bigint): string {
  return to > from + 1n
    ? `records ${from} to ${to - 1n} are missing`
    : `record ${from} is missing or not intact`;
}

/** Bytes of what a crash left of a record; 0 if the log just ends. */
function tornBytes(
  { block, logId }: OpenSegment,
  offset: number,
  expected: bigint,
  later: readonly RecordPlace[],
): number {
  const last = later.at(-1);
  if (last !== undefined) return last.offset + RECORD_HEADER_BYTES + last.header.bodyBytes - offset;
  const rest = block.bytes.length - offset;
  if (rest < RECORD_HEADER_BYTES) return block.bytes.subarray(offset).some(Boolean) ? rest : 0;
  const header = decodeRecordHeader(block.view, offset);
  const isOfThisUse = block.view.getBigUint64(offset + 24, true) === logId;
  if (!isOfThisUse && header?.sequence !== expected) return 0;
  const bodyBytes = block.view.getUint32(offset + 8, true);
  return Math.min(RECORD_HEADER_BYTES + bodyBytes, rest);
}

/** The first record at or after `from`, at a multiple of 8, that is intact and wanted. */
export function findIntact(
  block: AlignedBlock,
  from: number,
  wants: (header: RecordHeader) => boolean,
): RecordPlace | undefined {
  const { words } = block;
  // A segment ends in megabytes of nothing as a rule: `indexOf` passes them many times faster than a loop.
  for (let word = from >> 2; ; word++) {
    word = words.indexOf(RECORD_MAGIC, word);
    if (word < 0) return undefined;
    if (word % 2 !== 0) continue;
    const offset = word * 4;
    const header = decodeRecordHeader(block.view, offset);
    if (header !== undefined && wants(header) && isRecordIntact(block, offset, header))
      return { offset, header };
  }
}

function allIntact(
  block: AlignedBlock,
  from: number,
  wants: (header: RecordHeader) => boolean,
): readonly RecordPlace[] {
  const found: RecordPlace[] = [];
  let place = findIntact(block, from, wants);
  while (place !== undefined) {
    found.push(place);
    place = findIntact(block, place.offset + RECORD_HEADER_BYTES + place.header.bodyBytes, wants);
  }
  return found;
}
