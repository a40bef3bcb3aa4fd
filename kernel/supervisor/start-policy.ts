/**
 * `on_start_error` of an entry: what follows when a plugin cannot be started. Pure.
 *
 *   retry        a crash is tried again with growing delays; what no restart mends (a build, a setting)
 *                waits for other files or another mkts.yml
 *   quarantine   neither: it waits for an operator
 *   exit         as `retry`, and the server does not start without it (Supervisor.requiredRun); an
 *                entry that comes while the server runs does not end it
 *
 * A feeder's `start` goes on for its whole life, so that it was called says nothing: a plugin counts
 * as started once it ran for as long as a new generation is on probation. From then on it is treated
 * as any other that crashes.
 */

import type { OnStartError } from '../../config/entry-settings.ts';

export class StartPolicy {
  #runsSinceMs: number | undefined;
  #isStarted = false;

  /** A worker runs from now on. */
  runs(nowMs: number): void {
    this.#runsSinceMs = nowMs;
  }

  /** It failed. True: it is not tried again by itself. */
  quarantines(policy: OnStartError | undefined, nowMs: number, probationMs: number): boolean {
    if (this.#runsSinceMs !== undefined && nowMs - this.#runsSinceMs >= probationMs)
      this.#isStarted = true;
    this.#runsSinceMs = undefined;
    return policy === 'quarantine' && !this.#isStarted;
  }
}
