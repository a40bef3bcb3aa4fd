/**
 * `mkts tool integrity`: is everything in a data directory what a server would have written there?
 *
 * It looks with the readers the server reads with, through a filesystem that cannot write. No server
 * may run meanwhile; the caller holds the directory's lock. What it says of year files is said as
 * the next start will find them: index cells an unfinished checkpoint has overwritten, which replay
 * puts back, are taken as they will be.
 */

import { type CorruptionError, reasonOf } from '../base/errors.ts';
import type { Zone } from '../base/zone.ts';
import { type FoundBucket, readTree } from '../storage/catalog-tree.ts';
import type { Filesystem } from '../storage/filesystem.ts';
import { readOnly } from '../storage/read-only-filesystem.ts';
import type { CellImage, StoreContext } from '../storage/store-context.ts';
import { YearFile } from '../storage/year-file.ts';
import { checkFixed } from './check-fixed.ts';
import { headerChange } from './check-header.ts';
import { checkLogs, type LogsSummary } from './check-logs.ts';
import { checkPluginFiles } from './check-plugin-files.ts';
import { checkSums, type SumsCount, type SumsSummary } from './check-sums.ts';
import { checkTicks } from './check-ticks.ts';
import { checkTree } from './check-tree.ts';
import { type Change, type Finding, Findings, type Found } from './findings.ts';
import { toolContext } from './tool-context.ts';

export interface IntegrityOptions {
  readonly root: string;
  readonly filesystem: Filesystem;
  /** Of the server whose directory it is: years and days are those of its clock. */
  readonly zone: Zone;
}

export interface IntegrityReport {
  readonly findings: readonly Finding[];
  /** Findings that are damage, those not listed included. */
  readonly damageCount: number;
  /** Findings past FINDINGS_MAX, which are not listed. */
  readonly unsaid: number;
  /** What a repair would do about the findings listed. */
  readonly changes: readonly Change[];
  readonly buckets: number;
  readonly yearFiles: number;
  /** Filled slots: bars, and intervals with ticks. */
  readonly slots: number;
  readonly sums: SumsSummary;
  readonly logs: LogsSummary;
}

type CellsByFile = ReadonlyMap<string, ReadonlyMap<number, Uint8Array>>;

/** Writes nothing. Throws StorageError if the root cannot be read; what else cannot is a finding. */
export function checkIntegrity(options: IntegrityOptions): IntegrityReport {
  const { root, zone } = options;
  const filesystem = readOnly(options.filesystem);
  const findings = new Findings();
  const damage: CorruptionError[] = [];
  const context = toolContext({ root, filesystem, zone }, (error) => damage.push(error));
  const logs = checkLogs(root, filesystem, findings);
  const tree = readTree(context);
  checkTree({ root, filesystem, tree, damage }, findings);
  checkPluginFiles(root, filesystem, findings);
  const restored = byFile(logs.restoredCells);
  let yearFiles = 0;
  let slots = 0;
  const sums: SumsCount = { files: 0, pages: 0, coveredPages: 0, chunks: 0, coveredChunks: 0 };
  // A Go server wrote there without its sums: the next start drops them.
  const heeded = logs.referenceLogs > 0 ? undefined : sums;
  for (const bucket of tree.buckets) {
    yearFiles += bucket.years.length + bucket.damagedYears.size;
    const isReplayDue = logs.waitingGroups > 0;
    slots += checkBucket({ context, bucket, restored, isReplayDue, sums: heeded }, findings);
  }
  context.files.close();
  return {
    findings: findings.list,
    damageCount: findings.damageCount,
    unsaid: findings.unsaid,
    changes: findings.changes,
    buckets: tree.buckets.length,
    yearFiles,
    slots,
    sums,
    logs,
  };
}

interface BucketCheck {
  readonly context: StoreContext;
  readonly bucket: FoundBucket;
  readonly restored: CellsByFile;
  readonly isReplayDue: boolean;
  /** Undefined: sums are not looked at. */
  readonly sums: SumsCount | undefined;
}

/** Returns the number of filled slots. */
function checkBucket(check: BucketCheck, findings: Findings): number {
  const { context, bucket, restored, isReplayDue, sums } = check;
  const { key, directory, schema, years, damagedYears } = bucket;
  const { timeframeSeconds, path } = key;
  let slots = 0;
  /** A disk that fails costs one file. */
  const attempt = (file: string, run: () => void): void => {
    try {
      run();
    } catch (cause) {
      const what = reasonOf(cause);
      findings.add({ severity: 'damage', code: 'MKTS_DISK', path: file, key: path, what });
    }
  };
  for (const [year, { code, fields }] of damagedYears)
    attempt(String(fields.path), () => {
      const found: Found = {
        severity: 'damage',
        code,
        path: String(fields.path),
        offset: Number(fields.offset),
        key: path,
        fromSeconds: context.zone.yearStart(year),
        toSeconds: context.zone.yearStart(year + 1),
        what: String(fields.reason),
      };
      const change = headerChange(context, bucket, year);
      findings.add(found, change === undefined ? [] : [change]);
    });
  if (schema === undefined) return 0;
  for (const { year, description } of years) {
    const options = { context, directory, schema, timeframeSeconds, year, description };
    const file = new YearFile({ ...options, isOnDisk: true });
    attempt(file.path, () => {
      const cells = restored.get(file.path) ?? NONE;
      slots +=
        schema.recordType === 'fixed'
          ? checkFixed({ file, key: path, isReplayDue }, findings)
          : checkTicks({ file, key: path, restored: cells, sums }, findings);
      if (sums !== undefined) checkSums({ file, key: path }, sums, findings);
    });
    file.close();
  }
  return slots;
}

const NONE: ReadonlyMap<number, Uint8Array> = new Map();

function byFile(cells: readonly CellImage[]): CellsByFile {
  const files = new Map<string, Map<number, Uint8Array>>();
  for (const { path, offset, bytes } of cells) {
    const ofFile = files.get(path);
    if (ofFile === undefined) files.set(path, new Map([[offset, bytes]]));
    else ofFile.set(offset, bytes);
  }
  return files;
}
