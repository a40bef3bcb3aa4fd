/** A WebSocket whose other end is the test: `receive` what the venue sends, `end` it. */

import type { Socket } from '../sdk.ts';

export class FakeSocket implements Socket {
  readonly url: string;
  /** What the plugin sent, in order. */
  readonly sent: string[] = [];
  /** The code the plugin closed it with; undefined: it did not, or without one. */
  closedWith: number | undefined;
  onSent: ((text: string) => void) | undefined;
  #waiting: string[] = [];
  #isEnded = false;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(url: string) {
    this.url = url;
  }

  get isOpen(): boolean {
    return !this.#isEnded;
  }

  /** A message of the venue: a text as it is, anything else as JSON. */
  receive(message: unknown): void {
    if (this.#isEnded) return;
    this.#waiting.push(typeof message === 'string' ? message : JSON.stringify(message));
    this.#wake?.();
  }

  /** The venue closes it, or with an error: the connection breaks. */
  end(failure?: Error): void {
    this.#isEnded = true;
    this.#failure = failure;
    this.#wake?.();
  }

  send(text: string): void {
    if (this.#isEnded) return;
    this.sent.push(text);
    this.onSent?.(text);
  }

  close(code?: number): void {
    if (this.#isEnded) return;
    this.closedWith = code;
    this.end();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string, void, undefined> {
    for (;;) {
      const text = this.#waiting.shift();
      if (text !== undefined) yield text;
      else if (this.#failure !== undefined) throw this.#failure;
      else if (this.#isEnded) return;
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
    }
  }
}
