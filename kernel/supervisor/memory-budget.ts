/**
 * Whether a worker's memory is past one of its bounds: all of it, its JavaScript heap, or its buffers.
 * Pure; worker-watch.ts feeds it a sample now and then.
 *
 * A sample counts garbage too, so a bound must be passed a few times in a row, or by far once.
 */

/** Megabytes; a part is undefined where nobody can tell it from the rest. */
export interface MemoryUse {
  readonly totalMb: number;
  readonly heapMb?: number | undefined;
  readonly externalMb?: number | undefined;
}

export interface MemoryBounds {
  readonly totalMb: number;
  readonly heapMb: number | undefined;
  readonly externalMb: number | undefined;
}

/** A bound that was passed. */
export interface MemoryExcess {
  readonly usedMb: number;
  readonly limitMb: number;
  /** Undefined: all of it. */
  readonly part: 'heap' | 'external' | undefined;
}

const SAMPLES_OVER_MAX = 4;

export class MemoryBudget {
  readonly #bounds: readonly (readonly [
    part: MemoryExcess['part'],
    limitMb: number | undefined,
    of: (use: MemoryUse) => number | undefined,
  ])[];
  readonly #samplesOver: number[];

  constructor({ totalMb, heapMb, externalMb }: MemoryBounds) {
    this.#bounds = [
      [undefined, totalMb, (use) => use.totalMb],
      ['heap', heapMb, (use) => use.heapMb],
      ['external', externalMb, (use) => use.externalMb],
    ];
    this.#samplesOver = this.#bounds.map(() => 0);
  }

  /** Takes a sample; returns the first bound that is passed for good. */
  check(use: MemoryUse): MemoryExcess | undefined {
    let excess: MemoryExcess | undefined;
    for (const [at, [part, limitMb, of]] of this.#bounds.entries()) {
      const usedMb = of(use) ?? 0;
      const isOver = limitMb !== undefined && usedMb > limitMb;
      const samples = isOver ? (this.#samplesOver[at] ?? 0) + 1 : 0;
      this.#samplesOver[at] = samples;
      if (isOver && (samples >= SAMPLES_OVER_MAX || usedMb > 2 * limitMb))
        excess ??= { usedMb: Math.round(usedMb), limitMb, part };
    }
    return excess;
  }
}
