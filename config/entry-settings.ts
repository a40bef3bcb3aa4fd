/**
 * The keys of one entry of `triggers` or `bgworkers` in mkts.yml: their types, defaults and meaning.
 * The one source of all of these; values.ts says what kinds of values there are.
 */

import * as z from 'zod';
import type { LogDurability } from '../kernel/base/durability.ts';
import { globProblem } from '../kernel/base/glob.ts';
import {
  LOG_LINES_PER_SECOND_MAX,
  PLUGIN_DISK_MB,
  PLUGIN_NAME_BYTES_MAX,
  PLUGIN_REQUESTS_MAX,
  PROBATION_MS,
  SHADOW_WINDOW_MS,
  WORKER_MEMORY_SOFT_MB,
} from '../kernel/base/limits.ts';
import { partProblem } from '../kernel/base/time-bucket-key.ts';
import {
  count,
  duration,
  LOG_LEVEL_WORDS,
  type LogLevel,
  listOf,
  nonEmptyText,
  text,
  value,
  word,
  yamlTruth,
} from './values.ts';

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
  readonly durability: LogDurability | undefined;
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
  readonly shadow?: boolean;
  /** Shadow: this many equal rows and no other promote it; undefined: a command does. */
  readonly promoteAfterRows?: number | undefined;
  /** Shadow: rows are judged when nothing was written at their time for so long. */
  readonly shadowWindowMs?: number;
}

export interface FreshnessSettings {
  /** Without a new row for this long, while the market is open, the plugin is degraded. */
  readonly maxAgeMs: number;
  /** 'always', 'nasdaq', or a calendar file, relative to the directory of mkts.yml. */
  readonly calendar: string;
}

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
    .describe('with shadow: equal rows, and none other, after which the new generation takes over'),
  shadow_window: duration
    .default(SHADOW_WINDOW_MS)
    .describe('with shadow: how long nothing is written at a time before its rows are judged'),
});

const freshnessShape = z.object({
  max_age: duration.describe('without a row for this long, while open, the plugin is degraded'),
  calendar: nonEmptyText.default('always').describe("'always', 'nasdaq', or a calendar file"),
});

/** As `on`, without a year: checked here, so that a slip has a place in the file. */
const writePattern = text.check(({ value: pattern, issues }) => {
  const reason = globProblem(pattern);
  if (reason !== undefined)
    issues.push({ code: 'custom', input: pattern, message: `expected a pattern: ${reason}` });
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
  durability: word(['fsync', 'wal'])
    .optional()
    .describe("what rows it was told are committed survive; default: the server's"),
  log_level: word(LOG_LEVEL_WORDS).optional().describe("of its lines; default: the server's"),
  writes: listOf(writePattern)
    .optional()
    .describe('patterns of the keys it may write, such as BTC-USD/*/OHLCV; default: its own'),
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

/** For those who walk the keys, and for the list of entries. */
export const entryKeys: z.ZodObject = entryShape;

/** `parsed` is what `entryKeys` made of an entry. */
export function entrySettings(parsed: Readonly<Record<string, unknown>>): EntrySettings {
  const keys = parsed as z.output<typeof entryShape>;
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
    durability: keys.durability,
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
      shadowWindowMs: reload.shadow_window,
    },
    freshness:
      freshness === undefined
        ? undefined
        : { maxAgeMs: freshness.max_age, calendar: freshness.calendar },
  };
}
