/**
 * What crosses the line between the kernel and a plugin's worker: start-up data, the calls of both
 * sides, and the words of the shared control block. Plain data only; rows go by the ring
 * (ring.ts, row-block.ts), network traffic by the broker (broker.ts), never through these calls.
 */

import type { MessagePort } from 'node:worker_threads';
import type { PlainError } from '../kernel/base/errors.ts';
import type { PlainSchema } from '../kernel/base/schema.ts';

/** Handed to the worker when it starts. */
export interface WorkerStart {
  /** Unique name of the entry of mkts.yml. */
  readonly plugin: string;
  /** The bundled plugin, CommonJS. */
  readonly code: string;
  readonly filename: string;
  readonly config: unknown;
  readonly timezone: string;
  readonly ring: SharedArrayBuffer;
  /** Shared by all plugins: the kernel sleeps on it. */
  readonly doorbell: SharedArrayBuffer;
  readonly ports: WorkerPorts;
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

/** What a worker may ask of the kernel. */
export interface KernelShape {
  /** Opens or declares a bucket for writing; throws as the bucket's checks do. */
  openSeries(key: string, schema: PlainSchema): Promise<Outcome<OpenedSeries>>;
  query(query: PlainQuery): Promise<Outcome<PlainSeries>>;
  /** Newest row, as a series of 0 or 1 rows. */
  lastRow(key: string): Promise<Outcome<PlainSeries>>;
  log(lines: readonly PlainLogLine[], droppedLines: number): Promise<void>;
  metrics(metrics: readonly PlainMetric[]): Promise<void>;
}

/** What the kernel may ask of a worker. */
export interface PluginShape {
  /** Evaluates the bundle and says what it is. */
  load(): Promise<Outcome<PluginDescription>>;
  /** Checks `config` against the plugin's schema. No problems: the plugin may start. */
  configure(): Promise<readonly ConfigProblem[]>;
  /**
   * Starts it, with its line to the network broker (broker-client.ts), transferred. For a bgworker
   * settles when it ends; for a trigger when it is ready.
   */
  start(line: MessagePort): Promise<Outcome<void>>;
  fire(batch: PlainBatch): Promise<Outcome<void>>;
  /** Aborts `ctx.signal` and waits for what is under way, then for the ring to be committed. */
  stop(): Promise<Outcome<void>>;
}
