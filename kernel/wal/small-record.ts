/**
 * Records that are not a group: definitions, checkpoints. Their entries are made here and there and
 * gathered, so they are kept small: a record is laid out in memory whole. Pure.
 */

import { RECORD_HEADER_BYTES } from './format.ts';

/** Bytes such a record may reach before it is split; a group names many buckets at most once. */
export const SMALL_RECORD_BYTES: number = 1024 * 1024;

export interface SmallRecord {
  readonly entries: readonly Uint8Array[];
  readonly bodyBytes: number;
}

/** Gathers entries, in order, into records of at most `bytesMax` each, or of one entry. */
export function splitEntries(
  entries: readonly Uint8Array[],
  bytesMax: number,
): readonly SmallRecord[] {
  const records: SmallRecord[] = [];
  let part: Uint8Array[] = [];
  let bodyBytes = 0;
  for (const entry of entries) {
    if (part.length > 0 && bodyBytes + entry.length > bytesMax) {
      records.push({ entries: part, bodyBytes });
      part = [];
      bodyBytes = 0;
    }
    part.push(entry);
    bodyBytes += entry.length;
  }
  if (part.length > 0) records.push({ entries: part, bodyBytes });
  return records;
}

/** Bytes of records in a segment, with their headers. */
export function bytesOf(records: readonly SmallRecord[]): number {
  return records.reduce((bytes, { bodyBytes }) => bytes + RECORD_HEADER_BYTES + bodyBytes, 0);
}
