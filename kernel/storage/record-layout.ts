/**
 * Where the columns of a schema lie inside a record, and the loops that carry values between row
 * blocks (by column) and records (by row).
 *
 * Values travel as 32-bit words or bytes, never as float elements: a NaN keeps its payload. Words
 * are possible when stride, place and width are multiples of four. The loops allocate nothing.
 */

import type { ElementType } from '../base/element-type.ts';
import { LAYOUTS_SHARED_MAX } from '../base/limits.ts';
import { type BucketSchema, payloadBytesOf, recordBytesOf, tickBytesOf } from '../base/schema.ts';

/** Memory with records in it; `words` is over the same bytes. */
export interface RecordMemory {
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
}

export interface ColumnPlace {
  readonly name: string;
  readonly type: ElementType;
  /** Width of a value. */
  readonly bytes: number;
  /** From the start of the record. */
  readonly recordOffset: number;
  readonly isWords: boolean;
}

export interface RecordLayout {
  /** From one record to the next: a slot for FIXED, a stored tick for VARIABLE. */
  readonly strideBytes: number;
  readonly payloadBytes: number;
  readonly columns: readonly ColumnPlace[];
}

const INDEX_BYTES = 8;

/** Layout of slots of a FIXED bucket: `i64 index | columns | padding`. */
export function slotLayout(schema: BucketSchema): RecordLayout {
  return layout(schema, recordBytesOf(schema), INDEX_BYTES);
}

/** Layout of ticks inside a chunk: `columns | u32 fraction of the interval`. */
export function tickLayout(schema: BucketSchema): RecordLayout {
  return layout(schema, tickBytesOf(schema), 0);
}

/**
 * Buckets of the same columns share a layout: it is looked at for each block, and thousands of equal
 * ones would not stay in the processor's cache.
 */
const shared = new Map<string, RecordLayout>();

function layout(schema: BucketSchema, strideBytes: number, first: number): RecordLayout {
  const columns = schema.columns.map(({ name, type }) => [name, type.code]);
  const text = JSON.stringify([schema.recordType, columns]);
  const known = shared.get(text);
  if (known !== undefined) return known;
  const made = makeLayout(schema, strideBytes, first);
  if (shared.size < LAYOUTS_SHARED_MAX) shared.set(text, made);
  return made;
}

function makeLayout(schema: BucketSchema, strideBytes: number, first: number): RecordLayout {
  let recordOffset = first;
  const columns = schema.columns.map(({ name, type }): ColumnPlace => {
    const at = recordOffset;
    recordOffset += type.bytes;
    const isWords = strideBytes % 4 === 0 && at % 4 === 0 && type.bytes % 4 === 0;
    return { name, type, bytes: type.bytes, recordOffset: at, isWords };
  });
  return { strideBytes, payloadBytes: payloadBytesOf(schema), columns };
}

/**
 * Copies `count` packed values at `sourceAt` into the records that begin at `records[0..count)`.
 * All offsets in bytes.
 */
export function scatterColumn(
  place: ColumnPlace,
  source: RecordMemory,
  sourceAt: number,
  target: RecordMemory,
  records: Int32Array,
  count: number,
): void {
  const { bytes, recordOffset } = place;
  if (!place.isWords) {
    const from = source.bytes;
    const to = target.bytes;
    for (let row = 0, read = sourceAt; row < count; row++) {
      const write = (records[row] ?? 0) + recordOffset;
      for (let at = 0; at < bytes; at++) to[write + at] = from[read++] ?? 0;
    }
    return;
  }
  const from = source.words;
  const to = target.words;
  let read = sourceAt >> 2;
  if (bytes === 8) {
    for (let row = 0; row < count; row++, read += 2) {
      const write = ((records[row] ?? 0) + recordOffset) >> 2;
      to[write] = from[read] ?? 0;
      to[write + 1] = from[read + 1] ?? 0;
    }
  } else if (bytes === 4) {
    for (let row = 0; row < count; row++)
      to[((records[row] ?? 0) + recordOffset) >> 2] = from[read++] ?? 0;
  } else {
    for (let row = 0; row < count; row++) {
      const write = ((records[row] ?? 0) + recordOffset) >> 2;
      for (let at = 0; at < bytes >> 2; at++) to[write + at] = from[read++] ?? 0;
    }
  }
}

/** As `scatterColumn`, of one value into the record at `record`. */
export function copyValue(
  { bytes, recordOffset, isWords }: ColumnPlace,
  source: RecordMemory,
  sourceAt: number,
  target: RecordMemory,
  record: number,
): void {
  const at = record + recordOffset;
  if (isWords)
    for (let byte = 0; byte < bytes; byte += 4)
      target.words[(at + byte) >> 2] = source.words[(sourceAt + byte) >> 2] ?? 0;
  else
    for (let byte = 0; byte < bytes; byte++)
      target.bytes[at + byte] = source.bytes[sourceAt + byte] ?? 0;
}

/** The way back: values of the records at `records[0..count)`, packed at the start of `target`. */
export function gatherColumn(
  place: ColumnPlace,
  source: RecordMemory,
  records: Int32Array,
  count: number,
  target: RecordMemory,
): void {
  const { bytes, recordOffset } = place;
  if (!place.isWords) {
    const from = source.bytes;
    const to = target.bytes;
    for (let row = 0, write = 0; row < count; row++) {
      const read = (records[row] ?? 0) + recordOffset;
      for (let at = 0; at < bytes; at++) to[write++] = from[read + at] ?? 0;
    }
    return;
  }
  const from = source.words;
  const to = target.words;
  if (bytes === 8) {
    for (let row = 0, write = 0; row < count; row++, write += 2) {
      const read = ((records[row] ?? 0) + recordOffset) >> 2;
      to[write] = from[read] ?? 0;
      to[write + 1] = from[read + 1] ?? 0;
    }
  } else if (bytes === 4) {
    for (let row = 0; row < count; row++)
      to[row] = from[((records[row] ?? 0) + recordOffset) >> 2] ?? 0;
  } else {
    for (let row = 0, write = 0; row < count; row++) {
      const read = ((records[row] ?? 0) + recordOffset) >> 2;
      for (let at = 0; at < bytes >> 2; at++) to[write++] = from[read + at] ?? 0;
    }
  }
}

/** Byte offsets of a block's columns for `rowCount` rows, into `offsets`; Epoch first. */
export function blockOffsets(
  { columns }: RecordLayout,
  blockOffset: number,
  rowCount: number,
  offsets: Int32Array,
): void {
  // As row-block.ts: a header of 24 bytes, every column padded to 8.
  let at = blockOffset + 24;
  offsets[0] = at;
  at += 8 * rowCount;
  for (let column = 0; column < columns.length; column++) {
    offsets[column + 1] = at;
    at += ((columns[column]?.bytes ?? 0) * rowCount + 7) & ~7;
  }
  offsets[columns.length + 1] = at;
}
