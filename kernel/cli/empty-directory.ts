/**
 * The directory the kernel runs in: empty, its own, gone when the process ends.
 *
 * On Node 22 and newer a worker started from text may read the current directory of the process,
 * whatever its permission flags say. So the process stands where nothing is, as soon as every path
 * a user wrote has become absolute.
 */

import { chmodSync, mkdtempSync, readdirSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { reasonOf } from '../base/errors.ts';
import type { Log } from '../log.ts';

/** Nobody leaves anything here, save root, whom no mode stops. */
const READ_ONLY = 0o500;

/**
 * Goes there; the function returned goes back and removes it, and so does the end of the process.
 * A directory that cannot be made is told and lived without: the permission probe says what for.
 * After a SIGKILL an empty directory stays behind, unless a watchdog removes it.
 */
export function enterEmptyDirectory(log: Log): () => void {
  const before = process.cwd();
  let directory: string;
  try {
    directory = mkdtempSync(join(resolve(tmpdir()), namePrefix(process.pid)));
    chmodSync(directory, READ_ONLY);
    process.chdir(directory);
  } catch (cause) {
    log.warn({ directory: before, reason: reasonOf(cause) }, 'no empty directory to run in');
    return () => undefined;
  }
  const leave = (): void => {
    process.off('exit', leave);
    try {
      process.chdir(before);
    } catch {
      // It was removed meanwhile; nobody needs it any more.
    }
    try {
      rmdirSync(directory);
    } catch {
      // Whoever cleans /tmp was faster.
    }
  };
  process.once('exit', leave);
  return leave;
}

/** Removes what a process that was killed left behind. */
export function removeEmptyDirectoryOf(pid: number): void {
  try {
    for (const name of readdirSync(tmpdir()))
      if (name.startsWith(namePrefix(pid))) rmdirSync(join(tmpdir(), name));
  } catch {
    // It is empty, and in a directory somebody cleans.
  }
}

function namePrefix(pid: number): string {
  return `mkts-${pid}-`;
}
