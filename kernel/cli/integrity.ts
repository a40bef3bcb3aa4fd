/**
 * `mkts tool integrity`: takes the directory's lock, looks, repairs or seals, and prints what was found: a
 * line for each finding, or one JSON text.
 */

import { existsSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ConfigError, MktsError } from '../base/errors.ts';
import { type DirectoryLock, isDirectoryHeld, lockDirectory } from '../storage/directory-lock.ts';
import { repairReportName } from '../storage/file-names.ts';
import { realFilesystem } from '../storage/filesystem.ts';
import type { Finding } from '../tools/findings.ts';
import { checkIntegrity, type IntegrityReport } from '../tools/integrity.ts';
import { type Repaired, repair } from '../tools/repair.ts';
import { type Sealed, seal } from '../tools/seal.ts';
import { print } from './print.ts';
import { count, timeText, zoneOf } from './tool-texts.ts';

export interface IntegrityCommand {
  readonly directory: string;
  readonly isRepair: boolean;
  readonly isSeal: boolean;
  /** Undefined: of a repair, into the directory; else none is written. */
  readonly reportPath: string | undefined;
  readonly timezone: string;
  readonly json: boolean;
}

/** Resolves with true if nothing is damaged. Throws ConfigError, MKTS_REPAIR, MKTS_SEAL or StorageError. */
export async function runIntegrity(command: IntegrityCommand): Promise<boolean> {
  const { directory, isRepair, isSeal, reportPath, json } = command;
  const root = resolve(directory);
  if (!existsSync(root) || !statSync(root).isDirectory())
    throw new ConfigError('MKTS_ROOT_DIRECTORY', { path: root, reason: 'it is no directory' });
  const zone = zoneOf(command.timezone);
  const options = { root, filesystem: realFilesystem, zone };
  const lock = isRepair || isSeal ? lockDirectory(root) : lockToLook(root);
  let report: IntegrityReport;
  let repaired: (Repaired & { readonly path: string }) | undefined;
  let sealed: Sealed | undefined;
  try {
    if (isRepair) {
      const path = resolve(reportPath ?? join(root, repairReportName(Date.now())));
      repaired = { ...repair({ ...options, reportPath: path }), path };
      report = repaired.report;
    } else report = checkIntegrity(options);
    if (isSeal) {
      sealed = seal(options, report);
      // As it is now: what was sealed counts as covered.
      report = checkIntegrity(options);
    }
  } finally {
    lock?.release();
  }
  const said = sayable(root, report, { repaired, sealed });
  if (reportPath !== undefined && repaired === undefined)
    writeFileSync(resolve(reportPath), `${JSON.stringify(said, undefined, 1)}\n`);
  await print(json ? [JSON.stringify(said)] : linesOf(root, report, { repaired, sealed }));
  return report.damageCount === 0;
}

/**
 * The lock, as a server takes it, so that none starts meanwhile. On a disk that takes no lock nobody
 * can start one: there it is enough that none runs.
 */
function lockToLook(root: string): DirectoryLock | undefined {
  try {
    return lockDirectory(root);
  } catch (error) {
    const isRefused = error instanceof MktsError && error.code === 'MKTS_ROOT_DIRECTORY';
    if (!isRefused || !isWriteRefused(error.cause) || isDirectoryHeld(root)) throw error;
    return undefined;
  }
}

function isWriteRefused(cause: unknown): boolean {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  return code === 'EROFS' || code === 'EACCES' || code === 'EPERM';
}

interface Done {
  readonly repaired: Written | undefined;
  readonly sealed: Sealed | undefined;
}

interface Written {
  readonly path: string;
  readonly changeCount: number;
  readonly repaired: readonly Finding[];
}

function sayable(root: string, report: IntegrityReport, { repaired, sealed }: Done): unknown {
  const { findings, damageCount, unsaid, buckets, yearFiles, slots, sums, logs } = report;
  const { restoredCells, ...log } = logs;
  return {
    root,
    isClean: damageCount === 0,
    damage: damageCount,
    unsaid,
    buckets,
    yearFiles,
    slots,
    sums,
    log: { ...log, restoredCells: restoredCells.length },
    findings: findings.map(plain),
    ...(repaired === undefined
      ? {}
      : {
          repair: {
            report: repaired.changeCount === 0 ? null : repaired.path,
            changes: repaired.changeCount,
            findings: repaired.repaired.map(plain),
          },
        }),
    ...(sealed === undefined ? {} : { seal: sealed }),
  };
}

function plain({ fromSeconds, toSeconds, isRepairable, ...finding }: Finding): unknown {
  return {
    ...finding,
    ...(fromSeconds === undefined ? {} : { from: timeText(fromSeconds) }),
    ...(toSeconds === undefined ? {} : { to: timeText(toSeconds) }),
    repairable: isRepairable,
  };
}

function linesOf(root: string, report: IntegrityReport, { repaired, sealed }: Done): string[] {
  const { findings, damageCount, unsaid, buckets, yearFiles, slots, sums, logs } = report;
  const lines = [
    `${root}: ${count(buckets, 'bucket')}, ${count(yearFiles, 'year file')}, ${count(slots, 'filled slot')}`,
  ];
  if (sums.files > 0)
    lines.push(
      `checksums of ${count(sums.files, 'year file')}: of ${sums.coveredPages} of ${count(sums.pages, 'filled page')}, ${sums.coveredChunks} of ${count(sums.chunks, 'chunk')} of ticks`,
    );
  if (sealed !== undefined)
    lines.push(
      `sealed ${count(sealed.pages, 'page')} and ${count(sealed.chunks, 'chunk')}; ${count(sealed.leftOut, 'damaged year file')} left out`,
    );
  if (logs.waitingGroups > 0 || logs.restoredCells.length > 0)
    lines.push(
      `a log waits for the next start, which applies ${count(logs.waitingGroups, 'group')} and puts ${count(logs.restoredCells.length, 'index cell')} back; nothing was replayed`,
    );
  if (logs.tornBytes > 0)
    lines.push(
      `a crash cut off ${count(logs.tornBytes, 'byte')} of a log; nobody was promised them`,
    );
  if (repaired !== undefined && repaired.changeCount > 0) {
    for (const finding of repaired.repaired) lines.push(`repaired ${lineOf(finding)}`);
    lines.push(`what was overwritten is in ${repaired.path}`);
  }
  for (const finding of findings) {
    const end = finding.isRepairable ? ' (can be repaired)' : '';
    lines.push(`${finding.severity.padEnd(8)} ${lineOf(finding)}${end}`);
  }
  if (unsaid > 0) lines.push(`and ${unsaid} more`);
  const repairable = findings.filter(({ isRepairable }) => isRepairable).length;
  if (damageCount === 0) lines.push('clean');
  else if (repairable === 0) lines.push(`${damageCount} damaged`);
  else lines.push(`${damageCount} damaged, ${repairable} of them can be repaired: --repair`);
  return lines;
}

function lineOf({ code, path, offset, key, fromSeconds, toSeconds, what }: Finding): string {
  const at = offset === undefined ? '' : ` at ${offset}`;
  const times =
    fromSeconds === undefined || toSeconds === undefined
      ? ''
      : ` ${timeText(fromSeconds)} to ${timeText(toSeconds)}`;
  const bucket = key === undefined ? '' : ` [${key}${times}]`;
  return `${code} ${path === '' ? '.' : path}${at}${bucket}: ${what}`;
}
