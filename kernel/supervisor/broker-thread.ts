/**
 * The kernel's hold on the network broker: starts its thread, tells it what each plugin may reach,
 * and starts it again when it dies. Main thread; no traffic passes here.
 *
 * Invariant: a registered plugin holds one port of ours for its whole life. A broker thread that
 * was replaced is reached by a new port sent down that one, so neither the plugin nor its worker
 * has to know. What was under way in the old thread fails by itself: its ports closed.
 */

import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import type { BrokerCommand, BrokerEvent, LineMessage } from '../../workers/broker-protocol.ts';
import { PluginError, reasonOf } from '../base/errors.ts';
import {
  BROKER_STOP_MS,
  FETCHES_MAX,
  RESTART_DELAY_MAX_MS,
  RESTART_DELAY_MS,
} from '../base/limits.ts';
import { workerEntry } from '../base/worker-entry.ts';
import type { Denial } from './denials.ts';

export interface Broker {
  /**
   * Lets a plugin reach `grants` (`host` or `host:port`) and returns the port its worker makes a
   * `brokerClient` of. Each generation of a plugin has a line of its own; registering one again ends
   * the traffic of its earlier port.
   */
  register(
    plugin: string,
    grants: readonly string[],
    generation: number,
    fetchesMax?: number,
  ): MessagePort;
  /** Aborts the generation's requests and closes its sockets. */
  unregister(plugin: string, generation: number): void;
  /** Closes all sockets and ends the thread. */
  stop(): Promise<void>;
}

export interface BrokerOptions {
  /** The thread died, by an error or by itself; it is started again. */
  readonly onFailure?: (error: PluginError) => void;
  /** A plugin asked for a host it may not reach. */
  readonly onDenied?: (denial: Denial) => void;
  /** Told of every thread that is started: who samples memory watches this one too. */
  readonly onWorker?: (worker: Worker) => void;
}

/** Starts the broker thread. */
export function startBroker(options: BrokerOptions = {}): Broker {
  const broker = new BrokerThread(options);
  broker.start();
  return broker;
}

interface Registration {
  readonly plugin: string;
  readonly grants: readonly string[];
  readonly fetchesMax: number;
  readonly line: MessagePort;
}

class BrokerThread implements Broker {
  readonly #options: BrokerOptions;
  /** By `lineName`. */
  readonly #registrations = new Map<string, Registration>();
  #worker: Worker | undefined;
  #exited: Promise<void> = Promise.resolve();
  #restartTimer: NodeJS.Timeout | undefined;
  #restartDelayMs = RESTART_DELAY_MS;
  #stopping = false;

  constructor(options: BrokerOptions) {
    this.#options = options;
  }

  start(): void {
    const entry = new URL('../../workers/broker.ts', import.meta.url);
    const worker = new Worker(workerEntry(entry, import.meta.url), { name: 'mkts broker' });
    this.#worker = worker;
    worker.on('message', ({ plugin, host, count }: BrokerEvent) =>
      this.#options.onDenied?.({ plugin, what: 'network', detail: host, count }),
    );
    const startedMs = performance.now();
    let reason = 'it ended by itself';
    worker.on('error', (error) => {
      reason = reasonOf(error);
    });
    this.#exited = new Promise((resolve) => {
      worker.on('exit', () => {
        this.#worker = undefined;
        resolve();
        if (!this.#stopping) this.#restart(reason, performance.now() - startedMs);
      });
    });
    for (const [name, registration] of this.#registrations) this.#connect(name, registration);
    this.#options.onWorker?.(worker);
  }

  register(
    plugin: string,
    grants: readonly string[],
    generation: number,
    fetchesMax = FETCHES_MAX,
  ): MessagePort {
    this.unregister(plugin, generation);
    const { port1: line, port2 } = new MessageChannel();
    const registration = { plugin, grants: [...grants], fetchesMax, line };
    const name = lineName(plugin, generation);
    this.#registrations.set(name, registration);
    this.#connect(name, registration);
    return port2;
  }

  unregister(plugin: string, generation: number): void {
    const name = lineName(plugin, generation);
    const registration = this.#registrations.get(name);
    if (registration === undefined) return;
    this.#registrations.delete(name);
    registration.line.close();
    this.#command({ kind: 'unregister', line: name });
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#restartTimer);
    for (const { line } of this.#registrations.values()) line.close();
    this.#registrations.clear();
    this.#command({ kind: 'stop' });
    // A venue that does not answer a close frame must not hold up the kernel.
    const giveUp = setTimeout(() => void this.#worker?.terminate(), BROKER_STOP_MS);
    await this.#exited;
    clearTimeout(giveUp);
  }

  #connect(name: string, { plugin, grants, fetchesMax, line }: Registration): void {
    if (this.#worker === undefined) return;
    const { port1, port2 } = new MessageChannel();
    this.#command({ kind: 'register', line: name, plugin, grants, fetchesMax, port: port1 }, port1);
    const message: LineMessage = { port: port2 };
    line.postMessage(message, [port2]);
  }

  #command(command: BrokerCommand, transferred?: MessagePort): void {
    this.#worker?.postMessage(command, transferred === undefined ? [] : [transferred]);
  }

  /** A thread that lived a while starts afresh; one that dies at once is given more and more time. */
  #restart(reason: string, livedMs: number): void {
    const delayMs = livedMs > RESTART_DELAY_MAX_MS ? RESTART_DELAY_MS : this.#restartDelayMs;
    this.#restartDelayMs = Math.min(2 * delayMs, RESTART_DELAY_MAX_MS);
    this.#restartTimer = setTimeout(() => this.start(), delayMs);
    const text = `the network broker ended (${reason}) and starts again in ${delayMs} ms`;
    this.#options.onFailure?.(
      new PluginError('MKTS_NET_FAILED', { method: 'network', url: 'broker', reason: text }),
    );
  }
}

/** Names a line for good: a generation is not used twice. */
function lineName(plugin: string, generation: number): string {
  return `${plugin}#${generation}`;
}
