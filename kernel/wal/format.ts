/**
 * Bytes of the log: the header of a segment, the header of a record, and how both are sealed.
 * FORMAT.md beside this file gives the whole grammar; `entries.ts` has the bodies.
 *
 *   segment   header (64 bytes), then records, back to back, each beginning at a multiple of 8;
 *             what follows the last record is zeros, or stale bytes of an earlier use of the file
 *   record    header (40 bytes), then entries
 *
 * On disk: never reorder, never renumber. All integers little-endian. Both headers begin with a
 * magic and a CRC-32 over everything behind it, so that one rule seals both.
 */

import { crc32 } from 'node:zlib';

export const SEGMENT_HEADER_BYTES = 64;
export const RECORD_HEADER_BYTES = 40;
/** Room the owner of a group buffer leaves free at its start: the record's header goes there. */
export const GROUP_HEADER_BYTES: number = RECORD_HEADER_BYTES;

export const SEGMENT_MAGIC = 0x4753_4b4d; // 'MKSG'
export const RECORD_MAGIC = 0x4352_4b4d; // 'MKRC'
export const FORMAT_VERSION = 1;

/** Kinds of entries. 1 is row-block.ts's ROW_BLOCK_KIND, 9 state-entry.ts's STATE_KIND. */
export const ENTRY_KINDS = {
  rows: 1,
  bucket: 2,
  origin: 3,
  createYear: 4,
  destroy: 5,
  checkpointIntent: 6,
  checkpointComplete: 7,
  owed: 8,
  state: 9,
  deleteRows: 10,
} as const;

export interface SegmentHeader {
  /** The number in the file's name; another one means the file waits to be used again. */
  readonly number: number;
  /** Random for each use of a file: no record of an earlier use carries it. */
  readonly logId: bigint;
  /** Sequence of the first record. */
  readonly firstSequence: bigint;
  /** Newest completed checkpoint when the segment was begun. */
  readonly checkpointed: bigint;
}

export interface RecordHeader {
  readonly bodyBytes: number;
  readonly entryCount: number;
  readonly sequence: bigint;
  readonly logId: bigint;
  /** Newest record that was known to be on the device when this one was written. */
  readonly synced: bigint;
}

/** Memory of a header and what follows it. */
export interface Block {
  readonly view: DataView;
  readonly bytes: Uint8Array;
}

export function encodeSegmentHeader({ view, bytes }: Block, header: SegmentHeader): void {
  bytes.fill(0, 0, SEGMENT_HEADER_BYTES);
  view.setUint32(0, SEGMENT_MAGIC, true);
  view.setUint32(8, FORMAT_VERSION, true);
  view.setBigUint64(16, BigInt(header.number), true);
  view.setBigUint64(24, header.logId, true);
  view.setBigUint64(32, header.firstSequence, true);
  view.setBigUint64(40, header.checkpointed, true);
}

/**
 * `unused`: all zeros, or shorter than a header (preparation was cut short). Undefined: bytes that
 * are neither unused nor a header.
 */
export function decodeSegmentHeader({ view, bytes }: Block): SegmentHeader | 'unused' | undefined {
  if (bytes.length < SEGMENT_HEADER_BYTES) return isZero(bytes) ? 'unused' : undefined;
  const header = bytes.subarray(0, SEGMENT_HEADER_BYTES);
  if (isZero(header)) return 'unused';
  if (view.getUint32(0, true) !== SEGMENT_MAGIC) return undefined;
  if (view.getUint32(4, true) !== checksum(header)) return undefined;
  if (view.getUint32(8, true) !== FORMAT_VERSION) return undefined;
  const number = view.getBigUint64(16, true);
  if (number > BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
  return {
    number: Number(number),
    logId: view.getBigUint64(24, true),
    firstSequence: view.getBigUint64(32, true),
    checkpointed: view.getBigUint64(40, true),
  };
}

/** Writes all of a record's header but its CRC, which the sync thread adds. */
export function encodeRecordHeader(view: DataView, offset: number, header: RecordHeader): void {
  view.setUint32(offset, RECORD_MAGIC, true);
  view.setUint32(offset + 4, 0, true);
  view.setUint32(offset + 8, header.bodyBytes, true);
  view.setUint32(offset + 12, header.entryCount, true);
  view.setBigUint64(offset + 16, header.sequence, true);
  view.setBigUint64(offset + 24, header.logId, true);
  view.setBigUint64(offset + 32, header.synced, true);
}

/** The header at `offset` if the magic is there, whatever the rest says; does not look at the CRC. */
export function decodeRecordHeader(view: DataView, offset: number): RecordHeader | undefined {
  if (offset + RECORD_HEADER_BYTES > view.byteLength) return undefined;
  if (view.getUint32(offset, true) !== RECORD_MAGIC) return undefined;
  return {
    bodyBytes: view.getUint32(offset + 8, true),
    entryCount: view.getUint32(offset + 12, true),
    sequence: view.getBigUint64(offset + 16, true),
    logId: view.getBigUint64(offset + 24, true),
    synced: view.getBigUint64(offset + 32, true),
  };
}

/** True if the record whose header is at `offset` lies within `block` and has its CRC. */
export function isRecordIntact(block: Block, offset: number, header: RecordHeader): boolean {
  const end = offset + RECORD_HEADER_BYTES + header.bodyBytes;
  return (
    header.bodyBytes % 8 === 0 &&
    end <= block.bytes.length &&
    block.view.getUint32(offset + 4, true) === checksum(block.bytes.subarray(offset, end))
  );
}

/** Stores the CRC of a header and all behind it: `bytes` is exactly what will be written. */
export function seal({ view, bytes }: Block): void {
  view.setUint32(4, checksum(bytes), true);
}

/** CRC-32 of all behind the magic and the CRC itself. */
function checksum(bytes: Uint8Array): number {
  return crc32(bytes.subarray(8));
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}
