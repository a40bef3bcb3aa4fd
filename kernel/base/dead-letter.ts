/**
 * Dead letters: rows, frames and messages of a plugin that could not be taken, with the reason, so
 * that an operator can see them, mend the cause, and have them written after all. Plain data, all of
 * it JSON; pure. Made in the worker (workers/plugin-letters.ts) and by the drain, kept by
 * kernel/supervisor/dead-letters.ts.
 *
 * Rows are kept as they were given, by column: numbers as numbers, and what JSON has no word for
 * (64-bit integers, NaN, the infinities, -0) as text. With the type of the column they come back as
 * the very same values. Frames are kept as bytes, since the drain has no time to take them apart.
 *
 * On disk, one object a line: a change of meaning is a new name.
 */

import type { Column } from './column-series.ts';
import { elementTypeOfName, INT32, INT64 } from './element-type.ts';
import { RequestError } from './errors.ts';
import { COLUMNS_MAX, LETTER_BYTES_MAX, LETTER_REASON_MAX } from './limits.ts';
import type { PlainSchema } from './schema.ts';

export type LetterValue = number | string | boolean | null;

export interface LetterColumn {
  readonly name: string;
  /** 'FLOAT64'; undefined: values of no one type. */
  readonly type?: string | undefined;
  readonly values: readonly LetterValue[];
}

/** Rows of one key as the plugin gave them. */
export interface LetterRows {
  readonly key: string;
  readonly variable: boolean;
  readonly columns: readonly LetterColumn[];
}

/** As it comes from a worker. */
export interface PlainDeadLetter {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly code?: string | undefined;
  readonly reason: string;
  readonly rowCount: number;
  readonly rows?: readonly LetterRows[] | undefined;
  /** A message the plugin could not read: as it came, or as JSON. */
  readonly payload?: string | undefined;
}

/** A bucket rows of a frame belong to. */
export interface LetterSeries {
  readonly id: number;
  readonly key: string;
  readonly schema: PlainSchema;
}

/** As it is kept. */
export interface DeadLetter {
  /** Grows with each letter of its plugin. */
  readonly id: number;
  /** ISO 8601, UTC. */
  readonly time: string;
  readonly generation: number;
  readonly code?: string | undefined;
  readonly reason: string;
  readonly rowCount: number;
  readonly rows?: readonly LetterRows[] | undefined;
  readonly payload?: string | undefined;
  /** Frames as they were in the ring, one behind the other, base64. */
  readonly frames?: string | undefined;
  /** What the rows of `frames` belong to; undefined: the frame is damaged. */
  readonly series?: readonly LetterSeries[] | undefined;
}

/** A letter in a list. */
export interface LetterInfo {
  readonly id: number;
  readonly time: string;
  readonly generation: number;
  readonly code?: string | undefined;
  readonly reason: string;
  readonly rowCount: number;
  readonly keys: readonly string[];
  /** Of its line in the file. */
  readonly bytes: number;
  /** It holds rows that can be tried again. */
  readonly isReplayable: boolean;
  /** The beginning of what was refused. */
  readonly excerpt: string;
}

/** The answer to a list. */
export interface LetterList {
  /** Newest last. */
  readonly letters: readonly LetterInfo[];
  /** Of all that are kept. */
  readonly count: number;
  readonly bytes: number;
  /** Since the server started: letters that were not kept, or gave way to newer ones. */
  readonly dropped: number;
}

/** The answer to a replay. */
export interface ReplayAnswer {
  readonly replayed: readonly { readonly id: number; readonly rowCount: number }[];
  readonly refused: readonly { readonly id: number; readonly reason: string }[];
}

/** A value as a letter holds it. */
export function letterValue(value: unknown): LetterValue {
  switch (typeof value) {
    case 'number':
      if (Number.isFinite(value) && !Object.is(value, -0)) return value;
      return Object.is(value, -0) ? '-0' : String(value);
    case 'string':
      return value;
    case 'boolean':
      return value;
    case 'bigint':
      return String(value);
    default:
      return value === null || value === undefined ? null : Object.prototype.toString.call(value);
  }
}

/** The columns a letter holds, to be fitted as those of a write. Throws MKTS_DATASET_INVALID. */
export function letterColumns({ columns }: LetterRows): {
  readonly rowCount: number;
  readonly columns: readonly Column[];
} {
  const rowCount = columns.find(({ name }) => name === 'Epoch')?.values.length;
  if (rowCount === undefined) throw invalid('its rows have no Epoch');
  return { rowCount, columns: columns.map((column) => typedColumn(column, rowCount)) };
}

function typedColumn({ name, type: typeName, values }: LetterColumn, rowCount: number): Column {
  const implied = name === 'Epoch' ? INT64 : name === 'Nanoseconds' ? INT32 : undefined;
  const type = implied ?? (typeName === undefined ? undefined : elementTypeOfName(typeName));
  if (type === undefined) throw invalid(`column ${name} is no column of numbers`);
  if (values.length !== rowCount)
    throw invalid(`column ${name} has ${values.length} values, Epoch has ${rowCount}`);
  const data = type.view(new ArrayBuffer(rowCount * type.bytes), 0, rowCount);
  values.forEach((value, row) => {
    const isBig = data instanceof BigInt64Array || data instanceof BigUint64Array;
    const text = String(value);
    const isValue =
      typeof value === 'number' || (typeof value === 'string' && (isBig || isNoJson(text)));
    if (!isValue || (isBig && !/^-?\d{1,20}$/.test(text)))
      throw invalid(`column ${name}, row ${row}: ${text} is not a ${isBig ? 'whole ' : ''}number`);
    if (isBig) data[row] = BigInt(text);
    else data[row] = Number(value);
    // An Epoch given as a number is a 64-bit integer, Nanoseconds are 32 bits.
    if (
      String(data[row]) !== text &&
      Number(data[row]) !== Number(value) &&
      !Number.isNaN(data[row])
    )
      throw invalid(`column ${name}, row ${row}: ${text} does not fit ${type.name}`);
  });
  return { name, type, data };
}

function isNoJson(text: string): boolean {
  return text === 'NaN' || text === 'Infinity' || text === '-Infinity' || text === '-0';
}

function invalid(reason: string): RequestError {
  return new RequestError('MKTS_DATASET_INVALID', { reason });
}

/** A check of what a worker sent, or a file holds. Sizes of texts are for the caller to bound. */
export function isPlainLetter(value: unknown): value is PlainDeadLetter {
  if (!isRecord(value)) return false;
  const { at, code, reason, rowCount, rows, payload } = value;
  return (
    Number.isFinite(at) &&
    Math.abs(Number(at)) <= 8.64e15 &&
    isOptional('string', code) &&
    typeof reason === 'string' &&
    reason.length <= 2 * LETTER_REASON_MAX &&
    isCount(rowCount) &&
    isOptional('string', payload) &&
    (rows === undefined || (Array.isArray(rows) && rows.every(isLetterRows)))
  );
}

export function isDeadLetter(value: unknown): value is DeadLetter {
  if (!isRecord(value)) return false;
  const { id, time, generation, code, reason, rowCount, rows, payload, frames, series } = value;
  return (
    isCount(id) &&
    typeof time === 'string' &&
    isCount(generation) &&
    isOptional('string', code) &&
    typeof reason === 'string' &&
    isCount(rowCount) &&
    isOptional('string', payload) &&
    isOptional('string', frames) &&
    (rows === undefined || (Array.isArray(rows) && rows.every(isLetterRows))) &&
    (series === undefined || (Array.isArray(series) && series.every(isLetterSeries)))
  );
}

function isLetterRows(value: unknown): value is LetterRows {
  return (
    isRecord(value) &&
    typeof value.key === 'string' &&
    typeof value.variable === 'boolean' &&
    Array.isArray(value.columns) &&
    // One of each that is implied, and one more, which the write then refuses.
    value.columns.length <= COLUMNS_MAX + 3 &&
    value.columns.every(
      (column) =>
        isRecord(column) &&
        typeof column.name === 'string' &&
        isOptional('string', column.type) &&
        Array.isArray(column.values) &&
        column.values.length <= LETTER_BYTES_MAX &&
        column.values.every(isLetterValue),
    )
  );
}

function isLetterValue(value: unknown): value is LetterValue {
  return value === null || ['number', 'string', 'boolean'].includes(typeof value);
}

function isLetterSeries(value: unknown): value is LetterSeries {
  if (!isRecord(value) || !isCount(value.id) || typeof value.key !== 'string') return false;
  const { schema } = value;
  if (!isRecord(schema) || !Array.isArray(schema.columns)) return false;
  return (
    (schema.recordType === 'fixed' || schema.recordType === 'variable') &&
    schema.columns.every(
      (column) =>
        isRecord(column) && typeof column.name === 'string' && typeof column.type === 'number',
    )
  );
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isOptional(type: string, value: unknown): boolean {
  return value === undefined || typeof value === type;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
