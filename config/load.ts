/**
 * mkts.yml → MktsConfig: read, parse, check, resolve, freeze. Runs once, on the main thread, before
 * anything else is started. What it returns is valid and complete, and nobody can change it.
 */

import { readFileSync, statSync } from 'node:fs';
import { dirname, isAbsolute, relative, resolve } from 'node:path';
import { assert } from '../kernel/base/assert.ts';
import { ConfigError, reasonOf } from '../kernel/base/errors.ts';
import { CONFIG_BYTES_MAX } from '../kernel/base/limits.ts';
import { maskSecrets, secretValues } from '../kernel/base/secrets.ts';
import { checkSettings } from './check.ts';
import { type ConfigDocument, parseConfigDocument } from './document.ts';
import { checkEntries, type PluginEntry } from './plugin-entries.ts';
import { formatRemark, type Remark } from './position.ts';
import type { Settings } from './schema.ts';

export interface MktsConfig extends Omit<Settings, 'rootDirectory' | 'triggers' | 'bgworkers'> {
  /** Absolute path of mkts.yml. */
  readonly path: string;
  /** Absolute path of the data directory, and how it was written. */
  readonly rootDirectory: string;
  readonly rootDirectoryWritten: string;
  /** Absolute, if given. */
  readonly pluginDirectory: string | undefined;
  readonly plugins: readonly PluginEntry[];
  /** What the operator should know and need not mend: unknown keys, keys without effect. */
  readonly warnings: readonly Remark[];
  /** Texts that must not appear in a log. */
  readonly secrets: readonly string[];
}

/**
 * Reads and checks mkts.yml. Throws MKTS_CONFIG_UNREADABLE, MKTS_CONFIG_SYNTAX, or MKTS_CONFIG_INVALID
 * whose message has a line for every problem.
 */
export function loadConfig(
  path: string,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): MktsConfig {
  const absolute = resolve(path);
  const document = parseConfigDocument(readText(path), displayName(absolute));
  const directory = dirname(absolute);
  const checked = checkSettings(document);
  const entries =
    checked.settings && checkEntries(checked.settings, document, { directory, environment });
  const problems = [...checked.problems, ...(entries?.problems ?? [])];
  // A key that is missing is often there under another name: what is odd is told with what is wrong.
  const oddities = [...document.warnings, ...checked.warnings, ...(entries?.warnings ?? [])];
  if (checked.settings === undefined || entries === undefined || problems.length > 0)
    throw invalid(problems, oddities);

  const { triggers: _triggers, bgworkers: _bgworkers, ...settings } = checked.settings;
  const { pluginDirectory } = settings;
  return deepFreeze({
    ...settings,
    path: absolute,
    rootDirectory: resolve(settings.rootDirectory),
    rootDirectoryWritten: settings.rootDirectory,
    pluginDirectory: pluginDirectory && resolve(directory, pluginDirectory),
    plugins: entries.plugins,
    warnings: [...oddities, ...listenRemarks(document, settings.listenHost)].sort(byPlace),
    secrets: [
      ...new Set([...entries.secrets, ...entries.plugins.flatMap((p) => secretValues(p.config))]),
    ],
  });
}

/** The configuration as it may be printed. */
export function printableConfig(config: MktsConfig): unknown {
  const { secrets: _secrets, warnings: _warnings, zone, plugins, ...rest } = config;
  const printable = plugins.map(({ kind, name, module, on, config: own }) => ({
    kind,
    name,
    module,
    on,
    config: maskSecrets(own),
  }));
  return { ...rest, timezone: zone.name, plugins: printable };
}

function readText(path: string): string {
  try {
    const { size } = statSync(path);
    if (size > CONFIG_BYTES_MAX)
      throw new Error(`it has ${size} bytes, at most ${CONFIG_BYTES_MAX}`);
    return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path));
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code === 'ENOENT' ? missing() : reasonOf(cause);
    throw new ConfigError('MKTS_CONFIG_UNREADABLE', { path, reason }, { cause });
  }
}

function missing(): string {
  return `there is no such file, seen from ${process.cwd()}; \`mkts init\` writes one`;
}

/** The name of the file in messages: short below the working directory, so that it can be clicked. */
function displayName(absolute: string): string {
  const near = relative(process.cwd(), absolute);
  return near.startsWith('..') || isAbsolute(near) ? absolute : near;
}

function invalid(problems: readonly Remark[], oddities: readonly Remark[]): ConfigError {
  const [first, ...others] = [...problems].sort(byPlace);
  assert(first !== undefined, 'an invalid configuration has a problem');
  const lines = [
    first.problem,
    ...others.map(formatRemark),
    ...[...oddities].sort(byPlace).map((oddity) => `${formatRemark(oddity)} (warning)`),
  ];
  return new ConfigError('MKTS_CONFIG_INVALID', {
    at: first.at,
    path: first.path === '' ? 'mkts.yml' : first.path,
    problem: lines.join('\n'),
  });
}

function byPlace(a: Remark, b: Remark): number {
  return a.at.localeCompare(b.at, 'en', { numeric: true });
}

/** The Go server listens everywhere by default; this one does not, and says both. */
function listenRemarks(document: ConfigDocument, listenHost: string): readonly Remark[] {
  const path = 'listen_host';
  const isGiven = Object.entries(document.value ?? {}).some(
    ([key, v]) => key === path && v !== null,
  );
  const at = document.at([path]);
  if (!isGiven) {
    const problem = `not given: only this machine can connect (${listenHost}); '0.0.0.0' = every one`;
    return [{ at, path, problem }];
  }
  const isLoopback = /^(127\.|localhost$|::1$|\[::1\]$)/.test(listenHost);
  if (isLoopback) return [];
  return [{ at, path, problem: 'other machines can connect, and none is asked who it is' }];
}

/** Freezes maps and lists; instances of classes (the zone) look after themselves. */
function deepFreeze<T>(value: T): T {
  const isPlain =
    Array.isArray(value) ||
    (typeof value === 'object' &&
      value !== null &&
      Object.getPrototypeOf(value) === Object.prototype);
  if (!isPlain) return value;
  for (const inner of Object.values(value as object)) deepFreeze(inner);
  return Object.freeze(value);
}
