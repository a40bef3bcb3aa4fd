/**
 * How many rows a second the drain takes from one plugin: a bucket that fills with time and is emptied
 * by frames. Main thread. While it is empty the plugin's frames stay in its ring; when that is full
 * its `write` waits. Nothing is dropped.
 *
 * A frame is taken whole, so the bucket may go below zero by a frame, and is then closed for longer:
 * over time the rate holds, whatever the size of frames. A rest saves up at most a second's worth.
 */

export class RowBudget {
  readonly perSecond: number;
  readonly #nowMs: () => number;
  #tokens: number;
  #filledAtMs: number;
  #isLifted = false;
  /** Rows of the second that runs, and of the one before it, for `rate`. */
  #second = 0;
  #rows = 0;
  #rowsBefore = 0;

  constructor(perSecond: number, nowMs: () => number = () => performance.now()) {
    this.perSecond = perSecond;
    this.#nowMs = nowMs;
    this.#tokens = perSecond;
    this.#filledAtMs = nowMs();
  }

  /** Whether a frame may be taken now. */
  get isOpen(): boolean {
    if (this.#tokens > 0 || this.#isLifted) return true;
    const nowMs = this.#nowMs();
    const grown = Math.max(0, nowMs - this.#filledAtMs) * (this.perSecond / 1000);
    this.#tokens = Math.min(this.perSecond, this.#tokens + grown);
    this.#filledAtMs = nowMs;
    return this.#tokens > 0;
  }

  /** Rows taken in the last whole second. */
  get rate(): number {
    this.#turnSecond();
    return this.#rowsBefore;
  }

  /** A frame of so many rows was taken. */
  spend(rowCount: number): void {
    this.#tokens -= rowCount;
    this.#turnSecond();
    this.#rows += rowCount;
  }

  /** The plugin ends: what it handed over is taken as fast as it can be. */
  lift(): void {
    this.#isLifted = true;
  }

  /** It runs (again), and its rows count. */
  hold(): void {
    this.#isLifted = false;
    this.#tokens = this.perSecond;
    this.#filledAtMs = this.#nowMs();
  }

  #turnSecond(): void {
    const second = Math.floor(this.#nowMs() / 1000);
    if (second === this.#second) return;
    this.#rowsBefore = second === this.#second + 1 ? this.#rows : 0;
    this.#rows = 0;
    this.#second = second;
  }
}
