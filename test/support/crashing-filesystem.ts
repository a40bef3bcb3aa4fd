/**
 * The real disk, for a process that is killed in the middle of an operation: from the n-th operation
 * on that changes anything, nothing happens any more, and of a write that was under way the first
 * half is there, in whole pages, as the system copies them. What was done before is there, synced or not, as after `kill -9`.
 */

import type { Filesystem, OpenFile } from '../../kernel/storage/filesystem.ts';
import { realFilesystem } from '../../kernel/storage/filesystem.ts';

const PAGE_BYTES = 4096;

export class Killed extends Error {
  override readonly message = 'the process was killed here';
}

export interface CrashingFilesystem extends Filesystem {
  /** Operations so far that changed something. */
  readonly operations: number;
  readonly isDead: boolean;
}

/** Infinity: it lives, and counts. */
export function crashingFilesystem(killAt: number): CrashingFilesystem {
  let operations = 0;
  const isDead = (): boolean => operations > killAt;
  const step = (): void => {
    operations++;
    if (isDead()) throw new Killed();
  };
  const fileOf = (file: OpenFile): OpenFile => ({
    path: file.path,
    read: (target, offset) => file.read(target, offset),
    write(source, offset) {
      operations++;
      if (operations === killAt + 1) file.write(source.subarray(0, tornAt(source.length)), offset);
      if (isDead()) throw new Killed();
      file.write(source, offset);
    },
    size: () => file.size(),
    truncate(bytes) {
      step();
      file.truncate(bytes);
    },
    datasyncBlocking() {
      if (isDead()) throw new Killed();
    },
    async datasync() {
      if (isDead()) throw new Killed();
    },
    close: () => file.close(),
  });
  return {
    ...realFilesystem,
    get operations() {
      return operations;
    },
    get isDead() {
      return isDead();
    },
    open(path, mode) {
      if (mode !== 'read' && mode !== 'read-write') step();
      else if (isDead()) throw new Killed();
      return fileOf(realFilesystem.open(path, mode));
    },
    makeDirectory(path) {
      step();
      realFilesystem.makeDirectory(path);
    },
    rename(from, to) {
      step();
      realFilesystem.rename(from, to);
    },
    remove(path) {
      step();
      realFilesystem.remove(path);
    },
    removeTree(path) {
      step();
      realFilesystem.removeTree(path);
    },
    syncDirectory() {
      if (isDead()) throw new Killed();
    },
    async syncDirectoryLater() {
      if (isDead()) throw new Killed();
    },
  };
}

function tornAt(bytes: number): number {
  return PAGE_BYTES * Math.floor(bytes / 2 / PAGE_BYTES);
}
