/**
 * Cuts the bytes of a socket into messages (process-protocol.ts). Both sides; knows nothing of
 * sockets.
 *
 * Invariant: memory is taken for a message only within `bytesMax` of its channel, and for a streamed
 * channel not at all; a head that is not valid ends the reading for good.
 */

import { HEAD_BYTES } from './process-protocol.ts';

export interface LineReaderOptions {
  /** Longest payload of a channel; undefined: there is no such channel. */
  readonly bytesMax: (channel: number) => number | undefined;
  /** A whole message. The payload is the receiver's to keep. */
  readonly onMessage: (channel: number, payload: Buffer) => void;
  /** A channel whose payload is handed over piece by piece, as it comes. */
  readonly streamed?: {
    readonly channel: number;
    readonly onPiece: (bytes: Uint8Array) => void;
    readonly onEnd: () => void;
  };
}

export class LineReader {
  readonly #options: LineReaderOptions;
  readonly #head = Buffer.alloc(HEAD_BYTES);
  #headBytes = 0;
  #channel = 0;
  /** Of the payload, still to come. */
  #missing = 0;
  #payload: Buffer | undefined;

  constructor(options: LineReaderOptions) {
    this.#options = options;
  }

  /**
   * Reads on, until the bytes are used up or `isEnough` says so between two messages. Returns how
   * many bytes it took. Throws what is not valid, and what the handlers throw: then it is over.
   */
  read(bytes: Uint8Array, isEnough: () => boolean = () => false): number {
    let at = 0;
    while (at < bytes.length) {
      if (this.#headBytes < HEAD_BYTES) {
        const taken = Math.min(HEAD_BYTES - this.#headBytes, bytes.length - at);
        this.#head.set(bytes.subarray(at, at + taken), this.#headBytes);
        this.#headBytes += taken;
        at += taken;
        if (this.#headBytes < HEAD_BYTES) break;
        this.#begin();
      } else {
        const taken = Math.min(this.#missing, bytes.length - at);
        this.#take(bytes.subarray(at, at + taken));
        at += taken;
      }
      if (this.#missing > 0) continue;
      this.#end();
      if (isEnough()) break;
    }
    return at;
  }

  #begin(): void {
    const payloadBytes = this.#head.readUInt32LE(0);
    this.#channel = this.#head[4] ?? 0;
    const bytesMax = this.#options.bytesMax(this.#channel);
    if (bytesMax === undefined) throw new Error(`a message of channel ${this.#channel}`);
    if (payloadBytes > bytesMax)
      throw new Error(
        `a message of ${payloadBytes} bytes on channel ${this.#channel}, at most ${bytesMax}`,
      );
    this.#missing = payloadBytes;
    if (this.#channel !== this.#options.streamed?.channel)
      this.#payload = Buffer.allocUnsafe(payloadBytes);
  }

  #take(bytes: Uint8Array): void {
    const payload = this.#payload;
    if (payload === undefined) this.#options.streamed?.onPiece(bytes);
    else payload.set(bytes, payload.length - this.#missing);
    this.#missing -= bytes.length;
  }

  #end(): void {
    const payload = this.#payload;
    this.#headBytes = 0;
    this.#payload = undefined;
    if (payload === undefined) this.#options.streamed?.onEnd();
    else this.#options.onMessage(this.#channel, payload);
  }
}
