/**
 * Bytes the files below a directory occupy: year files are mostly holes, and holes do not count.
 * Asynchronous, since a directory can hold thousands of files; nothing waits for it.
 */

import { opendir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { DISK_USAGE_INTERVAL_MS } from './base/limits.ts';

const BLOCK_BYTES = 512;

/** What cannot be read (a file that just went) counts as nothing. */
async function diskUsageBytes(directory: string): Promise<number> {
  let bytes = 0;
  try {
    for await (const entry of await opendir(directory)) {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) bytes += await diskUsageBytes(path);
      else if (entry.isFile()) bytes += (await stat(path)).blocks * BLOCK_BYTES;
    }
  } catch (error) {
    if (!(error instanceof Error && 'code' in error)) throw error;
  }
  return bytes;
}

/** Measures now and then; returns the timer to clear. */
export function watchDiskUsage(root: string, report: (bytes: number) => void): NodeJS.Timeout {
  const measure = (): void => {
    void diskUsageBytes(root).then(report, () => undefined);
  };
  measure();
  return setInterval(measure, DISK_USAGE_INTERVAL_MS).unref();
}
