/**
 * Buckets in memory, by the rules of the real ones: a bucket gets its columns from its first rows,
 * later rows must fit them exactly, a bar is kept by the slot it lies in and the last one wins, and
 * ticks keep every row. What a server refuses is refused here, with the same code.
 */

import type { Column } from '../../kernel/base/column-series.ts';
import { INT64, UINT64 } from '../../kernel/base/element-type.ts';
import { fitColumns } from '../../kernel/base/fit-columns.ts';
import { type BucketSchema, checkSchema } from '../../kernel/base/schema.ts';
import {
  parseNewTimeBucketKey,
  parseTimeBucketKey,
  type TimeBucketKey,
} from '../../kernel/base/time-bucket-key.ts';
import { inferColumns, inferSchema } from '../../workers/infer-columns.ts';
import type { KeyedRows, QueriedRows, QueryOptions, Slots } from '../sdk.ts';

/** One row: `Epoch` in seconds; values of 64-bit integer columns are bigints. */
export interface Row {
  readonly Epoch: number;
  readonly [column: string]: number | bigint;
}

interface Bucket {
  readonly key: TimeBucketKey;
  readonly schema: BucketSchema;
  /** Bars: one a slot. Ticks: a list a slot. */
  readonly slots: Map<number, readonly Row[]>;
  /** All rows, ascending; undefined: to be made again. */
  sorted: readonly Row[] | undefined;
}

/** Rows that fit, not yet stored. */
interface CheckedRows {
  readonly key: TimeBucketKey;
  readonly schema: BucketSchema;
  readonly rows: readonly Row[];
}

export class FakeStore {
  readonly #slots: Slots;
  readonly #buckets = new Map<string, Bucket>();

  constructor(slots: Slots) {
    this.#slots = slots;
  }

  /** Keys of all buckets, in the order in which they were made. */
  get keys(): readonly string[] {
    return [...this.#buckets.keys()];
  }

  /** All or nothing: everything is checked before any of it is stored. */
  write(writes: readonly KeyedRows[]): void {
    const made = new Map<string, BucketSchema>();
    const checked = writes.map((write) => this.#check(write, made));
    for (const each of checked) if (each !== undefined) this.#store(each);
  }

  /** Ascending; none for a bucket that is not there. */
  rows(key: string): readonly Row[] {
    const bucket = this.#buckets.get(key);
    if (bucket === undefined) return [];
    bucket.sorted ??= [...bucket.slots.values()].flat().sort(byTime);
    return bucket.sorted;
  }

  /** Takes a bar away, as if it had never been committed. */
  remove(key: string, epochSeconds: number): void {
    const bucket = this.#buckets.get(key);
    if (bucket === undefined) return;
    bucket.slots.delete(this.#slots.start(epochSeconds, bucket.key.timeframe));
    bucket.sorted = undefined;
  }

  query(options: QueryOptions): QueriedRows {
    const { from, to = Number.POSITIVE_INFINITY, limit, oldest = false } = options;
    const key = parseTimeBucketKey(options.key);
    const bucket = this.#buckets.get(key.path);
    const isBars = bucket?.schema.recordType === 'fixed';
    const first = from === undefined ? Number.NEGATIVE_INFINITY : from;
    // A bar is found by any instant of its slot, a tick by its own time.
    const lower = isBars && from !== undefined ? this.#slots.start(from, key.timeframe) : first;
    const found = this.rows(key.path).filter(({ Epoch }) => Epoch >= lower && Epoch <= to);
    const rows = oldest ? found.slice(0, limit) : lastOf(found, limit);
    const shapes = bucket?.schema.columns ?? [];
    const wanted = shapes.filter(({ name }) => options.columns?.includes(name) ?? true);
    return {
      rowCount: rows.length,
      Epoch: Float64Array.from(rows, ({ Epoch }) => Epoch),
      columns: Object.fromEntries(
        wanted.map(({ name, type }) => {
          const data = type.view(new ArrayBuffer(rows.length * type.bytes), 0, rows.length);
          rows.forEach((row, at) => {
            data[at] = row[name] ?? 0;
          });
          return [name, data];
        }),
      ),
    };
  }

  #check({ key, rows, variable }: KeyedRows, made: Map<string, BucketSchema>) {
    const inferred = inferColumns(rows);
    if (inferred.rowCount === 0) return undefined;
    const parsed = parseTimeBucketKey(key);
    let schema = this.#buckets.get(parsed.path)?.schema ?? made.get(parsed.path);
    if (schema === undefined) {
      parseNewTimeBucketKey(key);
      schema = inferSchema(inferred, variable === true);
      checkSchema(schema);
      made.set(parsed.path, schema);
    }
    const columns = fitColumns(schema, inferred.columns, inferred.rowCount);
    return { key: parsed, schema, rows: rowsOf(columns, inferred.rowCount) };
  }

  #store({ key, schema, rows }: CheckedRows): void {
    const bucket = this.#buckets.get(key.path) ?? {
      key,
      schema,
      slots: new Map<number, readonly Row[]>(),
      sorted: undefined,
    };
    this.#buckets.set(key.path, bucket);
    bucket.sorted = undefined;
    for (const row of rows) {
      const slot = this.#slots.start(row.Epoch, key.timeframe);
      if (schema.recordType === 'fixed') bucket.slots.set(slot, [{ ...row, Epoch: slot }]);
      else bucket.slots.set(slot, [...(bucket.slots.get(slot) ?? []), row]);
    }
  }
}

function rowsOf(columns: readonly Column[], rowCount: number): readonly Row[] {
  return Array.from({ length: rowCount }, (_, at) => {
    const row: Record<string, number | bigint> & { Epoch: number } = { Epoch: 0 };
    for (const { name, type, data } of columns) {
      const value = data[at] ?? 0;
      const isWide = type === INT64 || type === UINT64;
      row[name] = name === 'Epoch' || !isWide ? Number(value) : value;
    }
    return row;
  });
}

function byTime(a: Row, b: Row): number {
  return a.Epoch - b.Epoch || Number(a.Nanoseconds ?? 0) - Number(b.Nanoseconds ?? 0);
}

function lastOf(rows: readonly Row[], limit: number | undefined): readonly Row[] {
  if (limit === undefined) return rows;
  return limit === 0 ? [] : rows.slice(-limit);
}
