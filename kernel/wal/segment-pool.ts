/**
 * The files of segments before and after their use: spares are made ready ahead, and segments a
 * checkpoint has made worthless become spares or go. Main thread.
 *
 * Invariant: spares have the numbers after the current segment's, ascending; each is zeros or stale
 * records under a durable name, since records in a file whose name is lost are lost with it.
 * What the disk refuses to rename or remove is kept in mind and tried again with the next checkpoint.
 */

import { CHECKPOINT_LOG_BYTES, WAL_SEGMENT_BYTES } from '../base/limits.ts';
import { isRefusal } from '../storage/refusal.ts';
import type { LogSync } from './log-sync.ts';
import { segmentPath } from './segments.ts';

/** Spare segments kept ready, at least and at most: a checkpoint frees no more than that at a time. */
const SPARES_MIN = 2;
const SPARES_MAX: number = Math.ceil(CHECKPOINT_LOG_BYTES / WAL_SEGMENT_BYTES) + 1;

export interface SegmentPoolOptions {
  readonly root: string;
  readonly sync: LogSync;
  /** Bytes of a spare. */
  readonly segmentBytes: number;
}

export class SegmentPool {
  readonly #options: SegmentPoolOptions;
  readonly #spares: number[] = [];
  /** Numbers of files nobody needs that could not be renamed or removed yet. */
  readonly #leftovers = new Set<number>();
  /** Settles, and never rejects, when the next segment is ready or could not be made so. */
  #preparing: Promise<void> | undefined;
  /** The segment after which one was asked for ahead of its need. */
  #askedAfter = 0;

  constructor(options: SegmentPoolOptions) {
    this.#options = options;
  }

  /** Numbers of all files that are not in use; valid when nothing is being prepared. */
  get numbers(): readonly number[] {
    return [...this.#spares, ...this.#leftovers];
  }

  /** Resolves when no file is being prepared. */
  async settled(): Promise<void> {
    await this.#preparing;
  }

  /**
   * Makes the segment after `current` ready, unless there is a spare. If that fails (the disk may be
   * full) it is tried again when the segment is needed; only then does a failure count.
   */
  prepareAhead(current: number): void {
    if (this.#spares.length > 0 || this.#askedAfter === current) return;
    this.#askedAfter = current;
    this.#preparing = this.#prepare(current + 1, this.#options.segmentBytes)
      .then(() => void this.#spares.push(current + 1))
      .catch(() => undefined)
      .finally(() => {
        this.#preparing = undefined;
      });
  }

  /** Resolves when there is a spare. Rejects as LogSync.prepare. */
  async ready(current: number): Promise<void> {
    await this.#preparing;
    if (this.#spares.length > 0) return;
    await this.#prepare(current + 1, this.#options.segmentBytes);
    this.#spares.push(current + 1);
  }

  /** The number of a file of `bytes` that is ready to follow `current`. It may be given back. */
  async take(current: number, bytes: number): Promise<number> {
    // Usually done long ago; a burst can fill the second half of a segment before it is.
    await this.#preparing;
    const spare = this.#spares.shift();
    const number = spare ?? current + 1;
    // A group that names very many buckets can need a segment of its own size.
    if (spare === undefined || bytes !== this.#options.segmentBytes)
      await this.#prepare(number, bytes);
    return number;
  }

  /** A file that was taken is not used after all. */
  giveBack(number: number, bytes: number): void {
    // One of another size is made anew when it is needed, under the same name.
    if (bytes === this.#options.segmentBytes) this.#spares.unshift(number);
    else this.#leftovers.add(number);
  }

  /**
   * Takes files whose records are all checkpointed, oldest first: no holes. As many spares are kept
   * as this checkpoint has freed, since the next one will need about as many: under a steady load
   * nothing is zeroed, and after a burst the files go.
   */
  async retire(
    freed: readonly { readonly number: number; readonly bytes: number }[],
    current: number,
  ): Promise<void> {
    await this.#preparing;
    for (const number of [...this.#leftovers]) await this.#discard(number);
    const wanted = Math.min(Math.max(freed.length, SPARES_MIN), SPARES_MAX);
    for (const { number, bytes } of freed) {
      const isWanted = this.#spares.length < wanted && bytes === this.#options.segmentBytes;
      if (!isWanted || !(await this.#recycle(number, current))) await this.#discard(number);
    }
    for (const number of this.#spares.splice(wanted)) await this.#discard(number);
  }

  async #prepare(number: number, bytes: number): Promise<void> {
    this.#leftovers.add(number);
    await this.#options.sync.prepare(this.#path(number), bytes);
    this.#leftovers.delete(number);
  }

  /** Makes a used file a spare. False: refused, and it may have either name. */
  async #recycle(number: number, current: number): Promise<boolean> {
    const next = (this.#spares.at(-1) ?? current) + 1;
    this.#leftovers.add(next);
    try {
      await this.#options.sync.recycle(this.#path(number), this.#path(next));
    } catch (error) {
      if (!isRefusal(error)) throw error;
      return false;
    }
    this.#leftovers.delete(next);
    this.#spares.push(next);
    return true;
  }

  async #discard(number: number): Promise<void> {
    try {
      await this.#options.sync.remove(this.#path(number));
      this.#leftovers.delete(number);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      this.#leftovers.add(number);
    }
  }

  #path(number: number): string {
    return segmentPath(this.#options.root, number);
  }
}
