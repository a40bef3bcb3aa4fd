/**
 * One request with its answer: how long it may still take, and who it must be told to when its
 * client goes away. Main thread.
 *
 *   running ──── answer known ───► sending ──── last byte taken ───► over
 *      │ time is up: aborted          │ no progress: connection closed
 *
 * One timer looks at all exchanges together; a timer for each would cost more than a small query.
 */

import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { RequestError } from '../base/errors.ts';
import { REQUEST_TIMEOUT_MS, SEND_SLICE_BYTES } from '../base/limits.ts';

const SMALL_ANSWER_BYTES = 8_192;

export class Exchange {
  readonly #response: ServerResponse;
  readonly #abort = new AbortController();
  #deadlineMs: number;
  #isSending = false;

  /** `startMs` as of `performance.now()`. */
  constructor(response: ServerResponse, startMs: number) {
    this.#response = response;
    this.#deadlineMs = startMs + REQUEST_TIMEOUT_MS;
    response.once('close', () => {
      // Nobody reads the answer any more: a long scan need not go on. The reason reaches nobody.
      if (!response.writableFinished) this.#abort.abort(new RequestError('MKTS_SHUTTING_DOWN'));
    });
  }

  /** The connection it came by; null once that is gone. */
  get socket(): Socket | null {
    return this.#response.socket;
  }

  /** Aborts when the time is up or the client is gone. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** The socket took bytes: the answer has the full time again for the rest. */
  progress(): void {
    this.#isSending = true;
    this.#deadlineMs = performance.now() + REQUEST_TIMEOUT_MS;
  }

  checkTime(nowMs: number): void {
    if (nowMs < this.#deadlineMs) return;
    if (this.#isSending) this.#response.destroy();
    else if (!this.#abort.signal.aborted)
      this.#abort.abort(
        new RequestError('MKTS_REQUEST_TIMEOUT', { timeoutMs: REQUEST_TIMEOUT_MS }),
      );
  }
}

/**
 * Sends an answer and ends it. A client that reads slowly is waited for, so that a large answer is
 * not held a second time in the socket's buffers. Resolves early if the connection is gone.
 */
export async function sendPieces(
  exchange: Exchange,
  response: ServerResponse,
  pieces: readonly Uint8Array[],
): Promise<void> {
  const [only] = pieces;
  if (only === undefined || (pieces.length === 1 && only.length <= SEND_SLICE_BYTES)) {
    exchange.progress();
    // As a latin1 string a small body shares one write with its headers, which node:http keeps as
    // a string: a buffer beside them costs a gathering write.
    if (only !== undefined && only.length <= SMALL_ANSWER_BYTES)
      response.end(latin1(only), 'latin1');
    else response.end(only);
    return;
  }
  for (const piece of pieces)
    for (let at = 0; at < piece.length; at += SEND_SLICE_BYTES) {
      if (response.destroyed) return;
      exchange.progress();
      if (!response.write(piece.subarray(at, at + SEND_SLICE_BYTES))) await drained(response);
    }
  exchange.progress();
  response.end();
}

function latin1({ buffer, byteOffset, length }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, length).toString('latin1');
}

/** Resolves when the socket wants more, or is closed. */
function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.once('drain', done);
    response.once('close', done);
  });
}
