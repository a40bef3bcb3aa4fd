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
import { StorageError } from '../base/errors.ts';
import type { Filesystem, OpenFile } from '../storage/filesystem.ts';
import { asRefusal, isRefusal } from '../storage/refusal.ts';
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
  /**
   * The last span is a group. Of other records nobody is told that they are not there: definitions, a
   * checkpoint's, and what only tries the disk, are true also if they are.
   */
  readonly isGroup: boolean;
}

/**
 * Every call rejects with StorageError. MKTS_DISK_REFUSED: nothing of it counts, the same segment is
 * current as before, and it may be tried again. Any other is final: never retry it.
 */
export interface LogSync {
  /** Makes a file of zeros that occupies all its bytes, durably, its name too; or leaves none. */
  prepare(path: string, bytes: number): Promise<void>;
  /** Gives a retired segment its next name, durably. */
  recycle(from: string, to: string): Promise<void>;
  /** Removes a retired segment. Not durably: found again, it holds nothing that is replayed. */
  remove(path: string): Promise<void>;
  /**
   * Makes `path` the current segment and writes its header, not durably; syncs the one before first,
   * so that order holds across files.
   */
  begin(path: string, header: LogSpan): Promise<void>;
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
    try {
      const file = this.#filesystem.open(path, 'create');
      try {
        for (let at = 0; at < bytes; at += zeros.length) {
          file.write(zeros.subarray(0, Math.min(zeros.length, bytes - at)), at);
          file.datasyncBlocking();
          yield;
        }
      } finally {
        file.close();
      }
      this.#filesystem.syncDirectory(dirname(path));
    } catch (error) {
      this.#discard(path);
      throw asRefusal(error);
    }
  }

  /** On a full disk the part that was made would only be in the way. */
  #discard(path: string): void {
    try {
      this.#filesystem.remove(path);
    } catch {
      // Why it was not made is the error to tell. Made again, it is begun from nothing.
    }
  }

  recycle(from: string, to: string): void {
    this.#filesystem.rename(from, to);
    this.#filesystem.syncDirectory(dirname(to));
  }

  remove(path: string): void {
    this.#filesystem.remove(path);
  }

  begin(path: string, header: LogSpan): void {
    const before = this.#file;
    before?.datasyncBlocking();
    const file = this.#filesystem.open(path, 'read-write');
    try {
      writePromise(file, header);
    } catch (error) {
      file.close();
      throw error;
    }
    this.#file = file;
    before?.close();
  }

  write({ spans, sync, isGroup }: LogWrite): void {
    const file = this.#file;
    assert(file !== undefined, 'a segment is open');
    const group = isGroup ? spans.at(-1) : undefined;
    for (const span of spans)
      if (span === group) writePromise(file, span);
      else writeSpan(file, span);
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

/** Seals a span and writes it. */
function writeSpan(file: OpenFile, { buffer, start, end, fileOffset }: LogSpan): void {
  const bytes = new Uint8Array(buffer, start, end - start);
  seal({ view: new DataView(buffer, start, end - start), bytes });
  file.write(bytes, fileOffset);
}

/** As writeSpan, for what must not be in the file if it is refused: else the failure is final. */
function writePromise(file: OpenFile, span: LogSpan): void {
  try {
    writeSpan(file, span);
  } catch (error) {
    if (!isRefusal(error) || !isWhole(file, span)) throw error;
    throw new StorageError('MKTS_DISK', error.fields, { cause: error });
  }
}

/**
 * True if all of a refused write is in the file, or that cannot be told. A part of a record is a torn
 * one to every reader, and the next record is written over it. But bytes that were to be written may
 * have been there before, such as zeros at the end: a record that came out whole would be replayed,
 * though who waits for it was told that nothing was written.
 */
function isWhole(file: OpenFile, { buffer, start, end, fileOffset }: LogSpan): boolean {
  const found = new Uint8Array(end - start);
  try {
    file.read(found, fileOffset);
  } catch {
    return true;
  }
  return Buffer.compare(found, new Uint8Array(buffer, start, end - start)) === 0;
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
    async begin(path, header) {
      disk.begin(path, header);
    },
    async write(request) {
      disk.write(request);
    },
    async close() {
      disk.close();
    },
  };
}
