/**
 * One entry of mkts.yml over all its workers: starts it, watches it end, starts it again or not.
 * Main thread.
 *
 *   idle ──▶ starting ──▶ running ◀──▶ degraded       degraded: late with its heartbeat
 *               ▲   │        │
 *               │   ├────────┴──▶ stopped             asked to, or a bgworker that ended by itself
 *               │   ├───────────▶ failed              nothing a restart would mend: build, config, API
 *               │   ▼
 *            backoff ───────────▶ quarantined         crashed too often; waits for an operator
 *
 * Invariant: one worker at a time, and `onGone` follows every `onRing`. Each transition is logged
 * once, with its cause, here and nowhere else.
 */

import { KERNEL_API } from '../../plugins/sdk.ts';
import { revive } from '../../workers/outcome.ts';
import type { Outcome, PlainBatch, PluginDescription } from '../../workers/protocol.ts';
import { fromPlainError, MktsError, PluginError, reasonOf } from '../base/errors.ts';
import { hideSecrets, secretValues } from '../base/secrets.ts';
import { createKernelApi, type KernelApi, type KernelFunctions } from './kernel-api.ts';
import type {
  Log,
  Network,
  PluginEntry,
  PluginFeed,
  SupervisorClock,
  SupervisorLimits,
} from './plugin-entry.ts';
import { grantsOf } from './plugin-grants.ts';
import { logTransition, type PluginState, type PluginStatus, stateReason } from './plugin-state.ts';
import { PluginWorker } from './plugin-worker.ts';
import type { ProcessMemoryWatch } from './process-memory-watch.ts';
import { RestartPolicy } from './restart-policy.ts';

export interface PluginLifeOptions {
  readonly entry: PluginEntry;
  readonly bundle: () => Promise<{ readonly code: string; readonly filename: string }>;
  readonly hostCode: string;
  readonly timezone: string;
  readonly doorbell: SharedArrayBuffer;
  readonly kernel: KernelFunctions;
  readonly network: Network;
  readonly limits: SupervisorLimits;
  readonly processMemory: ProcessMemoryWatch;
  readonly clock: SupervisorClock;
  readonly random: () => number;
  readonly log: Log;
  readonly onRing: (feed: PluginFeed) => void;
  readonly onGone: (feed: PluginFeed) => void;
  readonly onState: (plugin: string, state: PluginState) => void;
}

/** How one worker's time ended. */
type Ending =
  | { readonly kind: 'stopped'; readonly reason: string }
  | { readonly kind: 'failed'; readonly cause: Error }
  | { readonly kind: 'crashed'; readonly cause: Error };

interface Running {
  readonly worker: PluginWorker;
  readonly feed: PluginFeed;
}

export class PluginLife {
  readonly #options: PluginLifeOptions;
  readonly #plugin: string;
  readonly #mask: (text: string) => string;
  readonly #restarts: RestartPolicy;
  #state: PluginState = { kind: 'idle' };
  #stateSinceMs: number;
  #running: Running | undefined;
  #description: PluginDescription | undefined;
  #generation = 0;
  #restartCount = 0;
  #zombies = 0;
  #stop = new AbortController();
  #life: Promise<void> = Promise.resolve();

  get kind(): PluginEntry['kind'] {
    return this.#options.entry.kind;
  }

  constructor(options: PluginLifeOptions) {
    this.#options = options;
    this.#plugin = options.entry.name;
    this.#mask = hideSecrets(secretValues(options.entry.config));
    this.#restarts = new RestartPolicy({ ...options.limits, random: options.random });
    this.#stateSinceMs = options.clock.nowMs();
  }

  /** Starts it unless it is alive already; also out of quarantine. Returns at once. */
  start(): void {
    if (!['idle', 'quarantined', 'failed', 'stopped'].includes(this.#state.kind)) return;
    this.#restarts.reset();
    this.#stop = new AbortController();
    this.#enter({ kind: 'starting' });
    const { signal } = this.#stop;
    this.#life = this.#live(signal).catch((cause) => {
      // A mistake of ours: the plugin is lost, the kernel and the other plugins are not.
      this.#enter({ kind: 'failed', cause: asError(cause) });
    });
  }

  /** Ends it in good order, or within `stopTimeoutMs` in bad. Never rejects. */
  async stop(): Promise<void> {
    if (this.#stop.signal.aborted) return this.#life;
    this.#stop.abort();
    const { worker } = this.#running ?? {};
    if (this.#state.kind === 'starting')
      worker?.terminate(new MktsError('MKTS_SHUTTING_DOWN', { plugin: this.#plugin }));
    await this.#life;
    if (this.#state.kind === 'idle') this.#enter({ kind: 'stopped', reason: 'on request' });
  }

  /** Tells a trigger. Rejects if it is not running, with its own error, or after a timeout. */
  async fire(batch: PlainBatch): Promise<void> {
    const running = this.#running;
    if (running === undefined || !['running', 'degraded'].includes(this.#state.kind))
      throw new PluginError('MKTS_PLUGIN_FAILED', {
        plugin: this.#plugin,
        reason: `it is ${this.#state.kind}`,
      });
    if (this.#stop.signal.aborted)
      throw new MktsError('MKTS_SHUTTING_DOWN', { plugin: this.#plugin });
    const { triggerTimeoutMs } = this.#options.limits;
    try {
      revive(await running.worker.call('fire', (plugin) => plugin.fire(batch), triggerTimeoutMs));
    } catch (cause) {
      // A batch that never ends holds its bucket's order: only a new worker frees it.
      if (cause instanceof PluginError && cause.code === 'MKTS_PLUGIN_TIMEOUT')
        running.worker.terminate(cause);
      // The plugin was told to stop in the middle of it: not the batch's fault, and it is not done.
      if (this.#stop.signal.aborted)
        throw new MktsError('MKTS_SHUTTING_DOWN', { plugin: this.#plugin }, { cause });
      throw cause;
    }
  }

  /** The worker of `feed` sent something that is not valid: it is replaced. */
  reject(feed: PluginFeed, cause: Error): void {
    if (this.#running?.feed === feed) this.#running.worker.terminate(cause);
  }

  status(): PluginStatus {
    const { entry, clock } = this.#options;
    const gauges = this.#running?.feed.ring.gauges();
    const state = this.#state;
    return {
      name: entry.name,
      kind: entry.kind,
      module: entry.module,
      version: this.#description?.version,
      state: state.kind,
      reason: stateReason(state, this.#mask),
      stateMs: clock.nowMs() - this.#stateSinceMs,
      generation: this.#generation,
      restarts: this.#restartCount,
      zombies: this.#zombies,
      memoryMb: this.#running?.worker.memoryMb ?? 0,
      ringHighWaterBytes: gauges?.highWaterBytes ?? 0,
      ringCapacityBytes: gauges?.capacityBytes ?? 0,
      rejectedFrames: gauges?.rejectedFrames ?? 0,
    };
  }

  async #live(signal: AbortSignal): Promise<void> {
    const { clock, bundle } = this.#options;
    let built: { readonly code: string; readonly filename: string };
    try {
      built = await bundle();
    } catch (cause) {
      this.#enter({ kind: 'failed', cause: asError(cause) });
      return;
    }
    while (!signal.aborted) {
      if (this.#state.kind !== 'starting') this.#enter({ kind: 'starting' });
      const ending = await this.#runOnce(built, signal);
      if (ending.kind !== 'crashed') {
        this.#enter(ending);
        return;
      }
      if (signal.aborted) break;
      const delayMs = this.#restarts.next(clock.nowMs());
      if (delayMs === undefined) {
        this.#enter({ kind: 'quarantined', cause: ending.cause });
        return;
      }
      this.#enter({ kind: 'backoff', cause: ending.cause, delayMs });
      await clock.sleep(delayMs, signal);
      if (!signal.aborted) this.#restartCount++;
    }
    this.#enter({ kind: 'stopped', reason: 'on request' });
  }

  /** One worker, from its start until it is gone. Never rejects for a fault of the plugin. */
  async #runOnce(
    built: { readonly code: string; readonly filename: string },
    signal: AbortSignal,
  ): Promise<Ending> {
    const { entry, network, onRing, onGone, kernel, log } = this.#options;
    this.#generation++;
    const api = createKernelApi({ plugin: this.#plugin, kernel, log, redact: this.#mask });
    let worker: PluginWorker;
    try {
      worker = this.#startWorker(built, api);
    } catch (cause) {
      return { kind: 'failed', cause: asError(cause) };
    }
    const feed: PluginFeed = {
      plugin: this.#plugin,
      generation: this.#generation,
      ring: worker.ring,
      series: (seriesId) => api.series(seriesId),
    };
    this.#running = { worker, feed };
    onRing(feed);
    let ending: Ending;
    try {
      ending = await this.#drive(worker, signal);
    } catch (cause) {
      ending = { kind: 'crashed', cause: asError(cause) };
    }
    worker.terminate(new MktsError('MKTS_SHUTTING_DOWN', { plugin: this.#plugin }));
    const { isZombie } = await worker.gone;
    if (isZombie) {
      this.#zombies++;
      log.error({ plugin: this.#plugin }, 'a worker hangs in native code and was left behind');
    }
    network.unregister(entry.name);
    this.#running = undefined;
    onGone(feed);
    return ending;
  }

  #startWorker(
    built: { readonly code: string; readonly filename: string },
    api: KernelApi,
  ): PluginWorker {
    const { entry, hostCode, timezone, doorbell, limits, processMemory, log } = this.#options;
    return new PluginWorker({
      plugin: this.#plugin,
      hostCode,
      code: built.code,
      filename: built.filename,
      config: entry.config,
      timezone,
      doorbell,
      api,
      limits: { ...limits, memorySoftMb: entry.budget?.memoryMb ?? limits.memorySoftMb },
      processMemory,
      onOutput: (line) => log.warn({ plugin: this.#plugin }, this.#mask(line)),
      onLate: (isLate) => {
        if (isLate && this.#state.kind === 'running')
          this.#enter({ kind: 'degraded', reason: 'it is late with its heartbeat' });
        else if (!isLate && this.#state.kind === 'degraded') this.#enter({ kind: 'running' });
      },
    });
  }

  /** The protocol of one worker. Throws what a restart may mend. */
  async #drive(worker: PluginWorker, signal: AbortSignal): Promise<Ending> {
    const { entry, network, limits } = this.#options;
    const { callTimeoutMs } = limits;
    const loaded = await worker.call('load', (plugin) => plugin.load(), callTimeoutMs);
    if (!loaded.ok && loaded.error.code === 'MKTS_PLUGIN_SHAPE')
      return { kind: 'failed', cause: fromPlainError(loaded.error) };
    const description = revive(loaded);
    this.#description = description;
    const unfit = this.#unfit(description);
    if (unfit !== undefined) return { kind: 'failed', cause: unfit };

    const problems = await worker.call('configure', (plugin) => plugin.configure(), callTimeoutMs);
    const [first, ...others] = problems.map(
      ({ path, problem }) =>
        new PluginError('MKTS_PLUGIN_CONFIG', {
          at: entry.locate(path),
          path: entry.pathOf?.(path) ?? ['config', ...path].join('.'),
          problem: this.#mask(problem),
          plugin: this.#plugin,
        }),
    );
    for (const { message, code } of others)
      this.#options.log.error({ plugin: this.#plugin, code }, message);
    if (first !== undefined) return { kind: 'failed', cause: first };

    const line = network.register(this.#plugin, grantsOf(description, entry));
    const start = (timeoutMs?: number): Promise<Outcome<void>> =>
      worker.call('start', (plugin) => plugin.start(line), timeoutMs);
    if (entry.kind === 'trigger') {
      revive(await start(callTimeoutMs));
      this.#enter({ kind: 'running' });
      return this.#untilStopped(worker, signal, undefined);
    }
    const started = start();
    this.#enter({ kind: 'running' });
    return this.#untilStopped(worker, signal, started);
  }

  /** Waits for the end: `started` of a bgworker settles when it ends by itself. */
  async #untilStopped(
    worker: PluginWorker,
    signal: AbortSignal,
    started: Promise<Outcome<void>> | undefined,
  ): Promise<Ending> {
    const stopped = new Promise<'stop'>((resolve) => {
      if (signal.aborted) resolve('stop');
      signal.addEventListener('abort', () => resolve('stop'), { once: true });
    });
    const ended = started ?? worker.gone.then(({ cause }) => Promise.reject(cause));
    const first = await Promise.race([ended, stopped]);
    if (first !== 'stop') revive(first);
    // What it accepted so far becomes committed before its worker goes.
    const { stopTimeoutMs } = this.#options.limits;
    try {
      ended.catch(() => {});
      revive(await worker.call('stop', (plugin) => plugin.stop(), stopTimeoutMs));
    } catch (cause) {
      const code = cause instanceof MktsError ? cause.code : undefined;
      this.#options.log.warn({ plugin: this.#plugin, code }, this.#mask(reasonOf(cause)));
    }
    return { kind: 'stopped', reason: first === 'stop' ? 'on request' : 'ended by itself' };
  }

  /** Why a plugin that loads cannot be run by this kernel or this entry. */
  #unfit({ kind, api }: PluginDescription): PluginError | undefined {
    const { entry } = this.#options;
    const plugin = this.#plugin;
    if (api !== KERNEL_API)
      return new PluginError('MKTS_PLUGIN_API', { plugin, wanted: api, have: KERNEL_API });
    if (kind !== entry.kind)
      return new PluginError('MKTS_PLUGIN_SHAPE', {
        plugin,
        reason: `it is a ${kind}, its entry is of a ${entry.kind}`,
      });
    return undefined;
  }

  #enter(state: PluginState): void {
    const { entry, clock, log, onState } = this.#options;
    this.#state = state;
    this.#stateSinceMs = clock.nowMs();
    logTransition(log, state, {
      plugin: this.#plugin,
      kind: entry.kind,
      generation: this.#generation,
      version: this.#description?.version,
      mask: this.#mask,
    });
    onState(this.#plugin, state);
  }
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
