/** A log on a temporary directory, and groups for it: what the tests of kernel/wal share. */

import { FLOAT32 } from '../../kernel/base/element-type.ts';
import { rowBlockBytes } from '../../kernel/base/row-block.ts';
import type { BucketSchema } from '../../kernel/base/schema.ts';
import { realFilesystem } from '../../kernel/storage/filesystem.ts';
import type { EntryTarget } from '../../kernel/wal/entries.ts';
import { inProcessLogSync } from '../../kernel/wal/log-sync.ts';
import {
  GROUP_HEADER_BYTES,
  type Origin,
  type WalGroup,
  WalWriter,
  type WalWriterOptions,
} from '../../kernel/wal/writer.ts';
import { blockOfRows } from './store.ts';

export const BARS: BucketSchema = {
  recordType: 'fixed',
  columns: [
    { name: 'Open', type: FLOAT32 },
    { name: 'Close', type: FLOAT32 },
  ],
};
export const TICKS: BucketSchema = {
  recordType: 'variable',
  columns: [{ name: 'Price', type: FLOAT32 }],
};

/** Buckets of the tests by id: odd ids hold bars, even ids ticks. */
export function bucketOf(id: number): { path: string; schema: BucketSchema } {
  return id % 2 === 1
    ? { path: `B${id}/1Min/OHLCV`, schema: BARS }
    : { path: `B${id}/1Min/TICK`, schema: TICKS };
}

export function originOf(id: number): Origin {
  return { kind: id === 0 ? 'client' : 'plugin', name: `origin ${id}`, generation: id };
}

export const SEGMENT_BYTES = 4096;

export function openLog(root: string, options: Partial<WalWriterOptions> = {}): Promise<WalWriter> {
  return WalWriter.open({
    root,
    sync: inProcessLogSync(realFilesystem),
    filesystem: realFilesystem,
    nextSequence: 1n,
    definitions: { bucket: bucketOf, origin: originOf },
    segmentBytes: SEGMENT_BYTES,
    ...options,
  });
}

/** Writes an entry where the target says; returns its bytes. */
export type RawEntry = (target: EntryTarget) => number;
export type GroupEntry =
  | {
      readonly bucket: number;
      readonly origin?: number;
      readonly rows: readonly (readonly number[])[];
    }
  | { readonly raw: RawEntry; readonly bucket?: number; readonly origin?: number };

/** A group as the ingest would hand it to the log. */
export function groupOf(...entries: readonly GroupEntry[]): WalGroup {
  const bytesMax = entries.reduce((sum, entry) => {
    if ('raw' in entry) return sum + 2048;
    return sum + rowBlockBytes(bucketOf(entry.bucket).schema, entry.rows.length);
  }, GROUP_HEADER_BYTES);
  const buffer = new SharedArrayBuffer(bytesMax);
  const bytes = new Uint8Array(buffer);
  const view = new DataView(buffer);
  const buckets = new Set<number>();
  const origins = new Set<number>();
  let at = GROUP_HEADER_BYTES;
  for (const entry of entries) {
    if (entry.bucket !== undefined) buckets.add(entry.bucket);
    if ('raw' in entry) {
      if (entry.origin !== undefined) origins.add(entry.origin);
      at += entry.raw({ view, bytes, offset: at });
      continue;
    }
    const { bucket, origin = 0, rows } = entry;
    const block = blockOfRows(bucketOf(bucket).schema, rows);
    bytes.set(block.bytes, at);
    view.setUint32(at + 8, bucket, true);
    view.setUint32(at + 16, origin, true);
    at += block.bytes.length;
    origins.add(origin);
  }
  return { buffer, bytes: at, entryCount: entries.length, buckets, origins };
}

/** A group with one bar of bucket 1 whose Open is `value`. */
export function barGroup(value: number, bucket = 1): WalGroup {
  return groupOf({ bucket, rows: [[1_600_000_000 + 60 * value, value, -value]] });
}
