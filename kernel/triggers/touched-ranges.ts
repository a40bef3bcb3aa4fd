/**
 * Which times of one bucket were written since its trigger was last told: a bounded set of disjoint,
 * ascending ranges of whole Unix seconds, both ends inclusive. Main thread.
 *
 * Invariant: between two ranges lie more than `joinSeconds` (the timeframe of the bucket: nothing
 * fits between neighbouring slots), and there are at most TOUCHED_RANGES_MAX of them. At the bound
 * the two nearest become one: a trigger then looks at times nobody wrote, which is only slower; it
 * never misses one that was written.
 */

import type { TouchedRange } from '../../workers/protocol.ts';
import { TOUCHED_RANGES_MAX } from '../base/limits.ts';

export class TouchedRanges {
  readonly #joinSeconds: number;
  readonly #from: number[] = [];
  readonly #to: number[] = [];

  /** `joinSeconds` >= 1: ranges this far apart or nearer are one. */
  constructor(joinSeconds: number) {
    this.#joinSeconds = joinSeconds;
  }

  get isEmpty(): boolean {
    return this.#from.length === 0;
  }

  /** Adds [from, to]. Rows come in order nearly always: then the last range grows in place. */
  add(from: number, to: number): void {
    const join = this.#joinSeconds;
    let at = this.#from.length - 1;
    // The last range that begins at or before `from`.
    while (at >= 0 && this.#begin(at) > from) at--;
    if (at >= 0 && this.#end(at) + join >= from) {
      if (this.#end(at) >= to) return;
      this.#to[at] = to;
    } else {
      at++;
      if (at === this.#from.length) {
        this.#from.push(from);
        this.#to.push(to);
      } else {
        this.#from.splice(at, 0, from);
        this.#to.splice(at, 0, to);
      }
    }
    this.#swallowAfter(at);
    if (this.#from.length > TOUCHED_RANGES_MAX) this.#mergeNearest();
  }

  /** What the set holds now. */
  list(): readonly TouchedRange[] {
    return this.#from.map((from, at) => ({ from, to: this.#end(at) }));
  }

  /** Empties the set and returns what it held. */
  take(): readonly TouchedRange[] {
    const taken = this.list();
    this.#from.length = 0;
    this.#to.length = 0;
    return taken;
  }

  #begin(at: number): number {
    return this.#from[at] ?? 0;
  }

  #end(at: number): number {
    return this.#to[at] ?? 0;
  }

  /** Joins the ranges after `at` that it now reaches. */
  #swallowAfter(at: number): void {
    let next = at + 1;
    while (next < this.#from.length && this.#begin(next) - this.#joinSeconds <= this.#end(at)) {
      if (this.#end(next) > this.#end(at)) this.#to[at] = this.#end(next);
      next++;
    }
    if (next === at + 1) return;
    this.#from.splice(at + 1, next - at - 1);
    this.#to.splice(at + 1, next - at - 1);
  }

  #mergeNearest(): void {
    let nearest = 1;
    for (let at = 2; at < this.#from.length; at++)
      if (this.#begin(at) - this.#end(at - 1) < this.#begin(nearest) - this.#end(nearest - 1))
        nearest = at;
    this.#to[nearest - 1] = this.#end(nearest);
    this.#from.splice(nearest, 1);
    this.#to.splice(nearest, 1);
  }
}
