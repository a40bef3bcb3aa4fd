/**
 * The file `mkts plugin record` writes: one line an entry, as it happens, so that what is there when
 * the run is cut short is a tape. Never written over another; nobody else's to read.
 */

import { closeSync, openSync, writeSync } from 'node:fs';
import { ConfigError, reasonOf } from '../base/errors.ts';
import { TAPE_BYTES_MAX } from '../base/limits.ts';
import { formatTapeEntry, formatTapeHeader, type TapeEntry } from '../base/tape.ts';

/** Answers may hold what only the operator shall see. */
const MODE = 0o600;

export interface TapeFileOptions {
  /** Absolute. */
  readonly path: string;
  readonly plugin: string;
  readonly startedMs: number;
  /** Nothing more is written: TAPE_BYTES_MAX is reached, or the disk failed. */
  readonly onEnd: (reason: string) => void;
}

export class TapeFile {
  readonly path: string;
  readonly #onEnd: (reason: string) => void;
  #file: number | undefined;
  #bytes = 0;
  #entryCount = 0;

  /** Throws MKTS_TAPE_WRITE. */
  constructor({ path, plugin, startedMs, onEnd }: TapeFileOptions) {
    this.path = path;
    this.#onEnd = onEnd;
    try {
      this.#file = openSync(path, 'wx', MODE);
    } catch (cause) {
      throw new ConfigError('MKTS_TAPE_WRITE', { path, reason: reasonOf(cause) }, { cause });
    }
    this.#line(formatTapeHeader({ plugin, startedMs }));
  }

  get entryCount(): number {
    return this.#entryCount;
  }

  write(entry: TapeEntry): void {
    if (this.#file === undefined) return;
    this.#line(formatTapeEntry(entry));
    this.#entryCount++;
    if (this.#bytes >= TAPE_BYTES_MAX) this.#end(`it holds ${TAPE_BYTES_MAX} bytes`);
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  #line(text: string): void {
    if (this.#file === undefined) return;
    try {
      this.#bytes += writeSync(this.#file, `${text}\n`);
    } catch (cause) {
      this.#end(reasonOf(cause));
    }
  }

  #end(reason: string): void {
    this.close();
    this.#onEnd(reason);
  }
}
