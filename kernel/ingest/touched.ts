/** Which times of which buckets a group wrote: what triggers are told. Pure. */

import { epochAt, ROW_BLOCK_HEADER_BYTES } from '../base/row-block.ts';
import { ENTRY_KINDS, GROUP_HEADER_BYTES } from '../wal/format.ts';
import type { TransactionGroup } from './transaction-group.ts';

export interface Touched {
  readonly bucketId: number;
  readonly originId: number;
  /** Unix seconds, both inclusive. */
  readonly from: number;
  readonly to: number;
}

/** One range per row block, in order. */
export function* touchedRanges({ view, end }: TransactionGroup): Generator<Touched> {
  let offset: number = GROUP_HEADER_BYTES;
  while (offset < end) {
    if (view.getUint16(offset + 4, true) === ENTRY_KINDS.rows) {
      const epochs = offset + ROW_BLOCK_HEADER_BYTES;
      const rowCount = view.getUint32(offset + 12, true);
      let from = Number.POSITIVE_INFINITY;
      let to = Number.NEGATIVE_INFINITY;
      for (let at = epochs; at < epochs + 8 * rowCount; at += 8) {
        const epoch = epochAt(view, at);
        if (epoch < from) from = epoch;
        if (epoch > to) to = epoch;
      }
      const bucketId = view.getUint32(offset + 8, true);
      yield { bucketId, originId: view.getUint32(offset + 16, true), from, to };
    }
    offset += view.getUint32(offset, true);
  }
}
