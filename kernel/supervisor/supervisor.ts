/**
 * All plugins of mkts.yml: one life each (plugin-life.ts), started and stopped together, and each by
 * itself when an operator, a changed file or a changed mkts.yml asks for it. Main thread.
 *
 * Starting waits for nothing a plugin does: a broken one is logged and shown, the others run. The
 * drain learns of rings by `onRing` and `onGone`; after `onGone` a ring is still to be drained to its
 * last frame, since what a plugin handed over before it ended is accepted.
 */

import { setTimeout as sleepFor } from 'node:timers/promises';
import type { Doorbell } from '../../workers/doorbell.ts';
import type { PlainBatch, PlainState, PluginDescription } from '../../workers/protocol.ts';
import { MktsError, PluginError } from '../base/errors.ts';
import {
  CALL_TIMEOUT_MS,
  HEARTBEAT_TIMEOUT_MS,
  RESTART_DELAY_MS,
  RESTARTS_MAX,
  STOP_TIMEOUT_MS,
  TRIGGER_TIMEOUT_MS,
  WORKER_MEMORY_SOFT_MB,
  WORKER_SAMPLE_MS,
} from '../base/limits.ts';
import type { Consent } from './consents.ts';
import { bundleHost } from './host-bundle.ts';
import type { KernelFunctions } from './kernel-api.ts';
import { readableByWorkers } from './permission-probe.ts';
import type {
  Log,
  Network,
  PluginBuild,
  PluginEntry,
  PluginFeed,
  SupervisorClock,
  SupervisorLimits,
} from './plugin-entry.ts';
import { PluginLife, type ReloadOptions } from './plugin-life.ts';
import type { Inspection, PluginState, PluginStatus, SwapOutcome } from './plugin-state.ts';
import { type MemoryLook, ProcessMemoryWatch } from './process-memory-watch.ts';
import type { ShadowDrain } from './shadow.ts';

export interface SupervisorOptions {
  readonly entries: readonly PluginEntry[];
  /** Resolves and bundles an entry's module; rejects with MKTS_PLUGIN_NOT_FOUND, _BUILD, _IMPORT. */
  readonly bundle: (entry: PluginEntry) => Promise<PluginBuild>;
  /** The files to watch while an entry's module does not build. Default: none. */
  readonly moduleFiles?: (entry: PluginEntry) => readonly string[];
  /** What the kernel does for one plugin. */
  readonly kernel: (entry: PluginEntry) => KernelFunctions;
  readonly network: Network;
  readonly doorbell: Doorbell;
  /** IANA name of the server's time zone. */
  readonly timezone: string;
  readonly log: Log;
  /** What a plugin remembers, of all rows taken so far. Default: nothing. */
  readonly stateOf?: (plugin: string) => PlainState;
  /** What a new version may have without being asked about. Default: everything. */
  readonly consents?: {
    readonly check: Consent;
    /** False: nothing waits. */
    approve(plugin: string): boolean;
  };
  /** Plugins that start in quarantine, and why. */
  readonly quarantined?: ReadonlyMap<string, string>;
  readonly onRing: (feed: PluginFeed) => void;
  /** Its last frame is in the ring. Resolves when that is taken; then the ring is forgotten. */
  readonly onGone: (feed: PluginFeed) => Promise<void> | void;
  /** Where the rows of shadows go; absent: there can be none. */
  readonly shadows?: ShadowDrain;
  readonly onState?: (plugin: string, state: PluginState) => void;
  /** What the watch over the memory of the process sees, many times a second: must be cheap. */
  readonly onMemoryLook?: ((look: MemoryLook) => void) | undefined;
  /** Files and directories no plugin may be able to read: checked once, with a warning if it can. */
  readonly guardedPaths?: readonly string[];
  readonly clock?: SupervisorClock;
  readonly random?: () => number;
  readonly limits?: Partial<SupervisorLimits>;
}

const LIMITS: SupervisorLimits = {
  heartbeatTimeoutMs: HEARTBEAT_TIMEOUT_MS,
  memorySoftMb: WORKER_MEMORY_SOFT_MB,
  sampleMs: WORKER_SAMPLE_MS,
  restartDelayMs: RESTART_DELAY_MS,
  restartsMax: RESTARTS_MAX,
  stopTimeoutMs: STOP_TIMEOUT_MS,
  callTimeoutMs: CALL_TIMEOUT_MS,
  triggerTimeoutMs: TRIGGER_TIMEOUT_MS,
};
const NO_STATE: PlainState = { entries: [], bytesMax: 0 };

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #lives = new Map<string, PluginLife>();
  /** Settle when an entry runs for the first time, or fails to. */
  readonly #firstRuns = new Map<string, PromiseWithResolvers<void>>();
  readonly #processMemory: ProcessMemoryWatch;
  #hostCode: Promise<string> | undefined;
  #isStopping = false;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#processMemory = new ProcessMemoryWatch({ onLook: options.onMemoryLook });
  }

  /** Resolves when every plugin was told to start. Rejects only if our own host does not build. */
  async start(): Promise<void> {
    const { entries, guardedPaths, quarantined } = this.#options;
    if (entries.length === 0) return;
    const hostCode = await this.#host();
    void this.#probe(guardedPaths ?? []);
    for (const entry of entries) {
      const life = this.#newLife(entry, hostCode);
      const reason = quarantined?.get(entry.name);
      if (reason !== undefined) await life.quarantine(reason);
      // Why it does not run is in its state, and in the log.
      else life.start().catch(() => undefined);
    }
  }

  /**
   * Ends all plugins, or those of a kind, at once; bounded by STOP_TIMEOUT_MS and the zombies'
   * second. Never rejects.
   */
  async stop(kind?: PluginEntry['kind']): Promise<void> {
    this.#isStopping = true;
    const lives = [...this.#lives.values()].filter(
      (life) => kind === undefined || life.kind === kind,
    );
    await Promise.all(lives.map((life) => life.remove()));
  }

  /** Resolves when every entry that says `required` runs; rejects with why the first does not. */
  async requiredRun(): Promise<void> {
    for (const { name, required } of this.#options.entries)
      if (required === true) await this.#firstRuns.get(name)?.promise;
  }

  plugins(): readonly PluginStatus[] {
    return [...this.#lives.values()].map((life) => life.status());
  }

  /** Throws MKTS_PLUGIN_UNKNOWN, as all that follow. */
  status(plugin: string): PluginStatus {
    return this.#life(plugin).status();
  }

  /** As it is in force. */
  entry(plugin: string): PluginEntry {
    return this.#life(plugin).entry;
  }

  /** What the version that runs, or ran last, says of itself; undefined: none was loaded. */
  description(plugin: string): PluginDescription | undefined {
    return this.#life(plugin).description;
  }

  /** Tells a trigger of a batch: see PluginLife.fire. */
  async fire(plugin: string, batch: PlainBatch): Promise<void> {
    await this.#life(plugin).fire(batch);
  }

  /** The drain found a frame or a ring that is not valid: the worker behind it is replaced. */
  reject(feed: PluginFeed, cause: Error): void {
    this.#lives.get(feed.plugin)?.reject(feed, cause);
  }

  /**
   * Something is wrong with a plugin that runs, or with `undefined` no longer: it is *degraded* while
   * anything is. `topic` tells one watcher's word from another's.
   */
  concern(plugin: string, topic: string, reason: string | undefined): void {
    this.#lives.get(plugin)?.concern(topic, reason);
  }

  // ---- operations: one plugin, while the others go on -----------------------------------------

  /**
   * A new generation of what the files say now, beside the one that runs, then in its place. Rejects
   * with why there is none; then the one before goes on. `force`: also if nothing changed.
   */
  async reload(plugin: string, options?: ReloadOptions): Promise<SwapOutcome> {
    return this.#life(plugin).reload(options);
  }

  /** The shadow's version takes over, as a reload does. Rejects with MKTS_SHADOW_NONE, MKTS_SHADOW. */
  async promote(plugin: string): Promise<SwapOutcome> {
    return this.#life(plugin).promote();
  }

  /** Ends the shadow and forgets its diff. Rejects with MKTS_SHADOW_NONE. */
  async discard(plugin: string): Promise<void> {
    await this.#life(plugin).discard();
  }

  /** Ends a plugin and starts it anew, also out of quarantine. Rejects with why it does not run. */
  async restart(plugin: string): Promise<void> {
    const life = this.#life(plugin);
    await life.stop();
    await life.start();
  }

  /** Ends it in good order. It stays so until it is started. */
  async stopOne(plugin: string): Promise<void> {
    await this.#life(plugin).stop();
  }

  /** Starts it, also out of quarantine; nothing if it runs. Rejects with why it does not run. */
  async startOne(plugin: string): Promise<void> {
    await this.#life(plugin).start();
  }

  /** Ends it, and shows why: it stays so until it is released or started. */
  async quarantine(plugin: string, reason: string): Promise<void> {
    await this.#life(plugin).quarantine(reason);
  }

  /** Starts it if it is in quarantine. Rejects with why it does not run. */
  async release(plugin: string): Promise<void> {
    const life = this.#life(plugin);
    if (life.status().state === 'quarantined') await life.start();
  }

  /** Agrees to all a waiting version asks for, and lets it take over. Nothing if none waits. */
  async approve(plugin: string): Promise<SwapOutcome | undefined> {
    const life = this.#life(plugin);
    return this.#options.consents?.approve(plugin) === true ? life.approved() : undefined;
  }

  /** What its files ask for, without running them beyond their load. */
  async inspect(plugin: string): Promise<Inspection> {
    return this.#life(plugin).inspect();
  }

  /** The text of a .cpuprofile of what serves. Rejects with MKTS_PROFILE. */
  async profile(plugin: string, milliseconds: number, signal: AbortSignal): Promise<string> {
    return this.#life(plugin).profile(milliseconds, signal);
  }

  // ---- a changed mkts.yml ---------------------------------------------------------------------

  /** Starts an entry that was not there. Rejects with why it does not run; it is there all the same. */
  async add(entry: PluginEntry): Promise<void> {
    if (this.#isStopping) throw new MktsError('MKTS_SHUTTING_DOWN', { plugin: entry.name });
    const hostCode = await this.#host();
    if (this.#lives.has(entry.name))
      throw new PluginError('MKTS_PLUGIN_EXISTS', { plugin: entry.name });
    await this.#newLife(entry, hostCode).start();
  }

  /** Ends an entry's plugin and forgets it. */
  async remove(plugin: string): Promise<void> {
    const life = this.#life(plugin);
    await life.remove();
    if (this.#lives.get(plugin) === life) this.#lives.delete(plugin);
  }

  /**
   * The entry of this name is another one now: as a reload, with the new entry. If it rejects, the
   * plugin goes on with the entry before.
   */
  async change(entry: PluginEntry): Promise<SwapOutcome> {
    const life = this.#life(entry.name);
    if (life.kind === entry.kind) return life.change(entry);
    await this.remove(entry.name);
    await this.add(entry);
    return { outcome: 'started', generation: this.status(entry.name).generation };
  }

  // ---------------------------------------------------------------------------------------------

  #host(): Promise<string> {
    this.#hostCode ??= bundleHost();
    return this.#hostCode;
  }

  #newLife(entry: PluginEntry, hostCode: string): PluginLife {
    const { clock, random, limits, onState, moduleFiles, stateOf, consents } = this.#options;
    const firstRun = Promise.withResolvers<void>();
    // Nobody need ask.
    firstRun.promise.catch(() => undefined);
    this.#firstRuns.set(entry.name, firstRun);
    const life = new PluginLife({
      ...this.#options,
      entry,
      hostCode,
      doorbell: this.#options.doorbell.shared,
      moduleFiles: moduleFiles ?? (() => []),
      stateOf: stateOf ?? (() => NO_STATE),
      consent: consents?.check ?? (async () => undefined),
      clock: clock ?? SYSTEM_CLOCK,
      random: random ?? Math.random,
      limits: { ...LIMITS, ...limits },
      processMemory: this.#processMemory,
      onState: (plugin, state) => {
        if (state.kind === 'running' || state.kind === 'stopped') firstRun.resolve();
        else if ('cause' in state) firstRun.reject(state.cause);
        onState?.(plugin, state);
      },
    });
    this.#lives.set(entry.name, life);
    return life;
  }

  #life(plugin: string): PluginLife {
    const life = this.#lives.get(plugin);
    if (life === undefined) throw new PluginError('MKTS_PLUGIN_UNKNOWN', { plugin });
    return life;
  }

  async #probe(paths: readonly string[]): Promise<void> {
    if (paths.length === 0) return;
    const { log } = this.#options;
    const readable = await readableByWorkers(paths);
    if (readable.length === 0) log.debug({ paths }, 'no worker can read files');
    else
      log.warn(
        { paths: readable },
        'files would be readable to a plugin that escapes its sandbox: start the server in another directory',
      );
  }
}

/** Real time. */
const SYSTEM_CLOCK: SupervisorClock = {
  nowMs: () => performance.now(),
  sleep: async (ms, signal) => {
    // Rejects only when the signal aborts, which is what ends the sleep.
    await sleepFor(ms, undefined, { signal, ref: false }).catch(() => {});
  },
};
