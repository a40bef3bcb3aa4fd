/**
 * Dead letters of one plugin in their file, `mkts-letters-<plugin>.jsonl`: a letter a line, appended;
 * `{"removed":[3,4]}` for those that are done with. Main thread; small synchronous writes to the page
 * cache, in turns of their own, and a sync a second later that blocks nobody.
 *
 * In memory there is an index only. Past its bound the file is written anew with the newest half:
 * so its size is bounded whatever comes, and a letter is copied twice at most, on average.
 *
 * Invariant: nothing here throws at who makes a letter. A disk that refuses costs letters, which are
 * counted, and a line in the log; a damaged line costs that line.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';
import { type DeadLetter, isDeadLetter, type LetterInfo } from '../base/dead-letter.ts';
import { CorruptionError, MktsError, RequestError } from '../base/errors.ts';
import {
  LETTER_BYTES_MAX,
  LETTER_EXCERPT_MAX,
  LETTERS_KEPT_MAX,
  LETTERS_SYNC_MS,
  LETTERS_WAITING_BYTES_MAX,
} from '../base/limits.ts';
import type { Filesystem, OpenFile } from '../storage/filesystem.ts';
import type { NewLetter } from './refused-frames.ts';

/** The main thread is given back after this time. */
const SLICE_MS = 2;
const NEWLINE = 10;

export interface LettersFileOptions {
  readonly plugin: string;
  readonly path: string;
  readonly root: string;
  readonly filesystem: Filesystem;
  /** Of the file; asked when it grows. */
  readonly bytesMax: () => number;
  readonly onError: (error: Error) => void;
}

interface Kept extends LetterInfo {
  readonly offset: number;
}

export class LettersFile {
  readonly #options: LettersFileOptions;
  readonly #kept = new Map<number, Kept>();
  /** JSON texts without their number. */
  #waiting: string[] = [];
  #waitingBytes = 0;
  #isScheduled = false;
  #dropped = 0;
  #made = 0;
  #nextId = 1;
  /** Size of the file. */
  #end = 0;
  #isTorn = false;
  #syncTimer: NodeJS.Timeout | undefined;
  #failed = false;
  /** What is under way; each waits for the one before. */
  #last: Promise<unknown>;

  constructor(options: LettersFileOptions) {
    this.#options = options;
    this.#last = this.#load();
  }

  get bytes(): number {
    return this.#end;
  }
  get count(): number {
    return this.#kept.size;
  }
  get dropped(): number {
    return this.#dropped;
  }
  /** Letters made since the server started, kept or not. */
  get made(): number {
    return this.#made;
  }

  add({ at, ...letter }: NewLetter): void {
    this.#made++;
    const text = JSON.stringify({ time: new Date(at).toISOString(), ...letter });
    const isTooLarge = text.length > LETTER_BYTES_MAX;
    if (isTooLarge || this.#waitingBytes + text.length > LETTERS_WAITING_BYTES_MAX) {
      this.#dropped++;
      return;
    }
    this.#waiting.push(text);
    this.#waitingBytes += text.length;
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    // Not in this turn, which may be the drain's.
    setImmediate(() => {
      this.#isScheduled = false;
      void this.#inTurn(() => this.#append());
    });
  }

  noteDropped(count: number): void {
    this.#made += count;
    this.#dropped += count;
  }

  /** The newest, newest last. */
  async list(limit: number): Promise<readonly LetterInfo[]> {
    await this.settled();
    const newest = [...this.#kept.values()].slice(-limit);
    return newest.map(({ offset: _, ...info }) => info);
  }

  /** Throws MKTS_LETTER_UNKNOWN. */
  async read(id: number): Promise<DeadLetter> {
    await this.settled();
    return this.#queue(async () => {
      const kept = this.#kept.get(id);
      const letter = kept === undefined ? undefined : parseLetter(this.#bytesOf(kept));
      if (letter !== undefined) return letter;
      throw new RequestError('MKTS_LETTER_UNKNOWN', { plugin: this.#options.plugin, id });
    });
  }

  /** Rejects if the disk refuses: they are then there again after a restart. */
  async remove(ids: readonly number[]): Promise<void> {
    await this.#queue(async () => {
      const removed = ids.filter((id) => this.#kept.delete(id));
      if (removed.length > 0) this.#write([JSON.stringify({ removed })]);
    });
  }

  /** Removes all; returns how many there were. */
  async clear(): Promise<number> {
    await this.settled();
    return this.#queue(async () => {
      const { filesystem, path } = this.#options;
      const count = this.#kept.size;
      filesystem.remove(path);
      this.#kept.clear();
      this.#end = 0;
      this.#isTorn = false;
      return count;
    });
  }

  /** Resolves when all letters made so far are in the file. */
  async settled(): Promise<void> {
    if (this.#waiting.length > 0) await this.#inTurn(() => this.#append());
    await this.#last;
  }

  async close(): Promise<void> {
    await this.settled();
    clearTimeout(this.#syncTimer);
    if (this.#syncTimer !== undefined) await this.#sync();
  }

  /** After what is under way. */
  #queue<T>(task: () => Promise<T>): Promise<T> {
    const run = this.#last.then(task);
    this.#last = run.catch(() => undefined);
    return run;
  }

  /** As `#queue`, for what nobody waits for: a failure is told, once until it goes well again. */
  #inTurn(task: () => Promise<void>): Promise<void> {
    return this.#queue(async () => {
      try {
        await task();
        this.#failed = false;
      } catch (cause) {
        if (!(cause instanceof MktsError)) throw cause;
        if (!this.#failed) this.#options.onError(cause);
        this.#failed = true;
      }
    });
  }

  async #append(): Promise<void> {
    const texts = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    if (texts.length === 0) return;
    const lines = texts.map((text) => `{"id":${this.#nextId++},${text.slice(1)}`);
    let places: readonly { readonly offset: number; readonly bytes: number }[];
    try {
      places = this.#write(lines);
    } catch (cause) {
      this.#dropped += lines.length;
      throw cause;
    }
    lines.forEach((line, at) => {
      const place = places[at];
      if (place !== undefined) this.#keep(JSON.parse(line) as DeadLetter, place);
    });
    const bytesMax = this.#options.bytesMax();
    if (this.#kept.size > LETTERS_KEPT_MAX) this.#dropOldest(LETTERS_KEPT_MAX, bytesMax);
    if (this.#end <= bytesMax) return;
    this.#dropOldest(LETTERS_KEPT_MAX, bytesMax / 2);
    await this.#writeAnew();
  }

  #keep(letter: DeadLetter, { offset, bytes }: { offset: number; bytes: number }): void {
    this.#kept.set(letter.id, { ...infoOf(letter, bytes), offset });
  }

  #dropOldest(countMax: number, bytesMax: number): void {
    let bytes = 0;
    for (const kept of this.#kept.values()) bytes += kept.bytes;
    for (const [id, kept] of this.#kept) {
      if (this.#kept.size <= countMax && bytes <= bytesMax) return;
      this.#kept.delete(id);
      this.#dropped++;
      bytes -= kept.bytes;
    }
  }

  /** Appends lines; returns where each is. */
  #write(lines: readonly string[]): readonly { readonly offset: number; readonly bytes: number }[] {
    const { filesystem, path, root } = this.#options;
    const isNew = !filesystem.exists(path);
    const file = filesystem.open(path, isNew ? 'create' : 'read-write');
    try {
      const parts = [...(this.#isTorn ? [''] : []), ...lines].map((line) =>
        Buffer.from(`${line}\n`),
      );
      file.write(Buffer.concat(parts), this.#end);
      let offset = this.#end;
      const places = parts.map(({ length }) => {
        offset += length;
        return { offset: offset - length, bytes: length };
      });
      this.#end = offset;
      const isAfterTorn = this.#isTorn;
      this.#isTorn = false;
      return isAfterTorn ? places.slice(1) : places;
    } finally {
      file.close();
      if (isNew) filesystem.syncDirectoryLater(root).catch(this.#options.onError);
      this.#syncTimer ??= setTimeout(() => {
        this.#syncTimer = undefined;
        void this.#sync();
      }, LETTERS_SYNC_MS).unref();
    }
  }

  async #sync(): Promise<void> {
    await this.#inTurn(async () => {
      const { filesystem, path } = this.#options;
      if (!filesystem.exists(path)) return;
      const file = filesystem.open(path, 'read-write');
      try {
        await file.datasync();
      } finally {
        file.close();
      }
    });
  }

  /** The file with those that are kept, and nothing else. */
  async #writeAnew(): Promise<void> {
    const { filesystem, path, root } = this.#options;
    const next = `${path}.new`;
    const places = new Map<number, number>();
    const from = filesystem.open(path, 'read');
    const to = filesystem.open(next, 'create');
    let end = 0;
    try {
      let sliceEndMs = performance.now() + SLICE_MS;
      for (const kept of this.#kept.values()) {
        to.write(readAt(from, kept), end);
        places.set(kept.id, end);
        end += kept.bytes;
        if (performance.now() < sliceEndMs) continue;
        await nextTurn();
        sliceEndMs = performance.now() + SLICE_MS;
      }
      await to.datasync();
    } finally {
      from.close();
      to.close();
    }
    filesystem.rename(next, path);
    for (const kept of [...this.#kept.values()])
      this.#kept.set(kept.id, { ...kept, offset: places.get(kept.id) ?? 0 });
    this.#end = end;
    await filesystem.syncDirectoryLater(root);
  }

  #bytesOf(kept: Kept): Uint8Array {
    const file = this.#options.filesystem.open(this.#options.path, 'read');
    try {
      return readAt(file, kept);
    } finally {
      file.close();
    }
  }

  /** What an earlier run left. Never rejects. */
  async #load(): Promise<void> {
    const { filesystem, path, onError } = this.#options;
    try {
      await nextTurn();
      const bytes = filesystem.readFile(path);
      if (bytes === undefined) return;
      const damage = await this.#index(bytes);
      if (damage !== undefined) onError(new CorruptionError('MKTS_LETTERS_CORRUPT', damage));
    } catch (cause) {
      onError(cause as Error);
    }
  }

  async #index(bytes: Uint8Array): Promise<Readonly<Record<string, unknown>> | undefined> {
    let damaged = 0;
    let firstOffset = 0;
    let sliceEndMs = performance.now() + SLICE_MS;
    for (let offset = 0; offset < bytes.length; ) {
      const found = bytes.indexOf(NEWLINE, offset);
      const end = found < 0 ? bytes.length : found + 1;
      const line = bytes.subarray(offset, end);
      if (line.length > 1 && !this.#take(line, offset)) {
        if (damaged === 0) firstOffset = offset;
        damaged++;
      }
      offset = end;
      if (performance.now() < sliceEndMs) continue;
      await nextTurn();
      sliceEndMs = performance.now() + SLICE_MS;
    }
    this.#end = bytes.length;
    this.#isTorn = bytes.length > 0 && bytes.at(-1) !== NEWLINE;
    if (damaged === 0) return undefined;
    const reason = this.#isTorn ? 'a write was cut short' : 'not what was written';
    return { path: this.#options.path, lines: damaged, offset: firstOffset, reason };
  }

  /** False for a line that is not ours. */
  #take(line: Uint8Array, offset: number): boolean {
    const letter = parseLetter(line);
    if (letter !== undefined) {
      this.#keep(letter, { offset, bytes: line.length });
      this.#nextId = Math.max(this.#nextId, letter.id + 1);
      return true;
    }
    const removed = parseRemoved(line);
    for (const id of removed ?? []) {
      this.#kept.delete(id);
      this.#nextId = Math.max(this.#nextId, id + 1);
    }
    return removed !== undefined;
  }
}

function readAt(file: OpenFile, { offset, bytes }: Kept): Uint8Array {
  const target = new Uint8Array(bytes);
  file.read(target, offset);
  return target;
}

/** True for a line as this file has them: a letter, or which are removed. */
export function isLetterLine(line: Uint8Array): boolean {
  return parseLetter(line) !== undefined || parseRemoved(line) !== undefined;
}

function parseLine(line: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(line)) as unknown;
  } catch {
    return undefined; // The caller counts it.
  }
}

function parseLetter(line: Uint8Array): DeadLetter | undefined {
  const value = parseLine(line);
  return isDeadLetter(value) ? value : undefined;
}

function parseRemoved(line: Uint8Array): readonly number[] | undefined {
  const value = parseLine(line);
  if (typeof value !== 'object' || value === null || !('removed' in value)) return undefined;
  const { removed } = value;
  return Array.isArray(removed) && removed.every(Number.isSafeInteger) ? removed : undefined;
}

function infoOf(letter: DeadLetter, bytes: number): LetterInfo {
  const { id, time, generation, code, reason, rowCount, rows = [], series = [] } = letter;
  const keys = [...new Set([...rows, ...series].map(({ key }) => key))].sort();
  const isReplayable = rows.length > 0 || series.length > 0;
  const excerpt = excerptOf(letter).slice(0, LETTER_EXCERPT_MAX);
  return { id, time, generation, code, reason, rowCount, keys, bytes, isReplayable, excerpt };
}

function excerptOf({ payload, rows, frames }: DeadLetter): string {
  if (payload !== undefined) return payload.slice(0, LETTER_EXCERPT_MAX);
  const [first] = rows ?? [];
  if (first !== undefined)
    return first.columns.map(({ name, values }) => `${name} ${String(values[0] ?? '')}`).join(', ');
  return frames === undefined ? '' : `${Buffer.byteLength(frames, 'base64')} bytes as they came`;
}
