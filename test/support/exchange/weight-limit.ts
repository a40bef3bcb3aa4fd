/**
 * The limits of REST, in venue time. Binance adds up weights by the minute, refuses with 429 until
 * the minute is over, and bans with 418 who asks on. Coinbase lets a bucket of requests refill.
 */

import type { VenueClock } from './venue-clock.ts';

const MINUTE_MS = 60_000;
/** Requests refused by 429 in one minute before the ban. */
const REFUSALS_UNTIL_BAN = 10;
/** The shortest ban. */
const BAN_MS = 120_000;

export interface SpentWeight {
  /** In this minute, this request included. */
  readonly used: number;
  readonly refused: { readonly status: 418 | 429; readonly retryAfter: number } | undefined;
}

export class WeightLimit {
  readonly perMinute: number;
  readonly #clock: VenueClock;
  #minute = -1;
  #used = 0;
  #refusals = 0;
  #bannedUntilMs = 0;

  constructor(clock: VenueClock, perMinute: number) {
    this.#clock = clock;
    this.perMinute = perMinute;
  }

  spend(weight: number): SpentWeight {
    const nowMs = this.#clock.now();
    const minute = Math.floor(nowMs / MINUTE_MS);
    if (minute !== this.#minute) {
      this.#minute = minute;
      this.#used = 0;
      this.#refusals = 0;
    }
    this.#used += weight;
    const used = this.#used;
    const withinLimit = used <= this.perMinute;
    if (nowMs >= this.#bannedUntilMs && withinLimit) return { used, refused: undefined };
    this.#refusals++;
    if (this.#refusals > REFUSALS_UNTIL_BAN && nowMs >= this.#bannedUntilMs) {
      this.#bannedUntilMs = nowMs + BAN_MS;
    }
    const banned = nowMs < this.#bannedUntilMs;
    const untilMs = banned ? this.#bannedUntilMs : (minute + 1) * MINUTE_MS;
    const retryAfter = Math.ceil((untilMs - nowMs) / 1000);
    return { used, refused: { status: banned ? 418 : 429, retryAfter } };
  }
}

/** A bucket that holds `burst` requests and refills by `perSecond`. */
export class RequestBucket {
  readonly #clock: VenueClock;
  readonly #perSecond: number;
  readonly #burst: number;
  #left: number;
  #filledAtMs: number;

  constructor(clock: VenueClock, options: { perSecond: number; burst: number }) {
    this.#clock = clock;
    this.#perSecond = options.perSecond;
    this.#burst = options.burst;
    this.#left = options.burst;
    this.#filledAtMs = clock.now();
  }

  /** False: too many. */
  take(): boolean {
    const nowMs = this.#clock.now();
    const refill = ((nowMs - this.#filledAtMs) / 1000) * this.#perSecond;
    this.#left = Math.min(this.#burst, this.#left + refill);
    this.#filledAtMs = nowMs;
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }
}
