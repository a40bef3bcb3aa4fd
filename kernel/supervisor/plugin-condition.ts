/**
 * The state a plugin is in, since when, and what is wrong with it while it runs. Main thread; one per
 * plugin. Every change of state is logged once, with its cause, here and nowhere else.
 *
 * Invariant: it is `degraded` exactly while it runs and anyone has a concern about it.
 */

import type { Log, SupervisorClock } from './plugin-entry.ts';
import { logTransition, type PluginState, type TransitionFields } from './plugin-state.ts';

export interface ConditionOptions {
  readonly clock: SupervisorClock;
  readonly log: Log;
  /** As things are now. */
  readonly fields: () => TransitionFields;
  readonly onState: (plugin: string, state: PluginState) => void;
}

export class PluginCondition {
  readonly #options: ConditionOptions;
  /** Why it is degraded, by what it is about. */
  readonly #concerns = new Map<string, string>();
  #state: PluginState = { kind: 'idle' };
  #sinceMs: number;

  constructor(options: ConditionOptions) {
    this.#options = options;
    this.#sinceMs = options.clock.nowMs();
  }

  get state(): PluginState {
    return this.#state;
  }

  /** Milliseconds in this state. */
  get ageMs(): number {
    return this.#options.clock.nowMs() - this.#sinceMs;
  }

  is(...kinds: readonly PluginState['kind'][]): boolean {
    return kinds.includes(this.#state.kind);
  }

  enter(state: PluginState): void {
    const { clock, log, fields, onState } = this.#options;
    this.#state = state;
    this.#sinceMs = clock.nowMs();
    const about = fields();
    logTransition(log, state, about);
    onState(about.plugin, state);
  }

  /** A worker runs, of which nothing is known yet: what `forgotten` are about was another's. */
  runs(forgotten: readonly string[]): void {
    for (const topic of forgotten) this.#concerns.delete(topic);
    this.enter({ kind: 'running' });
    const [reason] = this.#concerns.values();
    if (reason !== undefined) this.enter({ kind: 'degraded', reason });
  }

  /** Something is wrong with it, or with `undefined` no longer. */
  concern(topic: string, reason: string | undefined): void {
    if (reason === undefined) this.#concerns.delete(topic);
    else this.#concerns.set(topic, reason);
    const [first] = this.#concerns.values();
    if (first !== undefined && this.is('running')) this.enter({ kind: 'degraded', reason: first });
    else if (first === undefined && this.is('degraded')) this.enter({ kind: 'running' });
  }
}
