/**
 * Brings the columns someone sends into the form a bucket stores: by name into the bucket's order,
 * by value into its types. The whole batch is checked before anything of it is queued.
 *
 * Two rules for values that do not fit (spec storage.md 5.1): `exact`, for plugins, refuses every
 * value that is not represented exactly, save that f8 may round to f4; `reference`, for clients of
 * the RPC, truncates and wraps as the reference's casts do, and counts what it changed. Values whose
 * cast the reference leaves to the processor (NaN or out of range to an integer) are refused by both.
 */

import type { Column } from './column-series.ts';
import {
  BOOL,
  type ColumnData,
  type ElementType,
  FLOAT32,
  FLOAT64,
  INT32,
  INT64,
  STRING16,
} from './element-type.ts';
import { RequestError } from './errors.ts';
import { YEAR_MAX, YEAR_MIN } from './limits.ts';
import {
  type BucketSchema,
  type ColumnShape,
  EPOCH_SHAPE,
  listShapes,
  NANOSECONDS_SHAPE,
  rowShapesOf,
} from './schema.ts';
import { UTC } from './zone.ts';

export type CastRule = 'exact' | 'reference';

export interface FittedColumns {
  /** In row order: Epoch, the bucket's columns, for ticks Nanoseconds in [0, 1e9). */
  readonly columns: readonly Column[];
  /** Values a `reference` cast changed by more than rounding to f4. */
  readonly lossyCount: number;
}

const SECOND_NANOS = 1_000_000_000;
const INT64_END = 2 ** 63;
/** A day inside the bounds, so that the year is in range in every time zone. */
export const EPOCH_MIN: number = UTC.yearStart(YEAR_MIN) + 86_400;
export const EPOCH_MAX: number = UTC.yearStart(YEAR_MAX + 1) - 86_400;

/** As `fitColumnsBy` with the rule `exact`. */
export function fitColumns(
  schema: BucketSchema,
  columns: readonly Column[],
  rowCount: number,
): readonly Column[] {
  return fitColumnsBy('exact', schema, columns, rowCount).columns;
}

/**
 * Throws MKTS_DATASET_INVALID (lengths), MKTS_COLUMN_TYPE (Epoch, Nanoseconds), MKTS_COLUMN_MISMATCH
 * (the set of names), MKTS_COLUMN_CAST, MKTS_COLUMN_LOSSY, MKTS_EPOCH_RANGE.
 */
export function fitColumnsBy(
  rule: CastRule,
  schema: BucketSchema,
  columns: readonly Column[],
  rowCount: number,
): FittedColumns {
  const shapes = rowShapesOf(schema);
  if (isInRowOrder(columns, shapes, rowCount)) {
    checkEpochs(columns[0]?.data);
    return { columns: withoutCarry(schema, columns), lossyCount: 0 };
  }
  const given = new Map<string, Column>();
  for (const column of columns) {
    if (given.has(column.name))
      throw new RequestError('MKTS_COLUMN_NAME', {
        column: column.name,
        reason: 'it is given twice',
      });
    given.set(column.name, column);
    const length = column.data.length / column.type.lanes;
    if (length !== rowCount)
      throw new RequestError('MKTS_DATASET_INVALID', {
        reason: `column ${column.name} has ${length} values, not ${rowCount}`,
      });
  }
  const epoch = given.get(EPOCH_SHAPE.name);
  if (epoch?.type !== INT64)
    throw new RequestError('MKTS_COLUMN_TYPE', { column: EPOCH_SHAPE.name });
  const nanoseconds = given.get(NANOSECONDS_SHAPE.name);
  if (nanoseconds !== undefined && nanoseconds.type !== INT32)
    throw new RequestError('MKTS_COLUMN_TYPE', { column: NANOSECONDS_SHAPE.name });
  if (schema.recordType === 'variable' && nanoseconds === undefined)
    given.set(NANOSECONDS_SHAPE.name, { ...NANOSECONDS_SHAPE, data: new Int32Array(rowCount) });

  if (shapes.length !== given.size || shapes.some(({ name }) => !given.has(name)))
    throw new RequestError('MKTS_COLUMN_MISMATCH', {
      have: listShapes(columns),
      want: listShapes([EPOCH_SHAPE, ...schema.columns]),
    });

  let lossyCount = 0;
  const fitted = shapes.map(({ name, type }) => {
    const column = given.get(name) ?? epoch;
    if (column.type === type) return column;
    const cast = castColumn(rule, column, type);
    lossyCount += cast.lossyCount;
    return { name, type, data: cast.data };
  });
  checkEpochs(epoch.data);
  return { columns: withoutCarry(schema, fitted), lossyCount };
}

/** What a feeder sends after its first write: nothing is to be moved or cast. */
function isInRowOrder(
  columns: readonly Column[],
  shapes: readonly ColumnShape[],
  rowCount: number,
): boolean {
  if (columns.length !== shapes.length) return false;
  for (let at = 0; at < shapes.length; at++) {
    const column = columns[at];
    const shape = shapes[at];
    if (column === undefined || shape === undefined) return false;
    if (column.name !== shape.name || column.type !== shape.type) return false;
    if (column.data.length !== rowCount * shape.type.lanes) return false;
  }
  return true;
}

function withoutCarry(schema: BucketSchema, columns: readonly Column[]): readonly Column[] {
  return schema.recordType === 'variable' ? carryNanoseconds(columns) : columns;
}

function checkEpochs(epochs: ColumnData = new BigInt64Array(0)): void {
  for (let row = 0; row < epochs.length; row++) {
    const epoch = Number(epochs[row]);
    if (epoch < EPOCH_MIN || epoch >= EPOCH_MAX)
      throw new RequestError('MKTS_EPOCH_RANGE', { epoch: String(epochs[row]), row });
  }
}

/** Nanoseconds outside a second carry into Epoch, as the reference does. */
function carryNanoseconds(columns: readonly Column[]): readonly Column[] {
  const nanoseconds = columns.at(-1)?.data;
  const given = columns[0]?.data;
  if (!(nanoseconds instanceof Int32Array && given instanceof BigInt64Array)) return columns;
  if (!nanoseconds.some((nanos) => nanos < 0 || nanos >= SECOND_NANOS)) return columns;
  const epochs = given.slice();
  const carried = nanoseconds.slice();
  for (let row = 0; row < carried.length; row++) {
    const nanos = carried[row] ?? 0;
    const seconds = Math.floor(nanos / SECOND_NANOS);
    carried[row] = nanos - seconds * SECOND_NANOS;
    epochs[row] = (epochs[row] ?? 0n) + BigInt(seconds);
  }
  return [
    { ...EPOCH_SHAPE, data: epochs },
    ...columns.slice(1, -1),
    { ...NANOSECONDS_SHAPE, data: carried },
  ];
}

function castColumn(
  rule: CastRule,
  column: Column,
  type: ElementType,
): { readonly data: ColumnData; readonly lossyCount: number } {
  if (type === STRING16 || type === BOOL || column.type === STRING16 || column.type === BOOL)
    throw new RequestError('MKTS_COLUMN_CAST', { column: column.name });
  const source = column.data;
  const target = type.view(new ArrayBuffer(source.length * type.bytes), 0, source.length);
  const toFloat = target instanceof Float32Array || target instanceof Float64Array;
  const toBig = target instanceof BigInt64Array || target instanceof BigUint64Array;
  let lossyCount = 0;
  for (let row = 0; row < source.length; row++) {
    const value = source[row] ?? 0;
    if (toFloat) target[row] = Number(value);
    else {
      const integer = typeof value === 'bigint' ? value : wholeNumber(value, column.name, type);
      // Integers go through 64 bits and wrap, as the reference's casts do.
      if (toBig) target[row] = BigInt(integer);
      else
        target[row] = Number(
          typeof integer === 'bigint' ? BigInt.asIntN(64, integer) & 0xffff_ffffn : integer,
        );
    }
    const stored = target[row] ?? 0;
    if (sameValue(value, stored) || (type === FLOAT32 && column.type === FLOAT64)) continue;
    if (rule === 'exact')
      throw new RequestError('MKTS_COLUMN_LOSSY', {
        column: column.name,
        value: String(value),
        type: type.name,
        row,
      });
    lossyCount++;
  }
  return { data: target, lossyCount };
}

/** A float without its fraction; refused where the reference's result depends on the processor. */
function wholeNumber(value: number, column: string, type: ElementType): number | bigint {
  const whole = Math.trunc(value);
  if (!(whole >= -INT64_END && whole < INT64_END))
    throw new RequestError('MKTS_COLUMN_LOSSY', { column, value: String(value), type: type.name });
  return Number.isSafeInteger(whole) ? whole : BigInt(whole);
}

function sameValue(a: number | bigint, b: number | bigint): boolean {
  if (typeof a === typeof b) return Object.is(a, b) || a === b;
  // Mixed comparison in JavaScript is exact between bigint and number.
  // biome-ignore lint/suspicious/noDoubleEquals: the exact mixed comparison is meant
  return a == b;
}
