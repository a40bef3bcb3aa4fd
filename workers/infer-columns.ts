/**
 * Rows as a plugin gives them → columns with element types. Runs in the worker; pure.
 *
 * A typed array says its type itself; a plain array is f8, Epoch is i8 and Nanoseconds i4 in any
 * form. What does not fit an existing bucket is found later, by `fitColumns`; what is no column of
 * values at all ends here.
 */

import type { Column } from '../kernel/base/column-series.ts';
import {
  BYTE,
  type ColumnData,
  type ElementType,
  FLOAT32,
  FLOAT64,
  INT16,
  INT32,
  INT64,
  UINT8,
  UINT16,
  UINT32,
  UINT64,
} from '../kernel/base/element-type.ts';
import { RequestError } from '../kernel/base/errors.ts';
import { type BucketSchema, EPOCH_SHAPE, NANOSECONDS_SHAPE } from '../kernel/base/schema.ts';
import type { Rows } from '../plugins/sdk.ts';

export interface InferredRows {
  readonly rowCount: number;
  readonly columns: readonly Column[];
}

/** Throws MKTS_COLUMN_TYPE (no Epoch), MKTS_DATASET_INVALID (lengths, values that are no numbers). */
export function inferColumns(rows: Rows): InferredRows {
  const given: unknown = rows;
  if (typeof given !== 'object' || given === null)
    throw new RequestError('MKTS_DATASET_INVALID', { reason: 'rows are an object of columns' });
  if (rows.Epoch === undefined || rows.Epoch === null)
    throw new RequestError('MKTS_COLUMN_TYPE', { column: EPOCH_SHAPE.name });
  const rowCount = rows.Epoch.length;
  const columns: Column[] = [];
  for (const name of Object.keys(rows)) {
    const values: unknown = rows[name];
    const column = columnOf(name, values);
    if (column.data.length !== rowCount)
      throw invalid(`column ${name} has ${column.data.length} values, Epoch has ${rowCount}`);
    columns.push(column);
  }
  return { rowCount, columns };
}

/** The schema a new bucket gets from its first rows, columns in their order. */
export function inferSchema(rows: InferredRows, variable: boolean): BucketSchema {
  const implied = variable ? [EPOCH_SHAPE.name, NANOSECONDS_SHAPE.name] : [EPOCH_SHAPE.name];
  return {
    recordType: variable ? 'variable' : 'fixed',
    columns: rows.columns
      .filter(({ name }) => !implied.includes(name))
      .map(({ name, type }) => ({ name, type })),
  };
}

function columnOf(name: string, values: unknown): Column {
  if (name === EPOCH_SHAPE.name) return { ...EPOCH_SHAPE, data: epochs(values) };
  if (name === NANOSECONDS_SHAPE.name) return { ...NANOSECONDS_SHAPE, data: nanoseconds(values) };
  const type = typeOf(values);
  if (type !== undefined) return { name, type, data: values as ColumnData };
  if (!Array.isArray(values)) throw invalid(`column ${name} is not an array of values`);
  if (values.length > 0 && typeof values[0] === 'bigint')
    return { name, type: INT64, data: bigints(name, values) };
  return { name, type: FLOAT64, data: numbers(name, values) };
}

/** The type a typed array says it has; undefined for anything else. */
export function typeOf(values: unknown): ElementType | undefined {
  // By frequency in market data.
  if (values instanceof Float64Array) return FLOAT64;
  if (values instanceof Float32Array) return FLOAT32;
  if (values instanceof BigInt64Array) return INT64;
  if (values instanceof Int32Array) return INT32;
  if (values instanceof Uint32Array) return UINT32;
  if (values instanceof BigUint64Array) return UINT64;
  if (values instanceof Uint8Array) return UINT8;
  if (values instanceof Int8Array) return BYTE;
  if (values instanceof Int16Array) return INT16;
  if (values instanceof Uint16Array) return UINT16;
  return undefined;
}

function epochs(values: unknown): BigInt64Array {
  if (values instanceof BigInt64Array) return values;
  const list = arrayLike(EPOCH_SHAPE.name, values);
  const data = new BigInt64Array(list.length);
  // A number is stored as two halves: about 6 ns a row, where making a bigint of it took 40.
  const halves = new Int32Array(data.buffer);
  for (let row = 0; row < list.length; row++) {
    const value = list[row];
    if (typeof value === 'number' && Number.isSafeInteger(value)) {
      halves[2 * row] = value;
      halves[2 * row + 1] = Math.floor(value / 4_294_967_296);
    } else if (typeof value === 'bigint') data[row] = value;
    else throw invalid(`Epoch ${String(value)} of row ${row} is not a whole number of seconds`);
  }
  return data;
}

function nanoseconds(values: unknown): Int32Array {
  if (values instanceof Int32Array) return values;
  const list = arrayLike(NANOSECONDS_SHAPE.name, values);
  const data = new Int32Array(list.length);
  for (let row = 0; row < list.length; row++) {
    const value = Number(list[row]);
    data[row] = value;
    if (data[row] !== value)
      throw invalid(`Nanoseconds ${String(list[row])} of row ${row} is not a 32-bit integer`);
  }
  return data;
}

function numbers(name: string, values: readonly unknown[]): Float64Array {
  const data = new Float64Array(values.length);
  for (let row = 0; row < values.length; row++) {
    const value = values[row];
    if (typeof value !== 'number')
      throw invalid(`column ${name}, row ${row}: ${String(value)} is not a number`);
    data[row] = value;
  }
  return data;
}

function bigints(name: string, values: readonly unknown[]): BigInt64Array {
  const data = new BigInt64Array(values.length);
  for (let row = 0; row < values.length; row++) {
    const value = values[row];
    if (typeof value !== 'bigint')
      throw invalid(`column ${name}, row ${row}: ${String(value)} is not a bigint`);
    data[row] = value;
    if (data[row] !== value)
      throw new RequestError('MKTS_COLUMN_LOSSY', {
        column: name,
        value: String(value),
        type: INT64.name,
        row,
      });
  }
  return data;
}

function arrayLike(name: string, values: unknown): ArrayLike<unknown> {
  if (Array.isArray(values) || ArrayBuffer.isView(values))
    return values as unknown as ArrayLike<unknown>;
  throw invalid(`column ${name} is not an array of values`);
}

function invalid(reason: string): RequestError {
  return new RequestError('MKTS_DATASET_INVALID', { reason });
}
