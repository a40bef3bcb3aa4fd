/** Bytes of a year file that are not those of their sum: what is said of them, once for each place. */

import { CorruptionError } from '../base/errors.ts';
import { DAMAGE_REPORTS_PER_FILE_MAX } from '../base/limits.ts';
import { POISONED } from './sums-format.ts';
import type { YearFile } from './year-file.ts';

/** Bytes that one sum stands for, and the positions they are about: from the first to the last. */
export interface SummedPlace {
  readonly offset: number;
  readonly bytes: number;
  readonly first: number;
  readonly last: number;
}

export class SumFaults {
  readonly #file: YearFile;
  readonly #reported = new Set<number>();

  constructor(file: YearFile) {
    this.#file = file;
  }

  /** MKTS_PAGE_CORRUPT for a place; it is reported if it was not yet. */
  found(place: SummedPlace, wanted: number, found: number): CorruptionError {
    const { path, grid, context } = this.#file;
    const { offset, bytes, first, last } = place;
    const error = new CorruptionError('MKTS_PAGE_CORRUPT', {
      path,
      offset,
      bytes,
      from: timeText(grid.startOf(first)),
      to: timeText(grid.endOf(last)),
      reason: reasonOf(wanted, found),
    });
    if (!this.#reported.has(offset) && this.#reported.size < DAMAGE_REPORTS_PER_FILE_MAX) {
      this.#reported.add(offset);
      context.reportDamage(error);
    }
    return error;
  }
}

function reasonOf(wanted: number, found: number): string {
  return wanted === POISONED
    ? `they were written over what did not match its CRC-32 (theirs is ${sumText(found)})`
    : `their CRC-32 is ${sumText(found)}, not ${sumText(wanted)}`;
}

function sumText(sum: number): string {
  return sum.toString(16).padStart(8, '0');
}

function timeText(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace('.000Z', 'Z');
}
