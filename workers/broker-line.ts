/**
 * One plugin's traffic in the broker thread: its port, its grants, its fetches (a
 * budget of them under way, the next wait in order) and its sockets.
 *
 * A line ends when the kernel unregisters the plugin, or when the other end of its port is gone,
 * which is what happens when the plugin's worker dies. Its requests are then aborted and its
 * sockets closed, so that nothing runs on for nobody.
 */

import type { MessagePort } from 'node:worker_threads';
import { PluginError, reasonOf, toPlainError } from '../kernel/base/errors.ts';
import {
  FETCH_TIMEOUT_MAX_MS,
  FETCH_TIMEOUT_MS,
  FETCHES_WAITING_MAX,
  SOCKETS_MAX,
} from '../kernel/base/limits.ts';
import { fetchGranted, netFailed, parseNetworkUrl } from './broker-fetch.ts';
import type { BrokerReply, BrokerRequest } from './broker-protocol.ts';
import { BrokerSocket } from './broker-socket.ts';
import type { NetworkGrants } from './network-grants.ts';

type FetchRequest = Extract<BrokerRequest, { kind: 'fetch' }>;

export class BrokerLine {
  readonly #port: MessagePort;
  readonly #grants: NetworkGrants;
  readonly #fetchesMax: number;
  readonly #running = new Map<number, AbortController>();
  readonly #waiting = new Map<number, FetchRequest>();
  readonly #sockets = new Map<number, BrokerSocket>();
  #closed = false;

  constructor(port: MessagePort, grants: NetworkGrants, fetchesMax: number) {
    this.#fetchesMax = fetchesMax;
    this.#port = port;
    this.#grants = grants;
    port.on('message', (request: BrokerRequest) => this.#onRequest(request));
    port.on('close', () => this.#dropAll());
  }

  /** Ends all traffic; the plugin's side sees its port close. */
  close(): void {
    this.#dropAll();
    this.#port.close();
  }

  #dropAll(): void {
    this.#closed = true;
    this.#waiting.clear();
    for (const controller of this.#running.values()) controller.abort();
    for (const socket of this.#sockets.values()) socket.drop();
  }

  #onRequest(request: BrokerRequest): void {
    switch (request.kind) {
      case 'fetch':
        this.#queueFetch(request);
        break;
      case 'abort':
        this.#waiting.delete(request.id);
        this.#running.get(request.id)?.abort();
        break;
      case 'open':
        this.#open(request.id, request.url);
        break;
      case 'credit':
        this.#sockets.get(request.id)?.credit(request.count);
        break;
      case 'send':
        this.#sockets.get(request.id)?.send(request.text);
        break;
      case 'close':
        this.#sockets.get(request.id)?.close(request.code, request.reason);
        break;
    }
  }

  #queueFetch(request: FetchRequest): void {
    if (this.#waiting.size >= FETCHES_WAITING_MAX) {
      const reason = `more than ${FETCHES_WAITING_MAX} requests wait`;
      this.#failed(request.id, netFailed(request.method, request.url, reason));
      return;
    }
    this.#waiting.set(request.id, request);
    this.#startFetches();
  }

  #startFetches(): void {
    for (const [id, request] of this.#waiting) {
      if (this.#running.size >= this.#fetchesMax) return;
      this.#waiting.delete(id);
      const controller = new AbortController();
      this.#running.set(id, controller);
      void this.#runFetch(request, controller);
    }
  }

  /** Never rejects. A plugin's time runs from here: waiting for a turn is our doing, not its host's. */
  async #runFetch(request: FetchRequest, controller: AbortController): Promise<void> {
    const { id } = request;
    const timeoutMs = boundedTimeout(request.timeoutMs);
    try {
      const response = await fetchGranted(
        { ...request, timeoutMs },
        this.#grants,
        controller.signal,
      );
      if (!controller.signal.aborted) this.#reply({ kind: 'response', id, ...response });
    } catch (error) {
      if (!controller.signal.aborted) this.#failed(id, error);
    } finally {
      this.#running.delete(id);
      this.#startFetches();
    }
  }

  #open(id: number, text: string): void {
    try {
      const url = parseNetworkUrl('WebSocket', text, ['ws:', 'wss:']);
      this.#grants.check(url);
      if (this.#sockets.size >= SOCKETS_MAX) {
        throw netFailed('WebSocket', text, `more than ${SOCKETS_MAX} sockets are open`);
      }
      const socket = new BrokerSocket({
        id,
        url,
        reply: (reply) => this.#reply(reply),
        onEnd: () => this.#sockets.delete(id),
      });
      this.#sockets.set(id, socket);
    } catch (cause) {
      const error =
        cause instanceof PluginError ? cause : netFailed('WebSocket', text, reasonOf(cause));
      this.#failed(id, error);
    }
  }

  #failed(id: number, error: unknown): void {
    this.#reply({ kind: 'failed', id, error: toPlainError(error) });
  }

  #reply(reply: BrokerReply): void {
    if (this.#closed) return;
    this.#port.postMessage(reply, reply.kind === 'response' ? [reply.body] : []);
  }
}

function boundedTimeout(timeoutMs: number): number {
  if (!(timeoutMs > 0)) return FETCH_TIMEOUT_MS;
  return Math.min(timeoutMs, FETCH_TIMEOUT_MAX_MS);
}
