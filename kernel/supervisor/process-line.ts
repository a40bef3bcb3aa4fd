/**
 * The kernel's end of the socket to a plugin's process: bytes in, messages out. Main thread.
 *
 * Whatever comes is taken for hostile. Invariant: no bytes throw out of here, make the kernel hold
 * more than one message (LINE_MESSAGE_BYTES_MAX) and a ring, or keep the main thread for longer than
 * a slice at a time; the first that is not valid is the last that is read, and told by `onFault`.
 * A process that does not take what it is sent is not listened to until it does.
 */

import type { Duplex } from 'node:stream';
import { LineReader } from '../../workers/line-reader.ts';
import { FROM_PROCESS, messageHead, REPORT_BYTES } from '../../workers/process-protocol.ts';
import type { RingCopy } from '../../workers/ring-mirror.ts';
import { PluginError, reasonOf } from '../base/errors.ts';
import {
  LINE_BACKLOG_BYTES_MAX,
  LINE_CALLS_PER_SLICE,
  LINE_MESSAGE_BYTES_MAX,
  LINE_SLICE_MS,
  RING_BYTES,
} from '../base/limits.ts';

const BYTES_MAX: ReadonlyMap<number, number> = new Map([
  [FROM_PROCESS.rows, RING_BYTES],
  [FROM_PROCESS.report, REPORT_BYTES],
  [FROM_PROCESS.call, LINE_MESSAGE_BYTES_MAX],
  [FROM_PROCESS.answer, LINE_MESSAGE_BYTES_MAX],
  [FROM_PROCESS.broker, LINE_MESSAGE_BYTES_MAX],
  [FROM_PROCESS.ended, LINE_MESSAGE_BYTES_MAX],
  [FROM_PROCESS.profile, LINE_MESSAGE_BYTES_MAX],
]);

export interface ProcessLineOptions {
  readonly plugin: string;
  readonly socket: Duplex;
  readonly ring: RingCopy;
  /** Rows have become readable in the ring. */
  readonly onRows: () => void;
  /** REPORT_BYTES. */
  readonly onReport: (report: Buffer) => void;
  /** A message of another channel, parsed. What it throws is the process's fault. */
  readonly onMessage: (channel: number, message: unknown) => void;
  /** MKTS_LINE_INVALID or MKTS_RING_INVALID. Called once; nothing is read any more. */
  readonly onFault: (error: PluginError) => void;
}

export class ProcessLine {
  readonly #options: ProcessLineOptions;
  readonly #reader: LineReader;
  /** What is still to be read of what has come. */
  #rest: Uint8Array | undefined;
  /** Messages of this slice that make work later in the turn: each is answered by itself. */
  #calls = 0;
  #closed = false;

  constructor(options: ProcessLineOptions) {
    this.#options = options;
    const { socket, ring } = options;
    this.#reader = new LineReader({
      bytesMax: (channel) => BYTES_MAX.get(channel),
      onMessage: (channel, payload) => this.#onMessage(channel, payload),
      streamed: {
        channel: FROM_PROCESS.rows,
        onPiece: (bytes) => ring.append(bytes),
        onEnd: () => {
          ring.publish();
          options.onRows();
        },
      },
    });
    socket.on('data', (bytes: Uint8Array) => {
      this.#rest = this.#rest === undefined ? bytes : Buffer.concat([this.#rest, bytes]);
      this.#read();
    });
    socket.on('drain', () => this.#goOn());
    // A process that is killed resets its end; `close` of the child says the rest.
    socket.on('error', () => undefined);
  }

  /** Sends a message; nothing any more once the line is closed. */
  send(channel: number, payload: Uint8Array): void {
    const { socket, plugin } = this.#options;
    if (this.#closed || !socket.writable) return;
    if (socket.writableLength > LINE_BACKLOG_BYTES_MAX) {
      this.#fault(`it leaves ${socket.writableLength} bytes unread`, plugin);
      return;
    }
    socket.cork();
    socket.write(messageHead(channel, payload.length));
    const isRoom = socket.write(payload);
    socket.uncork();
    if (!isRoom) socket.pause();
  }

  close(): void {
    this.#closed = true;
    this.#rest = undefined;
    this.#options.socket.destroy();
  }

  /** A slice of what has come; the rest after everybody else had a turn. */
  #read(): void {
    const bytes = this.#rest;
    if (this.#closed || bytes === undefined) return;
    const { socket, plugin } = this.#options;
    const endMs = performance.now() + LINE_SLICE_MS;
    const isEnough = (): boolean =>
      this.#closed || this.#calls >= LINE_CALLS_PER_SLICE || performance.now() > endMs;
    this.#calls = 0;
    let taken: number;
    try {
      taken = this.#reader.read(bytes, isEnough);
    } catch (cause) {
      this.#fault(cause, plugin);
      return;
    }
    if (this.#closed) return;
    this.#rest = taken < bytes.length ? bytes.subarray(taken) : undefined;
    if (this.#rest === undefined) return;
    socket.pause();
    setImmediate(() => this.#goOn());
  }

  /** After a slice's turn, and when what was sent is taken: whichever comes last. */
  #goOn(): void {
    const { socket } = this.#options;
    if (this.#closed || socket.writableNeedDrain) return;
    if (this.#rest !== undefined) this.#read();
    if (this.#rest === undefined && !this.#closed && !socket.writableNeedDrain) socket.resume();
  }

  #onMessage(channel: number, payload: Buffer): void {
    const { onReport, onMessage } = this.#options;
    if (channel !== FROM_PROCESS.report) this.#calls++;
    if (channel !== FROM_PROCESS.report) onMessage(channel, JSON.parse(payload.toString('utf8')));
    else if (payload.length === REPORT_BYTES) onReport(payload);
    else throw new Error(`a report of ${payload.length} bytes`);
  }

  #fault(cause: unknown, plugin: string): void {
    this.close();
    this.#options.onFault(
      cause instanceof PluginError
        ? cause
        : new PluginError('MKTS_LINE_INVALID', { plugin, reason: reasonOf(cause) }, { cause }),
    );
  }
}
