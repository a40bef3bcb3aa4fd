/**
 * One new version beside the generation that serves: its worker runs as any other, its rows and what
 * it remembers go to a diff and nowhere else. Main thread. Who starts, promotes and ends it is
 * shadows.ts.
 *
 *   preparing ──▶ running ──▶ ended     of itself
 *       │            └──────▶ failed    reported, and not started again: it costs nothing but itself
 *       └──▶ waiting, failed            for consent; why it could not begin
 *
 * It starts with a copy of what the plugin remembers, taken at the moment from which the rows of the
 * serving one are compared too. Queries and `lastRow` see the real store, without its own rows. Its
 * traffic is its own line: from the same venue, which need not send both the same bytes.
 *
 * Invariant: nothing it does is waited for by what serves.
 */

import type { PlainBatch, PlainState } from '../../workers/protocol.ts';
import type { PlainDeadLetter } from '../base/dead-letter.ts';
import { asError, MktsError, PluginError, reasonOf } from '../base/errors.ts';
import { SHADOW_BATCHES_MAX, SHADOW_WINDOW_MS } from '../base/limits.ts';
import type { ShadowReport } from '../base/plugin-report.ts';
import { ShadowDiff } from '../ingest/shadow-diff.ts';
import type { ShadowFeed } from '../ingest/shadow-intake.ts';
import type { Ending, Generation, GenerationOptions } from './generation.ts';
import type { KernelFunctions } from './kernel-api.ts';
import type { PluginBuild, PluginEntry, SupervisorClock } from './plugin-entry.ts';

/** The drain, as a shadow needs it. */
export interface ShadowDrain {
  /** Rows of this ring go to the diff; returns what takes the last of them and ends that. */
  shadow(feed: ShadowFeed): () => Promise<void>;
}

/** What leaves a shadow, and comes here in the place of the kernel. */
export interface Diversion extends Pick<GenerationOptions, 'onRing' | 'onGone'> {
  readonly deadLetters: NonNullable<KernelFunctions['deadLetters']>;
}

export interface ShadowOptions {
  readonly entry: PluginEntry;
  readonly build: PluginBuild;
  readonly clock: SupervisorClock;
  readonly drain: ShadowDrain;
  readonly mask: (text: string) => string;
  readonly stateOf: () => PlainState;
  readonly create: (entry: PluginEntry, build: PluginBuild, diversion: Diversion) => Generation;
  readonly consentOf: (generation: Generation) => Promise<Ending | undefined>;
  /** It ended or failed by itself; told once. */
  readonly onOver: (shadow: Shadow) => void;
}

export class Shadow {
  readonly entry: PluginEntry;
  readonly build: PluginBuild;
  readonly diff: ShadowDiff;
  readonly #options: ShadowOptions;
  readonly #startedMs: number;
  #state: ShadowReport['state'] = 'preparing';
  #cause: Error | undefined;
  #generation: Generation | undefined;
  #cancelled: Error | undefined;
  #undrain: (() => Promise<void>) | undefined;
  #refused: { readonly count: number; readonly reason: string } | undefined;
  readonly #batches = { fired: 0, failed: 0, missed: 0 };
  #waitingBatches = 0;
  /** The newest batch of each key: those of one key come one after the other, as for what serves. */
  readonly #turns = new Map<string, Promise<void>>();

  constructor(options: ShadowOptions) {
    const { entry, build, clock } = options;
    this.#options = options;
    this.entry = entry;
    this.build = build;
    this.#startedMs = clock.nowMs();
    this.diff = new ShadowDiff({
      nowMs: () => clock.nowMs(),
      windowMs: entry.reload?.shadowWindowMs ?? SHADOW_WINDOW_MS,
    });
  }

  get state(): ShadowReport['state'] {
    return this.#state;
  }
  get cause(): Error | undefined {
    return this.#cause;
  }
  /** 0: it has no worker yet. */
  get generation(): number {
    return this.#generation?.number ?? 0;
  }

  /** Resolves when it runs; rejects with why it does not. */
  async begin(): Promise<void> {
    const { entry, build, create, consentOf } = this.#options;
    try {
      const generation = create(entry, build, {
        onRing: () => this.#divert(),
        onGone: () => this.#undrain?.(),
        deadLetters: (_from, letters, dropped) => this.#refuse(letters, dropped),
      });
      this.#generation = generation;
      const unfit = (await generation.prepare()) ?? (await consentOf(generation));
      if (unfit !== undefined && 'cause' in unfit) throw unfit.cause;
      this.#check();
      // A bgworker may be over before anything else is.
      this.#state = 'running';
      await generation.start((ending) => void this.#over(ending));
      this.#check();
    } catch (thrown) {
      const cause = this.#cancelled ?? asError(thrown);
      this.#cause = cause;
      const isWaiting = cause instanceof MktsError && cause.code === 'MKTS_CONSENT';
      this.#state = isWaiting ? 'waiting' : 'failed';
      await this.#generation?.end();
      throw cause;
    }
  }

  /** Ends its worker, whatever it is doing. Never rejects. */
  async end(cause: Error): Promise<void> {
    this.#cancelled ??= cause;
    await this.#generation?.end();
  }

  /** Tells a trigger what the one that serves is told. Only what it writes is of interest. */
  fire(batch: PlainBatch): void {
    const generation = this.#generation;
    if (generation === undefined || this.#state !== 'running') return;
    if (this.#waitingBatches >= SHADOW_BATCHES_MAX) {
      this.#batches.missed++;
      return;
    }
    this.#waitingBatches++;
    const before = this.#turns.get(batch.key) ?? Promise.resolve();
    const turn = before
      .then(() => generation.fire(batch))
      .then(
        () => void this.#batches.fired++,
        () => void this.#batches.failed++,
      )
      .then(() => {
        this.#waitingBatches--;
        if (this.#turns.get(batch.key) === turn) this.#turns.delete(batch.key);
      });
    this.#turns.set(batch.key, turn);
  }

  report(): ShadowReport {
    const { entry, clock, mask } = this.#options;
    const { diff } = this;
    return {
      state: this.#state,
      generation: this.generation,
      version: this.#generation?.description?.version,
      hash: this.build.hash,
      seconds: Math.floor((clock.nowMs() - this.#startedMs) / 1000),
      reason: this.#cause && mask(reasonOf(this.#cause)),
      counts: diff.counts,
      lagMs: diff.lagMs,
      samples: diff.samples,
      refused: this.#refused && { ...this.#refused, reason: mask(this.#refused.reason) },
      batches: entry.kind === 'trigger' ? { ...this.#batches } : undefined,
      promoteAfterRows: entry.reload?.promoteAfterRows,
    };
  }

  /**
   * Order: in one go with the copy of the state the worker is started with. So what the two write
   * from here on is what follows from the same past.
   */
  #divert(): void {
    const { drain, stateOf } = this.#options;
    const generation = this.#generation;
    if (generation === undefined) return;
    const { feed } = generation;
    this.#undrain = drain.shadow({
      source: {
        plugin: feed.plugin,
        originId: 0,
        reader: feed.ring,
        budget: feed.budget,
        series: (seriesId) => feed.series(seriesId),
        onInvalid: (error) => generation.terminate(error),
      },
      diff: this.diff,
      state: stateOf(),
    });
  }

  #refuse(letters: readonly PlainDeadLetter[], dropped: number): void {
    const count = letters.reduce((sum, { rowCount }) => sum + Math.max(1, rowCount), dropped);
    const { count: before = 0, reason = letters[0]?.reason ?? 'not told' } = this.#refused ?? {};
    this.#refused = { count: before + count, reason };
  }

  async #over(ending: Ending): Promise<void> {
    if (this.#state !== 'running' || this.#cancelled !== undefined) return;
    this.#state = ending.kind === 'stopped' ? 'ended' : 'failed';
    if ('cause' in ending) this.#cause = ending.cause;
    await this.#generation?.end();
    this.#options.onOver(this);
  }

  #check(): void {
    if (this.#cancelled !== undefined) throw this.#cancelled;
    if (this.#state === 'failed')
      throw this.#cause ?? new PluginError('MKTS_SHADOW_NONE', { plugin: this.entry.name });
  }
}
