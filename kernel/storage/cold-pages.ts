/**
 * Which sums of pages wait to be written beside their year files. Main thread.
 *
 * The sum of a page is known when a write-back has written it. It is put on disk when the page is
 * cold: let go of by memory, or not written for SUM_AFTER_WRITE_BACKS write-backs, or at a clean
 * stop. A page that is written all the time thus costs no sync of its sums each time. Nothing syncs
 * these sums: one that is lost covers nothing.
 */

import { StorageError } from '../base/errors.ts';
import { SUM_AFTER_WRITE_BACKS } from '../base/limits.ts';

/** The sums of one year that are not on disk. */
export interface WaitingSums {
  /** Writes those of pages that are cold: let go, or last written in `writeBack` or before. */
  writeCold(writeBack: number): void;
  /** Sums that wait, cold or not. */
  readonly waiting: number;
}

export class ColdPages {
  readonly #afterWriteBacks: number;
  readonly #years = new Set<WaitingSums>();
  #writeBack = 0;

  constructor(afterWriteBacks: number = SUM_AFTER_WRITE_BACKS) {
    this.#afterWriteBacks = afterWriteBacks;
  }

  /** Write-backs so far. */
  get writeBack(): number {
    return this.#writeBack;
  }

  /** A year has sums that wait. */
  watch(year: WaitingSums): void {
    this.#years.add(year);
  }

  forget(year: WaitingSums): void {
    this.#years.delete(year);
  }

  /** A write-back has ended well; between two years the caller may pause. */
  *endWriteBack(): Generator<void> {
    const lastWritten = this.#writeBack++ - this.#afterWriteBacks;
    for (const year of [...this.#years]) {
      this.#write(year, lastWritten);
      yield;
    }
  }

  /** The store closes: what memory holds is let go. */
  close(): void {
    for (const year of [...this.#years]) this.#write(year, Number.POSITIVE_INFINITY);
    this.#years.clear();
  }

  #write(year: WaitingSums, writeBack: number): void {
    try {
      year.writeCold(writeBack);
      if (year.waiting === 0) this.#years.delete(year);
    } catch (error) {
      // They go on waiting. No promise hangs on them, and what ails the disk is told by those who do
      // make one: the next write-back that meets this file fails with it.
      if (!(error instanceof StorageError)) throw error;
    }
  }
}
