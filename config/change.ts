/**
 * What is different between the mkts.yml in force and one read anew: entries by name, and keys of the
 * server. Pure.
 *
 * Entries can come, go and change while the server runs, and so can the level of its log; every other
 * key takes effect at the next start. Where an entry stands in the file, and the order of the entries,
 * is no change.
 */

import { isDeepStrictEqual } from 'node:util';
import type { MktsConfig } from './load.ts';
import type { PluginEntry } from './plugin-entries.ts';

export interface ChangedEntry {
  readonly before: PluginEntry;
  readonly after: PluginEntry;
  /** As they are called in mkts.yml. */
  readonly keys: readonly string[];
}

export interface ConfigChange {
  readonly added: readonly PluginEntry[];
  readonly removed: readonly PluginEntry[];
  readonly changed: readonly ChangedEntry[];
  /** Keys of the server with another value, `log_level` among them. */
  readonly keys: readonly string[];
}

type EntryKey = Exclude<keyof PluginEntry, 'name' | 'locate' | 'pathOf'>;
const ENTRY_KEYS: Readonly<Record<EntryKey, string>> = {
  kind: 'kind',
  module: 'module',
  on: 'on',
  config: 'config',
  network: 'network',
  required: 'required',
  isolation: 'isolation',
  onStartError: 'on_start_error',
  durability: 'durability',
  logLevel: 'log_level',
  writes: 'writes',
  secrets: 'secrets',
  grants: 'grants',
  budget: 'resources',
  reload: 'reload',
  freshness: 'freshness',
  calendar: 'freshness',
};

/** Of the file, not in it; and the entries, which are told one by one. */
type OtherKey = 'rootDirectory' | 'plugins' | 'warnings' | 'secrets' | 'path' | 'hash';
type SettingKey = Exclude<keyof MktsConfig, OtherKey | 'workingDirectory'>;
const SETTING_KEYS: Readonly<Record<SettingKey, string>> = {
  rootDirectoryWritten: 'root_directory',
  listenHost: 'listen_host',
  listenPort: 'listen_port',
  zone: 'timezone',
  logLevel: 'log_level',
  logFormat: 'log_format',
  stopGracePeriodMs: 'stop_grace_period',
  durability: 'durability',
  checkpointIntervalMs: 'checkpoint_interval',
  compressTicks: 'disable_variable_compression',
  tickReadMode: 'tick_read_mode',
  checksums: 'checksums',
  pluginDirectory: 'plugin_dir',
  adminToken: 'admin_token',
};

export function compareConfigs(before: MktsConfig, after: MktsConfig): ConfigChange {
  const old = new Map(before.plugins.map((entry) => [entry.name, entry]));
  const names = new Set(after.plugins.map(({ name }) => name));
  const changed: ChangedEntry[] = [];
  for (const entry of after.plugins) {
    const was = old.get(entry.name);
    const keys = was === undefined ? [] : differentKeys<EntryKey>(was, entry, ENTRY_KEYS);
    if (was !== undefined && keys.length > 0) changed.push({ before: was, after: entry, keys });
  }
  return {
    added: after.plugins.filter(({ name }) => !old.has(name)),
    removed: before.plugins.filter(({ name }) => !names.has(name)),
    changed,
    keys: differentKeys<SettingKey>(before, after, SETTING_KEYS),
  };
}

function differentKeys<Key extends string>(
  before: Readonly<Record<Key, unknown>>,
  after: Readonly<Record<Key, unknown>>,
  names: Readonly<Record<Key, string>>,
): readonly string[] {
  const keys = Object.keys(names) as Key[];
  const different = keys.filter((key) => !isSame(before[key], after[key]));
  return [...new Set(different.map((key) => names[key]))];
}

function isSame(before: unknown, after: unknown): boolean {
  return isDeepStrictEqual(comparable(before), comparable(after));
}

/** A zone is its name, a calendar its description: what they hold besides is found from these. */
function comparable(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const isPlain = Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype;
  if (isPlain) return value;
  return Reflect.get(value, 'description') ?? Reflect.get(value, 'name');
}
