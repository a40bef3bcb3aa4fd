/**
 * `mkts tool integrity --repair`: changes what integrity knows how to change, and nothing else.
 *
 * Order: the report, with every byte that is about to be overwritten, is durable before the first of
 * them is; so whatever is done can be undone by hand. A change is made only where the disk still has
 * what the report says. The caller holds the directory's lock.
 */

import { dirname, join } from 'node:path';
import { MktsError, reasonOf } from '../base/errors.ts';
import { REPAIR_ROUNDS_MAX } from '../base/limits.ts';
import type { Filesystem } from '../storage/filesystem.ts';
import type { Change, Finding } from './findings.ts';
import { checkIntegrity, type IntegrityOptions, type IntegrityReport } from './integrity.ts';

export interface RepairOptions extends IntegrityOptions {
  /** Where the report goes; nothing is written there if there is nothing to repair. */
  readonly reportPath: string;
}

export interface Repaired {
  /** What was found before, in all rounds. */
  readonly repaired: readonly Finding[];
  readonly changeCount: number;
  /** What is found now. */
  readonly report: IntegrityReport;
}

/**
 * Throws MKTS_REPAIR if a log waits to be replayed: what it holds is newer than the files, and the
 * start that replays it mends more than a repair can. Throws StorageError if the disk fails.
 */
export function repair(options: RepairOptions): Repaired {
  const { filesystem, root, reportPath } = options;
  const repaired: Finding[] = [];
  const changes: Change[] = [];
  let report = checkIntegrity(options);
  if (report.logs.waitingGroups > 0 || report.logs.restoredCells.length > 0)
    throw new MktsError('MKTS_REPAIR', {
      reason: 'a log waits to be replayed; start the server once, stop it, and look again',
    });
  for (let round = 1; round <= REPAIR_ROUNDS_MAX && report.changes.length > 0; round++) {
    repaired.push(...report.findings.filter(({ isRepairable }) => isRepairable));
    changes.push(...report.changes);
    writeReport(filesystem, reportPath, { root, repaired, changes });
    makeAll(report.changes, root, filesystem);
    report = checkIntegrity(options);
  }
  return { repaired, changeCount: changes.length, report };
}

/** Each file is opened and synced once. */
function makeAll(changes: readonly Change[], root: string, filesystem: Filesystem): void {
  const byPath = new Map<string, Change[]>();
  for (const change of changes) {
    const ofFile = byPath.get(change.path);
    if (ofFile === undefined) byPath.set(change.path, [change]);
    else ofFile.push(change);
  }
  for (const [path, ofFile] of byPath) {
    for (const change of ofFile)
      if (change.offset === undefined) replaceFile(change, root, filesystem);
    const inside = ofFile.filter(({ offset }) => offset !== undefined);
    if (inside.length > 0) replaceBytes(path, inside, root, filesystem);
  }
}

function replaceBytes(
  path: string,
  changes: readonly Change[],
  root: string,
  filesystem: Filesystem,
): void {
  const file = filesystem.open(join(root, path), 'read-write');
  try {
    for (const { offset = 0, before, after } of changes) {
      const found = new Uint8Array(before.length);
      if (file.read(found, offset) < before.length || Buffer.compare(found, before) !== 0)
        throw changedMeanwhile(path);
      // The same: bytes that are accepted as they are, and are in the report for that.
      if (Buffer.compare(before, after) !== 0) file.write(after, offset);
    }
    file.datasyncBlocking();
  } finally {
    file.close();
  }
}

function changedMeanwhile(path: string): MktsError {
  return new MktsError('MKTS_REPAIR', { reason: `${path} changed meanwhile` });
}

/** Several directories may be hidden by one file, which is then mended already. */
function replaceFile({ path, before, after }: Change, root: string, filesystem: Filesystem): void {
  const target = join(root, path);
  const found = filesystem.readFile(target) ?? new Uint8Array(0);
  if (Buffer.compare(found, after) === 0) return;
  if (Buffer.compare(found, before) !== 0) throw changedMeanwhile(path);
  writeWhole(filesystem, target, after);
}

interface WrittenReport {
  readonly root: string;
  readonly repaired: readonly Finding[];
  readonly changes: readonly Change[];
}

function writeReport(
  filesystem: Filesystem,
  path: string,
  { root, repaired, changes }: WrittenReport,
): void {
  const text = JSON.stringify(
    {
      format: 1,
      root,
      findings: repaired,
      changes: changes.map(({ path, offset, before, after }) => ({
        path,
        offset,
        before: Buffer.from(before).toString('base64'),
        after: Buffer.from(after).toString('base64'),
      })),
    },
    undefined,
    1,
  );
  try {
    writeWhole(filesystem, path, Buffer.from(`${text}\n`));
  } catch (cause) {
    const reason = `its report cannot be written: ${reasonOf(cause)}`;
    throw new MktsError('MKTS_REPAIR', { reason }, { cause });
  }
}

/** The file has the old bytes or the new ones, whenever the power goes. */
function writeWhole(filesystem: Filesystem, path: string, bytes: Uint8Array): void {
  const newPath = `${path}.new`;
  const file = filesystem.open(newPath, 'create');
  try {
    file.write(bytes, 0);
    file.datasyncBlocking();
  } finally {
    file.close();
  }
  filesystem.rename(newPath, path);
  filesystem.syncDirectory(dirname(path));
}
