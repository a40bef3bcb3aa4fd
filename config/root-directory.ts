/**
 * Makes the data directory ready for use, or says what exactly stands in the way.
 *
 * The system's answer to a failed mkdir ("ENOENT") names neither the place nor the cause. Here the
 * way from the root of the disk down to the directory is walked, and the first thing that is wrong
 * is named: a file where a directory should be, a directory one may not write, a read-only disk.
 */

import { lstatSync, mkdirSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { dirname, isAbsolute, join, parse, relative } from 'node:path';
import { ConfigError, reasonOf } from '../kernel/base/errors.ts';

export interface RootDirectory {
  /** Absolute. */
  readonly rootDirectory: string;
  /** As it stands in mkts.yml. */
  readonly rootDirectoryWritten: string;
}

const DIRECTORY_MODE = 0o770;
const PROBE_MODE = 0o600;

/** Creates it with all its parents, and proves it writable. Throws MKTS_ROOT_DIRECTORY. */
export function prepareRootDirectory({ rootDirectory, rootDirectoryWritten }: RootDirectory): void {
  // Neither a year file's name nor a log's: nobody who reads the directory takes it for theirs.
  const probe = join(rootDirectory, `mkts-${process.pid}.probe`);
  try {
    makeDirectories(rootDirectory);
    writeFileSync(probe, '', { mode: PROBE_MODE });
    unlinkSync(probe);
  } catch (cause) {
    const reason = explain(rootDirectory, cause as NodeJS.ErrnoException);
    const seenFrom = isAbsolute(rootDirectoryWritten)
      ? ''
      : ` ('${rootDirectoryWritten}' is relative to the working directory, ${process.cwd()})`;
    throw new ConfigError(
      'MKTS_ROOT_DIRECTORY',
      { path: rootDirectory, reason: `${reason}${seenFrom}` },
      { cause },
    );
  }
}

/**
 * With all its parents. Not by `recursive` of Node's mkdir, which never returns where a directory
 * that exists takes no children, as below /proc.
 */
function makeDirectories(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return;
  const above = dirname(path);
  if (above !== path) makeDirectories(above);
  try {
    mkdirSync(path, { mode: DIRECTORY_MODE });
  } catch (cause) {
    // Another process may have made it since.
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) throw cause;
  }
}

/** Why nothing can be written at `path`, in words. */
export function explain(path: string, failure: NodeJS.ErrnoException): string {
  // The codes that say it all, wherever on the way they arise.
  if (failure.code === 'EROFS') return 'it lies on a read-only filesystem';
  if (failure.code === 'ENOSPC') return 'the disk is full';
  if (failure.code === 'EDQUOT') return 'the disk quota is used up';
  if (failure.code === 'ENAMETOOLONG') return 'the name is longer than the filesystem allows';
  return obstacle(path, failure) ?? reasonOf(failure);
}

/** The first thing on the way down to `path` that is in the way. */
function obstacle(path: string, failure: NodeJS.ErrnoException): string | undefined {
  // Not asked of access(): it answers for the real user, and knows nothing of what lies above modes.
  const isDenied = failure.code === 'EACCES' || failure.code === 'EPERM';
  const denied = (directory: string, what: string): string | undefined =>
    isDenied ? `${what}: ${ownership(directory)} is not writable for ${self()}` : undefined;
  const { root } = parse(path);
  let above = root;
  for (const step of relative(root, path).split(/[/\\]/)) {
    const here = join(above, step);
    const found = kindOf(here);
    if (found === 'missing') {
      if (failure.code === 'ENOENT') return `nothing can be created in ${above}`;
      return denied(above, `${here} cannot be created`);
    }
    if (found === 'hidden')
      return `${here} cannot be looked at: ${ownership(above)} keeps ${self()} out`;
    if (found !== 'directory') return `${here} is ${found}, not a directory`;
    above = here;
  }
  return denied(path, 'nothing can be created in it');
}

function kindOf(path: string): string {
  try {
    return statSync(path).isDirectory() ? 'directory' : 'a file';
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ELOOP') return 'a symbolic link that leads in a circle';
    if (code !== 'ENOENT') return 'hidden';
  }
  try {
    lstatSync(path);
    return 'a symbolic link to something that does not exist';
  } catch {
    return 'missing';
  }
}

/** `/srv (owner uid 0, gid 0, mode 755)` */
function ownership(directory: string): string {
  try {
    const { uid, gid, mode } = statSync(directory);
    return `${directory} (owner uid ${uid}, gid ${gid}, mode ${(mode & 0o777).toString(8)})`;
  } catch (cause) {
    return `${directory} (${reasonOf(cause)})`;
  }
}

function self(): string {
  const uid = process.geteuid?.();
  return uid === undefined ? 'this user' : `this process (uid ${uid})`;
}
