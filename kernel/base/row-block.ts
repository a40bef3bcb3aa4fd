/**
 * A row block: rows of one series as bytes, the form in which a record travels from a plugin's
 * ring through the transaction group into the log, each step copying it at most once.
 *
 *   +0   u32  blockBytes    the whole block, a multiple of 8
 *   +4   u16  kind          1 = rows; other kinds belong to the log (wal/format.ts)
 *   +6   u16  columnCount   incl. Epoch and, for ticks, Nanoseconds
 *   +8   u32  seriesId      in a ring: the plugin's number of the series; in the log: the bucket's
 *   +12  u32  rowCount
 *   +16  u32  originId      in the log: who wrote it; in a ring: 0
 *   +20  u32  reserved      0
 *   +24  Epoch   i64[rowCount]                       whole Unix seconds
 *        columns in the bucket's order, packed values, each column padded with zeros to 8 bytes
 *        ticks: Nanoseconds i32[rowCount] last, padded to 8 bytes
 *
 * On disk (inside the log): never reorder. All integers little-endian; a block starts at a multiple
 * of 8, so that every column can be read through a typed array.
 */

import type { Column } from './column-series.ts';
import { columnBytes } from './column-series.ts';
import type { BucketSchema } from './schema.ts';
import { rowShapesOf } from './schema.ts';

export const ROW_BLOCK_HEADER_BYTES = 24;
export const ROW_BLOCK_KIND = 1;
const FEW_ROWS = 16;

/** Bytes of a block of `rowCount` rows of a schema. */
export function rowBlockBytes(schema: BucketSchema, rowCount: number): number {
  let bytes = ROW_BLOCK_HEADER_BYTES + 8 * rowCount;
  for (const { type } of schema.columns) bytes += padded(type.bytes * rowCount);
  if (schema.recordType === 'variable') bytes += padded(4 * rowCount);
  return bytes;
}

/** Largest number of rows whose block has at most `bytesMax` bytes. */
export function rowsPerBlock(schema: BucketSchema, bytesMax: number): number {
  let rowBytes = 8;
  for (const { type } of schema.columns) rowBytes += type.bytes;
  if (schema.recordType === 'variable') rowBytes += 4;
  const paddingBytes = 8 * (schema.columns.length + 1);
  return Math.floor((bytesMax - ROW_BLOCK_HEADER_BYTES - paddingBytes) / rowBytes);
}

export interface RowBlockTarget {
  /** View and bytes over the same memory. */
  readonly view: DataView;
  readonly bytes: Uint8Array;
  /** Where the block begins: a multiple of 8, with `rowBlockBytes` bytes of room. */
  readonly offset: number;
}

/**
 * Writes a block. `columns` are in row order (Epoch, the bucket's columns, for ticks Nanoseconds)
 * with exactly the bucket's types. Returns the block's bytes.
 */
export function encodeRowBlock(
  target: RowBlockTarget,
  seriesId: number,
  originId: number,
  columns: readonly Column[],
  rows: { readonly from: number; readonly to: number },
): number {
  const { view, bytes, offset } = target;
  const rowCount = rows.to - rows.from;
  let at = offset + ROW_BLOCK_HEADER_BYTES;
  for (const { type, data } of columns) {
    const size = rowCount * type.bytes;
    // A view costs more than a few values do; V8 moves doubles without changing their bits.
    if (rowCount <= FEW_ROWS && data instanceof Float64Array)
      for (let row = 0; row < rowCount; row++)
        view.setFloat64(at + 8 * row, data[rows.from + row] ?? 0, true);
    else bytes.set(columnBytes(data, rows.from * type.bytes, size), at);
    const end = at + padded(size);
    if (end !== at + size) bytes.fill(0, at + size, end);
    at = end;
  }
  view.setUint32(offset, at - offset, true);
  view.setUint16(offset + 4, ROW_BLOCK_KIND, true);
  view.setUint16(offset + 6, columns.length, true);
  view.setUint32(offset + 8, seriesId, true);
  view.setUint32(offset + 12, rowCount, true);
  view.setUint32(offset + 16, originId, true);
  view.setUint32(offset + 20, 0, true);
  return at - offset;
}

/** Where each column of a block begins, relative to the block, and where the block ends. */
export interface RowBlockLayout {
  readonly columnOffsets: readonly number[];
  readonly blockBytes: number;
}

/** Layout of a block of `rowCount` rows. */
export function rowBlockLayout(schema: BucketSchema, rowCount: number): RowBlockLayout {
  const recent = recentLayouts.get(schema);
  if (recent?.rowCount === rowCount) return recent;
  const columnOffsets: number[] = [];
  let at = ROW_BLOCK_HEADER_BYTES;
  for (const { type } of rowShapesOf(schema)) {
    columnOffsets.push(at);
    at += padded(type.bytes * rowCount);
  }
  const layout = { rowCount, columnOffsets, blockBytes: at };
  recentLayouts.set(schema, layout);
  return layout;
}

/** A feeder writes blocks of one size mostly: the last layout of a schema is mostly the next. */
const recentLayouts = new WeakMap<BucketSchema, RowBlockLayout & { readonly rowCount: number }>();

/** Views of a block's columns, in row order; valid as long as the memory below is not reused. */
export function decodeRowBlock(
  buffer: ArrayBufferLike,
  offset: number,
  schema: BucketSchema,
  rowCount: number,
): readonly Column[] {
  const { columnOffsets } = rowBlockLayout(schema, rowCount);
  return rowShapesOf(schema).map(({ name, type }, at) => ({
    name,
    type,
    data: type.view(buffer, offset + (columnOffsets[at] ?? 0), rowCount),
  }));
}

/** An i64 of whole seconds as a number: exact for every instant of the years 1 to 9999. */
export function epochAt(view: DataView, byteOffset: number): number {
  return view.getInt32(byteOffset + 4, true) * 4_294_967_296 + view.getUint32(byteOffset, true);
}

function padded(bytes: number): number {
  return (bytes + 7) & ~7;
}
