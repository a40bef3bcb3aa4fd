/**
 * Receiving a request's body within bounds: of the one, and of all that are held at a time, so that
 * a crowd of large uploads meets a refusal and not the end of the process's memory. Main thread.
 */

import type { IncomingMessage } from 'node:http';
import { RequestError } from '../base/errors.ts';

/** What all bodies share. */
export interface BodyBudget {
  heldBytes: number;
  readonly heldBytesMax: number;
  readonly bytesMax: number;
}

export interface RequestBody {
  readonly bytes: Buffer;
  /** Gives its bytes back to the budget; call it once, when the request is over. */
  release(): void;
}

/**
 * The whole body; undefined if the client went away. Rejects with MKTS_BODY_TOO_LARGE or
 * MKTS_OVERLOADED, and lets the rest of the body run off, so that the connection stays usable.
 */
export function readBody(
  request: IncomingMessage,
  budget: BodyBudget,
): Promise<RequestBody | undefined> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    let isOver = false;
    const release = (): void => {
      budget.heldBytes -= bytes;
      bytes = 0;
    };
    const refuse = (error: RequestError): void => {
      isOver = true;
      chunks.length = 0;
      release();
      request.resume();
      reject(error);
    };
    const { bytesMax, heldBytesMax } = budget;
    if (Number(request.headers['content-length'] ?? 0) > bytesMax) {
      refuse(new RequestError('MKTS_BODY_TOO_LARGE', { maxBytes: bytesMax }));
      return;
    }
    request.on('data', (chunk: Buffer) => {
      if (isOver) return;
      bytes += chunk.length;
      budget.heldBytes += chunk.length;
      chunks.push(chunk);
      if (bytes > bytesMax) refuse(new RequestError('MKTS_BODY_TOO_LARGE', { maxBytes: bytesMax }));
      else if (budget.heldBytes > heldBytesMax)
        refuse(new RequestError('MKTS_OVERLOADED', { reason: 'too many requests are large' }));
    });
    request.once('end', () => {
      if (isOver) return;
      isOver = true;
      const [first] = chunks;
      resolve({
        bytes: chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks),
        release,
      });
    });
    // After `end` this does nothing; before it the client broke off.
    request.once('close', () => {
      if (isOver) return;
      isOver = true;
      release();
      resolve(undefined);
    });
    request.once('error', () => undefined);
  });
}
