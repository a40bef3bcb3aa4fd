/**
 * The HTTP listener: its routes, their headers (spec api.md 1.2), and bounds on everything a
 * client can send, hold open or be slow at. Main thread.
 *
 *   POST /rpc     rpc.ts; status 200 for every outcome of a call, 405 415 413 503 before one
 *   /heartbeat    200 queryable, 503 not queryable
 *   /metrics      Prometheus text
 *   /api/v1/…     admin-api.ts
 *   else          404
 *
 * A stop: `close` clears `readiness`, goes on serving for the grace period (load balancers see the
 * 503 and turn away), then takes no new connections, lets answers under way leave, and closes.
 */

import {
  createServer,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { ConfigError, RequestError, reasonOf } from '../base/errors.ts';
import {
  BODIES_BYTES_MAX,
  BODY_BYTES_MAX,
  CONNECTIONS_MAX,
  HEADERS_TIMEOUT_MS,
  HTTP_DRAIN_MS,
  KEEP_ALIVE_MS,
  REQUEST_SWEEP_MS,
  REQUEST_TIMEOUT_MS,
} from '../base/limits.ts';
import { ADMIN_PREFIX, type AdminApi } from './admin-api.ts';
import type { Readiness } from './data-service.ts';
import { Exchange, sendPieces } from './exchange.ts';
import type { Encoding } from './fields.ts';
import { formatGoDuration } from './go-duration.ts';
import type { Metrics } from './metrics.ts';
import { readBody } from './request-body.ts';
import type { Rpc, RpcReply } from './rpc.ts';
import { wireErrorOf } from './wire-error.ts';

export interface HttpOptions {
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  readonly rpc: Rpc;
  readonly metrics: Metrics;
  readonly readiness: Readiness;
  /** Undefined: there is none. */
  readonly admin?: AdminApi;
  /** Hash of the build: header of every answer of `/rpc`. */
  readonly gitHash: string;
  /** Release tag, as `/heartbeat` names it. */
  readonly version: string;
  /** Told of errors that are not the client's. */
  readonly onInternalError: (error: unknown) => void;
}

const PLAIN = 'text/plain; charset=utf-8';
const CONTENT_TYPES: Readonly<Record<Encoding, string>> = {
  msgpack: 'application/x-msgpack',
  json: 'application/json; charset=utf-8',
};

export class HttpServer {
  readonly #options: HttpOptions;
  readonly #server: Server;
  readonly #startNanos = process.hrtime.bigint();
  readonly #exchanges = new Set<Exchange>();
  readonly #sockets = new Set<Socket>();
  readonly #sweep: NodeJS.Timeout;
  readonly #bodies = { heldBytes: 0, heldBytesMax: BODIES_BYTES_MAX, bytesMax: BODY_BYTES_MAX };
  #isClosing = false;

  private constructor(options: HttpOptions) {
    this.#options = options;
    this.#server = createServer(
      {
        headersTimeout: HEADERS_TIMEOUT_MS,
        requestTimeout: REQUEST_TIMEOUT_MS,
        keepAliveTimeout: KEEP_ALIVE_MS,
        connectionsCheckingInterval: REQUEST_SWEEP_MS,
      },
      (request, response) => this.#onRequest(request, response),
    );
    this.#server.maxConnections = CONNECTIONS_MAX;
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    this.#sweep = setInterval(() => {
      const nowMs = performance.now();
      for (const exchange of this.#exchanges) exchange.checkTime(nowMs);
    }, REQUEST_SWEEP_MS);
    this.#sweep.unref();
  }

  /** Resolves when the port is bound. Rejects with ConfigError MKTS_LISTEN. */
  static async listen(options: HttpOptions): Promise<HttpServer> {
    const http = new HttpServer(options);
    const { host, port } = options;
    await new Promise<void>((resolve, reject) => {
      http.#server.once('error', (cause) => {
        clearInterval(http.#sweep);
        const address = `${host}:${port}`;
        reject(
          new ConfigError('MKTS_LISTEN', { address, reason: listenProblem(cause) }, { cause }),
        );
      });
      http.#server.listen({ host, port }, resolve);
    });
    http.#server.on('error', options.onInternalError);
    return http;
  }

  /** Where it listens. */
  get address(): AddressInfo {
    return this.#server.address() as AddressInfo;
  }

  /** Requests being answered. */
  get requestCount(): number {
    return this.#exchanges.size;
  }

  /** Serves for `graceMs` more while saying that it is not queryable, then closes. */
  async close(graceMs: number): Promise<void> {
    this.#options.readiness.queryable = false;
    await sleep(graceMs);
    this.#isClosing = true;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    // Node counts a connection as idle only after its first request; a silent one would hold us up.
    const busy = new Set([...this.#exchanges].map(({ socket }) => socket));
    for (const socket of this.#sockets) if (!busy.has(socket)) socket.destroy();
    const limit = setTimeout(() => this.#server.closeAllConnections(), HTTP_DRAIN_MS);
    await closed;
    clearTimeout(limit);
    clearInterval(this.#sweep);
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    // A connection that stays would hold the stop up.
    if (this.#isClosing) response.shouldKeepAlive = false;
    const url = request.url ?? '/';
    const query = url.indexOf('?');
    const path = query < 0 ? url : url.slice(0, query);
    const { admin } = this.#options;
    if (admin !== undefined && path.startsWith(ADMIN_PREFIX)) {
      admin.handle(request, response);
      return;
    }
    switch (path) {
      case '/rpc':
        this.#onRpc(request, response);
        break;
      case '/heartbeat':
        this.#onHeartbeat(response);
        break;
      case '/metrics':
        this.#settle(this.#onMetrics(response), response);
        break;
      default:
        answer(response, 404, { 'X-Content-Type-Options': 'nosniff' }, '404 page not found\n');
    }
  }

  #onRpc(request: IncomingMessage, response: ServerResponse): void {
    const { metrics, gitHash } = this.#options;
    const startMs = performance.now();
    response.once('finish', () => metrics.observeRequest((performance.now() - startMs) / 1000));
    const headers = { 'Marketstore-Version': gitHash };
    const method = request.method ?? '';
    if (method !== 'POST') {
      answer(response, 405, headers, `rpc: POST method required, received ${method}`);
      return;
    }
    const mediaType = (request.headers['content-type'] ?? '').split(';', 1)[0]?.trim() ?? '';
    const encoding = encodingOf(mediaType);
    if (encoding === undefined)
      answer(response, 415, headers, `rpc: unrecognized Content-Type: ${mediaType}`);
    else this.#settle(this.#call(encoding, request, response, startMs), response);
  }

  async #call(
    encoding: Encoding,
    request: IncomingMessage,
    response: ServerResponse,
    startMs: number,
  ): Promise<void> {
    const { rpc, metrics, gitHash } = this.#options;
    const exchange = new Exchange(response, startMs);
    this.#exchanges.add(exchange);
    const body = await readBody(request, this.#bodies).catch((error: unknown) => {
      if (!(error instanceof RequestError)) throw error;
      return error;
    });
    try {
      if (body === undefined) return;
      if (body instanceof RequestError) {
        const status = body.code === 'MKTS_BODY_TOO_LARGE' ? 413 : 503;
        const headers = { 'Marketstore-Version': gitHash, 'Mkts-Error': body.code };
        answer(response, status, headers, `${wireErrorOf(body).text}\n`);
        return;
      }
      const reply = await rpc.answer(encoding, body.bytes, exchange.signal);
      if (reply.dispatched !== undefined)
        metrics.observeCall(reply.dispatched, (performance.now() - startMs) / 1000);
      let bytes = 0;
      for (const piece of reply.pieces) bytes += piece.length;
      response.writeHead(200, replyHeaders(encoding, reply, bytes, gitHash));
      await sendPieces(exchange, response, reply.pieces);
    } finally {
      if (body !== undefined && !(body instanceof RequestError)) body.release();
      this.#exchanges.delete(exchange);
    }
  }

  #onHeartbeat(response: ServerResponse): void {
    const { readiness, version, gitHash } = this.#options;
    const { queryable, writesPaused } = readiness;
    const body = {
      status: queryable ? 'queryable' : 'not queryable',
      version,
      git_hash: gitHash,
      uptime: formatGoDuration(Number(process.hrtime.bigint() - this.#startNanos)),
      ...(writesPaused === undefined ? undefined : { writes_paused: writesPaused }),
    };
    answer(response, queryable ? 200 : 503, {}, `${JSON.stringify(body)}\n`);
  }

  async #onMetrics(response: ServerResponse): Promise<void> {
    const { metrics } = this.#options;
    const text = await metrics.print();
    answer(response, 200, { 'Content-Type': metrics.contentType }, text);
  }

  /** A failure of ours costs its own connection, nothing else. */
  #settle(work: Promise<void>, response: ServerResponse): void {
    work.catch((error: unknown) => {
      this.#options.onInternalError(error);
      response.destroy();
    });
  }
}

function answer(
  response: ServerResponse,
  status: number,
  headers: OutgoingHttpHeaders,
  text: string,
): void {
  const body = Buffer.from(text);
  response.writeHead(status, { 'Content-Type': PLAIN, 'Content-Length': body.length, ...headers });
  response.end(body);
}

function encodingOf(mediaType: string): Encoding | undefined {
  const name = mediaType.toLowerCase();
  if (name === 'application/x-msgpack') return 'msgpack';
  return name === 'application/json' ? 'json' : undefined;
}

function replyHeaders(
  encoding: Encoding,
  { pieces, dispatched, errorCode }: RpcReply,
  bytes: number,
  gitHash: string,
): OutgoingHttpHeaders {
  return {
    'Content-Length': bytes,
    'Marketstore-Version': gitHash,
    // A notification is answered with nothing, which has no type.
    ...(pieces.length === 0 ? undefined : { 'Content-Type': CONTENT_TYPES[encoding] }),
    ...(dispatched === undefined ? undefined : { 'X-Content-Type-Options': 'nosniff' }),
    ...(errorCode === undefined ? undefined : { 'Mkts-Error': errorCode }),
  };
}

/** Why a port cannot be had, for the operator. */
function listenProblem(cause: unknown): string {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  switch (code) {
    case 'EADDRINUSE':
      return 'another process listens there already';
    case 'EADDRNOTAVAIL':
      return 'this machine has no such address';
    case 'EACCES':
      return 'no permission for this port';
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'this host name is not known';
    default:
      return reasonOf(cause);
  }
}
