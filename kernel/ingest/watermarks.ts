/**
 * How far the numbered groups have come, and that they come in order.
 *
 * Invariant: dispatched <= applied <= committed, and checkpointed <= applied. Main thread only.
 */

import { assert } from '../base/assert.ts';

export type Watermark = 'committed' | 'applied' | 'dispatched' | 'checkpointed';

/** A later mark never passes the mark it follows. */
const FOLLOWS: Readonly<Record<Watermark, Watermark | undefined>> = {
  committed: undefined,
  applied: 'committed',
  dispatched: 'applied',
  checkpointed: 'applied',
};

export class Watermarks {
  readonly #marks: Record<Watermark, bigint>;

  /** `sequence` is that of the last group of the log that was replayed. */
  constructor(sequence: bigint) {
    this.#marks = {
      committed: sequence,
      applied: sequence,
      dispatched: sequence,
      checkpointed: sequence,
    };
  }

  get(mark: Watermark): bigint {
    return this.#marks[mark];
  }

  /** Sets a mark to a group's sequence; marks only rise. */
  advance(mark: Watermark, sequence: bigint): void {
    const before = FOLLOWS[mark];
    assert(sequence >= this.#marks[mark], `the watermark '${mark}' only rises`);
    assert(
      before === undefined || sequence <= this.#marks[before],
      `the watermark '${mark}' does not pass '${before}'`,
    );
    this.#marks[mark] = sequence;
  }
}
