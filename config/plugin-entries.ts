/**
 * The two lists of mkts.yml, `triggers` and `bgworkers`, as one list of plugins with unique names.
 *
 * A name is what logs, metrics and the state directory know a plugin by. Names that were given are
 * taken first; then the others take their module's, with -2, -3 … where that is taken.
 */

import { basename } from 'node:path';
import type { LogDurability } from '../kernel/base/durability.ts';
import { reasonOf } from '../kernel/base/errors.ts';
import type { MarketCalendar } from '../kernel/base/market-calendar.ts';
import { loadCalendar } from './calendar.ts';
import type { ConfigDocument } from './document.ts';
import type {
  EntrySettings,
  FreshnessSettings,
  Isolation,
  OnStartError,
  PluginBudget,
  PluginGrant,
  ReloadSettings,
} from './entry-settings.ts';
import { formatPath, type Path, type Remark } from './position.ts';
import { resolveReferences } from './references.ts';
import type { Settings } from './schema.ts';
import type { LogLevel } from './values.ts';

export interface PluginEntry {
  readonly kind: 'trigger' | 'bgworker';
  /** Unique among all entries. */
  readonly name: string;
  /** As written, with its suffix. */
  readonly module: string;
  /** Patterns of the keys a trigger fires for; empty for a bgworker. */
  readonly on: readonly string[];
  /** References resolved; not yet validated by the plugin's schema. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Hosts it may reach besides those it declares. */
  readonly network: readonly string[];
  /** The server does not start without it. */
  readonly required: boolean;
  readonly isolation: Isolation;
  readonly durability: LogDurability | undefined;
  readonly onStartError: OnStartError;
  readonly logLevel: LogLevel | undefined;
  /** Patterns of the keys it may write; undefined: those it declares. */
  readonly writes: readonly string[] | undefined;
  /** Resolved, by the name `ctx.secrets` knows. */
  readonly secrets: Readonly<Record<string, string>>;
  readonly grants: readonly PluginGrant[];
  readonly budget: PluginBudget;
  readonly reload: ReloadSettings;
  readonly freshness: FreshnessSettings | undefined;
  /** The one `freshness` names. */
  readonly calendar: MarketCalendar | undefined;
  /** `mkts.yml:14:15` of a place in `config`. */
  locate(path: Path): string;
  /** `triggers[0].config.filter` of a place in `config`. */
  pathOf(path: Path): string;
}

export interface EntryOptions {
  readonly directory: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export interface CheckedEntries {
  readonly plugins: readonly PluginEntry[];
  readonly secrets: readonly string[];
  readonly problems: readonly Remark[];
  readonly warnings: readonly Remark[];
}

const MATCHES_EVERYTHING = '*/*/*';

/** `binancefeeder.so`, `/opt/plugins/binancefeeder.ts` → `binancefeeder`. */
export function moduleName(module: string): string {
  return basename(module).replace(/\.(so|js|mjs|ts)$/, '');
}

export function checkEntries(
  settings: Settings,
  document: ConfigDocument,
  options: EntryOptions,
): CheckedEntries {
  const listed = [
    ...settings.triggers.map((entry, index) => listedAs('trigger', entry, ['triggers', index])),
    ...settings.bgworkers.map((entry, index) => listedAs('bgworker', entry, ['bgworkers', index])),
  ];
  const problems: Remark[] = [];
  const warnings: Remark[] = [];
  const names = uniqueNames(listed, document, problems);
  const secrets: string[] = [];
  const plugins = listed.map(({ kind, entry, path }, index): PluginEntry => {
    const configPath = [...path, 'config'];
    const resolved = resolveReferences(entry.config, { ...options, allowed: entry.env });
    secrets.push(...resolved.secrets);
    for (const { path: inner, problem } of resolved.problems)
      problems.push(remark(document, [...configPath, ...inner], problem));
    const named = resolveReferences(entry.secrets, { ...options, allowed: entry.env });
    const secretValues = Object.entries(named.value as Readonly<Record<string, unknown>>).map(
      ([secret, value]) => [secret, String(value)] as const,
    );
    secrets.push(...named.secrets, ...secretValues.map(([, value]) => value));
    for (const { path: inner, problem } of named.problems)
      problems.push(remark(document, [...path, 'secrets', ...inner], problem));
    let calendar: MarketCalendar | undefined;
    try {
      calendar = entry.freshness && loadCalendar(entry.freshness.calendar, options.directory);
    } catch (error) {
      problems.push(remark(document, [...path, 'freshness', 'calendar'], reasonOf(error)));
    }
    return {
      kind,
      name: names[index] ?? '',
      module: entry.module,
      on: kind === 'trigger' ? patterns(entry, path, document, warnings) : [],
      config: resolved.value as Readonly<Record<string, unknown>>,
      network: entry.network,
      required: entry.required,
      isolation: entry.isolation,
      durability: entry.durability,
      onStartError: entry.onStartError,
      logLevel: entry.logLevel,
      writes: entry.writes,
      secrets: Object.fromEntries(secretValues),
      grants: entry.grants,
      budget: entry.budget,
      reload: entry.reload,
      freshness: entry.freshness,
      calendar,
      locate: (inner) => document.at([...configPath, ...inner]),
      pathOf: (inner) => formatPath([...configPath, ...inner]),
    };
  });
  for (const { kind, entry, path } of listed)
    if (kind === 'bgworker' && entry.on !== undefined)
      warnings.push(
        remark(document, [...path, 'on'], 'has no effect: a bgworker is not triggered'),
      );
  return { plugins, secrets, problems, warnings };
}

interface Listed {
  readonly kind: 'trigger' | 'bgworker';
  readonly entry: EntrySettings;
  readonly path: Path;
}

function listedAs(kind: Listed['kind'], entry: EntrySettings, path: Path): Listed {
  return { kind, entry, path };
}

function uniqueNames(
  listed: readonly Listed[],
  document: ConfigDocument,
  problems: Remark[],
): readonly string[] {
  const taken = new Map<string, Path>();
  for (const { entry, path } of listed) {
    if (entry.name === undefined) continue;
    const first = taken.get(entry.name);
    if (first === undefined) {
      taken.set(entry.name, path);
      continue;
    }
    const problem = `the name '${entry.name}' is taken by ${formatPath(first)} (${document.at(first)})`;
    problems.push(remark(document, [...path, 'name'], problem));
  }
  return listed.map(({ entry, path }) => {
    if (entry.name !== undefined) return entry.name;
    const base = moduleName(entry.module);
    let name = base;
    for (let repeat = 2; taken.has(name); repeat++) name = `${base}-${repeat}`;
    taken.set(name, path);
    return name;
  });
}

/** No pattern, or an empty one, matches every write in the Go server; so here, but said aloud. */
function patterns(
  entry: EntrySettings,
  path: Path,
  document: ConfigDocument,
  warnings: Remark[],
): readonly string[] {
  const given = entry.on ?? [''];
  if (!given.includes('')) return given;
  const problem = `no pattern: it fires on every write, as on: "${MATCHES_EVERYTHING}" would`;
  warnings.push(remark(document, [...path, 'on'], problem));
  return [MATCHES_EVERYTHING];
}

function remark(document: ConfigDocument, path: Path, problem: string): Remark {
  return { at: document.at(path), path: formatPath(path), problem };
}
