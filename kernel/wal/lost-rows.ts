/**
 * Whose rows a damaged stretch of the log held, as far as that can still be told: a report for people.
 * Nothing of it is applied, since no checksum says that it is right.
 *
 * Row blocks are looked for where they may begin. One counts if its bucket is defined in the segment,
 * and its length is exactly that of so many rows of that bucket.
 */

import { epochAt, ROW_BLOCK_HEADER_BYTES, rowBlockBytes } from '../base/row-block.ts';
import { rowShapesOf } from '../base/schema.ts';
import { EPOCH_END, EPOCH_MIN } from './entries.ts';
import { ENTRY_KINDS } from './format.ts';
import type { LogRows, SegmentDefinitions } from './record-entries.ts';
import type { AlignedBlock } from './segment-walk.ts';

/** Rows of one bucket in one damaged stretch. */
export interface LostRows {
  readonly key: string;
  readonly rowCount: number;
  /** First and last time among those that can be read, in Unix seconds. */
  readonly fromSeconds: number;
  readonly toSeconds: number;
}

/** What bytes [from, to) of a segment held; both multiples of 8. */
export function lostRows(
  block: AlignedBlock,
  from: number,
  to: number,
  { buckets }: SegmentDefinitions,
): readonly LostRows[] {
  const found = new Map<string, LostRows>();
  for (let at = from; at + ROW_BLOCK_HEADER_BYTES <= to; ) {
    const rows = rowsAt(block, at, to, buckets);
    if (rows === undefined) {
      at += 8;
      continue;
    }
    const { lost, bytes } = rows;
    const before = found.get(lost.key);
    found.set(lost.key, before === undefined ? lost : joined(before, lost));
    at += bytes;
  }
  return [...found.values()];
}

function rowsAt(
  { view }: AlignedBlock,
  at: number,
  to: number,
  buckets: SegmentDefinitions['buckets'],
): { readonly lost: LostRows; readonly bytes: number } | undefined {
  if (view.getUint16(at + 4, true) !== ENTRY_KINDS.rows) return undefined;
  const bytes = view.getUint32(at, true);
  const rowCount = view.getUint32(at + 12, true);
  const bucket = buckets.get(view.getUint32(at + 8, true))?.definition;
  if (bucket === undefined || rowCount === 0 || rowCount > bytes / 8 || bytes > to - at)
    return undefined;
  if (view.getUint16(at + 6, true) !== rowShapesOf(bucket.schema).length) return undefined;
  if (rowBlockBytes(bucket.schema, rowCount) !== bytes) return undefined;
  return { lost: rowsLost(bucket.key.path, { view, offset: at, rowCount }), bytes };
}

/** A row block as lost rows: times outside the calendar are left out. */
export function rowsLost(
  key: string,
  { view, offset, rowCount }: Pick<LogRows, 'view' | 'offset' | 'rowCount'>,
): LostRows {
  let fromSeconds = Number.POSITIVE_INFINITY;
  let toSeconds = Number.NEGATIVE_INFINITY;
  for (let row = 0; row < rowCount; row++) {
    const epoch = epochAt(view, offset + ROW_BLOCK_HEADER_BYTES + 8 * row);
    if (epoch < EPOCH_MIN || epoch >= EPOCH_END) continue;
    fromSeconds = Math.min(fromSeconds, epoch);
    toSeconds = Math.max(toSeconds, epoch);
  }
  return { key, rowCount, fromSeconds, toSeconds };
}

function joined(a: LostRows, b: LostRows): LostRows {
  return {
    key: a.key,
    rowCount: a.rowCount + b.rowCount,
    fromSeconds: Math.min(a.fromSeconds, b.fromSeconds),
    toSeconds: Math.max(a.toSeconds, b.toSeconds),
  };
}

/** Keys named in one line. */
const NAMED_MAX = 20;

/** 'A/1Min/BAR (3 rows, 2021-01-01T00:00:00Z to …), …'; undefined if nothing is known. */
export function lostText(lost: readonly LostRows[]): string | undefined {
  if (lost.length === 0) return undefined;
  const named = lost.slice(0, NAMED_MAX).map(({ key, rowCount, fromSeconds, toSeconds }) => {
    const times = fromSeconds <= toSeconds ? `, ${isoOf(fromSeconds)} to ${isoOf(toSeconds)}` : '';
    return `${key} (${rowCount} row${rowCount === 1 ? '' : 's'}${times})`;
  });
  const more = lost.length - named.length;
  return `${named.join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

function isoOf(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace('.000Z', 'Z');
}
