/**
 * Bytes the files below a directory occupy: year files are mostly holes, and holes do not count.
 * Asynchronous, since a directory can hold thousands of files; nothing waits for it.
 */

import { opendir, stat } from 'node:fs/promises';
import { join } from 'node:path';

const BLOCK_BYTES = 512;

/** What cannot be read (a file that just went) counts as nothing. */
export async function diskUsageBytes(directory: string): Promise<number> {
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
