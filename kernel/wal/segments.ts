/**
 * Names of the log's files in the data root. A Go server ignores them: no directory, and neither
 * `.bin` nor `.walfile`.
 *
 *   mkts-0000000000000007.wal            a segment: in use, or waiting to be used
 *   mkts-0000000000000007.wal.damaged    kept for repair after a start found damage in it
 */

import { join } from 'node:path';
import type { Filesystem } from '../storage/filesystem.ts';

const NAME = /^mkts-(\d{16})\.wal$/;
export const DAMAGED_SUFFIX = '.damaged';

export interface SegmentFile {
  readonly number: number;
  readonly path: string;
}

export function segmentPath(root: string, number: number): string {
  return join(root, `mkts-${String(number).padStart(16, '0')}.wal`);
}

/** The number in a segment's name, also of one that was set aside; undefined for another name. */
export function segmentNumber(name: string): number | undefined {
  const plain = name.endsWith(DAMAGED_SUFFIX) ? name.slice(0, -DAMAGED_SUFFIX.length) : name;
  const number = Number(NAME.exec(plain)?.[1]);
  return Number.isSafeInteger(number) ? number : undefined;
}

/** All segment files of a data root, ascending. */
export function listSegments(root: string, filesystem: Filesystem): readonly SegmentFile[] {
  const found: SegmentFile[] = [];
  for (const { name, kind } of filesystem.list(root)) {
    const number = Number(NAME.exec(name)?.[1]);
    if (kind === 'file' && Number.isSafeInteger(number))
      found.push({ number, path: join(root, name) });
  }
  return found.sort((a, b) => a.number - b.number);
}
