/**
 * A version of a plugin on its way to take over: from the wish for it until it serves, waits for
 * consent, or failed. Main thread. It never touches what runs: that is its hand-over.
 */

import { MktsError, PluginError, reasonOf } from '../base/errors.ts';
import type { Generation } from './generation.ts';
import type { CandidateStatus } from './plugin-state.ts';

export class Candidate {
  readonly #plugin: string;
  #generation: Generation | undefined;
  #state: CandidateStatus['state'] = 'preparing';
  #cause: Error | undefined;
  #cancelled: Error | undefined;
  #number = 0;

  constructor(plugin: string) {
    this.#plugin = plugin;
  }

  /** Has a worker from now on; throws if nobody wants it any more. */
  adopt(generation: Generation): void {
    this.#generation = generation;
    this.#number = generation.number;
    this.check();
  }

  /** Throws if it was cancelled. */
  check(): void {
    if (this.#cancelled !== undefined) throw this.#cancelled;
  }

  /** Another takes its place, or the plugin is stopped: its worker ends, and `check` throws. */
  cancel(reason: 'superseded' | 'stopped'): void {
    if (this.#state !== 'preparing') return;
    this.#cancelled ??=
      reason === 'superseded'
        ? new PluginError('MKTS_PLUGIN_SUPERSEDED', { plugin: this.#plugin })
        : new MktsError('MKTS_SHUTTING_DOWN', { plugin: this.#plugin });
    this.#generation?.terminate(this.#cancelled);
  }

  /** It does not take over: `cause` says why, MKTS_CONSENT that it waits. */
  async refuse(cause: Error): Promise<void> {
    this.#cause = this.#cancelled ?? cause;
    const isWaiting = cause instanceof MktsError && cause.code === 'MKTS_CONSENT';
    this.#state = isWaiting ? 'waiting' : 'failed';
    const generation = this.#generation;
    // What is shown of it needs no worker, and no ring.
    this.#generation = undefined;
    await generation?.end();
  }

  /** 0: it has no worker. */
  get generation(): number {
    return this.#number;
  }
  /** Why nobody wants it any more. */
  get cancelled(): Error | undefined {
    return this.#cancelled;
  }

  status(mask: (text: string) => string): CandidateStatus {
    return {
      generation: this.#number,
      state: this.#state,
      reason: this.#cause === undefined ? undefined : mask(reasonOf(this.#cause)),
    };
  }
}
