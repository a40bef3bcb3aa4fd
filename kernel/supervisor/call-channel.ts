/**
 * Calls of one direction over the line to a plugin's process, as comlink wants them. Main thread.
 * Only messages the guard admits reach comlink, which believes all it is sent.
 */

import { serialize } from 'node:v8';
import type { Endpoint } from 'comlink';
import type { Guard } from '../../workers/port-endpoint.ts';

export class CallChannel {
  readonly endpoint: Endpoint;
  readonly #guard: Guard;
  #deliver: ((message: unknown) => void) | undefined;

  /** What comlink sends leaves by `send`; buffers it would transfer are copied. */
  constructor(send: (payload: Uint8Array) => void, guard: Guard) {
    this.#guard = guard;
    this.endpoint = {
      postMessage: (message) => send(serialize(message)),
      addEventListener: (_type, listener) => {
        this.#deliver = (data) => {
          const event = { data } as MessageEvent;
          if (typeof listener === 'function') listener(event);
          else listener.handleEvent(event);
        };
      },
      removeEventListener: () => {
        this.#deliver = undefined;
      },
    };
  }

  /** Throws if the guard refuses it. */
  receive(message: unknown): void {
    if (!this.#guard(message)) throw new Error('a call or an answer that is none');
    this.#deliver?.(message);
  }
}
