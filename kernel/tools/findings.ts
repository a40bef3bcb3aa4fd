/**
 * What integrity finds: one finding for each thing that is wrong, and what a repair would change.
 *
 * Damage is what costs rows, or hides them from one of the two servers. A note costs nothing: what a
 * crash left half made and the next start makes anew, a log that waits for it, files of others.
 */

import type { ErrorCode } from '../base/errors.ts';
import { FINDINGS_MAX, REPAIR_BYTES_MAX } from '../base/limits.ts';

export interface Finding {
  readonly severity: 'damage' | 'note';
  /** The code under which a server reports the same. */
  readonly code: ErrorCode;
  /** Relative to the data directory; '' is the directory itself. */
  readonly path: string;
  readonly offset?: number;
  /** The bucket it concerns: 'AAPL/1Min/OHLCV'. */
  readonly key?: string;
  /** The times it concerns, in Unix seconds: from the first to before the last. */
  readonly fromSeconds?: number;
  readonly toSeconds?: number;
  readonly what: string;
  readonly isRepairable: boolean;
}

/** Bytes of a file that a repair replaces. */
export interface Change {
  /** Relative to the data directory. */
  readonly path: string;
  /** Where in the file; undefined: the file as a whole, which may be missing before. */
  readonly offset: number | undefined;
  readonly before: Uint8Array;
  readonly after: Uint8Array;
}

/** A finding before it is known whether it can be repaired. */
export type Found = Omit<Finding, 'isRepairable'>;

export class Findings {
  readonly #findings: Finding[] = [];
  readonly #changes: Change[] = [];
  #changeBytes = 0;
  #damageCount = 0;
  #unsaid = 0;

  /** `changes` repair it; none, or more than one repair takes: it cannot be repaired now. */
  add(found: Found, changes: readonly Change[] = []): void {
    if (found.severity === 'damage') this.#damageCount++;
    if (this.#findings.length >= FINDINGS_MAX) {
      this.#unsaid++;
      return;
    }
    const bytes = changes.reduce((sum, { before, after }) => sum + before.length + after.length, 0);
    const isRepairable = changes.length > 0 && this.#changeBytes + bytes <= REPAIR_BYTES_MAX;
    this.#findings.push({ ...found, isRepairable });
    if (!isRepairable) return;
    this.#changeBytes += bytes;
    for (const change of changes) this.#changes.push(change);
  }

  get list(): readonly Finding[] {
    return this.#findings;
  }
  /** Of the findings in `list`, in order. */
  get changes(): readonly Change[] {
    return this.#changes;
  }
  get damageCount(): number {
    return this.#damageCount;
  }
  /** Found beyond FINDINGS_MAX, and not in `list`. */
  get unsaid(): number {
    return this.#unsaid;
  }
}
