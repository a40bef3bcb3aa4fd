/** A rate limit: `perSecond` tokens a second, of which at most a second's worth is saved up. */
export class TokenBucket {
  readonly #perSecond: number;
  readonly #nowMs: () => number;
  #tokens: number;
  #filledAtMs: number;

  constructor(perSecond: number, nowMs: () => number) {
    this.#perSecond = perSecond;
    this.#nowMs = nowMs;
    this.#tokens = perSecond;
    this.#filledAtMs = nowMs();
  }

  /** Takes a token, or returns false when there is none. A clock that goes back gives none. */
  tryTake(): boolean {
    const nowMs = this.#nowMs();
    const grown = Math.max(0, nowMs - this.#filledAtMs) * (this.#perSecond / 1000);
    this.#tokens = Math.min(this.#perSecond, this.#tokens + grown);
    this.#filledAtMs = nowMs;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}
