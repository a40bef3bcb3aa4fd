/** Which times of which buckets a group wrote or deleted: what triggers are told. */

import { assert } from '../base/assert.ts';
import { epochAt, ROW_BLOCK_HEADER_BYTES } from '../base/row-block.ts';
import type { Bucket } from '../storage/bucket.ts';
import type { Catalog } from '../storage/catalog.ts';
import { decodeDeleteRows } from '../wal/entries.ts';
import { ENTRY_KINDS, GROUP_HEADER_BYTES } from '../wal/format.ts';
import type { TransactionGroup } from './transaction-group.ts';

export interface Touched {
  readonly key: string;
  readonly originId: number;
  /** Unix seconds, both inclusive. */
  readonly from: number;
  readonly to: number;
}

type Group = Pick<TransactionGroup, 'view' | 'end'>;

/** One range per row block and deletion of an applied group, in order. */
export function* touchedRanges(
  { view, end }: Group,
  catalog: Pick<Catalog, 'bucketById'>,
): Generator<Touched> {
  for (let at: number = GROUP_HEADER_BYTES; at < end; at += view.getUint32(at, true)) {
    const kind = view.getUint16(at + 4, true);
    if (kind !== ENTRY_KINDS.rows && kind !== ENTRY_KINDS.deleteRows) continue;
    const bucket = catalog.bucketById(view.getUint32(at + 8, true));
    // Destroyed in the same group.
    if (bucket === undefined) continue;
    const touched = kind === ENTRY_KINDS.rows ? written(view, at) : deleted(view, at, bucket);
    if (touched !== undefined) yield { key: bucket.key.path, ...touched };
  }
}

function written(view: DataView, offset: number): Omit<Touched, 'key'> {
  const epochs = offset + ROW_BLOCK_HEADER_BYTES;
  const rowCount = view.getUint32(offset + 12, true);
  let from = Number.POSITIVE_INFINITY;
  let to = Number.NEGATIVE_INFINITY;
  for (let at = epochs; at < epochs + 8 * rowCount; at += 8) {
    const epoch = epochAt(view, at);
    if (epoch < from) from = epoch;
    if (epoch > to) to = epoch;
  }
  return { originId: view.getUint32(offset + 16, true), from, to };
}

/** A deletion may be of all times there are: only years with rows are told. */
function deleted(
  view: DataView,
  offset: number,
  { span }: Pick<Bucket, 'span'>,
): Omit<Touched, 'key'> | undefined {
  const deletion = decodeDeleteRows(view, offset);
  assert(deletion !== undefined, 'an entry we wrote can be read');
  if (span === undefined) return undefined;
  const { originId, times } = deletion;
  const from = Math.max(times.fromSeconds, span.from);
  const to = Math.min(times.toSeconds, span.to);
  return from <= to ? { originId, from, to } : undefined;
}
