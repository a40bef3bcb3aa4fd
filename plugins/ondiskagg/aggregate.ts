/**
 * Folds bars into the bars of one coarser timeframe. Pure: rows in, rows out; runs in the worker.
 *
 *   Open first, High max, Low min, Close last, Volume sum; a window without rows gives no row.
 *
 * Rows arrive in pages, ascending; a window may go on over several. Columns keep the type of the
 * bars: floats are summed as f8 and rounded once, integers exactly and cut to what their type holds
 * (counted). A NaN is the high or low of a window only if there is nothing else.
 */

import type { QueriedRows, Rows } from '../sdk.ts';

export const PRICES = ['Open', 'High', 'Low', 'Close'] as const;
export const VOLUME = 'Volume';

type Values = Exclude<QueriedRows['columns'][string], undefined>;
type Value = number | bigint;
type ValuesClass = { from(values: ArrayLike<Value>): Values; readonly name: string };
type FoldKind = 'first' | 'max' | 'min' | 'last' | 'sum';

const FOLDS: readonly (readonly [string, FoldKind])[] = [
  ['Open', 'first'],
  ['High', 'max'],
  ['Low', 'min'],
  ['Close', 'last'],
  [VOLUME, 'sum'],
];

/** Smallest and largest value of the integer types; floats have none. */
const INTEGER_RANGES: Readonly<Record<string, readonly [Value, Value]>> = {
  Int8Array: [-128, 127],
  Uint8Array: [0, 255],
  Int16Array: [-32_768, 32_767],
  Uint16Array: [0, 65_535],
  Int32Array: [-2_147_483_648, 2_147_483_647],
  Uint32Array: [0, 4_294_967_295],
  BigInt64Array: [-(2n ** 63n), 2n ** 63n - 1n],
  BigUint64Array: [0n, 2n ** 64n - 1n],
};

export interface TimeRange {
  /** Inclusive. */
  readonly from: number;
  readonly to: number;
}

export interface AggregationOptions {
  /** Window an instant lies in: [start, end) in Unix seconds. */
  readonly start: (epochSeconds: number) => number;
  readonly end: (epochSeconds: number) => number;
  /** Ascending, disjoint. Only windows that intersect one of them give a row. */
  readonly touched: readonly TimeRange[];
}

/** True if a bucket's rows can be aggregated: four prices, all columns numbers. */
export function isAggregable(rows: QueriedRows): boolean {
  return PRICES.every((name) => {
    const values = rows.columns[name];
    return values !== undefined && values.length === rows.rowCount;
  });
}

/** Bars of one destination in the making. */
export class Aggregation {
  readonly #options: AggregationOptions;
  #folds: readonly Fold[] = [];
  #epochs: number[] = [];
  /** The open window is [#start, #end); none: both -Infinity. */
  #start = -Infinity;
  #end = -Infinity;
  /** Whether the open window intersects a touched range, and the first range that may. */
  #isTouched = false;
  #range = 0;

  constructor(options: AggregationOptions) {
    this.#options = options;
  }

  /** Finished rows that `take` would return. */
  get rowCount(): number {
    return this.#epochs.length;
  }

  /** Sums cut to what their type holds, since the start. */
  get saturatedCount(): number {
    return this.#folds.reduce((count, fold) => count + fold.saturatedCount, 0);
  }

  /** Rows [from, to) of a page. They follow those of the page before. */
  add(page: QueriedRows, from: number, to: number): void {
    if (this.#folds.length === 0) this.#folds = foldsOf(page);
    const { Epoch } = page;
    let at = from;
    while (at < to) {
      const epoch = Epoch[at] ?? 0;
      if (epoch >= this.#end) this.#open(epoch);
      let next = at + 1;
      while (next < to && (Epoch[next] ?? 0) < this.#end) next++;
      if (this.#isTouched)
        for (const fold of this.#folds) fold.add(page.columns[fold.name], at, next);
      at = next;
    }
  }

  /** No more rows of the open window will come. */
  finish(): void {
    if (this.#isTouched) {
      this.#epochs.push(this.#start);
      for (const fold of this.#folds) fold.finish();
    }
    this.#isTouched = false;
    this.#start = -Infinity;
    this.#end = -Infinity;
  }

  /** The finished rows, which are handed over; undefined if there are none. */
  take(): Rows | undefined {
    if (this.#epochs.length === 0) return undefined;
    const rows: Record<string, Values> = {};
    for (const fold of this.#folds) rows[fold.name] = fold.take();
    const Epoch = this.#epochs;
    this.#epochs = [];
    return { Epoch, ...rows };
  }

  #open(epoch: number): void {
    this.finish();
    const { start, end, touched } = this.#options;
    this.#start = start(epoch);
    this.#end = end(epoch);
    while ((touched[this.#range]?.to ?? Infinity) < this.#start) this.#range++;
    this.#isTouched = (touched[this.#range]?.from ?? Infinity) < this.#end;
  }
}

function foldsOf(page: QueriedRows): readonly Fold[] {
  return FOLDS.flatMap(([name, kind]) => {
    const values = page.columns[name];
    return values === undefined || values.length !== page.rowCount
      ? []
      : [new Fold(name, kind, values)];
  });
}

/** One column of the bars in the making. */
class Fold {
  readonly name: string;
  readonly #kind: FoldKind;
  readonly #class: ValuesClass;
  readonly #range: readonly [Value, Value] | undefined;
  #value: Value | undefined;
  #finished: Value[] = [];
  saturatedCount = 0;

  constructor(name: string, kind: FoldKind, values: Values) {
    this.name = name;
    this.#kind = kind;
    // A query answers typed arrays; a plain array, from a test, is f8.
    const Class = Array.isArray(values) ? Float64Array : values.constructor;
    this.#class = Class as unknown as ValuesClass;
    this.#range = INTEGER_RANGES[this.#class.name];
  }

  add(values: Values | undefined, from: number, to: number): void {
    if (values === undefined) return;
    switch (this.#kind) {
      case 'first':
        this.#value ??= values[from];
        break;
      case 'last':
        this.#value = values[to - 1];
        break;
      case 'max':
        for (let at = from; at < to; at++) {
          const value = values[at];
          if (value !== undefined && !isKept(this.#value, value, 1)) this.#value = value;
        }
        break;
      case 'min':
        for (let at = from; at < to; at++) {
          const value = values[at];
          if (value !== undefined && !isKept(this.#value, value, -1)) this.#value = value;
        }
        break;
      case 'sum':
        this.#value = sum(values, from, to, this.#value);
        break;
    }
  }

  finish(): void {
    let value = this.#value ?? 0;
    if (this.#kind === 'sum' && this.#range !== undefined) {
      const [least, most] = this.#range;
      if (value < least || value > most) {
        value = value < least ? least : most;
        this.saturatedCount++;
      }
    }
    this.#finished.push(value);
    this.#value = undefined;
  }

  take(): Values {
    const values = this.#class.from(this.#finished);
    this.#finished = [];
    return values;
  }
}

/** Whether the extreme so far stays; `sign` 1 looks for the largest, -1 for the smallest. */
function isKept(held: Value | undefined, value: Value, sign: 1 | -1): boolean {
  if (held === undefined || Number.isNaN(held)) return false;
  return sign === 1 ? !(value > held) : !(value < held);
}

/** Exact for integers: those of up to 32 bits as f8 (2^21 rows of the largest), i8 and u8 as bigint. */
function sum(values: Values, from: number, to: number, start: Value | undefined): Value {
  if (values instanceof BigInt64Array || values instanceof BigUint64Array) {
    let total = BigInt(start ?? 0n);
    for (let at = from; at < to; at++) total += values[at] ?? 0n;
    return total;
  }
  let total = Number(start ?? 0);
  for (let at = from; at < to; at++) total += values[at] ?? 0;
  return total;
}
