/** Bytes of a file with holes, in pages: a year file of seconds is long, and nearly empty. */

const PAGE_BYTES = 4096;

export class SparseBytes {
  #pages = new Map<number, Uint8Array>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Returns the bytes read: fewer at the end. */
  read(target: Uint8Array, offset: number): number {
    const length = Math.max(0, Math.min(target.length, this.#size - offset));
    this.#visit(offset, length, (page, inPage, from, count) => {
      const bytes = this.#pages.get(page);
      if (bytes === undefined) target.fill(0, from, from + count);
      else target.set(bytes.subarray(inPage, inPage + count), from);
    });
    return length;
  }

  write(source: Uint8Array, offset: number): void {
    this.#visit(offset, source.length, (page, inPage, from, count) => {
      this.#own(page).set(source.subarray(from, from + count), inPage);
    });
    this.#size = Math.max(this.#size, offset + source.length);
  }

  truncate(size: number): void {
    for (const [page, bytes] of this.#pages) {
      const start = page * PAGE_BYTES;
      if (start >= size) this.#pages.delete(page);
      else if (start + bytes.length > size) this.#own(page).fill(0, size - start);
    }
    this.#size = size;
  }

  /** All of it in one piece. */
  whole(): Uint8Array {
    const bytes = new Uint8Array(this.#size);
    this.read(bytes, 0);
    return bytes;
  }

  copy(): SparseBytes {
    const copy = new SparseBytes();
    copy.#size = this.#size;
    for (const [page, bytes] of this.#pages) copy.#pages.set(page, bytes.slice());
    return copy;
  }

  #own(page: number): Uint8Array {
    let bytes = this.#pages.get(page);
    if (bytes === undefined) {
      bytes = new Uint8Array(PAGE_BYTES);
      this.#pages.set(page, bytes);
    }
    return bytes;
  }

  #visit(
    offset: number,
    length: number,
    each: (page: number, inPage: number, from: number, count: number) => void,
  ): void {
    for (let from = 0; from < length; ) {
      const inPage = (offset + from) % PAGE_BYTES;
      const count = Math.min(PAGE_BYTES - inPage, length - from);
      each(Math.floor((offset + from) / PAGE_BYTES), inPage, from, count);
      from += count;
    }
  }
}
