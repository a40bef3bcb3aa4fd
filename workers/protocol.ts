/**
 * What crosses the line between the kernel and a plugin's worker: start-up data, the calls of both
 * sides, and the words of the shared control block. Plain data only; rows go by the ring
 * (ring.ts, row-block.ts), network traffic by the broker (broker.ts), never through these calls.
 */

import type { MessagePort } from 'node:worker_threads';
import type { PlainDeadLetter } from '../kernel/base/dead-letter.ts';
import type { PlainError } from '../kernel/base/errors.ts';
import type { PlainSchema } from '../kernel/base/schema.ts';

/** Handed to the worker when it starts. */
export interface WorkerStart {
  /** Unique name of the entry of mkts.yml. */
  readonly plugin: string;
  /** The bundled plugin, CommonJS. */
  readonly code: string;
  readonly filename: string;
  /** What its code requires, by name: CommonJS texts of the server. */
  readonly libraries?: Readonly<Record<string, string>>;
  readonly config: unknown;
  readonly timezone: string;
  readonly allowance: WorkerAllowance;
  readonly ring: SharedArrayBuffer;
  /** Shared by all plugins: the kernel sleeps on it. */
  readonly doorbell: SharedArrayBuffer;
  readonly ports: WorkerPorts;
}

/** What an entry of mkts.yml allows a worker, as far as the worker itself keeps it. */
export interface WorkerAllowance {
  /** Builtins of Node it may import, without `node:`. */
  readonly grants: readonly string[];
  /** Of one core; undefined: no bound. */
  readonly cpuPercent: number | undefined;
  readonly logLinesPerSecond: number;
}

/** Something a plugin tried and may not do. */
export interface PlainDenial {
  readonly what: 'secret' | 'sandbox' | 'write';
  readonly detail: string;
  readonly count: number;
}

/** The worker's ends, transferred. */
export interface WorkerPorts {
  /** The kernel calls PluginShape. */
  readonly plugin: MessagePort;
  /** The worker calls KernelShape. */
  readonly kernel: MessagePort;
}

/** What a plugin says of itself before it runs. */
export interface PluginDescription {
  readonly kind: 'bgworker' | 'trigger';
  readonly name: string;
  readonly version: string;
  readonly api: number;
  readonly network: readonly string[];
  readonly networkFromConfig: readonly string[];
  /** Patterns of the keys it may write; undefined: any key. */
  readonly writes: readonly string[] | undefined;
  /** Names it may ask `ctx.secrets` for. */
  readonly secrets: readonly string[];
  /** Builtins of Node it says it imports. */
  readonly builtins: readonly string[];
  /** JSON Schema of its `config`, as a text; undefined: it cannot be written as one. */
  readonly configSchema: string | undefined;
}

/** A problem of the plugin's `config`; `path` is empty for the whole. */
export interface ConfigProblem {
  readonly path: readonly (string | number)[];
  readonly problem: string;
}

export interface OpenedSeries {
  readonly seriesId: number;
  /** The bucket's schema, which rules: rows are encoded in its order and types. */
  readonly schema: PlainSchema;
}

/** A series opened before it was asked for, by the text of its key. */
export type ForeseenSeries = readonly [key: string, opened: OpenedSeries];

export interface PlainQuery {
  readonly key: string;
  readonly from?: number;
  readonly to?: number;
  readonly limit?: number;
  readonly oldest?: boolean;
  readonly columns?: readonly string[];
}

/** Columns as raw little-endian bytes; Epoch first. */
export interface PlainSeries {
  readonly rowCount: number;
  readonly columns: readonly {
    readonly name: string;
    readonly type: number;
    readonly data: ArrayBuffer;
  }[];
}

export interface PlainLogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export interface PlainMetric {
  readonly kind: 'counter' | 'gauge';
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface TouchedRange {
  readonly from: number;
  readonly to: number;
}

export interface PlainBatch {
  readonly key: string;
  readonly ranges: readonly TouchedRange[];
}

/** Errors cross as data: comlink loses their class. */
export type Outcome<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: PlainError };

/** What a plugin remembers, as the kernel hands it over. */
export interface PlainState {
  /** Names and JSON texts. */
  readonly entries: readonly (readonly [name: string, json: string])[];
  /** UTF-8 bytes of names and texts together; a change past it is refused with MKTS_BUDGET. */
  readonly bytesMax: number;
}

/** Values of `ctx.secrets`, by name. */
export type PlainSecrets = Readonly<Record<string, string>>;

/** What a worker may ask of the kernel. */
export interface KernelShape {
  /** Opens or declares a bucket for writing; throws as the bucket's checks do. */
  openSeries(key: string, schema: PlainSchema): Promise<Outcome<OpenedSeries>>;
  query(query: PlainQuery): Promise<Outcome<PlainSeries>>;
  /** Newest row, as a series of 0 or 1 rows. */
  lastRow(key: string): Promise<Outcome<PlainSeries>>;
  log(lines: readonly PlainLogLine[], droppedLines: number): Promise<void>;
  metrics(metrics: readonly PlainMetric[]): Promise<void>;
  denied(denials: readonly PlainDenial[]): Promise<void>;
  /** Rows and messages that could not be taken; `dropped` more are not told. */
  deadLetters(letters: readonly PlainDeadLetter[], dropped: number): Promise<void>;
}

/** What the kernel may ask of a worker. */
export interface PluginShape {
  /** Evaluates the bundle and says what it is. */
  load(): Promise<Outcome<PluginDescription>>;
  /** Checks `config` against the plugin's schema. No problems: the plugin may start. */
  configure(): Promise<readonly ConfigProblem[]>;
  /**
   * Starts it, with its line to the network broker (broker-client.ts), transferred. For a bgworker
   * settles when it ends; for a trigger when it is ready. `state` is what its rows taken so far say.
   * `secrets` are those of its entry that it declares; `series` what the one before it had open.
   */
  start(
    line: MessagePort,
    state: PlainState,
    secrets: PlainSecrets,
    series: readonly ForeseenSeries[],
  ): Promise<Outcome<void>>;
  fire(batch: PlainBatch): Promise<Outcome<void>>;
  /**
   * Aborts `ctx.signal` and waits for what is under way, but not for the ring to be committed. Nothing
   * is written after it, and `start` may follow.
   */
  park(): Promise<Outcome<void>>;
  /** Aborts `ctx.signal` and waits for what is under way, then for the ring to be committed. */
  stop(): Promise<Outcome<void>>;
}
