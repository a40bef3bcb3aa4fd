/**
 * One WebSocket to a venue, kept: opened again with growing pauses when it ends, fails, or falls
 * silent. What was sent between two connections is lost here; whoever listens hears of each new
 * connection and asks for it.
 */

import type { Context, Socket } from '../sdk.ts';
import { backoffMs } from './backoff.ts';
import { reasonOf } from './failure.ts';

/** Venues ping every 20 s or stream every second; a connection silent for this long is dead. */
const SILENCE_MAX_MS = 90_000;
const SILENCE_CHECK_MS = 30_000;
const NORMAL_CLOSURE = 1000;

export interface ConnectionOptions {
  readonly url: string;
  readonly random: () => number;
  /** A new connection: send what is to be subscribed. */
  onOpen(socket: Socket): void;
  /** Each message, in order. Must not wait. */
  onMessage(text: string): void;
}

export class Connection {
  readonly #ctx: Context<unknown>;
  readonly #options: ConnectionOptions;
  #socket: Socket | undefined;
  #isClosed = false;
  #lastMessageMs = 0;

  constructor(ctx: Context<unknown>, options: ConnectionOptions) {
    this.#ctx = ctx;
    this.#options = options;
  }

  /** Until `close`, or until the plugin stops (then it rejects). */
  async run(): Promise<void> {
    const { ctx, url } = { ctx: this.#ctx, url: this.#options.url };
    let attempt = 0;
    let hasFailed = false;
    while (!this.#isClosed) {
      ctx.signal.throwIfAborted();
      let reason = 'it ended';
      this.#lastMessageMs = 0;
      try {
        await this.#once();
      } catch (failure) {
        ctx.signal.throwIfAborted();
        reason = reasonOf(failure);
      }
      if (this.#isClosed) return;
      ctx.signal.throwIfAborted();
      ctx.metrics.count('reconnects');
      if (this.#lastMessageMs > 0) {
        // It worked: its end is routine (a day is over, the venue restarts).
        attempt = 0;
        hasFailed = false;
        ctx.log.info('stream ended; connecting again', { url, reason });
      } else if (!hasFailed) {
        hasFailed = true;
        ctx.log.warn('stream cannot be opened; tried again', { url, reason });
      }
      await ctx.clock.sleep(backoffMs(attempt++, this.#options.random), ctx.signal);
    }
  }

  /** Ends this connection; `run` opens the next one. */
  reconnect(): void {
    this.#socket?.close(NORMAL_CLOSURE);
  }

  /** Ends it for good. */
  close(): void {
    this.#isClosed = true;
    this.#socket?.close(NORMAL_CLOSURE);
  }

  async #once(): Promise<void> {
    const { clock, signal } = this.#ctx;
    const socket = await this.#ctx.socket(this.#options.url);
    const onAbort = (): void => socket.close(NORMAL_CLOSURE);
    signal.addEventListener('abort', onAbort);
    this.#socket = socket;
    try {
      if (signal.aborted || this.#isClosed) {
        socket.close(NORMAL_CLOSURE);
        return;
      }
      this.#watch(socket, clock.now()).catch(() => undefined); // Only a stop rejects it.
      this.#options.onOpen(socket);
      for await (const text of socket) {
        this.#lastMessageMs = clock.now();
        this.#options.onMessage(text);
      }
    } finally {
      this.#socket = undefined;
      signal.removeEventListener('abort', onAbort);
      // Ends the socket also if a message could not be understood.
      socket.close(NORMAL_CLOSURE);
    }
  }

  /** Closes the socket when nothing has come for too long. */
  async #watch(socket: Socket, openedMs: number): Promise<void> {
    const { clock, signal, log } = this.#ctx;
    while (this.#socket === socket) {
      await clock.sleep(SILENCE_CHECK_MS, signal);
      if (this.#socket !== socket) return;
      const silentMs = clock.now() - Math.max(openedMs, this.#lastMessageMs);
      if (silentMs < SILENCE_MAX_MS) continue;
      log.info('stream is silent', { url: this.#options.url, seconds: silentMs / 1000 });
      socket.close(NORMAL_CLOSURE);
      return;
    }
  }
}
