/**
 * Stands between plugins and the network broker and notes all that passes, as entries of a tape.
 * Main thread. The broker decides as ever what a plugin may reach; nothing is changed on the way.
 *
 *   worker ◀── line: ports ──▶ recorder ◀── line: ports ──▶ broker
 *
 * Each port that comes down the broker's line is kept here, and one of ours goes on in its place.
 */

import { MessageChannel, type MessagePort } from 'node:worker_threads';
import type { BrokerReply, BrokerRequest, LineMessage } from '../../workers/broker-protocol.ts';
import type { TapedFetch, TapedSocketEvent, TapeEntry } from '../base/tape.ts';
import type { Network } from './plugin-entry.ts';
import type { TapeMask } from './tape-mask.ts';

export interface RecorderOptions {
  readonly network: Network;
  readonly mask: TapeMask;
  /** Milliseconds since the tape began. */
  readonly nowMs: () => number;
  readonly onEntry: (entry: TapeEntry) => void;
}

type Asked = Omit<TapedFetch, 'answer'>;

const decoder = new TextDecoder();

export class NetworkRecorder implements Network {
  readonly #options: RecorderOptions;
  #sockets = 0;

  constructor(options: RecorderOptions) {
    this.#options = options;
  }

  register(...asked: Parameters<Network['register']>): MessagePort {
    const broker = this.#options.network.register(...asked);
    const { port1: line, port2 } = new MessageChannel();
    broker.on('message', ({ port }: LineMessage) => {
      const tapped = this.#tap(port);
      const message: LineMessage = { port: tapped };
      line.postMessage(message, [tapped]);
    });
    joinEnds(broker, line);
    return port2;
  }

  unregister(plugin: string, generation: number): void {
    this.#options.network.unregister(plugin, generation);
  }

  /** A port that does what `broker` does, and is listened to. */
  #tap(broker: MessagePort): MessagePort {
    const { port1: near, port2: far } = new MessageChannel();
    const traffic = new Traffic(this.#options, () => ++this.#sockets);
    near.on('message', (request: BrokerRequest) => {
      traffic.asked(request);
      broker.postMessage(request);
    });
    broker.on('message', (reply: BrokerReply) => {
      // Order: noted first, since the body of an answer leaves with the message.
      traffic.answered(reply);
      near.postMessage(reply, reply.kind === 'response' ? [reply.body] : []);
    });
    joinEnds(broker, near);
    return far;
  }
}

/** What passes one port: ids are its own. */
class Traffic {
  readonly #options: RecorderOptions;
  readonly #nextSocket: () => number;
  readonly #fetches = new Map<number, Asked>();
  /** Numbers on the tape, by id. */
  readonly #sockets = new Map<number, number>();

  constructor(options: RecorderOptions, nextSocket: () => number) {
    this.#options = options;
    this.#nextSocket = nextSocket;
  }

  asked(request: BrokerRequest): void {
    const { mask, nowMs } = this.#options;
    const { id } = request;
    switch (request.kind) {
      case 'fetch':
        this.#fetches.set(id, {
          kind: 'fetch',
          atMs: nowMs(),
          method: request.method,
          url: mask.url(request.url),
          sent: request.body === undefined ? undefined : mask.sent(request.body),
        });
        break;
      case 'abort':
        this.#fetches.delete(id);
        break;
      case 'open':
        this.#sockets.set(id, this.#nextSocket());
        this.#note(id, { kind: 'open', url: mask.url(request.url) });
        break;
      case 'send':
        this.#note(id, { kind: 'sent', text: mask.sent(request.text) });
        break;
      case 'credit':
      case 'close':
        break;
    }
  }

  answered(reply: BrokerReply): void {
    const { mask } = this.#options;
    const { id } = reply;
    switch (reply.kind) {
      case 'response': {
        const { status, headers, body } = reply;
        const text = mask.received(decoder.decode(body));
        this.#answer(id, { status, headers: mask.headers(headers), body: text });
        break;
      }
      case 'failed': {
        const reason = mask.hide(String(reply.error.fields.reason ?? reply.error.message));
        this.#answer(id, { failed: reason });
        this.#end(id, { kind: 'failed', reason });
        break;
      }
      case 'messages':
        for (const text of reply.texts)
          this.#note(id, { kind: 'received', text: mask.received(text) });
        break;
      case 'closed':
        this.#end(id, { kind: 'closed', code: reply.code, reason: mask.hide(reply.reason) });
        break;
      case 'opened':
        break;
    }
  }

  #answer(id: number, answer: TapedFetch['answer']): void {
    const asked = this.#fetches.get(id);
    this.#fetches.delete(id);
    if (asked !== undefined) this.#options.onEntry({ ...asked, answer });
  }

  #note(id: number, event: SocketEvent): void {
    const socket = this.#sockets.get(id);
    if (socket === undefined) return;
    this.#options.onEntry({ atMs: this.#options.nowMs(), socket, ...event });
  }

  #end(id: number, event: SocketEvent): void {
    this.#note(id, event);
    this.#sockets.delete(id);
  }
}

type Distribute<Event> = Event extends unknown ? Omit<Event, 'atMs' | 'socket'> : never;
type SocketEvent = Distribute<TapedSocketEvent>;

function joinEnds(one: MessagePort, other: MessagePort): void {
  one.on('close', () => other.close());
  other.on('close', () => one.close());
}
