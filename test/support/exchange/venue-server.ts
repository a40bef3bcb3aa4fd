/**
 * One listening port of a venue on loopback: HTTP answers by a function, WebSockets handed to a
 * stream. Owns the plumbing every venue shares: the Date header in venue time, the request log,
 * the faults a test asked for, and an end that leaves nothing open.
 */

import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import type { Faults, RequestLog } from './faults.ts';
import type { VenueClock } from './venue-clock.ts';

export interface VenueRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage['headers'];
}

export interface VenueAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** JSON text. */
  readonly body: string;
}

export interface VenueServerOptions {
  readonly venue: string;
  readonly clock: VenueClock;
  readonly faults: Faults;
  readonly log: RequestLog;
  readonly answer: (request: VenueRequest) => VenueAnswer;
  /** Takes a WebSocket over, or answers the handshake with a status other than 101. */
  readonly accept: (socket: WebSocket, url: URL) => void;
  readonly refuseHandshake: (url: URL) => number | undefined;
}

export class VenueServer {
  readonly #options: VenueServerOptions;
  readonly #http: Server;
  readonly #sockets = new WebSocketServer({ noServer: true });

  constructor(options: VenueServerOptions) {
    this.#options = options;
    this.#http = createServer((request, response) => void this.#onRequest(request, response));
    this.#http.on('connection', (socket) => {
      if (options.faults.refuseConnections) socket.resetAndDestroy();
    });
    this.#http.on('upgrade', (request, socket, head) => this.#onUpgrade(request, socket, head));
  }

  /** Listens on loopback; port 0 chooses a free one. Returns `host:port`. */
  async start(port: number): Promise<string> {
    this.#http.listen(port, '127.0.0.1');
    await once(this.#http, 'listening');
    return `127.0.0.1:${(this.#http.address() as AddressInfo).port}`;
  }

  get streams(): ReadonlySet<WebSocket> {
    return this.#sockets.clients;
  }

  /** Breaks every connection without a closing handshake. */
  disconnectAll(): void {
    for (const socket of this.#sockets.clients) socket.terminate();
    this.#http.closeAllConnections();
  }

  async stop(): Promise<void> {
    this.disconnectAll();
    if (!this.#http.listening) return;
    this.#http.close();
    await once(this.#http, 'close');
  }

  async #onRequest(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { clock, faults, answer } = this.#options;
    const url = urlOf(request);
    const { pathname: path, searchParams: query } = url;
    const method = request.method ?? 'GET';
    // Asked now, answered later: what an answer holds is of the moment the request came in.
    // The date, too: at a clock that runs a thousand times as fast, the time an answer takes to leave
    // would else make a candle look closed that was not when it was read.
    const date = new Date(clock.now()).toUTCString();
    const failure = faults.take(path);
    const { status, headers, body } =
      failure === undefined
        ? answer({ method, path, query, headers: request.headers })
        : {
            status: failure.status,
            body: failure.body ?? '{}',
            headers:
              failure.retryAfter === undefined
                ? undefined
                : { 'retry-after': String(failure.retryAfter) },
          };
    this.#note(method, url, status);
    await faults.beforeAnswer();
    response.writeHead(status, {
      date,
      'content-type': 'application/json;charset=UTF-8',
      ...headers,
    });
    response.end(body);
  }

  #onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const { accept, faults, refuseHandshake } = this.#options;
    const url = urlOf(request);
    const failure = faults.take(url.pathname);
    const status = failure?.status ?? refuseHandshake(url);
    socket.on('error', () => socket.destroy());
    if (status !== undefined) {
      this.#note('GET', url, status);
      socket.end(`HTTP/1.1 ${status} Refused\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
      return;
    }
    this.#sockets.handleUpgrade(request, socket, head, (webSocket) => {
      this.#note('GET', url, 101);
      // A peer that breaks off is no mistake of ours: `close` follows.
      webSocket.on('error', () => webSocket.terminate());
      accept(webSocket, url);
    });
  }

  #note(method: string, url: URL, status: number): void {
    const { venue, clock, log } = this.#options;
    const { pathname: path, searchParams: query } = url;
    log.add({ venue, method, path, query, status, atMs: clock.now() });
  }
}

function urlOf(request: IncomingMessage): URL {
  return new URL(request.url ?? '/', 'http://venue');
}
