/**
 * One entry of mkts.yml over all its workers: what an operator, a changed file and the kernel may ask
 * of it, and the parts that do it. Main thread.
 *
 *   idle ──▶ starting ──▶ running ◀──▶ degraded       degraded: something is wrong, and it runs
 *               ▲   │      │ ▲  swap
 *               │   ├──────┴─┴──▶ stopped             asked to, or a bgworker that ended by itself
 *               │   ├───────────▶ failed              nothing a restart would mend: build, config, API
 *               │   ▼
 *            backoff ───────────▶ quarantined         crashed too often, or an operator said so
 *
 *   plugin-course.ts     who serves: start, end, restart, hand-over, the way back
 *   candidates.ts        new versions, until they are ready to take over
 *   shadows.ts           a new version beside what serves, its rows compared and not written
 *   plugin-condition.ts  the state, logged
 *   generations.ts       makes the workers;  module-watch.ts  sees changed files
 */

import type { PlainBatch, PluginDescription } from '../../workers/protocol.ts';
import { asError, PluginError } from '../base/errors.ts';
import { Candidates } from './candidates.ts';
import type { Consent } from './consents.ts';
import type { Ending, Generation } from './generation.ts';
import { Generations, type GenerationsOptions } from './generations.ts';
import { ModuleWatch } from './module-watch.ts';
import { PluginCondition } from './plugin-condition.ts';
import { CPU, HEARTBEAT, PluginCourse } from './plugin-course.ts';
import type { PluginBuild, PluginEntry, PluginFeed, SupervisorClock } from './plugin-entry.ts';
import {
  type Inspection,
  type PluginState,
  type PluginStatus,
  type SwapOutcome,
  stateReason,
} from './plugin-state.ts';
import type { ShadowDrain } from './shadow.ts';
import { Shadows } from './shadows.ts';

export interface ReloadOptions {
  /** Also if nothing changed, or if this version failed before. */
  readonly force?: boolean;
  /** Beside what serves, not in its place. */
  readonly shadow?: boolean;
}

export interface PluginLifeOptions extends GenerationsOptions {
  readonly entry: PluginEntry;
  readonly bundle: (entry: PluginEntry) => Promise<PluginBuild>;
  /** The files to watch while an entry's module does not build. */
  readonly moduleFiles: (entry: PluginEntry) => readonly string[];
  readonly clock: SupervisorClock;
  readonly random: () => number;
  readonly consent: Consent;
  readonly shadows?: ShadowDrain;
  readonly onState: (plugin: string, state: PluginState) => void;
}

export class PluginLife {
  readonly #options: PluginLifeOptions;
  readonly #plugin: string;
  readonly #generations: Generations;
  readonly #condition: PluginCondition;
  readonly #course: PluginCourse;
  readonly #candidates: Candidates;
  readonly #shadows: Shadows;
  readonly #watch: ModuleWatch;

  constructor(options: PluginLifeOptions) {
    const { entry, log, clock, onState, bundle } = options;
    this.#options = options;
    this.#plugin = entry.name;
    const plugin = this.#plugin;
    this.#generations = new Generations(options, {
      onLate: (generation, isLate) =>
        this.#sign(generation, HEARTBEAT, isLate ? 'it is late with its heartbeat' : undefined),
      onThrottled: (generation, isThrottled) =>
        this.#sign(generation, CPU, isThrottled ? 'it wants more CPU than its budget' : undefined),
    });
    this.#condition = new PluginCondition({
      ...{ clock, log, onState },
      fields: () => ({
        plugin,
        kind: this.kind,
        generation: this.#generation,
        version: this.description?.version,
        mask: this.#course.mask,
      }),
    });
    const consentOf = (generation: Generation) => this.#consentOf(generation);
    const onBuild = (built: PluginEntry, build: PluginBuild | undefined) =>
      this.#watchFiles(built, build);
    this.#course = new PluginCourse({
      ...{ entry, log, clock, bundle, onBuild, consentOf },
      restarts: { ...options.limits, random: options.random },
      generations: this.#generations,
      condition: this.#condition,
      onFailed: (generation, cause) => this.#candidates.failed(generation, cause),
    });
    this.#candidates = new Candidates({
      ...{ plugin, log, bundle, onBuild, consentOf },
      mask: (text) => this.#course.mask(text),
      create: (wanted, build) => this.#generations.create(wanted, build),
      serving: () => this.#course.serving,
      handOver: async (generation, check) => {
        const outcome = await this.#course.handOver(generation, check);
        // What it was held against serves no more.
        await this.#shadows.end('another generation took over');
        return outcome;
      },
    });
    this.#shadows = new Shadows({
      ...{ plugin, log, clock, bundle, onBuild, consentOf },
      drain: options.shadows,
      stateOf: () => options.stateOf(plugin),
      mask: (text) => this.#course.mask(text),
      create: (wanted, build, diversion) =>
        this.#generations.createShadow(wanted, build, diversion),
      serving: () => this.#course.serving,
      failure: (hash) => this.#candidates.failure(hash),
      swap: (wish) => this.#candidates.swap(wish),
    });
    this.#watch = new ModuleWatch({ log, plugin, onChange: () => this.#onFilesChanged() });
  }

  get kind(): PluginEntry['kind'] {
    return this.entry.kind;
  }

  /** As it is in force. */
  get entry(): PluginEntry {
    return this.#course.entry;
  }

  /** What the version that runs, or ran last, says of itself; undefined: none was loaded. */
  get description(): PluginDescription | undefined {
    return this.#course.description;
  }

  // ---- what an operator may ask ---------------------------------------------------------------

  /**
   * Starts it unless it is alive already; also out of quarantine. Resolves when it runs; rejects with
   * why it does not.
   */
  async start(): Promise<void> {
    await this.#course.start();
  }

  /** Ends it in good order, or within `stopTimeoutMs` in bad. Never rejects. */
  async stop(): Promise<void> {
    await this.#end({ kind: 'stopped', reason: 'on request' });
  }

  /** Ends it, and what follows is up to an operator: it is not started again by itself. */
  async quarantine(reason: string): Promise<void> {
    const cause = new PluginError('MKTS_PLUGIN_QUARANTINED', { plugin: this.#plugin, reason });
    await this.#end({ kind: 'quarantined', cause });
  }

  /** Ends it for good: nothing of it is left. */
  async remove(): Promise<void> {
    this.#watch.close();
    await this.stop();
  }

  /**
   * Changes the worker for one of what the files and the entry say now, without a gap; the one before
   * goes on if that fails. `force`: also if nothing changed, or if this version failed before.
   * Rejects with why there is no new generation. As a shadow if that, or the entry, says so.
   */
  async reload({ force = false, shadow = false }: ReloadOptions = {}): Promise<SwapOutcome> {
    if (shadow || this.#shadowsFirst(this.entry))
      return this.#shadows.start({ entry: this.#newestEntry, force, isAsked: true });
    const wasWanted = this.#course.isWanted;
    this.#course.want(true);
    try {
      return await this.#candidates.swap({ entry: this.entry, force, isAsked: true });
    } catch (cause) {
      // What was stopped stays so, and a saved file does not start it.
      if (!wasWanted && this.#course.serving === undefined) this.#course.want(false);
      throw cause;
    }
  }

  /** The entry in mkts.yml is another one now. As a reload; a plugin that was stopped stays so. */
  async change(entry: PluginEntry): Promise<SwapOutcome> {
    this.#candidates.forgive();
    // Who turns it on or off does not want to see what that would write.
    if (this.#shadowsFirst(this.entry) && this.#shadowsFirst(entry))
      return this.#shadows.start({ entry, force: true, isAsked: true });
    if (this.#course.isWanted) return this.#candidates.swap({ entry, force: true, isAsked: true });
    this.#course.adopt(entry);
    return { outcome: 'unchanged', generation: this.#generation };
  }

  /** The operator agreed to what a version asks for that waits: it goes on. */
  async approved(): Promise<SwapOutcome> {
    if (!this.#shadows.isWaiting) return this.reload();
    return this.#shadows.start({ entry: this.#newestEntry, force: true, isAsked: true });
  }

  /** What the shadow runs takes the place of what serves. Rejects with why not. */
  async promote(): Promise<SwapOutcome> {
    return this.#shadows.promote();
  }

  /** Ends the shadow. Rejects if there is none. */
  async discard(): Promise<void> {
    await this.#shadows.discard();
  }

  /** What the files ask for, without running them beyond their load. */
  async inspect(): Promise<Inspection> {
    const build = await this.#options.bundle(this.entry);
    const generation = this.#generations.create(this.entry, build);
    try {
      return {
        plugin: this.#plugin,
        module: this.entry.module,
        description: await generation.load(),
        hash: build.hash,
        inputs: build.inputs,
        runningHash: this.#course.serving?.build.hash,
      };
    } finally {
      await generation.end();
    }
  }

  /** The text of a .cpuprofile of what serves. Rejects with MKTS_PROFILE. */
  async profile(milliseconds: number, signal: AbortSignal): Promise<string> {
    const { serving } = this.#course;
    if (serving !== undefined) return serving.profile(milliseconds, signal);
    const reason = `it is ${this.#condition.state.kind}`;
    throw new PluginError('MKTS_PROFILE', { plugin: this.#plugin, reason });
  }

  // ---- what the kernel tells it -----------------------------------------------------------------

  /** Tells a trigger. Rejects if it is not running, with its own error, or after a timeout. */
  async fire(batch: PlainBatch): Promise<void> {
    if (this.#condition.is('running', 'degraded')) this.#shadows.fire(batch);
    await this.#course.fire(batch);
  }

  /** The worker of `feed` sent something that is not valid: it is replaced. */
  reject(feed: PluginFeed, cause: Error): void {
    this.#generations.reject(feed, cause);
  }

  /** Something is wrong with it, or with `undefined` no longer; it is degraded while anything is. */
  concern(topic: string, reason: string | undefined): void {
    this.#condition.concern(topic, reason);
  }

  status(): PluginStatus {
    const { serving, probation, version, mask } = this.#course;
    const gauges = serving?.feed.ring.gauges();
    const { state, ageMs } = this.#condition;
    const { parkedGeneration, generation: onProbation } = probation;
    return {
      name: this.#plugin,
      kind: this.kind,
      module: this.entry.module,
      version: this.description?.version,
      state: state.kind,
      reason: stateReason(state, mask),
      stateMs: ageMs,
      generation: this.#generation,
      hash: version?.build.hash,
      candidate:
        this.#candidates.status() ??
        (onProbation === undefined
          ? undefined
          : { generation: onProbation, state: 'probation', reason: undefined }),
      parkedGeneration,
      shadow: this.#shadows.report(),
      swaps: this.#course.swapCount,
      restarts: this.#course.restartCount,
      zombies: this.#generations.zombies,
      memoryMb: serving?.memoryMb ?? 0,
      cpuMs: gauges?.cpuMs ?? 0,
      requests: serving?.requests ?? { underWay: 0, waiting: 0 },
      throttledMs: gauges?.throttledMs ?? 0,
      ringUsedBytes: gauges?.usedBytes ?? 0,
      ringHighWaterBytes: gauges?.highWaterBytes ?? 0,
      ringCapacityBytes: gauges?.capacityBytes ?? 0,
      rejectedFrames: gauges?.rejectedFrames ?? 0,
    };
  }

  // ---------------------------------------------------------------------------------------------

  /** Of what serves, or of the newest. */
  get #generation(): number {
    return this.#course.serving?.number ?? this.#generations.count;
  }

  async #end(state: Extract<PluginState, { kind: 'stopped' | 'quarantined' }>): Promise<void> {
    this.#candidates.cancel();
    const shadow = this.#shadows.end('the plugin is stopped');
    await this.#course.end(state);
    await shadow;
  }

  #onFilesChanged(): void {
    // Whoever stopped it does not want it back for a saved file.
    if (!this.#course.isWanted) return;
    const wish = { force: false, isAsked: false };
    const taken = this.#shadowsFirst(this.entry)
      ? this.#shadows.start({ ...wish, entry: this.#newestEntry })
      : this.#candidates.swap({ ...wish, entry: this.entry });
    // Why not is in the log.
    taken.catch(() => undefined);
  }

  /** What mkts.yml says now: a shadow may run with another entry than what serves. */
  get #newestEntry(): PluginEntry {
    return this.#shadows.entry ?? this.entry;
  }

  /** Nothing can be held against a plugin that does not run: then a new version just starts. */
  #shadowsFirst(entry: PluginEntry): boolean {
    return entry.reload?.shadow === true && this.#course.serving !== undefined;
  }

  /** What runs may be of other files than what was built last, for as long as that is not ready. */
  #watchFiles(entry: PluginEntry, build: PluginBuild | undefined): void {
    const isOff = entry.reload?.watch === false;
    const built = build?.inputs ?? this.#options.moduleFiles(entry);
    this.#watch.follow(isOff ? [] : [...built, ...(this.#course.serving?.build.inputs ?? [])]);
  }

  /** A word of a watcher on what serves. */
  #sign(generation: Generation, topic: string, reason: string | undefined): void {
    if (generation === this.#course.serving) this.concern(topic, reason);
  }

  async #consentOf(generation: Generation): Promise<Ending | undefined> {
    if (generation.description === undefined) return undefined;
    try {
      const refusal = await this.#options.consent(generation.entry, generation.description);
      return refusal === undefined ? undefined : { kind: 'failed', cause: refusal };
    } catch (cause) {
      return { kind: 'failed', cause: asError(cause) };
    }
  }
}
