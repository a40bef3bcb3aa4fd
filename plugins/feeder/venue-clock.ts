/**
 * What time it is at the venue. Every answer and every streamed event states it; between two of
 * them it is estimated, and only to choose when to ask next. Whether a bar is closed is never
 * decided by the estimate, but by the time stated in the answer that holds the bar.
 *
 * The venue may be a replay that runs hundreds of times faster than our clock, so its pace is
 * measured too. A venue in step with us keeps the pace 1: a stated time is whole seconds, and the
 * network's delay on top would make any finer measurement noise.
 */

import type { Clock } from '../sdk.ts';

/** HTTP dates are cut to whole seconds. */
const RESOLUTION_MS = 1_000;
/** A pace below this is taken for 1. */
const PACE_MIN = 2;
const PACE_WINDOW_MS = 10_000;
const PACE_WINDOW_MIN_MS = 20;

interface Stated {
  readonly venueMs: number;
  readonly localMs: number;
}

export class VenueClock {
  readonly #clock: Clock;
  #latest: Stated | undefined;
  #windowStart: Stated | undefined;
  #pace = 1;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Estimated venue time in milliseconds; undefined before the venue said anything. */
  nowMs(): number | undefined {
    if (this.#latest === undefined) return undefined;
    const elapsed = Math.max(0, this.#clock.now() - this.#latest.localMs);
    return this.#latest.venueMs + elapsed * this.#pace;
  }

  /** Local milliseconds since the venue last stated its time; undefined before it did. */
  ageMs(): number | undefined {
    return this.#latest === undefined ? undefined : this.#clock.now() - this.#latest.localMs;
  }

  /** The venue stated its time. */
  observe(venueMs: number): void {
    const stated = { venueMs, localMs: this.#clock.now() };
    const estimate = this.nowMs();
    this.#measurePace(stated);
    // A stated time a little behind the estimate is one cut to whole seconds: the estimate is better.
    if (estimate === undefined || venueMs >= estimate || estimate - venueMs > 2 * RESOLUTION_MS)
      this.#latest = stated;
    else this.#latest = { venueMs: estimate, localMs: stated.localMs };
  }

  /** Local milliseconds for a span of venue time. */
  localMs(venueSpanMs: number): number {
    return venueSpanMs / this.#pace;
  }

  /** Local milliseconds until the venue's time is `venueMs`; 0 if it is past or not known. */
  msUntil(venueMs: number): number {
    const now = this.nowMs();
    return now === undefined ? 0 : Math.max(0, this.localMs(venueMs - now));
  }

  #measurePace(stated: Stated): void {
    const start = this.#windowStart;
    if (start === undefined || stated.localMs < start.localMs) {
      this.#windowStart = stated;
      return;
    }
    const localSpan = stated.localMs - start.localMs;
    if (localSpan < PACE_WINDOW_MIN_MS) return;
    const pace = (stated.venueMs - start.venueMs - RESOLUTION_MS) / localSpan;
    if (pace >= PACE_MIN) this.#pace = pace;
    if (localSpan < PACE_WINDOW_MS) return;
    if (pace < PACE_MIN) this.#pace = 1;
    this.#windowStart = stated;
  }
}
