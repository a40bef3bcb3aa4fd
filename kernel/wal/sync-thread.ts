/**
 * The sync thread: seals, writes and syncs the log on the real disk, and does nothing else. Its
 * calls block, since libuv's pool can be starved by whatever else runs in the process.
 *
 * This file is both sides: `startSyncThread` on the main thread, and the thread itself when it is
 * loaded as a worker. Requests cross with an id and are answered with it. A group's memory is a
 * SharedArrayBuffer that crosses once, the first time it is seen; from then on a request names it
 * by number and nothing is copied.
 *
 * If the thread dies, every request under way and every later one is rejected: the log is dead.
 */

import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import {
  fromPlainError,
  type PlainError,
  reasonOf,
  StorageError,
  toPlainError,
} from '../base/errors.ts';
import { workerEntry } from '../base/worker-entry.ts';
import { realFilesystem } from '../storage/filesystem.ts';
import { LogDisk, type LogSpan, type LogSync, type LogWrite } from './log-sync.ts';

const ROLE = 'mkts sync thread';

interface SpanMessage {
  /** Number of the buffer; `buffer` comes along the first time. */
  readonly slot: number;
  readonly buffer: SharedArrayBuffer | undefined;
  readonly start: number;
  readonly end: number;
  readonly fileOffset: number;
}

type Request =
  | { readonly kind: 'prepare'; readonly path: string; readonly bytes: number }
  | { readonly kind: 'recycle'; readonly from: string; readonly to: string }
  | { readonly kind: 'remove'; readonly path: string }
  | { readonly kind: 'begin'; readonly path: string; readonly header: SpanMessage }
  | (Omit<LogWrite, 'spans'> & { readonly kind: 'write'; readonly spans: readonly SpanMessage[] })
  | { readonly kind: 'close' };

interface RequestMessage {
  readonly id: number;
  readonly request: Request;
}

interface ReplyMessage {
  readonly id: number;
  readonly error: PlainError | undefined;
}

interface Pending {
  resolve(): void;
  reject(error: Error): void;
}

/** A LogSync on a thread of its own. `terminate` is for tests: the thread dies as in an accident. */
export interface SyncThread extends LogSync {
  terminate(): Promise<void>;
}

export function startSyncThread(): SyncThread {
  return new SyncThreadClient();
}

class SyncThreadClient implements SyncThread {
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  readonly #slots = new Map<SharedArrayBuffer, number>();
  readonly #exited: Promise<void>;
  #nextId = 0;
  #dead: StorageError | undefined;

  constructor() {
    const entry = workerEntry(new URL('./sync-thread.ts', import.meta.url), import.meta.url);
    this.#worker = new Worker(entry, { name: ROLE, workerData: ROLE });
    this.#exited = new Promise((resolve) => {
      this.#worker.once('exit', (exitCode) => {
        this.#die(`its thread ended (exit code ${exitCode})`);
        resolve();
      });
    });
    this.#worker.on('error', (error) => this.#die(reasonOf(error), error));
    this.#worker.on('messageerror', (error) => this.#die(reasonOf(error), error));
    this.#worker.on('message', (reply: ReplyMessage) => this.#settle(reply));
  }

  prepare(path: string, bytes: number): Promise<void> {
    return this.#request({ kind: 'prepare', path, bytes });
  }

  recycle(from: string, to: string): Promise<void> {
    return this.#request({ kind: 'recycle', from, to });
  }

  remove(path: string): Promise<void> {
    return this.#request({ kind: 'remove', path });
  }

  begin(path: string, header: LogSpan): Promise<void> {
    return this.#request({ kind: 'begin', path, header: this.#spanMessage(header) });
  }

  write({ spans, ...how }: LogWrite): Promise<void> {
    const messages = spans.map((span) => this.#spanMessage(span));
    return this.#request({ kind: 'write', spans: messages, ...how });
  }

  /** The thread closes its port once it has closed the file, and so ends by itself. */
  async close(): Promise<void> {
    try {
      if (this.#dead === undefined) await this.#request({ kind: 'close' });
    } finally {
      await this.terminate();
    }
  }

  async terminate(): Promise<void> {
    await this.#worker.terminate();
    await this.#exited;
  }

  #spanMessage({ buffer, start, end, fileOffset }: LogSpan): SpanMessage {
    const known = this.#slots.get(buffer);
    if (known !== undefined) return { slot: known, buffer: undefined, start, end, fileOffset };
    const slot = this.#slots.size;
    this.#slots.set(buffer, slot);
    return { slot, buffer, start, end, fileOffset };
  }

  #request(request: Request): Promise<void> {
    if (this.#dead !== undefined) return Promise.reject(this.#dead);
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#worker.postMessage({ id, request } satisfies RequestMessage);
    });
  }

  #settle({ id, error }: ReplyMessage): void {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (error === undefined) pending?.resolve();
    else pending?.reject(fromPlainError(error));
  }

  #die(reason: string, cause?: unknown): void {
    this.#dead ??= new StorageError(
      'MKTS_DISK',
      { operation: 'sync thread', path: 'of the log', reason },
      { cause },
    );
    const waiting = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of waiting) reject(this.#dead);
  }
}

/** The thread's side: one request after the other, `prepare` in slices between them. */
function serve(port: NonNullable<typeof parentPort>): void {
  const disk = new LogDisk(realFilesystem);
  const slots: SharedArrayBuffer[] = [];

  port.on('message', ({ id, request }: RequestMessage) => {
    if (request.kind === 'prepare') {
      advance(id, disk.prepare(request.path, request.bytes));
      return;
    }
    answer(id, () => carryOut(request));
  });

  /** One slice, then whatever has arrived meanwhile: a group waits for a slice at most. */
  function advance(id: number, slices: Generator<undefined, void>): void {
    let done: boolean | undefined;
    try {
      done = slices.next().done;
    } catch (error) {
      reply(id, toPlainError(error));
      return;
    }
    if (done === true) reply(id, undefined);
    else setImmediate(advance, id, slices);
  }

  function carryOut(request: Exclude<Request, { kind: 'prepare' }>): void {
    switch (request.kind) {
      case 'recycle':
        disk.recycle(request.from, request.to);
        break;
      case 'remove':
        disk.remove(request.path);
        break;
      case 'begin':
        disk.begin(request.path, spanOf(request.header));
        break;
      case 'write':
        disk.write({ ...request, spans: request.spans.map(spanOf) });
        break;
      case 'close':
        disk.close();
        break;
    }
  }

  function spanOf({ slot, buffer, start, end, fileOffset }: SpanMessage): LogSpan {
    if (buffer !== undefined) slots[slot] = buffer;
    const memory = slots[slot];
    if (memory === undefined) throw new Error(`no buffer in slot ${slot}`);
    return { buffer: memory, start, end, fileOffset };
  }

  function answer(id: number, run: () => void): void {
    try {
      run();
    } catch (error) {
      reply(id, toPlainError(error));
      return;
    }
    reply(id, undefined);
  }

  function reply(id: number, error: PlainError | undefined): void {
    port.postMessage({ id, error } satisfies ReplyMessage);
  }
}

if (!isMainThread && workerData === ROLE && parentPort !== null) serve(parentPort);
