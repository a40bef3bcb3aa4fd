/**
 * A call of `ctx.writeAll`, or one with state, as a frame: the envelope of state-entry.ts. It is taken
 * into one transaction group as a whole, so it is never split, and its size is bounded. Runs in the
 * worker; pure.
 */

import { assert } from '../kernel/base/assert.ts';
import type { Column } from '../kernel/base/column-series.ts';
import { RequestError } from '../kernel/base/errors.ts';
import { FRAME_BYTES_MAX } from '../kernel/base/limits.ts';
import { encodeRowBlock, type RowBlockTarget, rowBlockBytes } from '../kernel/base/row-block.ts';
import type { BucketSchema } from '../kernel/base/schema.ts';
import {
  ENVELOPE_HEADER_BYTES,
  type EncodedState,
  encodeEnvelopeHeader,
  encodeState,
  stateEntryBytes,
} from '../kernel/base/state-entry.ts';

/** Fitted rows of one series. */
export interface EnvelopeBlock {
  readonly seriesId: number;
  readonly schema: BucketSchema;
  readonly columns: readonly Column[];
  readonly rowCount: number;
}

export interface Envelope {
  /** Of the whole frame. */
  readonly bytes: number;
  readonly blocks: readonly EnvelopeBlock[];
  readonly changes: readonly EncodedState[];
}

/** Throws MKTS_WRITE_TOO_LARGE. */
export function envelopeOf(
  blocks: readonly EnvelopeBlock[],
  changes: readonly EncodedState[],
): Envelope {
  let bytes = ENVELOPE_HEADER_BYTES;
  for (const { schema, rowCount } of blocks) bytes += rowBlockBytes(schema, rowCount);
  for (const change of changes) bytes += stateEntryBytes(change);
  if (bytes > FRAME_BYTES_MAX)
    throw new RequestError('MKTS_WRITE_TOO_LARGE', { bytes, maxBytes: FRAME_BYTES_MAX });
  return { bytes, blocks, changes };
}

/** Writes the frame at the target. */
export function encodeEnvelope(target: RowBlockTarget, envelope: Envelope): void {
  const { bytes, blocks, changes } = envelope;
  encodeEnvelopeHeader(target, bytes, blocks.length + changes.length);
  const { view, bytes: memory } = target;
  let offset = target.offset + ENVELOPE_HEADER_BYTES;
  for (const { seriesId, columns, rowCount } of blocks) {
    const rows = { from: 0, to: rowCount };
    offset += encodeRowBlock({ view, bytes: memory, offset }, seriesId, 0, columns, rows);
  }
  for (const change of changes) offset += encodeState({ view, bytes: memory, offset }, 0, change);
  assert(offset === target.offset + bytes, 'an envelope is as long as its parts say');
}
