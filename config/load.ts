/**
 * mkts.yml → MktsConfig: read, parse, check, resolve, freeze. Runs on the main thread, before anything
 * else is started, and again when the file has changed. What it returns is valid and complete, and
 * nobody can change it.
 */

import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { dirname, isAbsolute, relative, resolve } from 'node:path';
import { assert } from '../kernel/base/assert.ts';
import { ConfigError, reasonOf } from '../kernel/base/errors.ts';
import { ADMIN_TOKEN_CHARACTERS_MIN, CONFIG_BYTES_MAX } from '../kernel/base/limits.ts';
import { maskSecrets, secretValues } from '../kernel/base/secrets.ts';
import { checkSettings } from './check.ts';
import { type ConfigDocument, parseConfigDocument } from './document.ts';
import { checkEntries, type PluginEntry } from './plugin-entries.ts';
import { formatRemark, type Remark } from './position.ts';
import { type ReferenceOptions, resolveReferences } from './references.ts';
import type { Settings } from './schema.ts';

export interface MktsConfig extends Omit<Settings, 'rootDirectory' | 'triggers' | 'bgworkers'> {
  /** Absolute path of mkts.yml. */
  readonly path: string;
  /** Of its bytes: whether the file changed since. */
  readonly hash: string;
  /** What its relative paths and its name in messages are seen from, should it be read again. */
  readonly workingDirectory: string;
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
 * whose message has a line for every problem. A server leaves the directory it was started in: who
 * reads again says which that was.
 */
export function loadConfig(
  path: string,
  environment: Readonly<Record<string, string | undefined>> = process.env,
  workingDirectory: string = process.cwd(),
): MktsConfig {
  const absolute = resolve(workingDirectory, path);
  const bytes = readBytes(absolute, path, workingDirectory);
  const document = parseConfigDocument(
    decode(bytes, path),
    displayName(absolute, workingDirectory),
  );
  const directory = dirname(absolute);
  const checked = checkSettings(document);
  const entries =
    checked.settings && checkEntries(checked.settings, document, { directory, environment });
  const token = adminToken(checked.settings?.adminToken, document, { directory, environment });
  const problems = [...checked.problems, ...(entries?.problems ?? []), ...token.problems];
  // A key that is missing is often there under another name: what is odd is told with what is wrong.
  const oddities = [...document.warnings, ...checked.warnings, ...(entries?.warnings ?? [])];
  if (checked.settings === undefined || entries === undefined || problems.length > 0)
    throw invalid(problems, oddities);

  const { triggers: _triggers, bgworkers: _bgworkers, ...settings } = checked.settings;
  const { pluginDirectory } = settings;
  return deepFreeze({
    ...settings,
    path: absolute,
    hash: configHash(bytes),
    workingDirectory,
    rootDirectory: resolve(workingDirectory, settings.rootDirectory),
    rootDirectoryWritten: settings.rootDirectory,
    pluginDirectory: pluginDirectory && resolve(directory, pluginDirectory),
    adminToken: token.value,
    plugins: entries.plugins,
    warnings: [...oddities, ...listenRemarks(document, settings.listenHost)].sort(byPlace),
    secrets: [
      ...new Set([
        ...entries.secrets,
        ...entries.plugins.flatMap((p) => secretValues(p.config)),
        ...(token.value === undefined ? [] : [token.value]),
      ]),
    ],
  });
}

/** The configuration as it may be printed. */
export function printableConfig(config: MktsConfig): unknown {
  const { secrets: _secrets, warnings: _warnings, zone, plugins, ...others } = config;
  const { hash: _hash, workingDirectory: _directory, adminToken: _token, ...rest } = others;
  const printable = plugins.map(({ kind, name, module, on, config: own }) => ({
    kind,
    name,
    module,
    on,
    config: maskSecrets(own),
  }));
  return { ...rest, timezone: zone.name, plugins: printable };
}

/** The token with its reference resolved; one that can be guessed is a problem. */
function adminToken(
  written: string | undefined,
  document: ConfigDocument,
  places: Pick<ReferenceOptions, 'directory' | 'environment'>,
): { readonly value: string | undefined; readonly problems: readonly Remark[] } {
  if (written === undefined) return { value: undefined, problems: [] };
  const path = 'admin_token';
  const at = document.at([path]);
  const resolved = resolveReferences(written, { ...places, allowed: undefined });
  const value = String(resolved.value);
  const [unresolved] = resolved.problems;
  const isShort = value.length < ADMIN_TOKEN_CHARACTERS_MIN;
  const tooShort = `expected at least ${ADMIN_TOKEN_CHARACTERS_MIN} characters: who guesses it handles every plugin`;
  const problem = unresolved?.problem ?? (isShort ? tooShort : undefined);
  return { value, problems: problem === undefined ? [] : [{ at, path, problem }] };
}

/** What `MktsConfig.hash` is of a file. */
export function configHash(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function readBytes(absolute: string, path: string, workingDirectory: string): Buffer {
  try {
    const { size } = statSync(absolute);
    if (size > CONFIG_BYTES_MAX)
      throw new Error(`it has ${size} bytes, at most ${CONFIG_BYTES_MAX}`);
    return readFileSync(absolute);
  } catch (cause) {
    const isMissing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
    const reason = isMissing
      ? `there is no such file, seen from ${workingDirectory}; \`mkts init\` writes one`
      : reasonOf(cause);
    throw new ConfigError('MKTS_CONFIG_UNREADABLE', { path, reason }, { cause });
  }
}

function decode(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new ConfigError('MKTS_CONFIG_UNREADABLE', { path, reason: reasonOf(cause) }, { cause });
  }
}

/** The name of the file in messages: short below the working directory, so that it can be clicked. */
function displayName(absolute: string, workingDirectory: string): string {
  const near = relative(workingDirectory, absolute);
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
