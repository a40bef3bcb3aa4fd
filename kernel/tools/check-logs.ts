/**
 * The logs: ours, and what a Go server left. A torn end is what every crash leaves; damage before it
 * is a finding, with the buckets and times of what is lost as far as they can be known.
 */

import { relative } from 'node:path';
import { type CorruptionError, reasonOf } from '../base/errors.ts';
import type { Filesystem } from '../storage/filesystem.ts';
import type { CellImage } from '../storage/store-context.ts';
import { readLog } from '../wal/reader.ts';
import { parseReferenceLog } from '../wal/reference-format.ts';
import { listReferenceLogs, readReferenceLog } from '../wal/reference-log.ts';
import type { Findings } from './findings.ts';

export interface LogsSummary {
  readonly segments: number;
  readonly referenceLogs: number;
  /** Groups the next start applies, of all logs. */
  readonly waitingGroups: number;
  /** Index cells it puts back before. */
  readonly restoredCells: readonly CellImage[];
  /** Bytes of what crashes cut off. */
  readonly tornBytes: number;
}

export function checkLogs(root: string, filesystem: Filesystem, findings: Findings): LogsSummary {
  const add = (path: string, offset: number, what: string): void =>
    findings.add({ severity: 'damage', code: 'MKTS_WAL_CORRUPT', path, offset, what });
  const log = readLog(root, filesystem);
  for (const { fields } of log.damage as readonly CorruptionError[])
    add(relative(root, String(fields.path)), Number(fields.offset), String(fields.reason));
  // Each bucket by itself, so that its times are said as those of a finding.
  for (const { path, offset, key, rowCount, fromSeconds, toSeconds } of log.lost)
    findings.add({
      severity: 'damage',
      code: 'MKTS_WAL_CORRUPT',
      path: relative(root, path),
      offset,
      key,
      ...(fromSeconds <= toSeconds ? { fromSeconds, toSeconds: toSeconds + 1 } : {}),
      what: `${rowCount} rows were in what is damaged`,
    });
  let { tornBytes } = log;
  let waitingGroups = 0;
  if (log.lastSequence > log.checkpointed)
    for (const { sequence } of log.groups) if (sequence > log.checkpointed) waitingGroups++;
  const references = listReferenceLogs(root, filesystem);
  for (const path of references) {
    const name = relative(root, path);
    try {
      const parsed = parseReferenceLog(readReferenceLog(path, filesystem));
      for (const { offset, reason } of parsed.problems) add(name, offset, reason);
      tornBytes += parsed.tornBytes;
      waitingGroups += parsed.groups.length;
    } catch (cause) {
      add(name, 0, reasonOf(cause));
    }
  }
  return {
    segments: log.segments.length,
    referenceLogs: references.length,
    waitingGroups,
    restoredCells: log.interruptedCells,
    tornBytes,
  };
}
