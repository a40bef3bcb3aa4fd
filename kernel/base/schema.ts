/**
 * What a bucket holds: its record type and its columns in the order of the header.
 * `Epoch` is implied and not listed, nor is the `Nanoseconds` of a VARIABLE bucket.
 */

import { type ElementType, elementTypeOfCode, INT32, INT64 } from './element-type.ts';
import { RequestError } from './errors.ts';
import { COLUMN_NAME_BYTES_MAX, COLUMNS_MAX } from './limits.ts';

export interface ColumnShape {
  readonly name: string;
  readonly type: ElementType;
}

/** On disk: never renumber. */
export const RECORD_TYPE_CODES = { fixed: 0, variable: 1 } as const;
export type RecordType = keyof typeof RECORD_TYPE_CODES;

export interface BucketSchema {
  readonly recordType: RecordType;
  readonly columns: readonly ColumnShape[];
}

/** A schema as plain data, for another thread or a log. Types are codes. */
export interface PlainSchema {
  readonly recordType: RecordType;
  readonly columns: readonly { readonly name: string; readonly type: number }[];
}

export const EPOCH_SHAPE: ColumnShape = { name: 'Epoch', type: INT64 };
export const NANOSECONDS_SHAPE: ColumnShape = { name: 'Nanoseconds', type: INT32 };

/** Bytes of the packed columns of one row. */
export function payloadBytesOf(schema: BucketSchema): number {
  return schema.columns.reduce((bytes, { type }) => bytes + type.bytes, 0);
}

/** Stride of a slot: index and payload rounded up to 8 for FIXED, a 24-byte cell for VARIABLE. */
export function recordBytesOf(schema: BucketSchema): number {
  return schema.recordType === 'variable' ? 24 : 8 + 8 * Math.ceil(payloadBytesOf(schema) / 8);
}

/** Bytes of one stored tick: the packed columns and a u32 fraction of the interval. */
export function tickBytesOf(schema: BucketSchema): number {
  return payloadBytesOf(schema) + 4;
}

/** Columns as rows carry them: Epoch first, and for ticks Nanoseconds last. */
export function rowShapesOf(schema: BucketSchema): readonly ColumnShape[] {
  let shapes = rowShapes.get(schema);
  if (shapes === undefined) {
    shapes =
      schema.recordType === 'variable'
        ? [EPOCH_SHAPE, ...schema.columns, NANOSECONDS_SHAPE]
        : [EPOCH_SHAPE, ...schema.columns];
    rowShapes.set(schema, shapes);
  }
  return shapes;
}

/** Asked for with every write; a schema never changes. */
const rowShapes = new WeakMap<BucketSchema, readonly ColumnShape[]>();

/**
 * Checks a schema someone asks for. Throws MKTS_COLUMN_COUNT, MKTS_COLUMN_NAME.
 * Names longer than the header has room for are refused, where the reference cuts them in silence.
 */
export function checkSchema(schema: BucketSchema): void {
  if (schema.columns.length > COLUMNS_MAX)
    throw new RequestError('MKTS_COLUMN_COUNT', {
      max: COLUMNS_MAX,
      count: schema.columns.length,
    });
  const seen = new Set<string>();
  for (const { name } of schema.columns) {
    const reason = columnNameProblem(name, schema.recordType, seen);
    if (reason !== undefined) throw new RequestError('MKTS_COLUMN_NAME', { column: name, reason });
    seen.add(name);
  }
}

function columnNameProblem(
  name: string,
  recordType: RecordType,
  seen: ReadonlySet<string>,
): string | undefined {
  if (name === '') return 'it is empty';
  if (name.includes('\0')) return 'it holds a NUL';
  if (Buffer.byteLength(name) > COLUMN_NAME_BYTES_MAX)
    return `it is longer than ${COLUMN_NAME_BYTES_MAX} bytes`;
  if (name === EPOCH_SHAPE.name) return 'Epoch is implied';
  if (recordType === 'variable' && name === NANOSECONDS_SHAPE.name)
    return 'Nanoseconds is implied in a variable-length bucket';
  return seen.has(name) ? 'it is given twice' : undefined;
}

export function toPlainSchema(schema: BucketSchema): PlainSchema {
  return {
    recordType: schema.recordType,
    columns: schema.columns.map(({ name, type }) => ({ name, type: type.code })),
  };
}

/** Undefined if a type code is not known. */
export function fromPlainSchema(plain: PlainSchema): BucketSchema | undefined {
  const columns: ColumnShape[] = [];
  for (const { name, type } of plain.columns) {
    const element = elementTypeOfCode(type);
    if (element === undefined) return undefined;
    columns.push({ name, type: element });
  }
  return { recordType: plain.recordType, columns };
}

/** True if both have the same record type and the same columns in the same order. */
export function sameSchema(a: BucketSchema, b: BucketSchema): boolean {
  return (
    a.recordType === b.recordType &&
    a.columns.length === b.columns.length &&
    a.columns.every(
      ({ name, type }, at) => name === b.columns[at]?.name && type === b.columns[at]?.type,
    )
  );
}

/** `{Epoch INT64} {A FLOAT32}`: how error texts list columns. */
export function listShapes(shapes: readonly ColumnShape[]): string {
  return `[${shapes.map(({ name, type }) => `{${name} ${type.name}}`).join(' ')}]`;
}
