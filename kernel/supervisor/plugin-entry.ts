/** What the supervisor is told of a plugin, and the small interfaces it leans on. Types only. */

import type { MessagePort } from 'node:worker_threads';
import type {
  FreshnessSettings,
  Isolation,
  OnStartError,
  PluginBudget,
  PluginGrant,
  ReloadSettings,
} from '../../config/entry-settings.ts';
import type { LogLevel } from '../../config/values.ts';
import type { RingReader } from '../../workers/ring.ts';
import type { LogDurability } from '../base/durability.ts';
import type { RowBudget } from '../ingest/row-budget.ts';
import type { SeriesTarget } from './kernel-api.ts';

/** One entry of mkts.yml: one worker, even where two entries name one module. */
export interface PluginEntry {
  /** Unique. */
  readonly name: string;
  readonly kind: 'bgworker' | 'trigger';
  readonly module: string;
  readonly config: unknown;
  /** Hosts the operator grants it, besides those it declares. */
  readonly network?: readonly string[];
  /** Default: a thread of the server. */
  readonly isolation?: Isolation;
  readonly onStartError?: OnStartError;
  /** Of its rows; default: that of the server. */
  readonly durability?: LogDurability | undefined;
  readonly logLevel?: LogLevel | undefined;
  /** Patterns of the keys it may write; undefined: those it declares itself. */
  readonly writes?: readonly string[] | undefined;
  /** Values of `ctx.secrets`, by name. */
  readonly secrets?: Readonly<Record<string, string>>;
  readonly grants?: readonly PluginGrant[];
  /** What is absent has the bound of limits.ts, or none. */
  readonly budget?: Partial<PluginBudget>;
  readonly reload?: ReloadSettings;
  readonly freshness?: FreshnessSettings | undefined;
  /** The server does not start unless it runs. */
  readonly required?: boolean;
  /** Where a path into `config` stands: 'mkts.yml:14:15'. */
  locate(path: readonly (string | number)[]): string;
  /** The same place as a path: 'triggers[0].config.filter'. */
  pathOf?(path: readonly (string | number)[]): string;
}

/** As pino: fields, then text. */
export interface Log {
  debug(fields: Readonly<Record<string, unknown>>, message: string): void;
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
  error(fields: Readonly<Record<string, unknown>>, message: string): void;
}

export interface SupervisorClock {
  /** Milliseconds, never going back. */
  nowMs(): number;
  /** Resolves after `ms`, or as soon as the signal aborts. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

/** The network broker, as the supervisor sees it. */
export interface Network {
  /** The worker's end of a new line: one for each generation, beside each other for a while. */
  register(
    plugin: string,
    grants: readonly string[],
    generation: number,
    /** HTTP requests under way at a time; default FETCHES_MAX. */
    fetchesMax?: number,
  ): MessagePort;
  /** Ends the traffic of that line; there may be none. */
  unregister(plugin: string, generation: number): void;
}

/** What a worker runs. */
export interface PluginBuild {
  /** CommonJS, self-contained. */
  readonly code: string;
  /** Under this name it is compiled. */
  readonly filename: string;
  /** What the code requires, by name: CommonJS texts of the server. */
  readonly libraries?: Readonly<Record<string, string>>;
  /** Of the code: equal hashes are the same plugin. */
  readonly hash: string;
  /** The plugin's own files, absolute: when one changes, there may be something new to build. */
  readonly inputs: readonly string[];
}

/** What the drain reads: one generation of one plugin. */
export interface PluginFeed {
  readonly plugin: string;
  /** Grows with every worker of the entry. */
  readonly generation: number;
  readonly ring: RingReader;
  readonly durability?: LogDurability | undefined;
  /** Rows a second the drain may take; undefined: no bound. */
  readonly budget?: RowBudget | undefined;
  /** The bucket behind a frame's series; undefined: the worker never opened it. */
  series(seriesId: number): SeriesTarget | undefined;
}

/** Bounds of limits.ts a test may narrow. */
export interface SupervisorLimits {
  readonly heartbeatTimeoutMs: number;
  readonly memorySoftMb: number;
  /** Of that, the bounds of its heap and of its buffers. */
  readonly heapMb?: number | undefined;
  readonly externalMb?: number | undefined;
  readonly sampleMs: number;
  readonly restartDelayMs: number;
  readonly restartsMax: number;
  readonly stopTimeoutMs: number;
  readonly callTimeoutMs: number;
  readonly triggerTimeoutMs: number;
}
