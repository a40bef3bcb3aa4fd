/**
 * Frames of a ring that were refused, as bytes one behind the other: how many rows they hold, and
 * the rows themselves, once somebody wants them written after all. Pure.
 *
 * The bytes were copied out of memory a plugin can write. Nothing in them is believed: a length that
 * does not fit ends it, and what comes out is rows to be checked as those of any write.
 */

import type { Column } from './column-series.ts';
import {
  decodeRowBlock,
  ROW_BLOCK_HEADER_BYTES,
  ROW_BLOCK_KIND,
  rowBlockBytes,
} from './row-block.ts';
import type { BucketSchema } from './schema.ts';
import { ENVELOPE_HEADER_BYTES, ENVELOPE_KIND } from './state-entry.ts';

/** A row block in a frame. */
export interface RefusedBlock {
  readonly seriesId: number;
  readonly rowCount: number;
  readonly offset: number;
  readonly bytes: number;
}

/** The row blocks of frames; undefined: they are not frames. */
export function refusedBlocks(bytes: Uint8Array): readonly RefusedBlock[] | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const blocks: RefusedBlock[] = [];
  let end = 0;
  for (let at = 0; at < bytes.length; ) {
    const size = sizeAt(view, at, bytes.length);
    if (size === undefined) return undefined;
    const kind = view.getUint16(at + 4, true);
    if (kind === ENVELOPE_KIND) {
      // Its entries follow its header, and are walked as if they were frames.
      if (at < end) return undefined;
      end = at + size;
      at += ENVELOPE_HEADER_BYTES;
      continue;
    }
    if (kind === ROW_BLOCK_KIND) {
      if (size < ROW_BLOCK_HEADER_BYTES) return undefined;
      const seriesId = view.getUint32(at + 8, true);
      const rowCount = view.getUint32(at + 12, true);
      // A row has an Epoch at least.
      if (rowCount > size / 8) return undefined;
      blocks.push({ seriesId, rowCount, offset: at, bytes: size });
    }
    at += size;
  }
  return blocks;
}

/** Rows of a block, copied; undefined: its bytes are not those of its rows. */
export function refusedColumns(
  bytes: Uint8Array,
  { offset, bytes: size, rowCount }: RefusedBlock,
  schema: BucketSchema,
): readonly Column[] | undefined {
  if (rowCount === 0 || rowBlockBytes(schema, rowCount) !== size) return undefined;
  // Not `slice`: that of a Buffer is a view, and columns are read from aligned memory of their own.
  const copy = new Uint8Array(bytes.subarray(offset, offset + size));
  return decodeRowBlock(copy.buffer, 0, schema, rowCount);
}

function sizeAt(view: DataView, at: number, end: number): number | undefined {
  if (end - at < ENVELOPE_HEADER_BYTES) return undefined;
  const size = view.getUint32(at, true);
  return size >= ENVELOPE_HEADER_BYTES && size % 8 === 0 && size <= end - at ? size : undefined;
}
