/**
 * The one door to a venue's host: every request of the plugin passes it. A token bucket spreads
 * requests over time; a pause (the venue said 429, or bans us) holds all of them; a denial (the
 * venue serves nobody here) lets one through each hour to see whether it still holds.
 *
 *   enter(weight) ── in line ── paused or denied? wait ── tokens? take, or wait for them ── go
 */

import type { Clock, Metrics } from '../sdk.ts';

const DENIAL_MS = 3_600_000;
/** While one request finds out whether a denial still holds, the others wait at most this long. */
const PROBE_MS = 60_000;

export interface HostGateOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly metrics: Metrics;
  /** Tokens that come back in a second. */
  readonly tokensPerSecond: number;
  /** Tokens kept for a burst. */
  readonly burst: number;
}

export class HostGate {
  readonly #options: HostGateOptions;
  #tokens: number;
  #countedAtMs: number;
  #pausedUntilMs = 0;
  #isDenied = false;
  #lastTurn: Promise<void> = Promise.resolve();

  constructor(options: HostGateOptions) {
    this.#options = options;
    this.#tokens = options.burst;
    this.#countedAtMs = options.clock.now();
  }

  get isDenied(): boolean {
    return this.#isDenied;
  }

  /** Resolves when a request of `weight` may be sent. Rejects when the plugin stops. */
  enter(weight: number): Promise<void> {
    const turn = this.#lastTurn.then(() => this.#admit(weight));
    // The next in line only waits for this turn to end; its failure is the caller's.
    this.#lastTurn = turn.catch(() => undefined);
    return turn;
  }

  /** No request for `ms`: the venue asked for it. */
  pause(ms: number): void {
    this.#pausedUntilMs = Math.max(this.#pausedUntilMs, this.#options.clock.now() + ms);
    this.#refill();
    this.#tokens = Math.min(this.#tokens, 0);
  }

  /** The venue serves nobody here: one request an hour. */
  deny(): void {
    this.#isDenied = true;
    this.#pausedUntilMs = this.#options.clock.now() + DENIAL_MS;
  }

  /** A request was answered: no denial holds. */
  allow(): void {
    if (!this.#isDenied) return;
    this.#isDenied = false;
    this.#pausedUntilMs = 0;
  }

  /** The venue says how many tokens are left; others may use the same address. */
  limitTo(tokensLeft: number): void {
    this.#refill();
    this.#tokens = Math.min(this.#tokens, tokensLeft);
  }

  /** One caller at a time, in order of arrival: so a pause ends in a file, not in a rush. */
  async #admit(weight: number): Promise<void> {
    const { clock, signal, metrics, tokensPerSecond, burst } = this.#options;
    // A request heavier than the bucket waits for a full one, and leaves it in debt.
    const needed = Math.min(weight, burst);
    for (;;) {
      signal.throwIfAborted();
      this.#refill();
      const waitMs = Math.ceil(
        Math.max(
          this.#pausedUntilMs - clock.now(),
          ((needed - this.#tokens) / tokensPerSecond) * 1000,
        ),
      );
      if (waitMs <= 0) break;
      await clock.sleep(waitMs, signal);
      metrics.count('throttled_seconds', {}, waitMs / 1000);
    }
    this.#tokens -= weight;
    // This one is the probe of a denial: the others wait for what becomes of it.
    if (this.#isDenied) this.#pausedUntilMs = clock.now() + PROBE_MS;
  }

  #refill(): void {
    const { clock, tokensPerSecond, burst } = this.#options;
    const nowMs = clock.now();
    const gained = (Math.max(0, nowMs - this.#countedAtMs) / 1000) * tokensPerSecond;
    this.#tokens = Math.min(burst, this.#tokens + gained);
    this.#countedAtMs = nowMs;
  }
}
