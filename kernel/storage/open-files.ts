/**
 * Descriptors of year files, at most OPEN_FILES_MAX of them: at the bound, or when the system has none
 * left, the one unused for longest is closed, and its file opened again when asked for. A file that is
 * being synced is pinned and stays open; closing it waits for the sync.
 */

import { OPEN_FILES_MAX } from '../base/limits.ts';
import type { Filesystem, OpenFile } from './filesystem.ts';
import { isRefusal } from './refusal.ts';

/** A file that may or may not have a descriptor. */
export class FileHandle {
  readonly path: string;
  file: OpenFile | undefined;
  pins = 0;
  isDropped = false;

  constructor(path: string) {
    this.path = path;
  }
}

export class OpenFiles {
  readonly #filesystem: Filesystem;
  readonly #max: number;
  /** Least recently used first. */
  readonly #open = new Set<FileHandle>();

  constructor(filesystem: Filesystem, max: number = OPEN_FILES_MAX) {
    this.#filesystem = filesystem;
    this.#max = max;
  }

  /** The open file of a handle; valid until the next call. */
  use(handle: FileHandle): OpenFile {
    let file = handle.file;
    if (file === undefined) {
      file = this.#openFile(handle.path);
      handle.file = file;
      handle.isDropped = false;
      if (this.#open.size >= this.#max) this.#closeOne();
    } else this.#open.delete(handle);
    this.#open.add(handle);
    return file;
  }

  /** fdatasync; the descriptor stays open meanwhile. */
  async datasync(handle: FileHandle): Promise<void> {
    const file = this.use(handle);
    handle.pins++;
    try {
      await file.datasync();
    } finally {
      handle.pins--;
      if (handle.isDropped && handle.pins === 0) this.#close(handle);
    }
  }

  /** Closes the descriptor of a handle, at once or when its sync has ended. */
  drop(handle: FileHandle): void {
    if (handle.pins > 0) handle.isDropped = true;
    else this.#close(handle);
  }

  close(): void {
    for (const handle of [...this.#open]) this.drop(handle);
  }

  #openFile(path: string): OpenFile {
    try {
      return this.#filesystem.open(path, 'read-write');
    } catch (error) {
      // For want of a descriptor, maybe; if not, the second attempt says so again.
      if (!isRefusal(error) || !this.#closeOne()) throw error;
      return this.#filesystem.open(path, 'read-write');
    }
  }

  /** False if there is none to be closed. */
  #closeOne(): boolean {
    for (const handle of this.#open)
      if (handle.pins === 0) {
        this.#close(handle);
        return true;
      }
    return false;
  }

  #close(handle: FileHandle): void {
    this.#open.delete(handle);
    const file = handle.file;
    handle.file = undefined;
    handle.isDropped = false;
    file?.close();
  }
}
