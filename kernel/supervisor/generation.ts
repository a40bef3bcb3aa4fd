/**
 * One worker of a plugin, from its start until it is gone: its host, its ring's feed, its line to the
 * broker. Main thread. When there is one, and what follows its end, is decided by plugin-life.ts.
 *
 *   new ──▶ prepare ──▶ start ──▶ (park ──▶ start)… ──▶ stop, or its own end ──▶ gone
 *
 * Parked: it was told to stop, its ring is drained and no longer read, its traffic has ended, and the
 * worker is alive, so that it can start again at once if the generation after it fails.
 *
 * Invariant: the drain knows its ring (`onRing`, `onGone`) only while it may write: from `start` until
 * it is parked or gone. `onEnded` is called once for each `start` that was not ended by us.
 */

import { KERNEL_API } from '../../plugins/sdk.ts';
import { revive } from '../../workers/outcome.ts';
import type {
  ForeseenSeries,
  Outcome,
  PlainBatch,
  PlainState,
  PluginDescription,
} from '../../workers/protocol.ts';
import { asError, fromPlainError, MktsError, PluginError } from '../base/errors.ts';
import { FETCHES_MAX } from '../base/limits.ts';
import { RowBudget } from '../ingest/row-budget.ts';
import { createKernelApi, type KernelApi, type KernelFunctions } from './kernel-api.ts';
import { allowanceOf, secretsMask, secretsOf } from './plugin-allowance.ts';
import type {
  Log,
  Network,
  PluginBuild,
  PluginEntry,
  PluginFeed,
  SupervisorLimits,
} from './plugin-entry.ts';
import { grantsOf } from './plugin-grants.ts';
import type { Departure, PluginHost } from './plugin-host.ts';
import type { ProcessMemoryWatch } from './process-memory-watch.ts';
import { rewriteTexts, sourceNames } from './source-names.ts';
import { startHost } from './start-host.ts';
import { writeGrants } from './write-grants.ts';

/** How a generation's time ended, or why it could not begin. */
export type Ending =
  | { readonly kind: 'stopped'; readonly reason: string }
  /** Nothing a restart would mend. */
  | { readonly kind: 'failed'; readonly cause: Error }
  | { readonly kind: 'crashed'; readonly cause: Error };

export interface GenerationOptions {
  readonly entry: PluginEntry;
  readonly build: PluginBuild;
  /** Grows with every worker of the entry. */
  readonly number: number;
  readonly hostCode: string;
  readonly timezone: string;
  readonly doorbell: SharedArrayBuffer;
  readonly kernel: KernelFunctions;
  readonly network: Network;
  readonly limits: SupervisorLimits;
  readonly processMemory: ProcessMemoryWatch;
  readonly log: Log;
  /** What the plugin remembers, of all rows taken so far. */
  readonly state: () => PlainState;
  readonly onRing: (feed: PluginFeed) => void;
  /** Resolves when the last frame of its ring is taken. */
  readonly onGone: (feed: PluginFeed) => Promise<void> | void;
  readonly onLate: (isLate: boolean) => void;
  /** It is slowed down steadily for want of CPU budget, or no longer. */
  readonly onThrottled?: (isThrottled: boolean) => void;
}

export class Generation {
  readonly entry: PluginEntry;
  readonly build: PluginBuild;
  readonly number: number;
  readonly feed: PluginFeed;
  /** The worker is over. Never rejects. */
  readonly gone: Promise<Departure>;
  readonly #options: GenerationOptions;
  readonly #mask: (text: string) => string;
  /** An error that came from the worker, by the author's files and without secrets. */
  readonly #named: (thrown: unknown) => Error;
  readonly #worker: PluginHost;
  readonly #requests: { readonly underWay: number; readonly waiting: number };
  readonly #api: Pick<KernelApi, 'opened' | 'foresee'>;
  #foreseen: readonly ForeseenSeries[] = [];
  #description: PluginDescription | undefined;
  #isGone = false;
  /** The drain reads its ring, and it has a line to the broker. */
  #isConnected = false;
  #drained: Promise<void> = Promise.resolve();
  readonly #fires = new Set<Promise<unknown>>();
  /** The `start` that has not ended. */
  #run: object | undefined;

  /** Throws if no worker can be started, or if the entry's `config` cannot be handed to one. */
  constructor(options: GenerationOptions) {
    const { entry, build, number, kernel, limits, log } = options;
    this.#options = options;
    this.entry = entry;
    this.build = build;
    this.number = number;
    const hide = secretsMask(entry);
    const name = sourceNames(build);
    this.#mask = (text) => hide(name(text));
    this.#named = (thrown) => rewriteTexts(asError(thrown), this.#mask);
    const plugin = entry.name;
    const api = createKernelApi({
      plugin,
      generation: number,
      kernel,
      log,
      redact: this.#mask,
      entry,
      description: () => this.#description,
    });
    this.#worker = startHost({
      plugin,
      isolation: entry.isolation,
      hostCode: options.hostCode,
      start: {
        plugin,
        code: build.code,
        filename: build.filename,
        ...(build.libraries === undefined ? {} : { libraries: build.libraries }),
        config: entry.config,
        timezone: options.timezone,
        allowance: allowanceOf(entry),
      },
      doorbell: options.doorbell,
      api,
      limits: {
        ...limits,
        memorySoftMb: entry.budget?.memoryMb ?? limits.memorySoftMb,
        heapMb: entry.budget?.heapMb,
        externalMb: entry.budget?.externalMb,
      },
      processMemory: options.processMemory,
      onOutput: (line) => log.warn({ plugin }, this.#mask(line)),
      onLate: options.onLate,
      onThrottled: options.onThrottled,
    });
    this.#api = api;
    this.#requests = api.requests;
    const rowsPerSecond = entry.budget?.recordsPerSecond;
    this.feed = {
      plugin,
      generation: number,
      durability: entry.durability,
      budget: rowsPerSecond === undefined ? undefined : new RowBudget(rowsPerSecond),
      ring: this.#worker.ring,
      series: (seriesId) => api.series(seriesId),
    };
    this.gone = this.#worker.gone.then((departure) => {
      this.#isGone = true;
      void this.#disconnect();
      return departure;
    });
  }

  get description(): PluginDescription | undefined {
    return this.#description;
  }
  get memoryMb(): number {
    return this.#worker.memoryMb;
  }
  /** Queries under way, and those that wait. */
  get requests(): { readonly underWay: number; readonly waiting: number } {
    return this.#requests;
  }
  get isGone(): boolean {
    return this.#isGone;
  }

  /** Runs the plugin's module, which says what it is. Throws what a restart may mend. */
  async load(): Promise<PluginDescription> {
    const { callTimeoutMs } = this.#options.limits;
    this.#description = revive(
      await this.#worker.call('load', (plugin) => plugin.load(), callTimeoutMs),
    );
    return this.#description;
  }

  /** Loads it and checks its settings: undefined if it can be started. Never rejects. */
  async prepare(): Promise<Ending | undefined> {
    const { entry, limits, log } = this.#options;
    try {
      const unfit = this.#unfit(await this.load());
      if (unfit !== undefined) return { kind: 'failed', cause: unfit };
      const problems = await this.#worker.call(
        'configure',
        (plugin) => plugin.configure(),
        limits.callTimeoutMs,
      );
      const [first, ...others] = problems.map(
        ({ path, problem }) =>
          new PluginError('MKTS_PLUGIN_CONFIG', {
            at: entry.locate(path),
            path: entry.pathOf?.(path) ?? ['config', ...path].join('.'),
            problem: this.#mask(problem),
            plugin: entry.name,
          }),
      );
      for (const { message, code } of others) log.error({ plugin: entry.name, code }, message);
      return first === undefined ? undefined : { kind: 'failed', cause: first };
    } catch (thrown) {
      const cause = this.#named(thrown);
      const isShape = cause instanceof MktsError && cause.code === 'MKTS_PLUGIN_SHAPE';
      return { kind: isShape ? 'failed' : 'crashed', cause };
    }
  }

  /** It is about to take over from `before`: what that one writes is opened for it, out of the gap. */
  follow(before: Generation): void {
    this.#foreseen = this.#api.foresee(before.#api.opened);
  }

  /**
   * Starts the plugin with what it remembers. Resolves when a trigger is ready, for a bgworker when
   * it was told; rejects with why a trigger is not. `onEnded` tells when the run is over by itself.
   */
  async start(onEnded: (ending: Ending) => void): Promise<void> {
    const { entry, network, limits, state, onRing } = this.#options;
    const run = {};
    this.#run = run;
    const end = (ending: Ending): void => {
      if (this.#run !== run) return;
      this.#run = undefined;
      onEnded(ending);
    };
    const crash = (thrown: unknown): void => end({ kind: 'crashed', cause: this.#named(thrown) });
    const secrets = secretsOf(entry, this.#description?.secrets ?? []);
    const grants = this.#description === undefined ? [] : grantsOf(this.#description, entry);
    const fetchesMax = Math.min(FETCHES_MAX, entry.budget?.requestsMax ?? FETCHES_MAX);
    const line = network.register(entry.name, grants, this.number, fetchesMax);
    this.feed.budget?.hold();
    this.#isConnected = true;
    onRing(this.feed);
    const isTrigger = entry.kind === 'trigger';
    const foreseen = this.#foreseen;
    this.#foreseen = [];
    const started = this.#worker.call(
      'start',
      (plugin) => plugin.start(line, state(), secrets, foreseen),
      isTrigger ? limits.callTimeoutMs : undefined,
    );
    if (isTrigger) {
      try {
        revive(await started);
      } catch (thrown) {
        throw this.#named(thrown);
      }
      void this.gone.then(({ cause }) => crash(cause));
    } else {
      started.then((outcome: Outcome<void>) => {
        if (outcome.ok) end({ kind: 'stopped', reason: 'ended by itself' });
        else crash(fromPlainError(outcome.error));
      }, crash);
    }
  }

  /** Tells a trigger. A batch that takes too long ends the worker. */
  async fire(batch: PlainBatch): Promise<void> {
    const { triggerTimeoutMs } = this.#options.limits;
    const fired = this.#worker.call('fire', (plugin) => plugin.fire(batch), triggerTimeoutMs);
    const settled = fired.catch(() => undefined);
    this.#fires.add(settled);
    try {
      revive(await fired);
    } catch (cause) {
      // A batch that never ends holds its bucket's order: only a new worker frees it.
      if (cause instanceof PluginError && cause.code === 'MKTS_PLUGIN_TIMEOUT')
        this.terminate(cause);
      throw this.#named(cause);
    } finally {
      this.#fires.delete(settled);
    }
  }

  /** Resolves when no batch is under way. */
  async idle(): Promise<void> {
    await Promise.all(this.#fires);
  }

  /**
   * Ends the run and keeps the worker. When this resolves nothing more comes, and the last frame of
   * its ring is taken. Itself if the worker can start again. Never rejects.
   */
  async park(): Promise<Generation | undefined> {
    this.#run = undefined;
    this.feed.budget?.lift();
    const { stopTimeoutMs } = this.#options.limits;
    try {
      revive(await this.#worker.call('park', (plugin) => plugin.park(), stopTimeoutMs));
    } catch (thrown) {
      this.terminate(asError(thrown));
      await this.gone;
    }
    await this.#disconnect();
    return this.#isGone ? undefined : this;
  }

  /** Ends it in good order: what it accepted becomes committed before its worker goes. */
  async stop(): Promise<Departure> {
    this.#run = undefined;
    this.feed.budget?.lift();
    const { entry, limits, log } = this.#options;
    try {
      revive(await this.#worker.call('stop', (plugin) => plugin.stop(), limits.stopTimeoutMs));
    } catch (cause) {
      const code = cause instanceof MktsError ? cause.code : undefined;
      log.warn({ plugin: entry.name, code }, this.#mask(asError(cause).message));
    }
    return this.end();
  }

  /** Ends it as it is. Resolves when its worker is gone and the last frame of its ring is taken. */
  async end(): Promise<Departure> {
    this.#run = undefined;
    this.terminate(new MktsError('MKTS_SHUTTING_DOWN', { plugin: this.entry.name }));
    const departure = await this.gone;
    await this.#drained;
    return departure;
  }

  /** The text of a .cpuprofile. Rejects with MKTS_PROFILE. */
  async profile(milliseconds: number, signal: AbortSignal): Promise<string> {
    return this.#worker.profile(milliseconds, signal);
  }

  /** Returns at once. */
  terminate(cause: Error): void {
    this.#worker.terminate(cause);
  }

  /** Ends its traffic, and takes what is in its ring. */
  #disconnect(): Promise<void> {
    if (this.#isConnected) {
      this.#isConnected = false;
      this.#options.network.unregister(this.entry.name, this.number);
      this.#drained = Promise.resolve(this.#options.onGone(this.feed));
    }
    return this.#drained;
  }

  /** Why a plugin that loads cannot be run by this kernel or this entry. */
  #unfit(description: PluginDescription): MktsError | undefined {
    const { kind, api } = description;
    const { entry } = this;
    const plugin = entry.name;
    if (api !== KERNEL_API)
      return new PluginError('MKTS_PLUGIN_API', { plugin, wanted: api, have: KERNEL_API });
    if (kind !== entry.kind)
      return new PluginError('MKTS_PLUGIN_SHAPE', {
        plugin,
        reason: `it is a ${kind}, its entry is of a ${entry.kind}`,
      });
    try {
      writeGrants(entry, description);
    } catch (cause) {
      if (cause instanceof MktsError) return cause;
      throw cause;
    }
    return undefined;
  }
}
