/**
 * What the log wants from the thread that waits for the device, and the code that does it.
 *
 * `LogDisk` is the work itself: blocking calls over a Filesystem. Two drivers run it: the kernel's
 * sync thread (sync-thread.ts) on the real disk, and `inProcessLogSync` on the caller's thread, for
 * tools and for tests with a disk that forgets. So what the crash tests stop at is what the server
 * does.
 *
 * Order: requests are carried out in the order of the calls; `prepare` works in slices between
 * which other requests pass, since zeroing a segment takes longer than a group may wait.
 */

import { dirname } from 'node:path';
import { assert } from '../base/assert.ts';
import type { Filesystem, OpenFile } from '../storage/filesystem.ts';
import { seal } from './format.ts';

/** Bytes zeroed and synced in one slice of `prepare`: about a millisecond. */
const PREPARE_SLICE_BYTES = 1024 * 1024;

/** A piece of shared memory and where it goes in the current segment. */
export interface LogSpan {
  /** Not touched by its owner until the write is answered. */
  readonly buffer: SharedArrayBuffer;
  /** The span is [start, end) of the buffer, and begins with a header that wants its CRC. */
  readonly start: number;
  readonly end: number;
  readonly fileOffset: number;
}

export interface LogWrite {
  readonly spans: readonly LogSpan[];
  /** True: answered after fdatasync. */
  readonly sync: boolean;
}

/** Every call rejects with StorageError; a failed write or sync is final: never retry it. */
export interface LogSync {
  /** Makes a file of zeros that occupies all its bytes, durably, its name too. */
  prepare(path: string, bytes: number): Promise<void>;
  /** Gives a retired segment its next name, durably. */
  recycle(from: string, to: string): Promise<void>;
  /** Removes a retired segment. Not durably: found again, it holds nothing that is replayed. */
  remove(path: string): Promise<void>;
  /** Makes `path` the current segment; syncs the one before, so that order holds across files. */
  open(path: string): Promise<void>;
  /** Seals the spans, writes them to the current segment, in order, and syncs if asked. */
  write(request: LogWrite): Promise<void>;
  /** Syncs and closes the current segment, and ends the thread behind, if any. */
  close(): Promise<void>;
}

/** The work of a LogSync. Every method blocks. */
export class LogDisk {
  readonly #filesystem: Filesystem;
  #file: OpenFile | undefined;

  constructor(filesystem: Filesystem) {
    this.#filesystem = filesystem;
  }

  /** Yields between slices. */
  *prepare(path: string, bytes: number): Generator<undefined, void> {
    const zeros = new Uint8Array(Math.min(PREPARE_SLICE_BYTES, bytes));
    const file = this.#filesystem.open(path, 'create');
    try {
      for (let at = 0; at < bytes; at += zeros.length) {
        file.write(zeros.subarray(0, Math.min(zeros.length, bytes - at)), at);
        file.datasyncBlocking();
        yield;
      }
    } catch (error) {
      // On a full disk the part that was made would only be in the way.
      this.#filesystem.remove(path);
      throw error;
    } finally {
      file.close();
    }
    this.#filesystem.syncDirectory(dirname(path));
  }

  recycle(from: string, to: string): void {
    this.#filesystem.rename(from, to);
    this.#filesystem.syncDirectory(dirname(to));
  }

  remove(path: string): void {
    this.#filesystem.remove(path);
  }

  open(path: string): void {
    this.close();
    this.#file = this.#filesystem.open(path, 'read-write');
  }

  write(spans: readonly LogSpan[], sync: boolean): void {
    const file = this.#file;
    assert(file !== undefined, 'a segment is open');
    for (const { buffer, start, end, fileOffset } of spans) {
      const bytes = new Uint8Array(buffer, start, end - start);
      seal({ view: new DataView(buffer, start, end - start), bytes });
      file.write(bytes, fileOffset);
    }
    if (sync) file.datasyncBlocking();
  }

  close(): void {
    const file = this.#file;
    this.#file = undefined;
    if (file === undefined) return;
    try {
      file.datasyncBlocking();
    } finally {
      file.close();
    }
  }
}

/** A LogSync on the calling thread, over any filesystem. */
export function inProcessLogSync(filesystem: Filesystem): LogSync {
  const disk = new LogDisk(filesystem);
  return {
    async prepare(path, bytes) {
      for (const _slice of disk.prepare(path, bytes));
    },
    async recycle(from, to) {
      disk.recycle(from, to);
    },
    async remove(path) {
      disk.remove(path);
    },
    async open(path) {
      disk.open(path);
    },
    async write({ spans, sync }) {
      disk.write(spans, sync);
    },
    async close() {
      disk.close();
    },
  };
}
