/**
 * A plugin's side of the network broker: `ctx.fetch` and `ctx.socket`. Runs in the plugin's worker,
 * in its stripped realm: at call time it uses the port it was given and the language, no globals
 * of Node or the web; what it needs of those is captured when this module is loaded.
 *
 * The port it is given is the kernel's. Down it comes the port to the broker, and a new one when a
 * broker that died was replaced: then what was under way fails with MKTS_NET_FAILED, and so do
 * calls until the new port is there. Calls before the first port wait for it.
 */

import type { MessagePort } from 'node:worker_threads';
import { fromPlainError, PluginError } from '../kernel/base/errors.ts';
import { FETCH_TIMEOUT_MS, SOCKET_CREDIT } from '../kernel/base/limits.ts';
import type { FetchOptions, FetchResponse, Socket } from '../plugins/sdk.ts';
import type { BrokerReply, BrokerRequest, LineMessage } from './broker-protocol.ts';
import { ClientSocket } from './client-socket.ts';

export interface BrokerClient {
  fetch(url: string, options?: FetchOptions): Promise<FetchResponse>;
  socket(url: string): Promise<Socket>;
}

type Response = Extract<BrokerReply, { kind: 'response' }>;

/** A fetch that is under way. */
interface PendingFetch {
  readonly resolve: (response: FetchResponse) => void;
  readonly reject: (error: unknown) => void;
}

const decoder = new TextDecoder();

/** `port` is what the kernel's `Broker.register` returned for `plugin`. */
export function brokerClient(port: MessagePort, plugin: string): BrokerClient {
  const client = new Client(plugin);
  port.on('message', (message: LineMessage) => client.attach(message.port));
  return {
    fetch: (url, options) => client.fetch(url, options),
    socket: (url) => client.socket(url),
  };
}

class Client {
  readonly #plugin: string;
  readonly #fetches = new Map<number, PendingFetch>();
  readonly #sockets = new Map<number, ClientSocket>();
  #port: MessagePort | undefined;
  /** What was asked before the first port came; undefined from then on. */
  #early: BrokerRequest[] | undefined = [];
  #nextId = 1;

  constructor(plugin: string) {
    this.#plugin = plugin;
  }

  attach(port: MessagePort): void {
    this.#detach();
    this.#port = port;
    port.on('message', (reply: BrokerReply) => this.#onReply(reply));
    port.on('close', () => {
      if (this.#port === port) this.#detach();
    });
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const request of early) port.postMessage(request);
  }

  fetch(url: string, options: FetchOptions = {}): Promise<FetchResponse> {
    const { signal } = options;
    // All made into text here: a value that cannot be cloned would leave a call without an answer.
    const id = this.#nextId++;
    return new Promise<FetchResponse>((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason);
        return;
      }
      const onAbort = (): void => {
        this.#fetches.delete(id);
        this.#send({ kind: 'abort', id });
        reject(signal?.reason);
      };
      const settled = (): void => signal?.removeEventListener('abort', onAbort);
      this.#fetches.set(id, {
        resolve: (response) => {
          settled();
          resolve(response);
        },
        reject: (error) => {
          settled();
          reject(error);
        },
      });
      const sent = this.#send({
        kind: 'fetch',
        id,
        url: String(url),
        method: options.method ?? 'GET',
        headers: Object.fromEntries(
          Object.entries(options.headers ?? {}).map(([name, value]) => [name, String(value)]),
        ),
        body: options.body === undefined ? undefined : String(options.body),
        timeoutMs: Number(options.timeoutMs ?? FETCH_TIMEOUT_MS),
      });
      if (sent) signal?.addEventListener('abort', onAbort, { once: true });
      else this.#onReply({ kind: 'failed', id, error: this.#brokerGone() });
    });
  }

  socket(url: string): Promise<Socket> {
    const id = this.#nextId++;
    return new Promise<Socket>((resolve, reject) => {
      const socket = new ClientSocket({
        onOpen: resolve,
        onOpenFailed: reject,
        credit: (count) => this.#send({ kind: 'credit', id, count }),
        send: (text) => this.#send({ kind: 'send', id, text }),
        close: (code, reason) => this.#send({ kind: 'close', id, code, reason }),
        window: SOCKET_CREDIT,
      });
      this.#sockets.set(id, socket);
      if (!this.#send({ kind: 'open', id, url: String(url) })) {
        this.#onReply({ kind: 'failed', id, error: this.#brokerGone() });
      }
    });
  }

  /** False if there is no broker to send to. */
  #send(request: BrokerRequest): boolean {
    if (this.#port !== undefined) this.#port.postMessage(request);
    else if (this.#early !== undefined) this.#early.push(request);
    else return false;
    return true;
  }

  #onReply(reply: BrokerReply): void {
    switch (reply.kind) {
      case 'response':
        this.#fetches.get(reply.id)?.resolve(fetchResponse(reply));
        this.#fetches.delete(reply.id);
        break;
      case 'failed':
        this.#fetches.get(reply.id)?.reject(fromPlainError(reply.error));
        this.#fetches.delete(reply.id);
        this.#sockets.get(reply.id)?.failed(fromPlainError(reply.error));
        this.#sockets.delete(reply.id);
        break;
      case 'opened':
        this.#sockets.get(reply.id)?.opened();
        break;
      case 'messages':
        this.#sockets.get(reply.id)?.received(reply.texts);
        break;
      case 'closed':
        this.#sockets.get(reply.id)?.closed();
        this.#sockets.delete(reply.id);
        break;
    }
  }

  /** Fails all that is under way: the broker that knew of it is gone. */
  #detach(): void {
    const port = this.#port;
    if (port === undefined) return;
    this.#port = undefined;
    port.close();
    for (const id of [...this.#fetches.keys(), ...this.#sockets.keys()]) {
      this.#onReply({ kind: 'failed', id, error: this.#brokerGone() });
    }
  }

  #brokerGone(): Extract<BrokerReply, { kind: 'failed' }>['error'] {
    const error = new PluginError('MKTS_NET_FAILED', {
      method: 'network',
      url: this.#plugin,
      reason: 'the network broker ended and is being restarted',
    });
    const { name, code, message, fields, stack } = error;
    return { name, code, message, fields, stack };
  }
}

function fetchResponse(reply: Response): FetchResponse {
  const { status, headers, body } = reply;
  const text = (): string => decoder.decode(body);
  return {
    status,
    ok: status >= 200 && status <= 299,
    headers,
    text,
    json: () => JSON.parse(text()),
  };
}
