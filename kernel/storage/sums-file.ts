/**
 * `<year>.sums` as a file: whether it is there and of use, made when a first sum is written, removed
 * when it would speak of other bytes. Main thread.
 *
 * It is made without a sync: without its header it covers nothing, and without its name neither.
 * Order: a removal is durable before the year file is written to, or made.
 */

import { join } from 'node:path';
import { CorruptionError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/limits.ts';
import { sumsFileName } from './file-names.ts';
import { FileHandle } from './open-files.ts';
import { SUMS_HEADER_BYTES, SumsLayout } from './sums-format.ts';
import type { YearFile } from './year-file.ts';

/** Records a page holds: at least one, and whole ones only. */
export function recordsPerPageOf(recordBytes: number): number {
  return Math.max(1, Math.floor(PAGE_BYTES / recordBytes));
}

/** `found`: a process before this one made it; `useless`: it is there, and of no use. */
type State = 'unasked' | 'absent' | 'found' | 'made' | 'useless';

export class SumsFile {
  readonly layout: SumsLayout;
  /** Relative to the root. */
  readonly path: string;
  readonly #file: YearFile;
  readonly #handle: FileHandle;
  #state: State = 'unasked';

  constructor(file: YearFile) {
    this.#file = file;
    const { recordBytes, firstPosition, endPosition } = file;
    this.layout = new SumsLayout({
      from: file.offsetOf(firstPosition),
      to: file.offsetOf(endPosition),
      pageBytes: recordsPerPageOf(recordBytes) * recordBytes,
      slotBytes: recordBytes,
    });
    this.path = `${file.directory}/${sumsFileName(file.year)}`;
    this.#handle = new FileHandle(join(file.context.root, this.path));
  }

  get isThere(): boolean {
    return this.#look() !== 'absent';
  }

  get isUsable(): boolean {
    const state = this.#look();
    return state === 'found' || state === 'made';
  }

  /** Nobody in this process knows what its entries are on the disk. */
  get isOfOthers(): boolean {
    return this.#look() === 'found';
  }

  /** Why the file that is there is no use; undefined if it is, or there is none. */
  problem(): 'half' | 'other' | 'damaged' | undefined {
    const { files, filesystem } = this.#file.context;
    if (!filesystem.exists(this.#handle.path)) return undefined;
    const header = new Uint8Array(SUMS_HEADER_BYTES);
    const found = files.use(this.#handle).read(header, 0);
    const judged = this.layout.judge(header.subarray(0, found));
    return judged === 'own' ? undefined : judged;
  }

  /** Before something is written to it. True: there was none of use. */
  makeIfNeeded(): boolean {
    if (this.isUsable) return false;
    this.removeIfUseless();
    const { context, directory } = this.#file;
    const file = context.filesystem.open(this.#handle.path, 'create');
    try {
      file.write(this.layout.header(), 0);
    } finally {
      file.close();
    }
    context.directories.changed(directory);
    this.#state = 'made';
    return true;
  }

  /** Durably: from now on the year file is written to without its being told. */
  removeIfUseless(): void {
    if (this.#look() !== 'useless') return;
    const { context, directory } = this.#file;
    this.close();
    context.filesystem.remove(this.#handle.path);
    context.filesystem.syncDirectory(join(context.root, directory));
    this.#state = 'absent';
  }

  /** Before the year file is made; the caller syncs the directory in between. */
  removeStale(): void {
    const { context, directory } = this.#file;
    const isThere = context.filesystem.exists(this.#handle.path);
    if (isThere) context.filesystem.remove(this.#handle.path);
    // Not there: a process before this one may have removed it, and not synced that.
    if (isThere || context.checksums) context.directories.changed(directory);
    this.#state = 'absent';
  }

  /** Words from an offset on; zeros where the file has nothing, or is no use. */
  read(words: number, offset: number): Uint32Array {
    const target = new Uint32Array(words);
    if (this.isUsable)
      this.#file.context.files.use(this.#handle).read(new Uint8Array(target.buffer), offset);
    return target;
  }

  write(words: readonly number[], offset: number): void {
    const bytes = new Uint8Array(Uint32Array.from(words).buffer);
    this.#file.context.files.use(this.#handle).write(bytes, offset);
  }

  datasync(): Promise<void> {
    return this.#file.context.files.datasync(this.#handle);
  }

  datasyncBlocking(): void {
    this.#file.context.files.use(this.#handle).datasyncBlocking();
  }

  close(): void {
    this.#file.context.files.drop(this.#handle);
  }

  #look(): State {
    if (this.#state !== 'unasked') return this.#state;
    const { context, isOnDisk } = this.#file;
    // Of a year without a file there is none, or a stale one, which goes before the file is made.
    if (!isOnDisk) return 'absent';
    if (!context.filesystem.exists(this.#handle.path)) {
      this.#state = 'absent';
      return this.#state;
    }
    const problem = this.problem();
    this.#state = problem === undefined ? 'found' : 'useless';
    if (problem === 'damaged') {
      const reason = 'its header is not what was written';
      context.reportDamage(new CorruptionError('MKTS_SUMS_CORRUPT', { path: this.path, reason }));
    }
    return this.#state;
  }
}
