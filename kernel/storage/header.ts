/**
 * The first 37,024 bytes of a year file: what its slots mean (FORMAT.md, spec storage.md 2.1).
 *
 * A header is the word of whoever wrote the directory, so nothing in it is believed: a bad one
 * isolates its file, never the server. On disk: never renumber.
 */

import { elementTypeOfCode } from '../base/element-type.ts';
import type { BucketSchema, ColumnShape } from '../base/schema.ts';
import { EPOCH_SHAPE, RECORD_TYPE_CODES, recordBytesOf } from '../base/schema.ts';

export const HEADER_BYTES = 37_024;
const VERSION = 2;
const DESCRIPTION = { at: 8, bytes: 256 } as const;
const YEAR_AT = 264;
const TIMEFRAME_AT = 272;
const RECORD_TYPE_AT = 280;
const ELEMENT_COUNT_AT = 288;
const RECORD_BYTES_AT = 296;
const NAMES = { at: 312, bytes: 32 } as const;
/** Columns a header has room for: more than we make, and so many may come from a Go server. */
export const HEADER_COLUMNS_MAX = 1024;
const TYPES_AT = 33_080;
/** Bytes of the reserved tail, into which the Jan 1 slot of a daily bucket reaches. */
export const RESERVED_TAIL_BYTES = 2_920;
const SECOND_NANOS = 1_000_000_000;
/** Version 1 kept intervals per day where version 2 keeps nanoseconds. */
const VERSION_1_TIMEFRAME_MAX = 86_400;

export const DESCRIPTION_OF_WRITE = 'Created By Writer';
export const DESCRIPTION_OF_CREATE = 'Default';

export interface YearHeader {
  readonly description: string;
  readonly year: number;
  readonly timeframeSeconds: number;
  readonly schema: BucketSchema;
}

export interface HeaderProblem {
  readonly reason: string;
  readonly offset: number;
}

export function encodeHeader(header: YearHeader): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  const text = new TextEncoder();
  const { schema } = header;
  putInteger(view, 0, VERSION);
  text.encodeInto(header.description, bytes.subarray(DESCRIPTION.at, YEAR_AT));
  putInteger(view, YEAR_AT, header.year);
  putInteger(view, TIMEFRAME_AT, header.timeframeSeconds * SECOND_NANOS);
  putInteger(view, RECORD_TYPE_AT, RECORD_TYPE_CODES[schema.recordType]);
  putInteger(view, ELEMENT_COUNT_AT, schema.columns.length);
  putInteger(view, RECORD_BYTES_AT, recordBytesOf(schema));
  schema.columns.forEach(({ name, type }, at) => {
    const start = NAMES.at + at * NAMES.bytes;
    text.encodeInto(name, bytes.subarray(start, start + NAMES.bytes));
    bytes[TYPES_AT + at] = type.code;
  });
  return bytes;
}

/**
 * Reads a header through `read(offset, bytes)`, which gives fewer bytes at the end of the file.
 * Only what is used is fetched: two small reads rather than 37 KB, since every file is looked at
 * when the server starts.
 */
export function decodeHeader(
  read: (offset: number, bytes: number) => Uint8Array,
): YearHeader | HeaderProblem {
  const head = read(0, 4096);
  if (head.length < NAMES.at) return problem('the file ends inside the header', head.length);
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  const version = integer(view, 0);
  const timeframeNanos = integer(view, TIMEFRAME_AT);
  if (version !== VERSION) {
    const isFirst = timeframeNanos > 0 && timeframeNanos <= VERSION_1_TIMEFRAME_MAX;
    return problem(isFirst ? 'header version 1 is not supported' : `version is ${version}`, 0);
  }
  if (timeframeNanos <= VERSION_1_TIMEFRAME_MAX && timeframeNanos > 0)
    return problem('header version 1 is not supported', TIMEFRAME_AT);
  if (timeframeNanos < SECOND_NANOS || timeframeNanos % SECOND_NANOS !== 0)
    return problem(`timeframe is ${timeframeNanos} ns`, TIMEFRAME_AT);
  const year = integer(view, YEAR_AT);
  if (!(year >= 1 && year <= 32_767)) return problem(`year is ${year}`, YEAR_AT);
  const recordType = integer(view, RECORD_TYPE_AT);
  if (recordType !== RECORD_TYPE_CODES.fixed && recordType !== RECORD_TYPE_CODES.variable)
    return problem(`record type is ${recordType}`, RECORD_TYPE_AT);
  const count = integer(view, ELEMENT_COUNT_AT);
  if (!(count >= 0 && count <= HEADER_COLUMNS_MAX))
    return problem(`number of columns is ${count}`, ELEMENT_COUNT_AT);

  const namesEnd = NAMES.at + count * NAMES.bytes;
  const names = namesEnd <= head.length ? head.subarray(NAMES.at) : read(NAMES.at, namesEnd);
  const types = count === 0 ? new Uint8Array(0) : read(TYPES_AT, count);
  if (names.length < count * NAMES.bytes || types.length < count)
    return problem('the file ends inside the header', NAMES.at);
  const columns = decodeColumns(names, types, count);
  if ('reason' in columns) return columns;

  const schema: BucketSchema = {
    recordType: recordType === RECORD_TYPE_CODES.fixed ? 'fixed' : 'variable',
    columns: columns.columns,
  };
  const recordBytes = integer(view, RECORD_BYTES_AT);
  if (recordBytes !== recordBytesOf(schema))
    return problem(
      `record length is ${recordBytes}, not ${recordBytesOf(schema)}`,
      RECORD_BYTES_AT,
    );
  return {
    description: trimmedText(head.subarray(DESCRIPTION.at, YEAR_AT), false) ?? '',
    year,
    timeframeSeconds: timeframeNanos / SECOND_NANOS,
    schema,
  };
}

function decodeColumns(
  names: Uint8Array,
  types: Uint8Array,
  count: number,
): { readonly columns: readonly ColumnShape[] } | HeaderProblem {
  const columns: ColumnShape[] = [];
  const seen = new Set<string>();
  for (let at = 0; at < count; at++) {
    const name = trimmedText(names.subarray(at * NAMES.bytes, (at + 1) * NAMES.bytes), true);
    const nameAt = NAMES.at + at * NAMES.bytes;
    if (name === undefined) return problem(`name of column ${at} is not UTF-8`, nameAt);
    if (name === '') return problem(`name of column ${at} is empty`, nameAt);
    if (name === EPOCH_SHAPE.name) return problem('Epoch is among the columns', nameAt);
    if (seen.has(name)) return problem(`column ${name} is there twice`, nameAt);
    seen.add(name);
    const type = elementTypeOfCode(types[at] ?? -1);
    if (type === undefined) return problem(`type of column ${name} is ${types[at]}`, TYPES_AT + at);
    columns.push({ name, type });
  }
  return { columns };
}

/** Text between NULs; undefined if it must be UTF-8 and is not. */
function trimmedText(bytes: Uint8Array, isStrict: boolean): string | undefined {
  try {
    const text = new TextDecoder('utf-8', { fatal: isStrict, ignoreBOM: true }).decode(bytes);
    return text.replace(/^\0+|\0+$/g, '');
  } catch {
    return undefined;
  }
}

function problem(reason: string, offset: number): HeaderProblem {
  return { reason, offset };
}

function putInteger(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setInt32(at + 4, Math.floor(value / 4_294_967_296), true);
}

function integer(view: DataView, at: number): number {
  return view.getInt32(at + 4, true) * 4_294_967_296 + view.getUint32(at, true);
}
