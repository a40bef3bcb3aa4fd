/**
 * The keys of mkts.yml: their types, defaults, meaning, and what is said when one is given that has
 * no effect. The one source of all of these, with entry-settings.ts for the keys of a plugin's entry;
 * `zod` enters the configuration in these, in values.ts and in check.ts.
 */

import * as z from 'zod';
import type { LogDurability } from '../kernel/base/durability.ts';
import { CHECKPOINT_INTERVAL_MS } from '../kernel/base/limits.ts';
import type { TickReadMode } from '../kernel/base/tick-time.ts';
import type { Zone } from '../kernel/base/zone.ts';
import { type EntrySettings, entryKeys, entrySettings } from './entry-settings.ts';
import {
  address,
  count,
  duration,
  LOG_LEVEL_WORDS,
  type LogLevel,
  nonEmptyText,
  port,
  seconds,
  TRUTHS,
  text,
  truth,
  UNTRUTHS,
  word,
  yamlTruth,
  zone,
} from './values.ts';

export type LogFormat = 'auto' | 'json' | 'pretty';

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
  readonly durability: LogDurability;
  /** Written rows reach the year files at most this long after their commit. */
  readonly checkpointIntervalMs: number;
  readonly compressTicks: boolean;
  readonly tickReadMode: TickReadMode;
  /** Cold pages and chunks of year files get checksums. */
  readonly checksums: boolean;
  /** As written: relative to the directory of mkts.yml. */
  readonly pluginDirectory: string | undefined;
  /** Who shows it may use the admin API; undefined: programs on this machine. */
  readonly adminToken: string | undefined;
  readonly triggers: readonly EntrySettings[];
  readonly bgworkers: readonly EntrySettings[];
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
  log_level: word(LOG_LEVEL_WORDS).default('info'),
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
  checksums: truth
    .default(false)
    .describe('written pages get checksums beside their year file, held against them when read'),
  plugin_dir: nonEmptyText.optional().describe('where plugins are looked for first'),
  admin_token: nonEmptyText
    .optional()
    .describe('whoever shows it may use the admin API; absent: programs on this machine'),
  triggers: z.array(entryKeys).default([]),
  bgworkers: z.array(entryKeys).default([]),

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
      checksums: keys.checksums,
      pluginDirectory: keys.plugin_dir,
      adminToken: keys.admin_token,
      triggers: keys.triggers.map(entrySettings),
      bgworkers: keys.bgworkers.map(entrySettings),
    },
  };
}
