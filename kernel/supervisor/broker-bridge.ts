/**
 * The network of a plugin that runs in a process of its own: between its port of the broker, which
 * cannot leave this process, and its line. Main thread. The broker decides as ever what it may reach.
 */

import type { MessagePort } from 'node:worker_threads';
import type { LineMessage } from '../../workers/broker-protocol.ts';
import { isBrokerRequest } from '../../workers/broker-request.ts';
import type { BrokerNotice } from '../../workers/process-protocol.ts';

export class BrokerBridge {
  readonly #line: MessagePort;
  readonly #send: (notice: BrokerNotice) => void;
  #broker: MessagePort | undefined;

  /** `line` is what the kernel's `Network.register` returned: the bridge owns it from now on. */
  constructor(line: MessagePort, send: (notice: BrokerNotice) => void) {
    this.#line = line;
    this.#send = send;
    line.on('message', ({ port }: LineMessage) => this.#attach(port));
  }

  /** Throws if it is not one. Without a broker it is dropped: the plugin's side knows by then. */
  request(value: unknown): void {
    if (!isBrokerRequest(value)) throw new Error('a request that is none of the network broker');
    this.#broker?.postMessage(value);
  }

  close(): void {
    this.#line.close();
    this.#broker?.close();
    this.#broker = undefined;
  }

  #attach(port: MessagePort): void {
    this.#broker?.close();
    this.#broker = port;
    port.on('message', (reply) => this.#send({ kind: 'reply', reply }));
    port.on('close', () => {
      if (this.#broker !== port) return;
      this.#broker = undefined;
      this.#send({ kind: 'detached' });
    });
    this.#send({ kind: 'attached' });
  }
}
