/**
 * The one file of ours a plugin imports. A plugin is one module that default-exports what
 * `defineBgWorker` or `defineTrigger` returns; `ctx` is all it has of the world.
 *
 * Kernel API version 1. Additions raise the minor number; a plugin names the major it was written
 * for in `api`.
 */

import * as z from 'zod';

export { z };

/** Major version of the kernel API this SDK describes. */
export const KERNEL_API = 1;

/** Rows by column. `Epoch` is Unix seconds of the bar's start; ticks add `Nanoseconds`. */
export interface Rows {
  readonly Epoch: ArrayLike<number> | BigInt64Array;
  readonly [column: string]: ArrayLike<number> | BigInt64Array | BigUint64Array;
}

/** What a query answers: Epoch as seconds, each other column as its bucket's typed array. */
export interface QueriedRows {
  readonly rowCount: number;
  readonly Epoch: Float64Array;
  readonly columns: Readonly<Record<string, ArrayLike<number> | BigInt64Array | BigUint64Array>>;
}

export interface WriteOptions extends WholeOptions {
  /** Many rows per interval, with Nanoseconds (ticks). Default: one row per interval (bars). */
  readonly variable?: boolean;
}

export interface WholeOptions {
  /**
   * Changes of `ctx.state` that become durable with the rows, all or nothing; `undefined` removes a
   * name. A call with state is one piece: past 512 KiB it rejects with MKTS_WRITE_TOO_LARGE.
   */
  readonly state?: Readonly<Record<string, StateValue | undefined>>;
}

/** Rows of one key in a call that writes several. */
export interface KeyedRows {
  readonly key: string;
  readonly rows: Rows;
  /** As in WriteOptions. */
  readonly variable?: boolean;
}

/** JSON: what comes back is equal, not the same object. */
export type StateValue =
  | null
  | boolean
  | number
  | string
  | readonly StateValue[]
  | { readonly [name: string]: StateValue };

/**
 * What a plugin remembers over restarts, reloads and crashes, e.g. how far it has read a feed. Small
 * by intent: it is held in memory, and its size is bounded (MKTS_BUDGET).
 */
export interface State {
  /**
   * The value as of the last accepted call; undefined: none. When a plugin starts, it is what its
   * *committed* rows say (after a reload: its accepted ones, all of which were taken over). Should the
   * kernel refuse rows it had accepted together with changes of state, since their bucket changed
   * meanwhile, the plugin is started again: with the state before those rows.
   */
  get(name: string): StateValue | undefined;
  /** Resolves when it is accepted, as `write` does, and in order with it. */
  set(name: string, value: StateValue | undefined): Promise<void>;
}

export interface QueryOptions {
  readonly key: string;
  /** Unix seconds, both ends inclusive; absent: unbounded. */
  readonly from?: number;
  readonly to?: number;
  /** At most this many rows: the newest, or with `oldest` the oldest. */
  readonly limit?: number;
  readonly oldest?: boolean;
  readonly columns?: readonly string[];
}

export interface FetchOptions {
  readonly method?: 'GET' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Default 10 s. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface FetchResponse {
  readonly status: number;
  readonly ok: boolean;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  text(): string;
  json(): unknown;
}

export interface Socket {
  /** Messages in order; ends when the socket closes, throws when it fails. */
  [Symbol.asyncIterator](): AsyncIterator<string>;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Resolves after `ms`; rejects when the signal aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

type LogFields = Readonly<Record<string, unknown>>;

export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

export interface Metrics {
  /** Adds to a counter. Names and labels are prefixed and labelled by the kernel. */
  count(name: string, labels?: Readonly<Record<string, string>>, by?: number): void;
  gauge(name: string, value: number, labels?: Readonly<Record<string, string>>): void;
}

/** The storage slot an instant lies in, by the server's `timezone`: [start, end) in Unix seconds. */
export interface Slots {
  start(epochSeconds: number, timeframe: string): number;
  end(epochSeconds: number, timeframe: string): number;
  /** Local midnight of a calendar date in the server's `timezone`. */
  midnight(year: number, month: number, day: number): number;
  /** Seconds of a timeframe text; undefined if it cannot be stored. */
  seconds(timeframe: string): number | undefined;
}

export interface Secrets {
  /**
   * The value `secrets` of its entry in mkts.yml gives under this name; undefined: it gives none.
   * Throws MKTS_CAPABILITY_DENIED for a name that `capabilities.secrets` does not list.
   */
  get(name: string): string | undefined;
}

export interface Context<Config> {
  /** Unique name of this entry of mkts.yml. */
  readonly name: string;
  readonly config: Config;
  /** IANA name of the server's `timezone`. */
  readonly timezone: string;
  /** Aborts when the plugin shall stop. */
  readonly signal: AbortSignal;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly slots: Slots;
  readonly secrets: Secrets;
  /**
   * Hands rows to the kernel. Resolves when they are *accepted* (in the ring); waits while the ring
   * is full. Rejects with a coded error for a bad key, columns that do not fit the bucket, or values
   * that do not fit its types: then nothing of the call is written.
   */
  write(key: string, rows: Rows, options?: WriteOptions): Promise<void>;
  /**
   * As `write`, for rows of several keys and changes of state that become durable and visible
   * together, all or nothing. Refused as a whole, too, and if it takes more than 512 KiB
   * (MKTS_WRITE_TOO_LARGE).
   */
  writeAll(writes: readonly KeyedRows[], options?: WholeOptions): Promise<void>;
  /** What survives the plugin: see State. */
  readonly state: State;
  /**
   * Keeps a message of the venue that could not be read, with the reason, for an operator to look at
   * (`mkts plugin letters`): text as it came, or anything JSON can say. Never throws and waits for
   * nothing; of a flood a part is kept and the rest counted. Rows that `write` refuses are kept without
   * being asked for, as are accepted ones of a bucket that changed before they were taken.
   */
  deadLetter(reason: string, payload: unknown): void;
  /**
   * Resolves when every row accepted so far is *committed* (on disk) and visible to queries, but for
   * those whose bucket changed meanwhile: they are dead letters.
   */
  flush(): Promise<void>;
  query(options: QueryOptions): Promise<QueriedRows>;
  /** The newest row of a bucket: Epoch in seconds and each column's value; undefined if none. */
  lastRow(key: string): Promise<Readonly<Record<string, number | bigint>> | undefined>;
  /** HTTP through the kernel's broker, to granted hosts only. */
  fetch(url: string, options?: FetchOptions): Promise<FetchResponse>;
  /** A WebSocket through the kernel's broker, to granted hosts only. */
  socket(url: string): Promise<Socket>;
}

export interface Capabilities {
  /** `host` or `host:port` the plugin may reach. */
  readonly network?: readonly string[];
  /** Configuration keys that hold URLs; their hosts are granted because the operator wrote them. */
  readonly networkFromConfig?: readonly string[];
  /** Patterns of the keys it writes, in the form of `on:` of a trigger; absent: any key. */
  readonly writes?: readonly string[];
  /** Names of the secrets it reads; their values are given in its entry of mkts.yml. */
  readonly secrets?: readonly string[];
  /** Builtins of Node it imports: `crypto`, `zlib`; its entry must grant them. */
  readonly builtins?: readonly ('crypto' | 'zlib')[];
}

interface DefinitionBase<Schema extends z.ZodType> {
  readonly name: string;
  readonly version: string;
  /** Major version of the kernel API the plugin was written for. */
  readonly api: number;
  /** The one source of validation, types and documentation of the plugin's `config`. */
  readonly config: Schema;
  readonly capabilities?: Capabilities;
}

export interface BgWorkerDefinition<Schema extends z.ZodType> extends DefinitionBase<Schema> {
  /** Runs until `ctx.signal` aborts. Returning early ends the plugin; throwing restarts it. */
  start(ctx: Context<z.output<Schema>>): Promise<void>;
}

/** What a trigger is told: which intervals of a bucket were written since it was last told. */
export interface TouchedBatch {
  readonly key: string;
  readonly symbol: string;
  readonly timeframe: string;
  readonly attributeGroup: string;
  /** Disjoint, ascending ranges of row times, both ends inclusive, in Unix seconds. */
  readonly ranges: readonly { readonly from: number; readonly to: number }[];
}

export interface TriggerDefinition<Schema extends z.ZodType> extends DefinitionBase<Schema> {
  /** Once, before the first batch. */
  start?(ctx: Context<z.output<Schema>>): Promise<void>;
  /**
   * After commit and apply: queries see the rows. One call at a time for a bucket, in order of
   * commit; what is written meanwhile merges into the next batch of that bucket.
   */
  fire(ctx: Context<z.output<Schema>>, batch: TouchedBatch): Promise<void>;
}

export interface BgWorker<Schema extends z.ZodType = z.ZodType> extends BgWorkerDefinition<Schema> {
  readonly kind: 'bgworker';
}
export interface Trigger<Schema extends z.ZodType = z.ZodType> extends TriggerDefinition<Schema> {
  readonly kind: 'trigger';
}

/** Defines a feeder, a backfiller, or anything else that runs by itself. */
export function defineBgWorker<Schema extends z.ZodType>(
  definition: BgWorkerDefinition<Schema>,
): BgWorker<Schema> {
  return { ...definition, kind: 'bgworker' };
}

/** Defines a plugin that is called after writes its entry's `on` matches. */
export function defineTrigger<Schema extends z.ZodType>(
  definition: TriggerDefinition<Schema>,
): Trigger<Schema> {
  return { ...definition, kind: 'trigger' };
}
