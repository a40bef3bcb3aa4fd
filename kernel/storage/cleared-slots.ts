/**
 * Slots that were cleared and may still hold bytes on disk: to clear years of slots costs a pair of
 * numbers until the next write-back writes the zeros. Positions are those of one year file.
 *
 *   waiting ──begin()──▶ under way ──end('durable')──▶ forgotten
 *      ▲                     └──────end('failed')───▶ waiting again
 *
 * Invariant: whatever is read from the file is masked by both, so no reader sees a cleared slot.
 * Ranges are merged, so there are at most as many as deletions since the last checkpoint.
 */

/** Positions [from, to). */
export interface SlotRange {
  readonly from: number;
  readonly to: number;
}

export class ClearedSlots {
  /** Ascending, disjoint. */
  #waiting: readonly SlotRange[] = [];
  #underWay: readonly SlotRange[] = [];

  get isEmpty(): boolean {
    return this.#waiting.length === 0 && this.#underWay.length === 0;
  }

  add(range: SlotRange): void {
    this.#waiting = merged(this.#waiting, range);
  }

  /** Zeroes what is cleared in bytes read from the file; `first` is the position of the first slot. */
  mask(bytes: Uint8Array, first: number, recordBytes: number): void {
    if (this.isEmpty) return;
    for (const ranges of [this.#waiting, this.#underWay])
      for (const { from, to } of ranges) {
        const start = Math.max(0, (from - first) * recordBytes);
        if (start >= bytes.length) break;
        const end = (to - first) * recordBytes;
        if (end > start) bytes.fill(0, start, Math.min(end, bytes.length));
      }
  }

  /** True if all of [from, to) is cleared: there is nothing to read. */
  covers(from: number, to: number): boolean {
    const isIn = (range: SlotRange): boolean => range.from <= from && range.to >= to;
    return this.#waiting.some(isIn) || this.#underWay.some(isIn);
  }

  /** True if some of [from, to) was cleared since the write-back under way began. */
  isWaiting(from: number, to: number): boolean {
    return this.#waiting.some((range) => range.from < to && range.to > from);
  }

  /** A write-back begins: what it has to write zeros to. */
  begin(): readonly SlotRange[] {
    this.#underWay = this.#waiting;
    this.#waiting = [];
    return this.#underWay;
  }

  end(how: 'durable' | 'failed'): void {
    if (how === 'failed') for (const range of this.#underWay) this.add(range);
    this.#underWay = [];
  }
}

function merged(ranges: readonly SlotRange[], { from, to }: SlotRange): SlotRange[] {
  const before = ranges.filter((range) => range.to < from);
  const after = ranges.filter((range) => range.from > to);
  const met = ranges.slice(before.length, ranges.length - after.length);
  const joined = {
    from: Math.min(from, met[0]?.from ?? from),
    to: Math.max(to, met.at(-1)?.to ?? to),
  };
  return [...before, joined, ...after];
}
