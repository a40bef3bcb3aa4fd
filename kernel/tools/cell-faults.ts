/** Damaged slots of one year file as findings: neighbours with the same fault are one finding. */

import { FINDING_SLOTS_MAX } from '../base/limits.ts';
import type { YearFile } from '../storage/year-file.ts';
import type { Change, Findings } from './findings.ts';

interface Run {
  readonly kind: string;
  readonly from: number;
  to: number;
  /** Of the first. */
  readonly what: string;
  readonly changes: Change[];
}

export class CellFaults {
  readonly #file: YearFile;
  readonly #key: string;
  readonly #findings: Findings;
  #run: Run | undefined;

  constructor(file: YearFile, key: string, findings: Findings) {
    this.#file = file;
    this.#key = key;
    this.#findings = findings;
  }

  /** Positions ascend. */
  found(position: number, kind: string, what: string): void {
    const run = this.#run;
    const isNext = run?.kind === kind && run.to === position;
    if (run !== undefined && isNext && position - run.from < FINDING_SLOTS_MAX)
      run.to = position + 1;
    else {
      this.end();
      this.#run = { kind, from: position, to: position + 1, what, changes: [] };
    }
  }

  /** Repairs the slot found last. */
  change(position: number, before: Uint8Array, after: Uint8Array): void {
    const { path } = this.#file;
    this.#run?.changes.push({ path, offset: this.#file.offsetOf(position), before, after });
  }

  /** After the last. */
  end(): void {
    const run = this.#run;
    this.#run = undefined;
    if (run === undefined) return;
    const { from, to, what, changes } = run;
    const { path, grid } = this.#file;
    this.#findings.add(
      {
        severity: 'damage',
        code: 'MKTS_CELL_CORRUPT',
        path,
        offset: this.#file.offsetOf(from),
        key: this.#key,
        fromSeconds: grid.startOf(from),
        toSeconds: grid.endOf(to - 1),
        what: to - from === 1 ? what : `${to - from} slots; of the first: ${what}`,
      },
      joined(changes),
    );
  }
}

/** Changes that lie side by side become one. */
function joined(changes: readonly Change[]): readonly Change[] {
  const groups: Change[][] = [];
  let end: number | undefined;
  for (const change of changes) {
    if (change.offset === end) groups.at(-1)?.push(change);
    else groups.push([change]);
    end = (change.offset ?? 0) + change.after.length;
  }
  return groups.flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const before = Buffer.concat(group.map((change) => change.before));
    return [{ ...first, before, after: Buffer.concat(group.map((change) => change.after)) }];
  });
}

/** True if exactly one of the 64 bits of an index is not that of `expected`. */
export function isOneBitOff(low: number, high: number, expected: number): boolean {
  const different = low ^ expected;
  if (different === 0) return isPowerOfTwo(high);
  return high === 0 && isPowerOfTwo(different);
}

function isPowerOfTwo(word: number): boolean {
  return word !== 0 && (word & (word - 1)) === 0;
}
