/**
 * The time in which a new generation of a plugin must prove itself: meanwhile the one before is
 * *parked* and can take over again at once. Main thread; one per plugin.
 *
 * Invariant: at most one generation is parked. A swap within a probation ends it: what is parked then
 * goes, and the generation that was on probation takes its place.
 */

import type { Generation } from './generation.ts';
import type { PluginBuild, PluginEntry, SupervisorClock } from './plugin-entry.ts';

/** What a worker runs, and for which entry. */
export interface Version {
  readonly entry: PluginEntry;
  readonly build: PluginBuild;
}

/** To where a failed probation goes back. */
export interface Predecessor {
  readonly version: Version;
  /** Undefined: its worker ended meanwhile; the version can be started in a new one. */
  readonly parked: Generation | undefined;
}

interface UnderWay {
  readonly generation: Generation;
  readonly before: Generation;
  /** Settles when the one before has ended what it had begun; undefined if its worker is gone. */
  readonly parked: Promise<Generation | undefined>;
  readonly passed: AbortController;
}

export class Probation {
  readonly #clock: SupervisorClock;
  readonly #onPassed: (generation: Generation) => void;
  #underWay: UnderWay | undefined;

  constructor(clock: SupervisorClock, onPassed: (generation: Generation) => void) {
    this.#clock = clock;
    this.#onPassed = onPassed;
  }

  /** Number of the generation on probation. */
  get generation(): number | undefined {
    return this.#underWay?.generation.number;
  }

  /** Number of the generation that is parked, or about to be. */
  get parkedGeneration(): number | undefined {
    const before = this.#underWay?.before;
    return before === undefined || before.isGone ? undefined : before.number;
  }

  /** `parked` is the generation before, as soon as it has come to rest; it never rejects. */
  begin(
    generation: Generation,
    before: Generation,
    parked: Promise<Generation | undefined>,
    probationMs: number,
  ): void {
    void this.end();
    const passed = new AbortController();
    const underWay: UnderWay = { generation, before, parked, passed };
    this.#underWay = underWay;
    void this.#clock.sleep(probationMs, passed.signal).then(() => {
      if (this.#underWay !== underWay) return;
      void this.end();
      this.#onPassed(generation);
    });
  }

  /** `generation` failed: where to go back to, if it was on probation. The parked one is the caller's. */
  async fail(generation: Generation): Promise<Predecessor | undefined> {
    const underWay = this.#underWay;
    if (underWay?.generation !== generation) return undefined;
    this.#underWay = undefined;
    underWay.passed.abort();
    const { entry, build } = underWay.before;
    const parked = await underWay.parked;
    return {
      version: { entry, build },
      parked: parked === undefined || parked.isGone ? undefined : parked,
    };
  }

  /** No probation any more; resolves when what was parked is gone. */
  async end(): Promise<void> {
    const underWay = this.#underWay;
    if (underWay === undefined) return;
    this.#underWay = undefined;
    underWay.passed.abort();
    await underWay.parked;
    await underWay.before.end();
  }
}
