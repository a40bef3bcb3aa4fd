/**
 * Who serves: the course of one plugin over its generations, from its start to its end, through
 * restarts, swaps and a way back. Main thread; one per plugin.
 *
 * What changes who serves is done in turn, one after the other; what takes long (building and loading
 * a new version) is done before its turn (candidates.ts).
 *
 * Invariant: one generation serves at a time, and only its end changes the state of the plugin. A
 * parked one (probation.ts) writes nothing.
 */

import type { PlainBatch, PluginDescription } from '../../workers/protocol.ts';
import { asError, MktsError, PluginError } from '../base/errors.ts';
import { PROBATION_MS } from '../base/limits.ts';
import type { Ending, Generation } from './generation.ts';
import type { Generations } from './generations.ts';
import { secretsMask } from './plugin-allowance.ts';
import type { PluginCondition } from './plugin-condition.ts';
import type { Log, PluginBuild, PluginEntry, SupervisorClock } from './plugin-entry.ts';
import { causeFields, type PluginState, type SwapOutcome } from './plugin-state.ts';
import { type Predecessor, Probation, type Version } from './probation.ts';
import { RestartPolicy, type RestartPolicyOptions } from './restart-policy.ts';
import { StartPolicy } from './start-policy.ts';

/** Concerns about one worker, which the next one does not inherit. */
export const HEARTBEAT = 'heartbeat';
export const CPU = 'cpu';
const WORKER_CONCERNS: readonly string[] = [HEARTBEAT, CPU];

export interface PluginCourseOptions {
  readonly entry: PluginEntry;
  readonly log: Log;
  readonly clock: SupervisorClock;
  readonly restarts: RestartPolicyOptions;
  readonly generations: Generations;
  readonly condition: PluginCondition;
  readonly bundle: (entry: PluginEntry) => Promise<PluginBuild>;
  /** A build is there, or failed. */
  readonly onBuild: (entry: PluginEntry, build: PluginBuild | undefined) => void;
  readonly consentOf: (generation: Generation) => Promise<Ending | undefined>;
  /** A generation failed in its probation. */
  readonly onFailed: (generation: Generation, cause: Error) => Promise<void>;
}

export class PluginCourse {
  readonly #options: PluginCourseOptions;
  readonly #plugin: string;
  readonly #condition: PluginCondition;
  readonly #restarts: RestartPolicy;
  readonly #starts = new StartPolicy();
  readonly #probation: Probation;
  #entry: PluginEntry;
  #mask: (text: string) => string;
  #isWanted = false;
  #serving: Generation | undefined;
  #version: Version | undefined;
  #description: PluginDescription | undefined;
  #swapCount = 0;
  #restartCount = 0;
  #backoff = new AbortController();
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: PluginCourseOptions) {
    const { entry, clock, log } = options;
    this.#options = options;
    this.#entry = entry;
    this.#plugin = entry.name;
    this.#mask = secretsMask(entry);
    this.#condition = options.condition;
    this.#restarts = new RestartPolicy(options.restarts);
    this.#probation = new Probation(clock, ({ number }) =>
      log.debug(
        { plugin: this.#plugin, generation: number },
        'the new generation passed its probation',
      ),
    );
  }

  /** In force: of what serves, or of what is to be started. */
  get entry(): PluginEntry {
    return this.#entry;
  }
  /** Hides its secrets. */
  get mask(): (text: string) => string {
    return this.#mask;
  }
  get serving(): Generation | undefined {
    return this.#serving;
  }
  /** What serves, or served last: what a restart starts. */
  get version(): Version | undefined {
    return this.#version;
  }
  /** What that says of itself; undefined: it was never loaded. */
  get description(): PluginDescription | undefined {
    return this.#description;
  }
  /** It shall run: nobody stopped it, or put it in quarantine. */
  get isWanted(): boolean {
    return this.#isWanted;
  }
  get probation(): Probation {
    return this.#probation;
  }
  get swapCount(): number {
    return this.#swapCount;
  }
  get restartCount(): number {
    return this.#restartCount;
  }

  /** Somebody stopped it, or wants it again; by itself this starts and ends nothing. */
  want(isWanted: boolean): void {
    this.#isWanted = isWanted;
  }

  adopt(entry: PluginEntry): void {
    this.#entry = entry;
    this.#mask = secretsMask(entry);
  }

  /** See PluginLife.start. */
  async start(): Promise<void> {
    if (this.#condition.is('starting', 'running', 'degraded', 'backoff')) return;
    this.#restarts.reset();
    this.#isWanted = true;
    this.#condition.enter({ kind: 'starting' });
    await this.#inTurn(() => this.#launch());
    const { state } = this.#condition;
    if ('cause' in state) throw state.cause;
  }

  /** Ends it, and it stays so until it is started. Never rejects. */
  async end(state: Extract<PluginState, { kind: 'stopped' | 'quarantined' }>): Promise<void> {
    const wasWanted = this.#isWanted;
    this.#isWanted = false;
    this.#backoff.abort();
    // A worker that is about to start need not: nobody waits for its module to load.
    if (this.#condition.is('starting'))
      this.#serving?.terminate(new MktsError('MKTS_SHUTTING_DOWN', { plugin: this.#plugin }));
    await this.#inTurn(async () => {
      await Promise.all([this.#probation.end(), this.#serving?.stop()]);
      this.#serving = undefined;
      await this.#options.generations.end();
      const isOver = this.#condition.is('failed', 'stopped', 'quarantined');
      if (state.kind === 'quarantined' || (!isOver && (wasWanted || this.#condition.is('idle'))))
        this.#condition.enter(state);
    });
  }

  /** A generation that is ready takes over, when its turn comes and `check` does not throw then. */
  handOver(next: Generation, check: () => void): Promise<SwapOutcome> {
    return this.#inTurn(async () => {
      check();
      return this.#replaceBy(next);
    });
  }

  /** Tells a trigger. Rejects if it is not running, with its own error, or after a timeout. */
  async fire(batch: PlainBatch): Promise<void> {
    const generation = this.#serving;
    if (generation === undefined || !this.#condition.is('running', 'degraded'))
      throw new PluginError('MKTS_PLUGIN_FAILED', {
        plugin: this.#plugin,
        reason: `it is ${this.#condition.state.kind}`,
      });
    if (!this.#isWanted) throw new MktsError('MKTS_SHUTTING_DOWN', { plugin: this.#plugin });
    try {
      await generation.fire(batch);
    } catch (cause) {
      // The plugin was told to stop in the middle of it: not the batch's fault, and it is not done.
      if (!this.#isWanted)
        throw new MktsError('MKTS_SHUTTING_DOWN', { plugin: this.#plugin }, { cause });
      throw cause;
    }
  }

  // ---- start and restart ------------------------------------------------------------------------

  /** Builds it and starts a worker. In turn. */
  async #launch(): Promise<void> {
    if (!this.#isWanted || this.#serving !== undefined) return;
    const { bundle, onBuild, log } = this.#options;
    const entry = this.#entry;
    let build: PluginBuild;
    try {
      build = await bundle(entry);
      onBuild(entry, build);
    } catch (cause) {
      onBuild(entry, undefined);
      if (this.#version?.entry !== entry) {
        this.#goDown({ kind: 'failed', cause: asError(cause) });
        return;
      }
      log.warn(
        { plugin: this.#plugin, ...causeFields(asError(cause), this.mask) },
        'the plugin does not build any more: what it was built to before is started',
      );
      build = this.#version.build;
    }
    this.#version = { entry, build };
    await this.#run(this.#version);
  }

  /** A new worker for a version, until it runs, or the plugin is not going to. In turn. */
  async #run(version: Version): Promise<void> {
    if (!this.#isWanted) return;
    if (!this.#condition.is('starting')) this.#condition.enter({ kind: 'starting' });
    let generation: Generation;
    try {
      generation = this.#options.generations.create(version.entry, version.build);
    } catch (cause) {
      this.#condition.enter({ kind: 'failed', cause: asError(cause) });
      return;
    }
    this.#serve(generation);
    let ending = (await generation.prepare()) ?? (await this.#options.consentOf(generation));
    this.#description = generation.description ?? this.#description;
    if (ending === undefined && this.#isWanted) ending = await this.#begin(generation);
    if (ending === undefined && this.#isWanted) {
      this.#runs();
      return;
    }
    await generation.end();
    this.#serving = undefined;
    if (ending !== undefined) this.#goDown(ending);
  }

  /** Starts a generation that serves from now on. Resolves with why it did not. */
  async #begin(generation: Generation): Promise<Ending | undefined> {
    try {
      await generation.start((ending) => {
        void this.#inTurn(() => this.#ended(generation, ending));
      });
      return undefined;
    } catch (cause) {
      return { kind: 'crashed', cause: asError(cause) };
    }
  }

  /** The run of a generation is over, and nobody asked for it. In turn. */
  async #ended(generation: Generation, ending: Ending): Promise<void> {
    if (generation !== this.#serving) return;
    if (ending.kind === 'stopped') {
      // What it accepted so far becomes committed before its worker goes.
      await generation.stop();
      this.#serving = undefined;
      await this.#probation.end();
      if (this.#isWanted) this.#condition.enter(ending);
      return;
    }
    await generation.end();
    this.#serving = undefined;
    const before = await this.#probation.fail(generation);
    if (before !== undefined) await this.#rollBack(generation, before, ending.cause);
    else if (this.#isWanted) this.#goDown(ending);
  }

  /** What follows the end of the only worker. */
  #goDown(ending: Ending): void {
    if (!this.#isWanted) return;
    const { clock } = this.#options;
    const { onStartError, reload } = this.#entry;
    const probationMs = reload?.probationMs ?? PROBATION_MS;
    if (
      ending.kind !== 'stopped' &&
      this.#starts.quarantines(onStartError, clock.nowMs(), probationMs)
    ) {
      this.#isWanted = false;
      this.#condition.enter({ kind: 'quarantined', cause: ending.cause, why: 'cannot be started' });
      return;
    }
    if (ending.kind !== 'crashed') {
      this.#condition.enter(ending);
      return;
    }
    const delayMs = this.#restarts.next(clock.nowMs());
    if (delayMs === undefined) {
      this.#isWanted = false;
      this.#condition.enter({ kind: 'quarantined', cause: ending.cause });
      return;
    }
    this.#condition.enter({ kind: 'backoff', cause: ending.cause, delayMs });
    this.#backoff = new AbortController();
    const { signal } = this.#backoff;
    void clock.sleep(delayMs, signal).then(() =>
      this.#inTurn(async () => {
        if (signal.aborted || this.#version === undefined) return;
        this.#restartCount++;
        await this.#run(this.#version);
      }),
    );
  }

  // ---- swap -----------------------------------------------------------------------------------

  /**
   * The moment in which the new generation takes the place of the one before. In turn.
   *
   * Order, for a bgworker: the old one stops writing, its ring is taken to the last frame, and only
   * then the new one starts, with what the plugin remembers as of that frame. So no row is lost, none
   * comes twice, and nothing of the old one comes after the first of the new.
   * A trigger is told what to do, key by key: the new one starts first and is told from then on, and
   * what the old one is in the middle of it ends.
   */
  async #replaceBy(next: Generation): Promise<SwapOutcome> {
    const { clock, log } = this.#options;
    const before = this.#serving;
    if (next.isGone) throw (await next.gone).cause;
    if (before === undefined) return this.#startInstead(next);
    next.follow(before);
    const startedMs = clock.nowMs();
    const isTrigger = next.entry.kind === 'trigger';
    let parked: Promise<Generation | undefined>;
    let ending: Ending | undefined;
    if (isTrigger) {
      ending = await this.#begin(next);
      if (ending !== undefined && 'cause' in ending) throw ending.cause;
      this.#serve(next);
      parked = before.idle().then(() => before.park());
    } else {
      parked = Promise.resolve(await before.park());
      this.#serve(next);
      ending = await this.#begin(next);
    }
    this.#swapCount++;
    log.info(
      {
        plugin: this.#plugin,
        generation: next.number,
        from: before.number,
        version: this.#description?.version,
        pauseMs: Math.round(10 * (clock.nowMs() - startedMs)) / 10,
      },
      'plugin is swapped',
    );
    const probationMs = next.entry.reload?.probationMs ?? PROBATION_MS;
    this.#probation.begin(next, before, parked, probationMs);
    this.#restarts.reset();
    for (const topic of WORKER_CONCERNS) this.#condition.concern(topic, undefined);
    // What a bgworker does wrong once the one before is parked is a matter of its probation.
    if (ending !== undefined) await this.#ended(next, ending);
    return { outcome: 'swapped', generation: next.number };
  }

  /** Nothing runs that could hand over: the new generation starts as after a restart. */
  async #startInstead(next: Generation): Promise<SwapOutcome> {
    this.#backoff.abort();
    this.#restarts.reset();
    this.#serve(next);
    const ending = await this.#begin(next);
    if (ending !== undefined && 'cause' in ending) {
      await next.end();
      this.#serving = undefined;
      this.#goDown(ending);
      throw ending.cause;
    }
    this.#runs();
    return { outcome: 'started', generation: next.number };
  }

  /** The new generation failed: the one before goes on where the rows of the new one end. In turn. */
  async #rollBack(failed: Generation, before: Predecessor, cause: Error): Promise<void> {
    const { version, parked } = before;
    this.#options.log.error(
      {
        plugin: this.#plugin,
        generation: failed.number,
        backTo: parked?.number,
        ...causeFields(cause, this.mask),
      },
      'a new generation failed in its probation: the one before goes on',
    );
    // With the same code it was the entry: there is nothing to remember of the code.
    if (failed.build.hash !== version.build.hash) await this.#options.onFailed(failed, cause);
    this.#version = version;
    this.adopt(version.entry);
    if (!this.#isWanted) return;
    if (parked === undefined) {
      this.#goDown({ kind: 'crashed', cause });
      return;
    }
    this.#serve(parked);
    const ending = await this.#begin(parked);
    if (ending === undefined) return;
    await parked.end();
    this.#serving = undefined;
    this.#goDown(ending);
  }

  #serve(generation: Generation): void {
    const { entry, build, description } = generation;
    this.#serving = generation;
    this.#version = { entry, build };
    this.#description = description ?? this.#description;
    this.adopt(entry);
  }

  #runs(): void {
    this.#starts.runs(this.#options.clock.nowMs());
    this.#condition.runs(WORKER_CONCERNS);
  }

  /** One after the other. A task that throws does not stop those after it. */
  #inTurn<T>(task: () => Promise<T>): Promise<T> {
    const run = this.#turn.then(task);
    this.#turn = run.catch(() => undefined);
    return run;
  }
}
