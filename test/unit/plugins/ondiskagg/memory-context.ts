/**
 * A plugin's context over buckets in memory: rows are kept by the slot of their bucket, the last
 * write wins, queries answer as the store does (`from` rounded down to its slot, both ends
 * inclusive). Ticks keep every row.
 */

import type { Context, QueriedRows, QueryOptions, Rows, Slots } from '../../../../plugins/sdk.ts';
import { createSlots } from '../../../../workers/plugin-clock.ts';

type Values = QueriedRows['columns'][string];
type Row = { readonly Epoch: number } & Readonly<Record<string, number | bigint>>;

interface MemoryBucket {
  readonly rows: Map<number, Row[]>;
  readonly classes: ReadonlyMap<string, (values: readonly (number | bigint)[]) => Values>;
  readonly isTicks: boolean;
}

export interface Write {
  readonly key: string;
  readonly epochs: readonly number[];
}

export class MemoryContext<Config> implements Context<Config> {
  readonly name = 'agg';
  readonly timezone: string;
  readonly config: Config;
  readonly signal: AbortSignal;
  readonly slots: Slots;
  /** What the plugin did, in order. */
  readonly writes: Write[] = [];
  readonly queries: QueryOptions[] = [];
  readonly warnings: string[] = [];
  readonly counts: Map<string, number> = new Map();
  flushCount = 0;
  /** Called after each write: a server tells its triggers. */
  onWrite: (key: string, from: number, to: number) => void = () => {};
  /** Keys whose writes fail. */
  readonly broken: Set<string> = new Set();
  readonly #buckets = new Map<string, MemoryBucket>();

  constructor(
    config: Config,
    timezone = 'UTC',
    signal: AbortSignal = new AbortController().signal,
  ) {
    this.config = config;
    this.timezone = timezone;
    this.slots = createSlots(timezone);
    this.signal = signal;
  }

  readonly log: Context<Config>['log'] = {
    debug: () => {},
    info: () => {},
    warn: (message) => this.warnings.push(message),
    error: (message) => this.warnings.push(message),
  };

  readonly metrics: Context<Config>['metrics'] = {
    count: (name, _labels, by = 1) => this.counts.set(name, (this.counts.get(name) ?? 0) + by),
    gauge: () => {},
  };

  readonly clock: Context<Config>['clock'] = {
    now: () => 0,
    sleep: () => Promise.reject(new Error('a trigger does not sleep')),
  };

  /** Rows as a client writes them. Returns the range a trigger is told. */
  put(key: string, rows: Rows, isTicks = false): { readonly from: number; readonly to: number } {
    const bucket = this.#buckets.get(key) ?? newBucket(rows, isTicks);
    this.#buckets.set(key, bucket);
    const epochs = Array.from(rows.Epoch, Number);
    epochs.forEach((epoch, at) => {
      const slot = this.slots.start(epoch, timeframeOf(key));
      const row = Object.fromEntries(
        Object.keys(rows).map((name) => [name, rows[name]?.[at] ?? 0]),
      ) as Row;
      const stored = { ...row, Epoch: isTicks ? epoch : slot };
      bucket.rows.set(slot, isTicks ? [...(bucket.rows.get(slot) ?? []), stored] : [stored]);
    });
    return { from: Math.min(...epochs), to: Math.max(...epochs) };
  }

  async write(key: string, rows: Rows): Promise<void> {
    if (this.broken.has(key)) throw new Error(`${key} cannot be written`);
    const { from, to } = this.put(key, rows);
    this.writes.push({ key, epochs: Array.from(rows.Epoch, Number) });
    this.onWrite(key, from, to);
  }

  deadLetter(): void {}

  writeAll(): Promise<never> {
    return Promise.reject(new Error('this trigger writes one key at a time'));
  }
  readonly secrets: Context<Config>['secrets'] = { get: () => undefined };
  readonly state: Context<Config>['state'] = {
    get: () => undefined,
    set: () => Promise.reject(new Error('this trigger keeps no state')),
  };

  async flush(): Promise<void> {
    this.flushCount++;
  }

  async query(options: QueryOptions): Promise<QueriedRows> {
    this.queries.push(options);
    const { key, from = -Infinity, to = Infinity, limit = Infinity, oldest = false } = options;
    const bucket = this.#buckets.get(key);
    if (bucket === undefined)
      throw Object.assign(new Error('no bucket'), { code: 'MKTS_QUERY_NO_BUCKET' });
    const lower =
      bucket.isTicks || from === -Infinity ? from : this.slots.start(from, timeframeOf(key));
    const found = [...bucket.rows.values()]
      .flat()
      .filter(({ Epoch }) => Epoch >= lower && Epoch <= to)
      .sort((a, b) => a.Epoch - b.Epoch);
    const rows = oldest ? found.slice(0, limit) : found.slice(-limit);
    const columns: Record<string, Values> = {};
    for (const [name, from] of bucket.classes)
      columns[name] = from(rows.map((row) => row[name] ?? 0));
    return {
      rowCount: rows.length,
      Epoch: Float64Array.from(rows, ({ Epoch }) => Epoch),
      columns,
    };
  }

  /** All rows of a bucket, by column; undefined if there is no such bucket. */
  async all(key: string): Promise<Record<string, unknown> | undefined> {
    if (!this.#buckets.has(key)) return undefined;
    const { Epoch, columns } = await this.query({ key, oldest: true });
    this.queries.pop();
    return { Epoch: [...Epoch], ...columns };
  }

  lastRow(): Promise<undefined> {
    return Promise.resolve(undefined);
  }
  fetch(): Promise<never> {
    return Promise.reject(new Error('no network'));
  }
  socket(): Promise<never> {
    return Promise.reject(new Error('no network'));
  }
}

function newBucket(rows: Rows, isTicks: boolean): MemoryBucket {
  const classes = new Map<string, (values: readonly (number | bigint)[]) => Values>();
  for (const name of Object.keys(rows)) {
    const values = rows[name];
    if (name === 'Epoch' || values === undefined) continue;
    const Class = (Array.isArray(values) ? Float64Array : values.constructor) as unknown as {
      from(values: readonly (number | bigint)[]): Values;
    };
    classes.set(name, (list) => Class.from(list));
  }
  return { rows: new Map(), classes, isTicks };
}

function timeframeOf(key: string): string {
  return key.split('/')[1] ?? '';
}
