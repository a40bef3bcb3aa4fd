/**
 * Datasets ("NumpyMultiDataset", spec api.md 2.5): rows of one or several buckets, one after the
 * other, by column.
 *
 *   types  [ 'i8', 'f4' ]        startindex { 'A/1Min/X': 0, 'B/1Min/X': 2 }
 *   names  [ 'Epoch', 'Close' ]  lengths    { 'A/1Min/X': 2, 'B/1Min/X': 1 }
 *   data   [ 24 bytes, 12 bytes ]
 *
 * What clients send is checked in full before anything of it is used: the reference dies of
 * datasets whose parts do not fit each other.
 */

import { type Column, columnBytes } from '../base/column-series.ts';
import { type ElementType, elementTypeOfWire, INT32, INT64, UINT8 } from '../base/element-type.ts';
import { RequestError } from '../base/errors.ts';
import {
  type BucketSchema,
  EPOCH_SHAPE,
  NANOSECONDS_SHAPE,
  type RecordType,
} from '../base/schema.ts';
import { longKey, parseTimeBucketKey, type TimeBucketKey } from '../base/time-bucket-key.ts';
import type { Integer } from '../query/plan.ts';
import type { QueryResult } from '../query/scan.ts';
import type { AnswerWriter } from './answer-writer.ts';
import type { Field, Fields } from './fields.ts';

const TYPES: Field = { snake: 'types', go: 'ColumnTypes' };
const NAMES: Field = { snake: 'names', go: 'ColumnNames' };
const DATA: Field = { snake: 'data', go: 'ColumnData' };
const LENGTH: Field = { snake: 'length', go: 'Length' };
const START_INDEX: Field = { snake: 'startindex', go: 'StartIndex' };
const LENGTHS: Field = { snake: 'lengths', go: 'Lengths' };

/** A dataset as it came: its fields have the right types, and may contradict each other. */
export interface RawDataset {
  readonly types: readonly string[];
  readonly names: readonly string[];
  readonly data: readonly Uint8Array[];
  readonly startIndex: ReadonlyMap<string, Integer>;
  readonly lengths: ReadonlyMap<string, Integer>;
}

/** Rows for one bucket. */
export interface DatasetBatch {
  readonly key: TimeBucketKey;
  readonly schema: BucketSchema;
  readonly columns: readonly Column[];
  readonly rowCount: number;
}

/** Reads a dataset's fields. Throws MKTS_RPC_PARAMS. */
export function readDataset(fields: Fields): RawDataset {
  // Checked for its type, otherwise without meaning in a write.
  fields.integer(LENGTH);
  return {
    types: fields.texts(TYPES) ?? [],
    names: fields.texts(NAMES) ?? [],
    data: fields.blobs(DATA) ?? [],
    startIndex: fields.integers(START_INDEX),
    lengths: fields.integers(LENGTHS),
  };
}

/**
 * The rows of each bucket a dataset names; buckets without rows are left out. Throws
 * MKTS_DATASET_INVALID, MKTS_COLUMN_TYPE_UNKNOWN, MKTS_COLUMN_TYPE, and what a key throws.
 */
export function batchesOf(dataset: RawDataset, recordType: RecordType): readonly DatasetBatch[] {
  const columns = columnsOf(dataset);
  const { startIndex, lengths } = dataset;
  if (startIndex.size === 0) invalid('startindex names no bucket');
  for (const key of lengths.keys())
    if (!startIndex.has(key)) invalid(`lengths names ${key}, startindex does not`);
  const schema: BucketSchema = {
    recordType,
    columns: columns.filter(
      ({ name }) =>
        name !== EPOCH_SHAPE.name && (recordType === 'fixed' || name !== NANOSECONDS_SHAPE.name),
    ),
  };
  const batches: DatasetBatch[] = [];
  for (const [name, start] of startIndex) {
    const rowCount = lengths.get(name) ?? 0;
    if (rowCount === 0) continue;
    const rows = rowsOf(columns, name, start, rowCount);
    batches.push({ key: parseTimeBucketKey(name), schema, ...rows });
  }
  return batches;
}

function rowsOf(
  columns: readonly Column[],
  key: string,
  start: Integer,
  rowCount: Integer,
): { readonly columns: readonly Column[]; readonly rowCount: number } {
  const from = Number(start);
  const to = from + Number(rowCount);
  if (from < 0 || to < from) invalid(`rows ${start} to ${to} of ${key} cannot be`);
  return {
    columns: columns.map(({ name, type, data }) => {
      if (to * type.lanes > data.length)
        invalid(`column ${name} has ${data.length / type.lanes} values, ${key} needs ${to}`);
      return { name, type, data: data.subarray(from * type.lanes, to * type.lanes) };
    }),
    rowCount: to - from,
  };
}

function columnsOf({ types, names, data }: RawDataset): readonly Column[] {
  if (types.length !== names.length || data.length !== names.length)
    invalid(`${names.length} names, ${types.length} types, ${data.length} columns of data`);
  const columns: Column[] = [];
  const seen = new Set<string>();
  for (const [at, name] of names.entries()) {
    const wire = types[at] ?? '';
    const type = elementTypeOfWire(wire);
    if (type === undefined) throw new RequestError('MKTS_COLUMN_TYPE_UNKNOWN', { type: wire });
    if (seen.has(name)) invalid(`column ${name} is given twice`);
    seen.add(name);
    columns.push({ name, type, data: typedColumn(name, type, data[at] ?? new Uint8Array(0)) });
  }
  // Epoch must be there; Nanoseconds need not.
  for (const { name, type, isOptional } of TIME_COLUMNS) {
    const column = columns.find((candidate) => candidate.name === name);
    if (column === undefined ? !isOptional : column.type !== type)
      throw new RequestError('MKTS_COLUMN_TYPE', { column: name });
  }
  return columns;
}

const TIME_COLUMNS = [
  { name: EPOCH_SHAPE.name, type: INT64, isOptional: false },
  { name: NANOSECONDS_SHAPE.name, type: INT32, isOptional: true },
] as const;

function typedColumn(name: string, type: ElementType, bytes: Uint8Array): Column['data'] {
  const count = bytes.length / type.bytes;
  if (!Number.isInteger(count))
    invalid(`column ${name} has ${bytes.length} bytes, not a multiple of ${type.bytes}`);
  // A column lies anywhere in the body, typed arrays want it aligned; this copies to offset 0.
  const isAligned = bytes.byteOffset % (type.bytes / type.lanes) === 0;
  const aligned = isAligned ? bytes : new Uint8Array(bytes);
  return type.view(aligned.buffer, aligned.byteOffset, count);
}

function invalid(reason: string): never {
  throw new RequestError('MKTS_DATASET_INVALID', { reason });
}

/** Writes a result as a dataset. Columns of several buckets are joined on the way out. */
export function writeDataset(writer: AnswerWriter, { shapes, parts, rowCount }: QueryResult): void {
  writer.beginMap(6);
  writer.key(TYPES);
  writer.beginList(shapes.length);
  // BOOL has no name on the wire; its bytes are those of u1.
  for (const { type } of shapes) writer.text(type.wire ?? UINT8.wire ?? '');
  writer.endList();
  writer.key(NAMES);
  writer.beginList(shapes.length);
  for (const { name } of shapes) writer.text(name);
  writer.endList();
  writer.key(DATA);
  writer.beginList(shapes.length);
  for (let at = 0; at < shapes.length; at++)
    writer.blob(
      parts.map(({ series }) => {
        const data = series.columns[at]?.data;
        return data === undefined ? new Uint8Array(0) : columnBytes(data);
      }),
    );
  writer.endList();
  writer.key(LENGTH);
  writer.integer(rowCount);
  writer.key(START_INDEX);
  writer.beginMap(parts.length);
  let start = 0;
  for (const { key, series } of parts) {
    writer.key(longKey(key));
    writer.integer(start);
    start += series.rowCount;
  }
  writer.endMap();
  writer.key(LENGTHS);
  writer.beginMap(parts.length);
  for (const { key, series } of parts) {
    writer.key(longKey(key));
    writer.integer(series.rowCount);
  }
  writer.endMap();
  writer.endMap();
}
