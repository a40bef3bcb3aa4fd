/**
 * The one interface under all disk code of the kernel, and the real disk behind it.
 *
 * Calls are synchronous: they go to the page cache and take microseconds, and the main thread must
 * not depend on libuv's shared pool for them. What waits for the device is either done by the
 * kernel's sync thread (the log) or asynchronous (`datasync`, write-back). Tests put a disk behind
 * this interface that forgets what was not synced. Failures are thrown as StorageError MKTS_DISK, or
 * MKTS_DISK_REFUSED (refusal.ts), with the operation, the path and the reason of the system.
 */

import * as fs from 'node:fs';
import { diskError } from './refusal.ts';

export interface OpenFile {
  readonly path: string;
  /** Reads into `target`; returns the bytes read, fewer at the end of the file. */
  read(target: Uint8Array, offset: number): number;
  /** Writes all of `source`. */
  write(source: Uint8Array, offset: number): void;
  size(): number;
  truncate(bytes: number): void;
  /** Makes what was written survive a power cut; blocks. A failure is final: never retry it. */
  datasyncBlocking(): void;
  /** As `datasyncBlocking`, without blocking the thread. */
  datasync(): Promise<void>;
  close(): void;
}

export type OpenMode = 'read' | 'read-write' | 'create' | 'create-exclusive';

export interface DirectoryEntry {
  readonly name: string;
  readonly kind: 'file' | 'directory' | 'other';
}

export interface Filesystem {
  open(path: string, mode: OpenMode): OpenFile;
  /** Undefined if there is no such file. */
  readFile(path: string): Uint8Array | undefined;
  exists(path: string): boolean;
  list(directory: string): readonly DirectoryEntry[];
  makeDirectory(path: string): void;
  rename(from: string, to: string): void;
  remove(path: string): void;
  /** Removes a directory and all below it. */
  removeTree(path: string): void;
  /** Makes entries of a directory (files made, renamed, removed) survive a power cut; blocks. */
  syncDirectory(path: string): void;
  /** As `syncDirectory`, without blocking the thread. */
  syncDirectoryLater(path: string): Promise<void>;
}

const FLAGS: Readonly<Record<OpenMode, string>> = {
  read: 'r',
  'read-write': 'r+',
  create: 'w+',
  'create-exclusive': 'wx+',
};
const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o770;

class RealFile implements OpenFile {
  readonly path: string;
  readonly #descriptor: number;

  constructor(path: string, mode: OpenMode) {
    this.path = path;
    this.#descriptor = attempt('open', path, () => fs.openSync(path, FLAGS[mode], FILE_MODE));
  }

  read(target: Uint8Array, offset: number): number {
    return attempt('read', this.path, () => {
      let done = 0;
      while (done < target.length) {
        const count = fs.readSync(
          this.#descriptor,
          target,
          done,
          target.length - done,
          offset + done,
        );
        if (count === 0) break;
        done += count;
      }
      return done;
    });
  }

  write(source: Uint8Array, offset: number): void {
    attempt('write', this.path, () => {
      let done = 0;
      while (done < source.length)
        done += fs.writeSync(this.#descriptor, source, done, source.length - done, offset + done);
    });
  }

  size(): number {
    return attempt('stat', this.path, () => fs.fstatSync(this.#descriptor).size);
  }

  truncate(bytes: number): void {
    attempt('truncate', this.path, () => fs.ftruncateSync(this.#descriptor, bytes));
  }

  datasyncBlocking(): void {
    attempt('fdatasync', this.path, () => fs.fdatasyncSync(this.#descriptor));
  }

  datasync(): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.fdatasync(this.#descriptor, (error) => {
        if (error === null || error === undefined) resolve();
        else reject(diskError('fdatasync', this.path, error));
      });
    });
  }

  close(): void {
    attempt('close', this.path, () => fs.closeSync(this.#descriptor));
  }
}

export const realFilesystem: Filesystem = {
  open: (path, mode) => new RealFile(path, mode),
  readFile(path) {
    return attempt('read', path, () => {
      try {
        return fs.readFileSync(path);
      } catch (error) {
        if (isMissing(error)) return undefined;
        throw error;
      }
    });
  },
  exists: (path) => fs.existsSync(path),
  list: (directory) =>
    attempt('list', directory, () =>
      fs.readdirSync(directory, { withFileTypes: true }).map((entry) => ({
        name: entry.name,
        kind: entry.isFile() ? 'file' : entry.isDirectory() ? 'directory' : 'other',
      })),
    ),
  makeDirectory: (path) =>
    attempt('mkdir', path, () => {
      fs.mkdirSync(path, { recursive: true, mode: DIRECTORY_MODE });
    }),
  rename: (from, to) => attempt('rename', from, () => fs.renameSync(from, to)),
  remove: (path) => attempt('remove', path, () => fs.rmSync(path, { force: true })),
  removeTree: (path) =>
    attempt('remove', path, () => fs.rmSync(path, { force: true, recursive: true })),
  syncDirectory(path) {
    const descriptor = attempt('open', path, () => fs.openSync(path, 'r'));
    try {
      attempt('fsync', path, () => fs.fsyncSync(descriptor));
    } finally {
      fs.closeSync(descriptor);
    }
  },
  async syncDirectoryLater(path) {
    const descriptor = attempt('open', path, () => fs.openSync(path, 'r'));
    try {
      await new Promise<void>((resolve, reject) => {
        fs.fsync(descriptor, (error) => {
          if (error === null || error === undefined) resolve();
          else reject(diskError('fsync', path, error));
        });
      });
    } finally {
      fs.closeSync(descriptor);
    }
  },
};

function attempt<T>(operation: string, path: string, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    throw diskError(operation, path, cause);
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
