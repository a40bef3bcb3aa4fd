/** Which bytes of a year file the chunks of its cells take: packed, since there may be millions. */

interface Range {
  readonly offset: number;
  readonly length: number;
}

interface Sorted {
  /** Ranges by their offset. */
  readonly order: Uint32Array;
  /** Where the ranges up to this place of `order` end, at the furthest. */
  readonly furthest: Float64Array;
}

const FIRST_COUNT = 1024;

export class ChunkRanges {
  /** Position, offset, length of each. */
  #fields = new Float64Array(3 * FIRST_COUNT);
  #count = 0;
  #known: Sorted | undefined;

  get count(): number {
    return this.#count;
  }

  add(position: number, { offset, length }: Range): void {
    const at = 3 * this.#count++;
    if (at === this.#fields.length) {
      const grown = new Float64Array(2 * at);
      grown.set(this.#fields);
      this.#fields = grown;
    }
    this.#fields[at] = position;
    this.#fields[at + 1] = offset;
    this.#fields[at + 2] = length;
    this.#known = undefined;
  }

  /** True if a range has a byte in common with one that was added. */
  touches({ offset, length }: Range): boolean {
    const { order, furthest } = this.#sorted();
    let low = 0;
    let high = order.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#offset(order[middle] ?? 0) < offset + length) low = middle + 1;
      else high = middle;
    }
    return low > 0 && (furthest[low - 1] ?? 0) > offset;
  }

  /** Pairs of positions whose chunks share bytes; for each chunk at most one. */
  *overlaps(): Generator<{ readonly first: number; readonly second: number }> {
    let furthest: number | undefined;
    for (const at of this.#sorted().order) {
      if (furthest !== undefined && this.#offset(at) < this.#end(furthest))
        yield { first: this.#position(furthest), second: this.#position(at) };
      if (furthest === undefined || this.#end(at) > this.#end(furthest)) furthest = at;
    }
  }

  #sorted(): Sorted {
    if (this.#known !== undefined) return this.#known;
    const order = Uint32Array.from({ length: this.#count }, (_, at) => at);
    const isSorted = order.every((at) => at === 0 || this.#offset(at - 1) <= this.#offset(at));
    // Chunks of one checkpoint lie one behind the other, in the order of their cells.
    if (!isSorted) order.sort((a, b) => this.#offset(a) - this.#offset(b));
    const furthest = new Float64Array(this.#count);
    let end = 0;
    order.forEach((range, at) => {
      end = Math.max(end, this.#end(range));
      furthest[at] = end;
    });
    this.#known = { order, furthest };
    return this.#known;
  }

  #position(at: number): number {
    return this.#fields[3 * at] ?? 0;
  }
  #offset(at: number): number {
    return this.#fields[3 * at + 1] ?? 0;
  }
  #end(at: number): number {
    return this.#offset(at) + (this.#fields[3 * at + 2] ?? 0);
  }
}
