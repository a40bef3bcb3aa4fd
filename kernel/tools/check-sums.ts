/**
 * The checksums beside a year file: every page and chunk that has one must match it.
 *
 * Repair accepts the bytes as they are: a fresh sum is stored, and the bytes go into the report, so
 * that they can be looked at, or replaced from a backup. A page with other repairs to make waits a
 * round: an index put right may be all that its sum missed.
 */

import { join } from 'node:path';
import type { CorruptionError } from '../base/errors.ts';
import { NO_SUM, sumOf } from '../storage/sums-format.ts';
import type { YearFile } from '../storage/year-file.ts';
import type { Change, Findings } from './findings.ts';
import { eachPage, isEmpty } from './slot-batches.ts';

/** How much of the year files that have sums is covered by them. */
export interface SumsSummary {
  /** Year files with sums. */
  readonly files: number;
  /** Pages of them with a byte that is not zero. */
  readonly pages: number;
  readonly coveredPages: number;
  readonly chunks: number;
  readonly coveredChunks: number;
}

export type SumsCount = { -readonly [Key in keyof SumsSummary]: SumsSummary[Key] };

export interface SumsCheck {
  readonly file: YearFile;
  readonly key: string;
}

/** After the slots were checked, and chunks with `chunkFinding`. Throws StorageError if the disk does. */
export function checkSums(check: SumsCheck, count: SumsCount, findings: Findings): void {
  const { file, key } = check;
  const { sums } = file;
  const problem = sums.sumsFile.problem();
  if (problem === 'damaged') {
    const what = 'its header is not what was written: nothing is held against these sums';
    findings.add(
      { severity: 'damage', code: 'MKTS_SUMS_CORRUPT', path: sums.sumsFile.path, key, what },
      emptied(file),
    );
  }
  if (!sums.isRead) return;
  count.files++;
  const { layout } = sums;
  const entries = sums.pageSums(0, layout.pageCount);
  let changed: ReadonlySet<number> | undefined;
  eachPage(file, (page, bytes) => {
    const stored = entries[page] ?? NO_SUM;
    if (stored === NO_SUM) {
      if (!isEmpty(bytes)) count.pages++;
      return;
    }
    count.pages++;
    count.coveredPages++;
    const fault = sums.verify(page, bytes);
    if (fault === undefined) return;
    changed ??= changedPages(file, findings);
    const { first, last } = sums.positionsOf(page);
    findings.add(
      foundOf(check, fault.error, first, last),
      changed.has(page)
        ? []
        : accepting(file, layout.placeOf(page).offset, bytes, {
            offset: layout.pageEntryAt(page),
            before: Uint32Array.of(stored),
            after: Uint32Array.of(sumOf(bytes)),
          }),
    );
  });
}

/** A chunk that is not what was written. */
export function chunkFinding(
  check: SumsCheck,
  position: number,
  fault: CorruptionError,
  findings: Findings,
): void {
  const { file } = check;
  const { sums, firstPosition } = file;
  const offset = Number(fault.fields.offset);
  const bytes = new Uint8Array(Number(fault.fields.bytes));
  file.read(bytes, offset);
  const entry = sums.chunkEntries(position, 1).get(position);
  findings.add(
    foundOf(check, fault, position, position),
    accepting(file, offset, bytes, {
      offset: sums.layout.chunkEntryAt(position - firstPosition),
      before: Uint32Array.of(entry.sum, entry.offset),
      after: Uint32Array.of(sumOf(bytes), entry.offset),
    }),
  );
}

function foundOf(
  { file, key }: SumsCheck,
  { fields }: CorruptionError,
  first: number,
  last: number,
): Parameters<Findings['add']>[0] {
  return {
    severity: 'damage',
    code: 'MKTS_PAGE_CORRUPT',
    path: file.path,
    offset: Number(fields.offset),
    key,
    fromSeconds: file.grid.startOf(first),
    toSeconds: file.grid.endOf(last),
    what: `${String(fields.bytes)} bytes are not what was written: ${String(fields.reason)}`,
  };
}

interface EntryChange {
  readonly offset: number;
  readonly before: Uint32Array;
  readonly after: Uint32Array;
}

function accepting(
  file: YearFile,
  offset: number,
  bytes: Uint8Array,
  entry: EntryChange,
): readonly Change[] {
  const kept = bytes.slice();
  return [
    { path: file.path, offset, before: kept, after: kept },
    {
      path: file.sums.sumsFile.path,
      offset: entry.offset,
      before: new Uint8Array(entry.before.buffer),
      after: new Uint8Array(entry.after.buffer),
    },
  ];
}

function emptied({ context, sums }: YearFile): readonly Change[] {
  const before = context.filesystem.readFile(join(context.root, sums.sumsFile.path));
  if (before === undefined) return [];
  return [{ path: sums.sumsFile.path, offset: undefined, before, after: sums.layout.header() }];
}

/** Pages that have repairs to be made. */
function changedPages({ path, sums }: YearFile, findings: Findings): ReadonlySet<number> {
  const pages = new Set<number>();
  for (const change of findings.changes) {
    if (change.path !== path || change.offset === undefined) continue;
    const last = sums.layout.pageOf(change.offset + change.after.length - 1);
    for (let page = sums.layout.pageOf(change.offset); page <= last; page++) pages.add(page);
  }
  return pages;
}
