/**
 * A socket as a plugin holds it. Messages wait here until the plugin takes them; at most `window`
 * are on their way at a time, since room is given back to the broker as they are taken.
 *
 *   opening ──▶ open ──▶ ended      What was received is still read after the end; then the
 *                                   iteration ends, or throws if the socket failed.
 */

import type { Socket } from '../plugins/sdk.ts';

export interface ClientSocketOptions {
  readonly onOpen: (socket: Socket) => void;
  readonly onOpenFailed: (error: Error) => void;
  readonly credit: (count: number) => void;
  readonly send: (text: string) => void;
  readonly close: (code: number | undefined, reason: string | undefined) => void;
  /** Messages the broker may send ahead. */
  readonly window: number;
}

type State =
  | { readonly kind: 'opening' }
  | { readonly kind: 'open' }
  | { readonly kind: 'ended'; readonly error: Error | undefined };

interface Waiter {
  readonly resolve: (result: IteratorResult<string>) => void;
  readonly reject: (error: Error) => void;
}

export class ClientSocket implements Socket {
  readonly #options: ClientSocketOptions;
  #state: State = { kind: 'opening' };
  /** Read from `#head` on; emptied when all are read, so that taking one costs no copying. */
  #received: string[] = [];
  #head = 0;
  /** Taken by the plugin and not yet given back as room. */
  #taken = 0;
  readonly #waiters: Waiter[] = [];

  constructor(options: ClientSocketOptions) {
    this.#options = options;
  }

  /** Any number of iterations share one queue: leaving a loop and starting another loses nothing. */
  [Symbol.asyncIterator](): AsyncIterator<string> {
    return { next: () => this.#next() };
  }

  send(text: string): void {
    if (this.#state.kind === 'open') this.#options.send(String(text));
  }

  close(code?: number, reason?: string): void {
    if (this.#state.kind !== 'ended') this.#options.close(code, reason);
  }

  opened(): void {
    if (this.#state.kind !== 'opening') return;
    this.#state = { kind: 'open' };
    this.#options.onOpen(this);
  }

  received(texts: readonly string[]): void {
    for (const text of texts) {
      const waiter = this.#waiters.shift();
      if (waiter === undefined) {
        this.#received.push(text);
      } else {
        this.#took();
        waiter.resolve({ done: false, value: text });
      }
    }
  }

  closed(): void {
    this.#end(undefined);
  }

  failed(error: Error): void {
    this.#end(error);
  }

  #next(): Promise<IteratorResult<string>> {
    const text = this.#received[this.#head];
    if (text !== undefined) {
      this.#head++;
      if (this.#head === this.#received.length) {
        this.#received = [];
        this.#head = 0;
      }
      this.#took();
      return Promise.resolve({ done: false, value: text });
    }
    if (this.#state.kind !== 'ended') {
      return new Promise((resolve, reject) => {
        this.#waiters.push({ resolve, reject });
      });
    }
    const { error } = this.#state;
    if (error !== undefined) return Promise.reject(error);
    return Promise.resolve({ done: true, value: undefined });
  }

  /** Room goes back in halves of the window: one message for many, and the sender never idles. */
  #took(): void {
    this.#taken++;
    if (this.#state.kind === 'ended' || this.#taken < this.#options.window / 2) return;
    this.#options.credit(this.#taken);
    this.#taken = 0;
  }

  #end(error: Error | undefined): void {
    const { kind } = this.#state;
    if (kind === 'ended') return;
    this.#state = { kind: 'ended', error };
    if (kind === 'opening') {
      this.#options.onOpenFailed(error ?? new Error('the socket closed before it was open'));
    }
    for (const waiter of this.#waiters.splice(0)) {
      if (error === undefined) waiter.resolve({ done: true, value: undefined });
      else waiter.reject(error);
    }
  }
}
