/**
 * New versions of one plugin on their way to take over: built, loaded and checked beside what runs.
 * Main thread. It never touches what runs: that is the hand-over (plugin-life.ts), done in turn.
 *
 *   build ──▶ load, configure ──▶ consent ──▶ hand-over
 *     └──────────────┴───────────────┴──▶ refused, and what runs goes on
 *
 * Invariant: at most one candidate is being prepared, and it is of the newest build: a later wish
 * that builds to the same joins it, one that builds to another takes its place.
 */

import { asError, MktsError, PluginError, reasonOf } from '../base/errors.ts';
import { Candidate } from './candidate.ts';
import type { Ending, Generation } from './generation.ts';
import type { Log, PluginBuild, PluginEntry } from './plugin-entry.ts';
import { type CandidateStatus, causeFields, type SwapOutcome } from './plugin-state.ts';

export interface CandidatesOptions {
  readonly plugin: string;
  readonly log: Log;
  readonly mask: (text: string) => string;
  readonly bundle: (entry: PluginEntry) => Promise<PluginBuild>;
  /** A build is there, or failed: which files to watch from now on. */
  readonly onBuild: (entry: PluginEntry, build: PluginBuild | undefined) => void;
  readonly create: (entry: PluginEntry, build: PluginBuild) => Generation;
  readonly consentOf: (generation: Generation) => Promise<Ending | undefined>;
  readonly serving: () => Generation | undefined;
  /** `check` throws if it is not wanted any more when its turn comes. */
  readonly handOver: (generation: Generation, check: () => void) => Promise<SwapOutcome>;
}

export interface Wish {
  readonly entry: PluginEntry;
  /** Also if nothing changed, or if this version failed before. */
  readonly force: boolean;
  /** By an operator, who wants to know again what is known. */
  readonly isAsked: boolean;
  /** Of a version that is built already; undefined: of what the files say now. */
  readonly build?: PluginBuild;
}

interface UnderWay {
  readonly entry: PluginEntry;
  readonly hash: string;
  readonly outcome: Promise<SwapOutcome>;
}

export class Candidates {
  readonly #options: CandidatesOptions;
  /** Hashes of versions that failed in their probation, and why. */
  readonly #failed = new Map<string, Error>();
  #candidate: Candidate | undefined;
  #underWay: UnderWay | undefined;
  #wishCount = 0;
  /** The newest wish that was built: what an older one builds to is out of date. */
  #builtWish = 0;
  #lastLogged = '';

  constructor(options: CandidatesOptions) {
    this.#options = options;
  }

  /** Resolves when it took over, waits, or need not; rejects with why it does not. */
  async swap(wish: Wish): Promise<SwapOutcome> {
    const { entry, force } = wish;
    const build = await this.#build(wish);
    const serving = this.#options.serving();
    if (!force) {
      if (this.#underWay?.hash === build.hash && this.#underWay.entry === entry)
        return this.#underWay.outcome;
      if (serving?.build.hash === build.hash && serving.entry === entry) {
        this.#candidate?.cancel('superseded');
        this.#candidate = undefined;
        return { outcome: 'unchanged', generation: serving.number };
      }
      const failed = this.#failed.get(build.hash);
      if (failed !== undefined) throw failed;
    }
    this.#candidate?.cancel('superseded');
    const outcome = this.#prepare(wish, build);
    const underWay: UnderWay = { entry, hash: build.hash, outcome };
    this.#underWay = underWay;
    try {
      return await outcome;
    } finally {
      if (this.#underWay === underWay) this.#underWay = undefined;
    }
  }

  /** The plugin is stopped: whoever is on the way need not come. */
  cancel(): void {
    this.#wishCount++;
    this.#builtWish = this.#wishCount;
    this.#candidate?.cancel('stopped');
  }

  /** A generation failed after it took over: its version is not tried again by itself. */
  async failed(generation: Generation, cause: Error): Promise<void> {
    const refusal = new PluginError('MKTS_PLUGIN_PROBATION', {
      plugin: this.#options.plugin,
      reason: this.#options.mask(reasonOf(cause)),
    });
    this.#failed.set(generation.build.hash, refusal);
    if (this.#candidate !== undefined) return;
    const candidate = new Candidate(this.#options.plugin);
    this.#candidate = candidate;
    candidate.adopt(generation);
    await candidate.refuse(refusal);
  }

  /** Why this version failed in its probation, if it did. */
  failure(hash: string): Error | undefined {
    return this.#failed.get(hash);
  }

  /** The entry is another one: what failed with the one before may do now. */
  forgive(): void {
    this.#failed.clear();
  }

  /** Undefined: none is prepared, and none failed since the last that took over. */
  status(): CandidateStatus | undefined {
    return this.#candidate?.status(this.#options.mask);
  }

  async #build(wish: Wish): Promise<PluginBuild> {
    const { plugin, bundle, onBuild } = this.#options;
    this.#wishCount++;
    const number = this.#wishCount;
    let build: PluginBuild | undefined;
    let problem: unknown;
    try {
      build = wish.build ?? (await bundle(wish.entry));
    } catch (cause) {
      problem = cause;
    }
    if (number < this.#builtWish) throw new PluginError('MKTS_PLUGIN_SUPERSEDED', { plugin });
    this.#builtWish = number;
    onBuild(wish.entry, build);
    if (build !== undefined) return build;
    this.#candidate?.cancel('superseded');
    const candidate = new Candidate(plugin);
    this.#candidate = candidate;
    await candidate.refuse(asError(problem));
    throw this.#logged(wish, asError(problem));
  }

  async #prepare(wish: Wish, build: PluginBuild): Promise<SwapOutcome> {
    const { plugin, create, consentOf, handOver, log, mask } = this.#options;
    const candidate = new Candidate(plugin);
    this.#candidate = candidate;
    try {
      const generation = create(wish.entry, build);
      candidate.adopt(generation);
      const unfit = (await generation.prepare()) ?? (await consentOf(generation));
      if (unfit !== undefined && 'cause' in unfit) throw unfit.cause;
      const outcome = await handOver(generation, () => candidate.check());
      if (this.#candidate === candidate) this.#candidate = undefined;
      this.#lastLogged = '';
      return outcome;
    } catch (thrown) {
      const cause = asError(thrown);
      await candidate.refuse(cause);
      if (candidate.cancelled !== undefined) {
        if (this.#candidate === candidate) this.#candidate = undefined;
        throw candidate.cancelled;
      }
      if (!(cause instanceof MktsError && cause.code === 'MKTS_CONSENT'))
        throw this.#logged(wish, cause);
      log.warn(
        { plugin, ...causeFields(cause, mask) },
        'a new version of the plugin waits for consent: the one before goes on',
      );
      return { outcome: 'waiting', generation: candidate.generation };
    }
  }

  /** One line; none if a file was only saved again and it is the same. Returns the cause. */
  #logged({ isAsked }: Wish, cause: Error): Error {
    const { plugin, log, mask } = this.#options;
    const level = !isAsked && this.#lastLogged === cause.message ? 'debug' : 'error';
    this.#lastLogged = cause.message;
    log[level](
      { plugin, ...causeFields(cause, mask) },
      'a new version of the plugin does not take over',
    );
    return cause;
  }
}
