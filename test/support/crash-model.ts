/**
 * What the crash tests do and promise: work of all kinds, and a model that keeps what the store must
 * hold. Values rise, so that nothing can be taken for something else.
 */

import { expect } from 'vitest';
import type { Column } from '../../kernel/base/column-series.ts';
import { FLOAT64 as F8 } from '../../kernel/base/element-type.ts';
import { type BucketSchema, EPOCH_SHAPE, NANOSECONDS_SHAPE } from '../../kernel/base/schema.ts';
import { parseTimeBucketKey } from '../../kernel/base/time-bucket-key.ts';
import type { WriteBatch } from '../../kernel/ingest/ingest.ts';
import type { SimulatedPlugin, SimulatedServer } from './simulated-server.ts';

const BARS = ['A/1Min/OHLCV', 'B/1H/OHLCV', 'C/1D/OHLCV'] as const;
const TICKS = ['T/1Min/TICK', 'U/1H/TICK'] as const;
export const FEED = 'FEED/1H/TICK';
const BAR_SCHEMA: BucketSchema = {
  recordType: 'fixed',
  columns: [{ name: 'Value', type: F8 }],
};
const TICK_SCHEMA: BucketSchema = {
  recordType: 'variable',
  columns: [{ name: 'Value', type: F8 }],
};
/** The last minutes of a year and the first of the next, so that requests span two files. */
const YEARS_END = Date.UTC(2021, 0, 1) / 1000;

/** Bars: epoch → value. Ticks: all values, in any order, with their second. */
type Rows = Map<string, number>;
export interface Model {
  readonly buckets: Map<string, Rows>;
  /** The next value of the plugin that counts. */
  cursor: number;
}

export interface Work {
  readonly what: string;
  /** Sends it; resolves when it is promised. */
  send(server: SimulatedServer, plugin: SimulatedPlugin): Promise<void>;
  /** What it does. */
  apply(model: Model): void;
}

/** From 1: a daily bar of zeros on January 1 is an empty slot on disk (FORMAT.md). */
let nextValue = 1;

/** A run begins: its values are those of its seed. */
export function restartValues(): void {
  nextValue = 1;
}

export function bars(random: () => number): Work {
  const batches = pick(random, 3, BARS).map((path) => {
    const count = 1 + Math.floor(random() * 20);
    const seconds = path.includes('1D') ? 86_400 : path.includes('1H') ? 3_600 : 60;
    const first = YEARS_END + seconds * Math.floor((random() - 0.5) * 40);
    const epochs = Array.from({ length: count }, (_, at) => first + at * seconds);
    return { path, epochs, values: epochs.map(() => nextValue++) };
  });
  return {
    what: `bars ${batches.map(({ path, epochs }) => `${path} ${epochs.length}`).join(', ')}`,
    send: ({ ingest }) =>
      ingest.write(batches.map(({ path, epochs, values }) => batchOf(path, epochs, values))),
    apply({ buckets }) {
      for (const { path, epochs, values } of batches)
        for (const [at, epoch] of epochs.entries())
          rowsIn(buckets, path).set(String(epoch), values[at] ?? 0);
    },
  };
}

export function ticks(random: () => number): Work {
  const [path = TICKS[0]] = pick(random, 1, TICKS);
  const count = 1 + Math.floor(random() * 30);
  const second = YEARS_END + Math.floor((random() - 0.5) * 10);
  const values = Array.from({ length: count }, () => nextValue++);
  const epochs = values.map(() => second);
  return {
    what: `ticks ${path} ${count}`,
    send: ({ ingest }) => ingest.write([batchOf(path, epochs, values, true)]),
    apply({ buckets }) {
      for (const value of values) rowsIn(buckets, path).set(`${second} ${value}`, value);
    },
  };
}

/** Some of the times around the end of the year, in whole seconds, of one bucket. */
export function deletion(random: () => number, path: string): Work {
  const step = path.includes('1D') ? 86_400 : path.includes('1H') ? 3_600 : 60;
  const isTick = path.includes('TICK');
  const from = YEARS_END + Math.floor((random() - 0.5) * 30) * (isTick ? 1 : step);
  const to = from + Math.floor(random() * random() * 40 * step);
  return {
    what: `delete ${path} ${from} to ${to}`,
    send: ({ ingest }) =>
      ingest.deleteRows([path], {
        fromSeconds: from,
        fromNanos: 0,
        toSeconds: to,
        toNanos: 999_999_999,
      }),
    apply({ buckets }) {
      const rows = rowsIn(buckets, path);
      for (const name of [...rows.keys()]) {
        const epoch = Number(name.split(' ')[0]);
        if (epoch >= from && epoch <= to) rows.delete(name);
      }
    },
  };
}

export function destroy(path: string): Work {
  return {
    what: `destroy ${path}`,
    send: ({ ingest }) => ingest.destroy(path),
    apply: ({ buckets }) => void buckets.delete(path),
  };
}

/** Rows of a plugin and its cursor, in one piece: the rows are the cursor's history. */
export function counted(from: number, count: number): Work {
  const values = Array.from({ length: count }, (_, at) => from + at);
  const rows = {
    Epoch: values.map((value) => YEARS_END + Math.floor(value / 10)),
    Value: Float64Array.from(values),
    Nanoseconds: Int32Array.from(values, (value) => value % 10),
  };
  return {
    what: `plugin ${from} to ${from + count - 1}`,
    async send(_server, { writer }) {
      await writer.write(FEED, rows, { variable: true, state: { next: from + count } });
      await writer.flush();
    },
    apply(model) {
      model.cursor = from + count;
      for (const value of values)
        rowsIn(model.buckets, FEED).set(`${YEARS_END + Math.floor(value / 10)} ${value}`, value);
    },
  };
}

export function pick<T>(random: () => number, atMost: number, from: readonly T[]): T[] {
  const left = [...from];
  return Array.from(
    { length: 1 + Math.floor(random() * atMost) },
    () => left.splice(Math.floor(random() * left.length), 1)[0],
  ).filter((each) => each !== undefined);
}

function rowsIn(buckets: Map<string, Rows>, path: string): Rows {
  let rows = buckets.get(path);
  if (rows === undefined) {
    rows = new Map();
    buckets.set(path, rows);
  }
  return rows;
}

function batchOf(
  path: string,
  epochs: readonly number[],
  values: readonly number[],
  isTick = false,
): WriteBatch {
  const columns: Column[] = [
    { ...EPOCH_SHAPE, data: BigInt64Array.from(epochs, BigInt) },
    { name: 'Value', type: F8, data: Float64Array.from(values) },
  ];
  if (isTick)
    columns.push({ ...NANOSECONDS_SHAPE, data: Int32Array.from(values, (value) => value % 1000) });
  return {
    key: parseTimeBucketKey(path),
    schema: isTick ? TICK_SCHEMA : BAR_SCHEMA,
    columns,
    rowCount: epochs.length,
  };
}

/** All of the store, as the model would say it. */
export async function contents(server: SimulatedServer): Promise<Model> {
  const buckets = new Map<string, Rows>();
  for (const { key, schema } of server.catalog.buckets()) {
    const series = await server.catalog.bucket(key.path)?.scan({ fromEnd: false });
    const rows = rowsIn(buckets, key.path);
    const columnOf = (name: string): ArrayLike<number | bigint> =>
      series?.columns.find((column) => column.name === name)?.data ?? [];
    const [epochs, values] = [columnOf('Epoch'), columnOf('Value')];
    for (let row = 0; row < (series?.rowCount ?? 0); row++) {
      const value = Number(values[row]);
      const name = schema.recordType === 'fixed' ? `${epochs[row]}` : `${epochs[row]} ${value}`;
      expect(rows.has(name), `${key.path} has ${name} once`).toBe(false);
      rows.set(name, value);
    }
  }
  const cursor = JSON.parse(server.states.snapshot().get('counter')?.get('next') ?? '0') as number;
  return { buckets, cursor };
}

export function sayable({ buckets, cursor }: Model): string {
  const named = [...buckets]
    .filter(([, rows]) => rows.size > 0)
    .map(([path, rows]) => [path, [...rows].sort(([a], [b]) => (a < b ? -1 : 1))])
    .sort(([a], [b]) => (String(a) < String(b) ? -1 : 1));
  return JSON.stringify({ cursor, named });
}

export function copyOf({ buckets, cursor }: Model): Model {
  return { cursor, buckets: new Map([...buckets].map(([path, rows]) => [path, new Map(rows)])) };
}
