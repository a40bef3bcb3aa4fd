/**
 * The keys of mkts.yml: their types, defaults, meaning, and what is said when one is given that has
 * no effect. The one source of all of these; `zod` enters the configuration here and in check.ts.
 *
 * Values are read as the Go server reads them (spec: configuration): ports as number or text, truths
 * as `1 t T TRUE true True 0 f F FALSE false False`, a negative grace period as none. Where it guesses
 * at a bad value, or ignores it, this is an error instead.
 */

import * as z from 'zod';
import {
  CHECKPOINT_INTERVAL_MS,
  LOG_LINES_PER_SECOND_MAX,
  PLUGIN_DISK_MB,
  PLUGIN_NAME_BYTES_MAX,
  PLUGIN_REQUESTS_MAX,
  PROBATION_MS,
  WORKER_MEMORY_SOFT_MB,
} from '../kernel/base/limits.ts';
import { suggestion } from '../kernel/base/nearest-word.ts';
import type { TickReadMode } from '../kernel/base/tick-time.ts';
import { partProblem } from '../kernel/base/time-bucket-key.ts';
import { Zone } from '../kernel/base/zone.ts';

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'fatal'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export type LogFormat = 'auto' | 'json' | 'pretty';
/** What an acknowledged write has survived: `fsync` a power cut, `wal` the end of the process. */
export type Durability = 'fsync' | 'wal';

/** mkts.yml after validation, defaults applied. */
export interface Settings {
  /** As written: relative to the working directory of the process. */
  readonly rootDirectory: string;
  /** '' = every interface. */
  readonly listenHost: string;
  /** 0 = any free port. */
  readonly listenPort: number;
  readonly zone: Zone;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  readonly stopGracePeriodMs: number;
  readonly durability: Durability;
  /** Written rows reach the year files at most this long after their commit. */
  readonly checkpointIntervalMs: number;
  readonly compressTicks: boolean;
  readonly tickReadMode: TickReadMode;
  /** As written: relative to the directory of mkts.yml. */
  readonly pluginDirectory: string | undefined;
  readonly triggers: readonly EntrySettings[];
  readonly bgworkers: readonly EntrySettings[];
}

/** One entry of `triggers` or `bgworkers`. */
export interface EntrySettings {
  readonly module: string;
  readonly name: string | undefined;
  readonly on: readonly string[] | undefined;
  /** References (`${VAR}`, `file:…`) not yet resolved. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Variables its `config` may refer to; undefined: any. */
  readonly env: readonly string[] | undefined;
  readonly network: readonly string[];
  readonly required: boolean;
  readonly isolation: Isolation;
  readonly onStartError: OnStartError;
  /** Undefined: that of the server. */
  readonly logLevel: LogLevel | undefined;
  /** Patterns of the keys it may write; undefined: those it declares itself. */
  readonly writes: readonly string[] | undefined;
  /** By the name `ctx.secrets` knows; references not yet resolved. */
  readonly secrets: Readonly<Record<string, unknown>>;
  /** Builtins of Node it may import. */
  readonly grants: readonly PluginGrant[];
  readonly budget: PluginBudget;
  readonly reload: ReloadSettings;
  readonly freshness: FreshnessSettings | undefined;
}

/** Where a plugin runs: a thread of the server, or a process of its own. */
export type Isolation = 'worker' | 'process';
/** When it cannot be started the first time: try again, wait for an operator, or end the server. */
export type OnStartError = 'retry' | 'quarantine' | 'exit';
export const PLUGIN_GRANTS = ['crypto', 'zlib'] as const;
export type PluginGrant = (typeof PLUGIN_GRANTS)[number];

/** What a plugin may use; undefined: no bound of its own. */
export interface PluginBudget {
  /** Heap and external memory together. */
  readonly memoryMb: number;
  readonly heapMb: number | undefined;
  readonly externalMb: number | undefined;
  /** Of one core, over a few seconds; past it the plugin is slowed down. */
  readonly cpuPercent: number | undefined;
  /** Rows a second; past it its writes wait. */
  readonly recordsPerSecond: number | undefined;
  /** Past it lines are counted and dropped. */
  readonly logLinesPerSecond: number;
  /** Queries and HTTP requests under way; past it the next wait. */
  readonly requestsMax: number;
  /** What is kept for it besides its rows: state, dead letters, recordings. */
  readonly diskMb: number;
}

export interface ReloadSettings {
  /** A change of its files starts a new generation. */
  readonly watch: boolean;
  /** A new generation that fails within this time gives way to the one before. */
  readonly probationMs: number;
  /** A new generation first runs beside the old one, its rows compared and not written. */
  readonly shadow: boolean;
  /** Shadow: this many equal rows and no other promote it; undefined: a command does. */
  readonly promoteAfterRows: number | undefined;
}

export interface FreshnessSettings {
  /** Without a new row for this long, while the market is open, the plugin is degraded. */
  readonly maxAgeMs: number;
  /** 'always', 'nasdaq', or a calendar file, relative to the directory of mkts.yml. */
  readonly calendar: string;
}

/** A key that is known and has no effect, or less than one might think. */
export interface KeyNotice {
  readonly notice: string;
  /** Values that ask for nothing which is not so anyway: no notice. */
  readonly quiet?: readonly unknown[];
}
export const keyNotices: z.core.$ZodRegistry<KeyNotice> = z.registry<KeyNotice>();

const NOT_AVAILABLE = 'not available in this version, ignored';
const NO_EFFECT = 'has no effect here';

// ---- kinds of values --------------------------------------------------------------------------

/** A value `parse` understands, or the problem "expected <expected>, got …". */
function value<T>(expected: string, parse: (given: unknown) => T | undefined): z.ZodType<T> {
  return z.unknown().transform((given, context): T => {
    const parsed = given === undefined ? undefined : parse(given);
    if (parsed !== undefined) return parsed;
    context.addIssue({ code: 'custom', message: `expected ${expected}` });
    return z.NEVER;
  });
}

const text = value('a text', (given) =>
  ['string', 'number', 'boolean'].includes(typeof given) ? String(given) : undefined,
);
const nonEmptyText = text.refine((given) => given !== '', 'expected a text that is not empty');

const TRUTHS: readonly unknown[] = [true, 1, '1', 't', 'T', 'TRUE', 'true', 'True'];
const UNTRUTHS: readonly unknown[] = [false, 0, '0', 'f', 'F', 'FALSE', 'false', 'False'];
const truth = value('true or false (also 1 t T TRUE, 0 f F FALSE)', (given) =>
  TRUTHS.includes(given) ? true : UNTRUTHS.includes(given) ? false : undefined,
);
/** Where the Go server lets its YAML library decide, which speaks 1.1. */
const yamlTruth = value('true or false', (given) => {
  const word = typeof given === 'string' ? given.toLowerCase() : given;
  if ([true, 'true', 'yes', 'y', 'on'].includes(word as string)) return true;
  return [false, 'false', 'no', 'n', 'off'].includes(word as string) ? false : undefined;
});

const port = value('a port, 0 to 65535', (given) => {
  const number = wholeNumber(given);
  return number !== undefined && number >= 0 && number <= 65_535 ? number : undefined;
});
const seconds = value('a number of seconds', (given) =>
  typeof given === 'number' && Number.isFinite(given) ? Math.max(0, Math.trunc(given)) : undefined,
);
function count(expected: string, min: number): z.ZodType<number> {
  return value(expected, (given) => {
    const number = wholeNumber(given);
    return number !== undefined && number >= min ? number : undefined;
  });
}
/** Milliseconds. The Go server takes a bare number for nanoseconds; here it is seconds. */
const duration = value("a duration such as '10s', '1m30s' or '500ms'", (given) =>
  typeof given === 'number' && given >= 0 ? given * 1000 : parseDuration(given),
);
const address = value("'host:port'", (given) =>
  typeof given === 'string' && /^[^\s/]*:\d{1,5}$/.test(given) ? given : undefined,
);
const zone = z.unknown().transform((given, context): Zone => {
  try {
    return new Zone(String(given));
  } catch {
    const near = suggestion(String(given), Intl.supportedValuesOf('timeZone'));
    context.addIssue({ code: 'custom', message: `invalid timezone:${String(given)}${near}` });
    return z.NEVER;
  }
});
function word<const Words extends readonly [string, ...string[]]>(
  words: Words,
): z.ZodType<Words[number]> {
  return z.preprocess(
    (given) => (typeof given === 'string' ? given.toLowerCase() : given),
    z.enum(words),
  );
}
/** A list; a single value is a list of one. */
function listOf<T>(item: z.ZodType<T>): z.ZodType<T[]> {
  return z.preprocess((given) => (Array.isArray(given) ? given : [given]), z.array(item));
}

function wholeNumber(given: unknown): number | undefined {
  if (typeof given === 'number') return Number.isSafeInteger(given) ? given : undefined;
  return typeof given === 'string' && /^[-+]?\d{1,15}$/.test(given) ? Number(given) : undefined;
}

const DURATION_UNITS_MS: Readonly<Record<string, number>> = {
  h: 3_600_000,
  m: 60_000,
  s: 1000,
  ms: 1,
  us: 1e-3,
  µs: 1e-3,
  ns: 1e-6,
};

function parseDuration(given: unknown): number | undefined {
  if (typeof given !== 'string' || !/^(\d+(\.\d+)?(h|ms|m|s|us|µs|ns))+$/.test(given))
    return undefined;
  let milliseconds = 0;
  for (const [, number, unit] of given.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)/g))
    milliseconds += Number(number) * (DURATION_UNITS_MS[unit ?? ''] ?? 0);
  return milliseconds;
}

// ---- keys -------------------------------------------------------------------------------------

const pluginName = value(
  `a name of at most ${PLUGIN_NAME_BYTES_MAX} bytes without / \\ : , *`,
  (given) => {
    const name = String(given);
    const isShort = Buffer.byteLength(name) <= PLUGIN_NAME_BYTES_MAX;
    return isShort && partProblem(name) === undefined ? name : undefined;
  },
);

const host = value("'host' or 'host:port', not a URL", (given) =>
  typeof given === 'string' && /^[\w.*-]+(:\d{1,5})?$/.test(given) ? given : undefined,
);

const megabytes = count('a number of megabytes, at least 16', 16);
const resourcesShape = z.object({
  memory_mb: megabytes
    .default(WORKER_MEMORY_SOFT_MB)
    .describe('heap and external memory; past it the plugin is restarted'),
  heap_mb: megabytes.optional().describe('of memory_mb, the part of the JavaScript heap'),
  external_mb: megabytes.optional().describe('of memory_mb, the part of buffers'),
  cpu_percent: count('a percentage of one core, 1 or more', 1)
    .optional()
    .describe('past it the plugin is slowed down'),
  records_per_second: count('a number, 1 or more', 1)
    .optional()
    .describe('past it its writes wait'),
  log_lines_per_second: count('a number, 1 or more', 1)
    .default(LOG_LINES_PER_SECOND_MAX)
    .describe('past it lines are counted and dropped'),
  requests: count('a number, 1 or more', 1)
    .default(PLUGIN_REQUESTS_MAX)
    .describe('queries and HTTP requests under way; the next wait'),
  disk_mb: count('a number of megabytes, 1 or more', 1)
    .default(PLUGIN_DISK_MB)
    .describe('state, dead letters and recordings kept for it'),
});

const reloadShape = z.object({
  watch: yamlTruth.default(true).describe('a change of its files starts a new generation'),
  probation: duration
    .default(PROBATION_MS)
    .describe('a new generation that fails within it gives way to the one before'),
  shadow: yamlTruth
    .default(false)
    .describe('a new generation first runs beside the old, its rows compared and not written'),
  promote_after: count('a number of rows, 1 or more', 1)
    .optional()
    .describe('with shadow: equal rows after which the new generation takes over'),
});

const freshnessShape = z.object({
  max_age: duration.describe('without a row for this long, while open, the plugin is degraded'),
  calendar: nonEmptyText.default('always').describe("'always', 'nasdaq', or a calendar file"),
});

const entryShape = z.object({
  module: nonEmptyText.describe('file or built-in name; a suffix .so, .js, .mjs or .ts is ignored'),
  name: pluginName.optional().describe('unique; default: the module, with -2, -3 … on repeats'),
  on: listOf(text).optional().describe('triggers only: patterns of the keys it fires for'),
  config: z.record(z.string(), z.unknown()).default({}).describe("the plugin's own settings"),
  env: listOf(text).optional().describe('variables `config` may refer to; absent: any'),
  network: listOf(host).default([]).describe('hosts it may reach besides those it declares'),
  required: yamlTruth.default(false).describe('the server does not start without it'),
  isolation: word(['worker', 'process'])
    .default('worker')
    .describe('a thread of the server, or a process of its own for code one does not trust'),
  on_start_error: word(['retry', 'quarantine', 'exit'])
    .optional()
    .describe('when it cannot be started: retry (default), quarantine, or exit (as `required`)'),
  log_level: word(['debug', 'info', 'warn', 'warning', 'error', 'fatal'])
    .optional()
    .describe("of its lines; default: the server's"),
  writes: listOf(text).optional().describe('patterns of the keys it may write'),
  secrets: z
    .record(z.string(), z.unknown())
    .default({})
    .describe('name: value, given by a variable or a file; the plugin reads it by name'),
  grants: listOf(word(PLUGIN_GRANTS))
    .default([])
    .describe('builtins of Node it may import: crypto, zlib'),
  resources: resourcesShape.prefault({}),
  reload: reloadShape.prefault({}),
  freshness: freshnessShape.optional(),
});

const ignoredTruth = truth.optional().register(keyNotices, { notice: NO_EFFECT, quiet: TRUTHS });
const grpcMebibytes = count('a number of MiB', 0)
  .optional()
  .register(keyNotices, { notice: NOT_AVAILABLE });
const forgotten = z
  .unknown()
  .optional()
  .register(keyNotices, { notice: 'an old key of MarketStore, which ignores it too' });

const settingsShape = z.object({
  root_directory: text
    .refine((given) => given !== '', 'invalid root directory. rootDir=')
    .describe('where the data lies; relative to the working directory'),
  listen_host: text.default('127.0.0.1').describe("interface to listen on; '' = all of them"),
  listen_port: port.describe('port of RPC, heartbeat and metrics; 0 = any free one'),
  timezone: zone.prefault('UTC').describe('where years and days of the data begin (IANA name)'),
  log_level: word(['debug', 'info', 'warn', 'warning', 'error', 'fatal']).default('info'),
  log_format: word(['auto', 'json', 'pretty'])
    .default('auto')
    .describe('auto = pretty on a terminal, else JSON lines'),
  stop_grace_period: seconds.default(0).describe('seconds between a stop signal and the stop'),
  durability: word(['fsync', 'wal'])
    .default('fsync')
    .describe('what an answered write survives: fsync = a power cut, wal = the end of the process'),
  checkpoint_interval: duration
    .refine((ms) => ms >= 10, 'expected at least 10ms')
    .default(CHECKPOINT_INTERVAL_MS)
    .describe('written rows reach the year files at most this long after their commit'),
  disable_variable_compression: truth.default(false).describe('ticks are stored without Snappy'),
  tick_read_mode: word(['exact', 'reference'])
    .default('exact')
    .describe('nanoseconds of ticks: exact, or rounded as the Go server rounds them'),
  plugin_dir: nonEmptyText.optional().describe('where plugins are looked for first'),
  triggers: z.array(entryShape).default([]),
  bgworkers: z.array(entryShape).default([]),

  grpc_listen_port: port.optional().register(keyNotices, { notice: NOT_AVAILABLE }),
  grpc_max_send_msg_size: grpcMebibytes,
  grpc_max_recv_msg_size: grpcMebibytes,
  utilities_url: address.optional().register(keyNotices, { notice: NOT_AVAILABLE }),
  replication: z
    .object({
      enabled: yamlTruth.default(false).register(keyNotices, {
        notice: NOT_AVAILABLE,
        quiet: [false, 'false', 'no', 'off'],
      }),
      listen_port: port.default(5996),
      tls_enabled: yamlTruth.default(false),
      cert_file: text.default(''),
      key_file: text.default(''),
      master_host: z
        .union([z.literal(''), address])
        .default('')
        .register(keyNotices, { notice: NOT_AVAILABLE, quiet: [''] }),
      retry_interval: duration.default(10_000),
      retry_backoff_coeff: count('a whole number, at least 1', 1).default(2),
    })
    .optional(),
  wal_bypass: truth.optional().register(keyNotices, { notice: NOT_AVAILABLE, quiet: UNTRUTHS }),
  wal_rotate_interval: count('a whole number', 0)
    .optional()
    .register(keyNotices, {
      notice: `${NO_EFFECT}: the log is cut by size, and emptied by checkpoints`,
      quiet: [0, 5],
    }),
  init_catalog: ignoredTruth,
  init_wal_cache: ignoredTruth,
  background_sync: ignoredTruth,
  polling_interval: forgotten,
  start_time: forgotten,
  stale_threshold: forgotten,
  enable_last_known: forgotten,
});

/** For those who walk the keys. */
export const settingsKeys: z.ZodObject = settingsShape;

export type ParsedSettings =
  | { readonly ok: true; readonly settings: Settings }
  | { readonly ok: false; readonly issues: readonly z.core.$ZodIssue[] };

/** Validates the plain data of mkts.yml. Unknown keys are dropped; see `check.ts` for them. */
export function parseSettings(given: unknown): ParsedSettings {
  const parsed = settingsShape.safeParse(given);
  if (!parsed.success) return { ok: false, issues: parsed.error.issues };
  const keys = parsed.data;
  return {
    ok: true,
    settings: {
      rootDirectory: keys.root_directory,
      listenHost: keys.listen_host,
      listenPort: keys.listen_port,
      zone: keys.timezone,
      logLevel: keys.log_level === 'warning' ? 'warn' : keys.log_level,
      logFormat: keys.log_format,
      stopGracePeriodMs: keys.stop_grace_period * 1000,
      durability: keys.durability,
      checkpointIntervalMs: keys.checkpoint_interval,
      compressTicks: !keys.disable_variable_compression,
      tickReadMode: keys.tick_read_mode,
      pluginDirectory: keys.plugin_dir,
      triggers: keys.triggers.map(entrySettings),
      bgworkers: keys.bgworkers.map(entrySettings),
    },
  };
}

function entrySettings(keys: z.output<typeof entryShape>): EntrySettings {
  const { module, name, on, config, env, network, isolation, writes, secrets, grants } = keys;
  const { resources, reload, freshness } = keys;
  const onStartError = keys.on_start_error ?? (keys.required ? 'exit' : 'retry');
  return {
    module,
    name,
    on,
    config,
    env,
    network,
    required: onStartError === 'exit',
    isolation,
    onStartError,
    logLevel: keys.log_level === 'warning' ? 'warn' : keys.log_level,
    writes,
    secrets,
    grants,
    budget: {
      memoryMb: resources.memory_mb,
      heapMb: resources.heap_mb,
      externalMb: resources.external_mb,
      cpuPercent: resources.cpu_percent,
      recordsPerSecond: resources.records_per_second,
      logLinesPerSecond: resources.log_lines_per_second,
      requestsMax: resources.requests,
      diskMb: resources.disk_mb,
    },
    reload: {
      watch: reload.watch,
      probationMs: reload.probation,
      shadow: reload.shadow,
      promoteAfterRows: reload.promote_after,
    },
    freshness:
      freshness === undefined
        ? undefined
        : { maxAgeMs: freshness.max_age, calendar: freshness.calendar },
  };
}
