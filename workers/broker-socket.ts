/**
 * One WebSocket on behalf of a plugin, in the broker thread.
 *
 *   opening ──opened──▶ open ──closed (in good order) | failed──▶ ended
 *      └────────failed | closed───────────────────────────────────▲
 *
 * Node's WebSocket cannot be told to stop reading, and a venue would drop a reader that stops. So
 * what a slow plugin has not taken waits here, within SOCKET_BACKLOG_MAX messages and
 * SOCKET_BACKLOG_BYTES_MAX bytes; at either the socket fails and what waited is dropped: the plugin
 * opens it again and asks the venue for what it missed. Pings are answered by Node.
 */

import { subscribe } from 'node:diagnostics_channel';
import { reasonOf, toPlainError } from '../kernel/base/errors.ts';
import {
  SOCKET_BACKLOG_BYTES_MAX,
  SOCKET_BACKLOG_MAX,
  SOCKET_CREDIT,
  SOCKET_OPEN_TIMEOUT_MS,
  SOCKET_SEND_BYTES_MAX,
} from '../kernel/base/limits.ts';
import { netFailed } from './broker-fetch.ts';
import type { BrokerReply } from './broker-protocol.ts';

/** The close codes of WebSocket: in good order … */
const CLOSED_NORMALLY = 1000;
/** … and for an end without a closing handshake. */
const CLOSED_ABNORMALLY = 1006;

/** Why a handshake failed, by origin and path: Node's WebSocket says only that it did. */
const handshakeFailures = new Map<string, string>();

/** Starts to listen for the reasons of failed handshakes; once in the broker thread. */
export function watchHandshakes(): void {
  subscribe('undici:request:error', (message) => {
    const { request, error } = message as { request: HandshakeRequest; error: unknown };
    noteHandshake(request, reasonOf(error));
  });
  subscribe('undici:request:headers', (message) => {
    const { request, response } = message as {
      request: HandshakeRequest;
      response: { statusCode: number };
    };
    if (response.statusCode !== 101) noteHandshake(request, `answered ${response.statusCode}`);
  });
}

interface HandshakeRequest {
  readonly origin: string | URL;
  readonly path: string;
}

/** Only what a socket waits for is noted, so the map is as small as the sockets that open. */
function noteHandshake(request: HandshakeRequest, reason: string): void {
  const key = `${String(request.origin)} ${request.path}`;
  // The first reason rules: what follows is "aborted", the end of the request it belongs to.
  if (handshakeFailures.get(key) === '') handshakeFailures.set(key, reason);
}

export interface BrokerSocketOptions {
  readonly id: number;
  readonly url: URL;
  readonly reply: (reply: BrokerReply) => void;
  /** Called once, after the last reply. */
  readonly onEnd: () => void;
}

export class BrokerSocket {
  readonly #options: BrokerSocketOptions;
  readonly #socket: WebSocket;
  readonly #handshakeKey: string;
  readonly #openTimer: NodeJS.Timeout;
  readonly #decoder = new TextDecoder();
  #backlog: string[] = [];
  #backlogBytes = 0;
  #credit = SOCKET_CREDIT;
  #deliveryPlanned = false;
  #opened = false;
  #ending: BrokerReply | undefined;
  #closing = false;
  #ended = false;

  /** Throws if the URL cannot be opened at all. */
  constructor(options: BrokerSocketOptions) {
    this.#options = options;
    const { url } = options;
    const origin = url.origin.replace(/^ws/, 'http');
    this.#handshakeKey = `${origin} ${url.pathname}${url.search}`;
    handshakeFailures.set(this.#handshakeKey, '');
    this.#socket = new WebSocket(url);
    this.#socket.binaryType = 'arraybuffer';
    this.#openTimer = setTimeout(() => {
      this.#fail(`not open after ${SOCKET_OPEN_TIMEOUT_MS} ms`);
    }, SOCKET_OPEN_TIMEOUT_MS);
    this.#socket.addEventListener('open', () => this.#onOpen());
    this.#socket.addEventListener('message', (event) => this.#onMessage(event.data));
    this.#socket.addEventListener('close', (event) => this.#onClose(event));
    // The reason comes by the diagnostics channel and the end by `close`, which always follows.
    this.#socket.addEventListener('error', () => {});
  }

  send(text: string): void {
    if (this.#ended || this.#socket.readyState !== WebSocket.OPEN) return;
    this.#socket.send(text);
    if (this.#socket.bufferedAmount > SOCKET_SEND_BYTES_MAX) {
      this.#fail(`the other side does not take what is sent (${SOCKET_SEND_BYTES_MAX} bytes wait)`);
    }
  }

  /** The plugin took `count` more messages. */
  credit(count: number): void {
    if (!Number.isSafeInteger(count) || count < 0) return;
    this.#credit = Math.min(this.#credit + count, SOCKET_CREDIT);
    this.#planDelivery();
  }

  /** Closes in good order on the plugin's wish: what waits is dropped, `closed` follows. */
  close(code: number | undefined, reason: string | undefined): void {
    if (this.#ended) return;
    if (this.#socket.readyState === WebSocket.CONNECTING) {
      this.#end({
        kind: 'closed',
        id: this.#options.id,
        code: code ?? CLOSED_NORMALLY,
        reason: reason ?? '',
      });
      this.#socket.close();
      return;
    }
    this.#backlog = [];
    this.#backlogBytes = 0;
    this.#closing = true;
    try {
      this.#socket.close(code ?? CLOSED_NORMALLY, reason);
    } catch (cause) {
      this.#fail(reasonOf(cause));
    }
  }

  /** Ends without a word: nobody listens any more. */
  drop(): void {
    if (this.#ended) return;
    this.#finish();
    this.#socket.close(CLOSED_NORMALLY);
  }

  #onOpen(): void {
    clearTimeout(this.#openTimer);
    handshakeFailures.delete(this.#handshakeKey);
    this.#opened = true;
    if (!this.#ended) this.#options.reply({ kind: 'opened', id: this.#options.id });
  }

  #onMessage(data: unknown): void {
    if (this.#ended || this.#closing) return;
    const text = typeof data === 'string' ? data : this.#decoder.decode(data as ArrayBuffer);
    this.#backlog.push(text);
    this.#backlogBytes += 2 * text.length;
    if (this.#backlog.length > SOCKET_BACKLOG_MAX) {
      this.#fail(`the plugin is too slow: more than ${SOCKET_BACKLOG_MAX} messages wait for it`);
    } else if (this.#backlogBytes > SOCKET_BACKLOG_BYTES_MAX) {
      this.#fail(`the plugin is too slow: more than ${SOCKET_BACKLOG_BYTES_MAX} bytes wait for it`);
    } else {
      this.#planDelivery();
    }
  }

  /** Messages of one tick go over together: one crossing of threads for a burst. */
  #planDelivery(): void {
    if (this.#deliveryPlanned || this.#ended) return;
    this.#deliveryPlanned = true;
    setImmediate(() => {
      this.#deliveryPlanned = false;
      if (this.#ended) return;
      const count = Math.min(this.#credit, this.#backlog.length);
      if (count > 0) {
        const texts = this.#backlog.splice(0, count);
        this.#credit -= count;
        for (const text of texts) this.#backlogBytes -= 2 * text.length;
        this.#options.reply({ kind: 'messages', id: this.#options.id, texts });
      }
      // Order: all messages, then the end. A closed socket lives here until the plugin took all.
      if (this.#ending !== undefined && this.#backlog.length === 0) this.#end(this.#ending);
    });
  }

  #onClose(event: CloseEvent): void {
    if (this.#ended) return;
    if (event.code === CLOSED_ABNORMALLY && !this.#closing) {
      const handshake = handshakeFailures.get(this.#handshakeKey);
      this.#ending = this.#failure(this.#opened ? 'connection lost' : handshake || 'no connection');
    } else {
      this.#ending = {
        kind: 'closed',
        id: this.#options.id,
        code: event.code,
        reason: event.reason,
      };
    }
    this.#planDelivery();
  }

  /** Ends at once: what waits is dropped. */
  #fail(reason: string): void {
    this.#end(this.#failure(reason));
    this.#socket.close();
  }

  #failure(reason: string): BrokerReply {
    const { id, url } = this.#options;
    return {
      kind: 'failed',
      id,
      error: toPlainError(netFailed('WebSocket', url.href, reason)),
    };
  }

  #end(last: BrokerReply): void {
    if (this.#ended) return;
    this.#options.reply(last);
    this.#finish();
  }

  #finish(): void {
    this.#ended = true;
    this.#backlog = [];
    clearTimeout(this.#openTimer);
    handshakeFailures.delete(this.#handshakeKey);
    this.#options.onEnd();
  }
}
