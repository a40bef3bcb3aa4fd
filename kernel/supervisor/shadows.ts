/**
 * The shadow of one plugin: a new version that is judged by what it would write before it may write.
 * Main thread; shadow.ts is one of them.
 *
 *   build ──▶ load, configure, consent ──▶ runs beside what serves ──▶ promoted: an ordinary swap
 *                                             │                        by command, or by rule
 *                                             └──▶ discarded, superseded, failed: what serves goes on
 *
 * Promotion begins anew: another worker of the same build, with what the plugin remembers at the
 * hand-over. What the shadow itself remembers follows from rows nobody committed, so it cannot go on.
 *
 * Invariant: at most one shadow, and it is of the newest build that was asked for: whoever waited for
 * something looks whether it is still wanted (`#check`) before it starts a worker.
 */

import type { PlainBatch } from '../../workers/protocol.ts';
import { asError, MktsError, PluginError, reasonOf } from '../base/errors.ts';
import { SHADOW_LOOK_MS, SHADOW_WINDOW_MS } from '../base/limits.ts';
import type { ShadowReport } from '../base/plugin-report.ts';
import type { Wish } from './candidates.ts';
import type { Generation } from './generation.ts';
import { shadowLog } from './generations.ts';
import type { Log, PluginBuild, PluginEntry } from './plugin-entry.ts';
import { causeFields, type SwapOutcome } from './plugin-state.ts';
import { Shadow, type ShadowDrain, type ShadowOptions } from './shadow.ts';

export interface ShadowsOptions
  extends Pick<ShadowOptions, 'clock' | 'mask' | 'stateOf' | 'create' | 'consentOf'> {
  readonly plugin: string;
  readonly log: Log;
  /** Undefined: there can be no shadow. */
  readonly drain: ShadowDrain | undefined;
  readonly bundle: (entry: PluginEntry) => Promise<PluginBuild>;
  readonly onBuild: (entry: PluginEntry, build: PluginBuild | undefined) => void;
  readonly serving: () => Generation | undefined;
  /** Why a version is not to be tried again by itself. */
  readonly failure: (hash: string) => Error | undefined;
  readonly swap: (wish: Wish) => Promise<SwapOutcome>;
}

export class Shadows {
  readonly #options: ShadowsOptions;
  readonly #log: Log;
  #shadow: Shadow | undefined;
  /** Ends what looks after the shadow there is. */
  #looking = new AbortController();
  #wishCount = 0;

  constructor(options: ShadowsOptions) {
    this.#options = options;
    this.#log = shadowLog(options.log);
  }

  /** Of the one there is, which need not be the entry in force. */
  get entry(): PluginEntry | undefined {
    return this.#shadow?.entry;
  }
  /** Consent is what the one there is waits for. */
  get isWaiting(): boolean {
    return this.#shadow?.state === 'waiting';
  }

  /** Undefined: there is none. */
  report(): ShadowReport | undefined {
    return this.#shadow?.report();
  }

  /** Tells a trigger's shadow what the plugin is told. */
  fire(batch: PlainBatch): void {
    this.#shadow?.fire(batch);
  }

  /** Resolves when it runs, waits for consent, or need not run; rejects with why it does not. */
  async start({ entry, force, isAsked }: Wish): Promise<SwapOutcome> {
    const { plugin, bundle, onBuild, serving, failure, mask, drain } = this.#options;
    const number = ++this.#wishCount;
    if (drain === undefined) throw this.#refusal('rows go nowhere here');
    let build: PluginBuild;
    try {
      build = await bundle(entry);
      this.#check(number);
      onBuild(entry, build);
    } catch (thrown) {
      const cause = asError(thrown);
      if (number === this.#wishCount) onBuild(entry, undefined);
      this.#log.error({ plugin, ...causeFields(cause, mask) }, 'no shadow is started');
      throw cause;
    }
    const before = serving();
    if (before === undefined) throw this.#refusal('there is nothing it could be held against');
    if (!force && before.build.hash === build.hash && before.entry === entry) {
      await this.#drop('what serves is the newest version');
      return { outcome: 'unchanged', generation: before.number };
    }
    const failed = force || isAsked ? undefined : failure(build.hash);
    if (failed !== undefined) throw failed;
    await this.#drop('another version takes its place');
    this.#check(number);
    return this.#run(entry, build, drain);
  }

  /**
   * The version the shadow runs takes the place of what serves, by an ordinary swap. Rejects with why
   * it does not; the shadow is over either way.
   */
  async promote(): Promise<SwapOutcome> {
    const shadow = this.#there();
    const { state } = shadow;
    if (state !== 'running' && state !== 'ended')
      throw this.#refusal(
        state === 'failed' ? `it failed: ${this.#reason(shadow)}` : `it is ${state}`,
      );
    return this.#promote(shadow, true);
  }

  async discard(): Promise<void> {
    this.#there();
    await this.end('an operator discarded it');
  }

  /** Also one that is only built by now. Nothing if there is none. Never rejects. */
  async end(why: string): Promise<void> {
    this.#wishCount++;
    await this.#drop(why);
  }

  async #drop(why: string): Promise<void> {
    const shadow = this.#shadow;
    if (shadow === undefined) return;
    const { plugin } = this.#options;
    this.#shadow = undefined;
    this.#looking.abort();
    this.#log.info(
      { plugin, generation: shadow.generation, why, ...shadow.diff.counts },
      'the shadow is over',
    );
    await shadow.end(new PluginError('MKTS_PLUGIN_SUPERSEDED', { plugin }));
  }

  async #run(entry: PluginEntry, build: PluginBuild, drain: ShadowDrain): Promise<SwapOutcome> {
    const { plugin, mask, clock, stateOf, create, consentOf } = this.#options;
    const shadow = new Shadow({
      ...{ entry, build, drain, mask, clock, stateOf, create, consentOf },
      onOver: (over) => this.#onOver(over),
    });
    this.#shadow = shadow;
    try {
      await shadow.begin();
    } catch (thrown) {
      const cause = asError(thrown);
      const isWaiting = cause instanceof MktsError && cause.code === 'MKTS_CONSENT';
      this.#log[isWaiting ? 'warn' : 'error'](
        { plugin, generation: shadow.generation, ...causeFields(cause, mask) },
        isWaiting ? 'the shadow waits for consent' : 'no shadow is started',
      );
      if (isWaiting) return { outcome: 'waiting', generation: shadow.generation };
      throw cause;
    }
    const { generation } = shadow;
    this.#log.info(
      { plugin, generation, version: shadow.report().version },
      'a new version runs beside the one that serves: its rows are compared, and not written',
    );
    this.#looking = new AbortController();
    void this.#look(shadow, this.#looking.signal);
    return { outcome: 'shadow', generation };
  }

  /** Tells of the first difference, and follows the rule. Never rejects. */
  async #look(shadow: Shadow, signal: AbortSignal): Promise<void> {
    const { plugin, clock, serving } = this.#options;
    const { diff, entry, generation } = shadow;
    const { promoteAfterRows: rows, shadowWindowMs = SHADOW_WINDOW_MS } = entry.reload ?? {};
    let isTold = false;
    let servedMs = clock.nowMs();
    while (!signal.aborted) {
      await clock.sleep(SHADOW_LOOK_MS, signal);
      if (signal.aborted) return;
      diff.sweep();
      const nowMs = clock.nowMs();
      if (serving() !== undefined) servedMs = nowMs;
      else if (nowMs - servedMs > shadowWindowMs) {
        await this.end('there is nothing any more it could be held against');
        return;
      }
      if (!isTold && diff.differences > 0) {
        isTold = true;
        const [sample] = diff.samples;
        this.#log.warn(
          { plugin, generation, ...diff.counts, sample: JSON.stringify(sample) },
          rows === undefined
            ? 'the shadow writes other rows'
            : 'the shadow writes other rows: the version before goes on, only a command promotes this one',
        );
      }
      if (rows === undefined || shadow.state !== 'running' || !diff.isProven(rows)) continue;
      this.#log.info(
        { plugin, generation, ...diff.counts },
        `the shadow wrote ${rows} equal rows and no other: it is promoted`,
      );
      // Why it does not take over is in the log.
      await this.#promote(shadow, false).catch(() => undefined);
      return;
    }
  }

  async #promote(shadow: Shadow, isAsked: boolean): Promise<SwapOutcome> {
    const { entry, build } = shadow;
    await this.end('it is promoted');
    return this.#options.swap({ entry, build, force: isAsked, isAsked });
  }

  #onOver(shadow: Shadow): void {
    if (shadow !== this.#shadow) return;
    const { plugin, mask } = this.#options;
    const { generation, cause, diff } = shadow;
    this.#looking.abort();
    if (cause === undefined)
      this.#log.info({ plugin, generation, ...diff.counts }, 'the shadow ended by itself');
    else
      this.#log.error(
        { plugin, generation, ...causeFields(cause, mask), ...diff.counts },
        'the shadow failed, and is not started again: the version before goes on',
      );
  }

  #check(number: number): void {
    if (number !== this.#wishCount)
      throw new PluginError('MKTS_PLUGIN_SUPERSEDED', { plugin: this.#options.plugin });
  }

  #there(): Shadow {
    if (this.#shadow === undefined)
      throw new PluginError('MKTS_SHADOW_NONE', { plugin: this.#options.plugin });
    return this.#shadow;
  }

  #reason({ cause }: Shadow): string {
    return this.#options.mask(reasonOf(cause));
  }

  #refusal(reason: string): PluginError {
    return new PluginError('MKTS_SHADOW', { plugin: this.#options.plugin, reason });
  }
}
