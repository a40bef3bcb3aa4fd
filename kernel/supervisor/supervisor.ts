/**
 * All plugins of mkts.yml: one life each (plugin-life.ts), started and stopped together. Main thread.
 *
 * Starting waits for nothing a plugin does: a broken one is logged and shown, the others run. The
 * drain learns of rings by `onRing` and `onGone`; after `onGone` a ring is still to be drained to its
 * last frame, since what a plugin handed over before it ended is accepted.
 */

import { setTimeout as sleepFor } from 'node:timers/promises';
import type { Doorbell } from '../../workers/doorbell.ts';
import type { PlainBatch } from '../../workers/protocol.ts';
import { PluginError } from '../base/errors.ts';
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
import { bundleHost } from './host-bundle.ts';
import type { KernelFunctions } from './kernel-api.ts';
import { readableByWorkers } from './permission-probe.ts';
import type {
  Log,
  Network,
  PluginEntry,
  PluginFeed,
  SupervisorClock,
  SupervisorLimits,
} from './plugin-entry.ts';
import { PluginLife } from './plugin-life.ts';
import type { PluginState, PluginStatus } from './plugin-state.ts';
import { ProcessMemoryWatch } from './process-memory-watch.ts';

export interface SupervisorOptions {
  readonly entries: readonly PluginEntry[];
  /** Resolves and bundles an entry's module; rejects with MKTS_PLUGIN_NOT_FOUND, _BUILD, _IMPORT. */
  readonly bundle: (
    entry: PluginEntry,
  ) => Promise<{ readonly code: string; readonly filename: string }>;
  /** What the kernel does for one plugin. */
  readonly kernel: (entry: PluginEntry) => KernelFunctions;
  readonly network: Network;
  readonly doorbell: Doorbell;
  /** IANA name of the server's time zone. */
  readonly timezone: string;
  readonly log: Log;
  readonly onRing: (feed: PluginFeed) => void;
  readonly onGone: (feed: PluginFeed) => void;
  readonly onState?: (plugin: string, state: PluginState) => void;
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

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #lives = new Map<string, PluginLife>();
  /** Settle when an entry runs for the first time, or fails to. */
  readonly #firstRuns = new Map<string, PromiseWithResolvers<void>>();

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  /** Resolves when every plugin was told to start. Rejects only if our own host does not build. */
  async start(): Promise<void> {
    const { entries, bundle, kernel, clock, random, limits, onState, guardedPaths } = this.#options;
    if (entries.length === 0) return;
    const hostCode = await bundleHost();
    void this.#probe(guardedPaths ?? []);
    const processMemory = new ProcessMemoryWatch();
    for (const entry of entries) {
      const firstRun = Promise.withResolvers<void>();
      // Nobody need ask.
      firstRun.promise.catch(() => undefined);
      this.#firstRuns.set(entry.name, firstRun);
      const life = new PluginLife({
        ...this.#options,
        entry,
        hostCode,
        bundle: () => bundle(entry),
        kernel: kernel(entry),
        doorbell: this.#options.doorbell.shared,
        clock: clock ?? SYSTEM_CLOCK,
        random: random ?? Math.random,
        limits: { ...LIMITS, ...limits },
        processMemory,
        onState: (plugin, state) => {
          if (state.kind === 'running' || state.kind === 'stopped') firstRun.resolve();
          else if ('cause' in state) firstRun.reject(state.cause);
          onState?.(plugin, state);
        },
      });
      this.#lives.set(entry.name, life);
      life.start();
    }
  }

  /**
   * Ends all plugins, or those of a kind, at once; bounded by STOP_TIMEOUT_MS and the zombies'
   * second. Never rejects.
   */
  async stop(kind?: PluginEntry['kind']): Promise<void> {
    const lives = [...this.#lives.values()].filter(
      (life) => kind === undefined || life.kind === kind,
    );
    await Promise.all(lives.map((life) => life.stop()));
  }

  /** Resolves when every entry that says `required` runs; rejects with why the first does not. */
  async requiredRun(): Promise<void> {
    for (const { name, required } of this.#options.entries)
      if (required === true) await this.#firstRuns.get(name)?.promise;
  }

  plugins(): readonly PluginStatus[] {
    return [...this.#lives.values()].map((life) => life.status());
  }

  /** Tells a trigger of a batch: see PluginLife.fire. */
  async fire(plugin: string, batch: PlainBatch): Promise<void> {
    await this.#life(plugin).fire(batch);
  }

  /** The drain found a frame or a ring that is not valid: the worker behind it is replaced. */
  reject(feed: PluginFeed, cause: Error): void {
    this.#life(feed.plugin).reject(feed, cause);
  }

  /** An operator's wish: ends the plugin if it lives, and starts it, also out of quarantine. */
  async restart(plugin: string): Promise<void> {
    const life = this.#life(plugin);
    await life.stop();
    life.start();
  }

  #life(plugin: string): PluginLife {
    const life = this.#lives.get(plugin);
    if (life === undefined)
      throw new PluginError('MKTS_PLUGIN_FAILED', { plugin, reason: 'there is no such entry' });
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
