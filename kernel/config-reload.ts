/**
 * A changed mkts.yml takes effect while the server runs. Main thread.
 *
 *   the file changes, or an operator asks ─▶ load ─▶ not valid: one line that names the place; nothing
 *       changes                              └▶ compare with what is in force, entry by entry:
 *            added → started    removed → ended    changed → swapped, as a reload is
 *            only `on`, `freshness`, `log_level` changed → at once, in the worker that runs
 *            other keys of the server → one warning: at the next start
 *
 * Entries that did not change are not touched. What is done to one plugin is done in turn, and nobody
 * waits for another: a new entry whose module hangs delays no other change. Once a file is valid it
 * *is* the configuration, even where a plugin does not follow: then the supervisor has said why, the
 * plugin goes on as it was, and an operator's reload tries again.
 */

import { type ChangedEntry, compareConfigs } from '../config/change.ts';
import type { MktsConfig } from '../config/load.ts';
import type { PluginEntry } from '../config/plugin-entries.ts';
import { formatRemark, type Path } from '../config/position.ts';
import type { LogLevel } from '../config/values.ts';
import { ConfigWatch } from '../config/watch.ts';
import { ConfigError, MktsError, reasonOf } from './base/errors.ts';
import {
  type ConfigReport,
  describeChange,
  type NotFollowed,
  reportMessage,
} from './config-report.ts';
import type { RootLog } from './log.ts';
import type { Freshness } from './supervisor/freshness-watch.ts';
import type { Supervisor } from './supervisor/supervisor.ts';
import type { Dispatcher } from './triggers/dispatcher.ts';
import { compilePattern, type Matcher } from './triggers/matcher.ts';

export interface ConfigReloadOptions {
  /** In force. */
  readonly config: MktsConfig;
  /** Reads mkts.yml again. Throws ConfigError. */
  readonly load: () => MktsConfig;
  readonly log: RootLog;
  readonly supervisor: () => Pick<Supervisor, 'add' | 'remove' | 'change' | 'entry'>;
  readonly dispatcher: Pick<Dispatcher, 'add' | 'remove' | 'setMatcher' | 'has'>;
  readonly fire: Supervisor['fire'];
  readonly setFreshness: (plugin: string, freshness: Freshness | undefined) => void;
  readonly setLogLevel: (plugin: string, level: LogLevel | undefined) => void;
  /** A plugin is gone for good: what is kept of it can go. */
  readonly onRemoved: (plugin: string) => void;
  /** A trigger has a pattern it did not have: says what it means for the buckets there are. */
  readonly onPattern: (entry: PluginEntry, matcher: Matcher) => void;
}

/** Keys of an entry its worker does not know of. */
const LIVE_KEYS: readonly string[] = ['on', 'freshness', 'log_level'];

export class ConfigReload {
  readonly #options: ConfigReloadOptions;
  #config: MktsConfig;
  /** As it was read last: what it has for the next start was told. */
  #read: MktsConfig;
  /** The entry each plugin was given last. */
  readonly #given = new Map<string, PluginEntry>();
  /** What is being done to each plugin. */
  readonly #turns = new Map<string, Promise<unknown>>();
  #watch: ConfigWatch | undefined;
  #isClosed = false;

  constructor(options: ConfigReloadOptions) {
    this.#options = options;
    this.#config = options.config;
    this.#read = options.config;
    for (const entry of options.config.plugins) this.#given.set(entry.name, this.#located(entry));
  }

  /** The configuration in force: that of the start, but for entries and the level of the log. */
  get config(): MktsConfig {
    return this.#config;
  }

  /** For the supervisor to start with. */
  get entries(): readonly PluginEntry[] {
    return [...this.#given.values()];
  }

  /** Undefined: mkts.yml has no such entry (any more). */
  entry(plugin: string): PluginEntry | undefined {
    return this.#config.plugins.find(({ name }) => name === plugin);
  }

  /** From now on a changed file is read by itself. */
  watch(): void {
    const { path, hash } = this.#config;
    this.#watch = new ConfigWatch({
      path,
      hash,
      // Told in the log.
      onChange: () => void this.#reload([]).catch(() => undefined),
    });
  }

  /** Nothing is changed from here on. What was begun ends with the plugins it is about. */
  close(): void {
    this.#isClosed = true;
    this.#watch?.close();
  }

  /**
   * An operator's wish: reads mkts.yml now, and tries again what did not follow the last time.
   * Resolves when every plugin did or did not follow; rejects with ConfigError if the file is not
   * valid.
   */
  async reload(): Promise<ConfigReport> {
    const supervisor = this.#options.supervisor();
    // A new generation that fails gives way to the one before, and its entry to the entry before.
    const left = this.#config.plugins.filter(
      ({ name }) => !this.#turns.has(name) && supervisor.entry(name) !== this.#given.get(name),
    );
    return this.#reload(left.map(({ name }) => name));
  }

  async #reload(again: readonly string[]): Promise<ConfigReport> {
    const { log } = this.#options;
    if (this.#isClosed) throw new MktsError('MKTS_SHUTTING_DOWN');
    let next: MktsConfig;
    let matchers: ReadonlyMap<string, Matcher>;
    try {
      next = this.#options.load();
      matchers = compilePatterns(next.plugins);
    } catch (error) {
      const code = error instanceof MktsError ? error.code : undefined;
      log.error({ code }, `mkts.yml is not taken over, nothing changes: ${reasonOf(error)}`);
      throw error;
    }
    const before = this.#config;
    const change = compareConfigs(before, next);
    const changed = [...change.changed, ...unfollowed(again, change.changed, next)];
    // Order: before anything of the new file is logged. The plugins there were may still speak.
    log.hide([...new Set([...before.secrets, ...next.secrets])]);
    const { hash, plugins, secrets, logLevel } = next;
    this.#config = { ...before, hash, plugins, secrets, logLevel };
    const later = change.keys.filter((key) => key !== 'log_level');
    this.#tell(next, later);
    if (logLevel !== before.logLevel) log.level = logLevel;

    const done = [
      ...change.removed.map(({ name }) => this.#inTurn(name, () => this.#remove(name))),
      ...change.added.map((entry) => this.#inTurn(entry.name, () => this.#add(entry, matchers))),
      ...changed.map((entry) =>
        this.#inTurn(entry.after.name, () => this.#change(entry, matchers)),
      ),
    ];
    const report = {
      added: change.added.map(({ name }) => name),
      removed: change.removed.map(({ name }) => name),
      changed: changed.map(({ after }) => after.name),
      later,
    };
    const what = describeChange({ ...change, changed });
    if (done.length > 0)
      log.info(
        { added: report.added, removed: report.removed, changed: report.changed },
        `mkts.yml changed: ${what}`,
      );
    const failed = (await Promise.all(done)).filter((failure) => failure !== undefined);
    const message = reportMessage(what, failed, later);
    return { ...report, failed, message };
  }

  /** What is new in the file and worth a word: each once. */
  #tell(next: MktsConfig, later: readonly string[]): void {
    const { log } = this.#options;
    const known = new Set(this.#read.warnings.map(({ path, problem }) => `${path} ${problem}`));
    for (const warning of next.warnings)
      if (!known.has(`${warning.path} ${warning.problem}`)) log.warn(formatRemark(warning));
    const different = compareConfigs(this.#read, next).keys;
    const news = later.filter((key) => different.includes(key));
    if (news.length > 0)
      log.warn(
        { keys: news },
        `mkts.yml changed: ${news.join(', ')}: takes effect at the next start of the server`,
      );
    this.#read = next;
  }

  // ---- one plugin, in its turn ------------------------------------------------------------------

  async #add(entry: PluginEntry, matchers: ReadonlyMap<string, Matcher>): Promise<void> {
    const given = this.#give(entry);
    this.#beginTrigger(entry, matchers);
    this.#options.setFreshness(entry.name, freshnessOf(entry));
    this.#options.setLogLevel(entry.name, entry.logLevel);
    await this.#options.supervisor().add(given);
  }

  async #remove(name: string): Promise<void> {
    this.#given.delete(name);
    this.#options.setFreshness(name, undefined);
    this.#endTrigger(name);
    await this.#options.supervisor().remove(name);
    this.#options.onRemoved(name);
  }

  async #change(
    { before, after, keys }: ChangedEntry,
    matchers: ReadonlyMap<string, Matcher>,
  ): Promise<void> {
    const { name } = after;
    if (before.kind !== after.kind) {
      await this.#remove(name);
      await this.#add(after, matchers);
      return;
    }
    const matcher = matchers.get(name);
    if (keys.includes('on') && matcher !== undefined) {
      this.#options.dispatcher.setMatcher(name, matcher);
      this.#options.onPattern(after, matcher);
    }
    if (keys.includes('freshness')) this.#options.setFreshness(name, freshnessOf(after));
    if (keys.includes('log_level')) this.#options.setLogLevel(name, after.logLevel);
    if (keys.every((key) => LIVE_KEYS.includes(key))) return;
    const { outcome } = await this.#options.supervisor().change(this.#give(after));
    if (outcome === 'unchanged')
      this.#options.log.info(
        { plugin: name },
        'the plugin does not run: its changed entry holds from when it is started',
      );
  }

  #beginTrigger(entry: PluginEntry, matchers: ReadonlyMap<string, Matcher>): void {
    const { dispatcher, fire, onPattern } = this.#options;
    const { name } = entry;
    const matcher = matchers.get(name);
    if (matcher === undefined) return;
    dispatcher.add({ name, matcher, fire: (batch) => fire(name, batch) });
    onPattern(entry, matcher);
  }

  #endTrigger(name: string): void {
    const { dispatcher, log } = this.#options;
    if (!dispatcher.has(name)) return;
    const keys = dispatcher.remove(name);
    if (keys > 0)
      log.warn({ plugin: name, keys }, 'the trigger is removed before it was told of everything');
  }

  /** Resolves with why it failed, if it did. Never rejects. */
  #inTurn(plugin: string, task: () => Promise<void>): Promise<NotFollowed | undefined> {
    const turn = (this.#turns.get(plugin) ?? Promise.resolve())
      .then(task)
      .then(
        () => undefined,
        // The supervisor has logged it.
        (error: unknown) => ({ plugin, reason: reasonOf(error) }),
      )
      .finally(() => {
        if (this.#turns.get(plugin) === turn) this.#turns.delete(plugin);
      });
    this.#turns.set(plugin, turn);
    return turn;
  }

  #give(entry: PluginEntry): PluginEntry {
    const given = this.#located(entry);
    this.#given.set(entry.name, given);
    return given;
  }

  /** An entry moves with every line added above it: its places are those in the file as it is now. */
  #located(entry: PluginEntry): PluginEntry {
    const now = (): PluginEntry => this.entry(entry.name) ?? entry;
    return {
      ...entry,
      locate: (path: Path) => now().locate(path),
      pathOf: (path: Path) => now().pathOf(path),
    };
  }
}

/** Entries that are what they were, but which their plugins did not follow. */
function unfollowed(
  names: readonly string[],
  changed: readonly ChangedEntry[],
  next: MktsConfig,
): readonly ChangedEntry[] {
  return next.plugins
    .filter(({ name }) => names.includes(name))
    .filter(({ name }) => !changed.some(({ after }) => after.name === name))
    .map((entry) => ({ before: entry, after: entry, keys: ['again'] }));
}

export function freshnessOf({ freshness, calendar }: PluginEntry): Freshness | undefined {
  return freshness === undefined || calendar === undefined
    ? undefined
    : { maxAgeMs: freshness.maxAgeMs, calendar };
}

/** All before anything is done. Throws MKTS_CONFIG_INVALID. */
function compilePatterns(entries: readonly PluginEntry[]): ReadonlyMap<string, Matcher> {
  const matchers = new Map<string, Matcher>();
  for (const entry of entries) {
    if (entry.kind !== 'trigger') continue;
    try {
      matchers.set(entry.name, compilePattern(entry.on));
    } catch (cause) {
      throw new ConfigError(
        'MKTS_CONFIG_INVALID',
        { at: entry.locate([]), path: `on of '${entry.name}'`, problem: reasonOf(cause) },
        { cause },
      );
    }
  }
  return matchers;
}
