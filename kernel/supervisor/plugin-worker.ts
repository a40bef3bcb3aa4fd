/**
 * One worker thread of one plugin, from its start to its end: the thread, its ring, its two ports
 * and its watch. Main thread. What to do when it ends is decided by plugin-life.ts.
 *
 * Invariant: every call settles, at the latest when the worker is gone: a comlink call that is
 * pending when its thread dies never would. `gone` settles too, even if the thread hangs in native
 * code and cannot be ended: it is then a *zombie*, which burns a core until its call returns but
 * never runs a line of the plugin again.
 */

import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { expose, transfer, wrap } from 'comlink';
import { callsOf, portEndpoint } from '../../workers/port-endpoint.ts';
import type { PluginShape, WorkerStart } from '../../workers/protocol.ts';
import { createRing, RingReader } from '../../workers/ring.ts';
import { PluginError, reasonOf } from '../base/errors.ts';
import { WORKER_HEAP_HARD_MB, WORKER_ZOMBIE_MS } from '../base/limits.ts';
import type { KernelApi } from './kernel-api.ts';
import type { SupervisorLimits } from './plugin-entry.ts';
import type { ProcessMemoryWatch } from './process-memory-watch.ts';
import { captureOutput } from './worker-output.ts';
import { WorkerWatch } from './worker-watch.ts';

/** Denies files, child processes, threads, addons and the inspector, in C++. */
export const WORKER_EXEC_ARGV: readonly string[] = [
  '--permission',
  '--no-addons',
  '--disable-warning=ExperimentalWarning',
];

export interface PluginWorkerOptions {
  readonly plugin: string;
  /** Of host-bundle.ts. */
  readonly hostCode: string;
  readonly code: string;
  readonly filename: string;
  readonly config: unknown;
  readonly timezone: string;
  readonly doorbell: SharedArrayBuffer;
  readonly api: KernelApi;
  readonly limits: SupervisorLimits;
  readonly processMemory: ProcessMemoryWatch;
  readonly onOutput: (line: string) => void;
  readonly onLate: (isLate: boolean) => void;
}

/** How a worker ended. */
export interface Departure {
  readonly cause: Error;
  readonly isZombie: boolean;
}

export class PluginWorker {
  readonly ring: RingReader;
  /** Never rejects. */
  readonly gone: Promise<Departure>;
  readonly #plugin: string;
  readonly #worker: Worker;
  readonly #remote: PluginShape;
  readonly #ports: readonly MessagePort[];
  readonly #watch: WorkerWatch;
  readonly #pending = new Set<(error: Error) => void>();
  readonly #resolveGone: (departure: Departure) => void;
  /** Why it ends: the first reason counts, the others follow from it. */
  #cause: Error | undefined;
  #departed = false;
  #zombieTimer: NodeJS.Timeout | undefined;

  /** Throws if the thread cannot be started at all, or if `config` cannot be cloned. */
  constructor(options: PluginWorkerOptions) {
    const { plugin, limits, api } = options;
    this.#plugin = plugin;
    const { promise, resolve } = Promise.withResolvers<Departure>();
    this.gone = promise;
    this.#resolveGone = resolve;
    const shared = createRing();
    this.ring = new RingReader(shared, plugin);
    const plugins = new MessageChannel();
    const kernels = new MessageChannel();
    this.#ports = [plugins.port1, kernels.port1];
    const start: WorkerStart = {
      plugin,
      code: options.code,
      filename: options.filename,
      config: options.config,
      timezone: options.timezone,
      ring: shared,
      doorbell: options.doorbell,
      ports: { plugin: plugins.port2, kernel: kernels.port2 },
    };
    this.#worker = new Worker(options.hostCode, {
      eval: true,
      name: plugin,
      env: {},
      argv: [],
      execArgv: [...WORKER_EXEC_ARGV],
      stdin: false,
      stdout: true,
      stderr: true,
      resourceLimits: { maxOldGenerationSizeMb: WORKER_HEAP_HARD_MB },
      workerData: start,
      transferList: [plugins.port2, kernels.port2],
    });
    this.#worker.on('error', (error) => this.#blame(failureOf(plugin, error)));
    this.#worker.on('messageerror', (error) => this.terminate(failureOf(plugin, error)));
    this.#worker.on('exit', (exitCode) => {
      this.#blame(new PluginError('MKTS_PLUGIN_EXIT', { plugin, exitCode }));
      this.#depart(false);
    });
    captureOutput(this.#worker.stdout, options.onOutput);
    captureOutput(this.#worker.stderr, options.onOutput);
    this.#remote = remotePlugin(plugins.port1);
    const guard = callsOf(api.calls, () =>
      this.terminate(
        new PluginError('MKTS_CAPABILITY_DENIED', {
          plugin,
          what: 'a call the kernel does not offer',
        }),
      ),
    );
    expose(api.facade, portEndpoint(kernels.port1, guard));
    this.#watch = new WorkerWatch({
      plugin,
      worker: this.#worker,
      ring: this.ring,
      sampleMs: limits.sampleMs,
      heartbeatTimeoutMs: limits.heartbeatTimeoutMs,
      memorySoftMb: limits.memorySoftMb,
      processMemory: options.processMemory,
      onFault: (error) => this.terminate(error),
      onLate: options.onLate,
    });
  }

  get memoryMb(): number {
    return this.#watch.memoryMb;
  }

  /**
   * Calls the plugin. Rejects with MKTS_PLUGIN_TIMEOUT after `timeoutMs` (undefined: waits for ever),
   * and with the cause of its end if the worker goes first.
   */
  call<T>(
    name: keyof PluginShape,
    invoke: (plugin: PluginShape) => Promise<T>,
    timeoutMs?: number,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#departed || this.#cause !== undefined) {
        reject(this.#cause ?? new PluginError('MKTS_PLUGIN_EXIT', { plugin: this.#plugin }));
        return;
      }
      let timer: NodeJS.Timeout | undefined;
      const settled = (): void => {
        clearTimeout(timer);
        this.#pending.delete(fail);
      };
      const fail = (error: Error): void => {
        settled();
        reject(error);
      };
      this.#pending.add(fail);
      if (timeoutMs !== undefined)
        timer = setTimeout(() => {
          fail(
            new PluginError('MKTS_PLUGIN_TIMEOUT', { plugin: this.#plugin, call: name, timeoutMs }),
          );
        }, timeoutMs);
      invoke(this.#remote).then((value) => {
        settled();
        resolve(value);
      }, fail);
    });
  }

  /** Ends the thread; returns at once. `gone` tells when it is over, with `cause` if it is the first. */
  terminate(cause: Error): void {
    if (this.#departed) return;
    this.#blame(cause);
    if (this.#zombieTimer !== undefined) return;
    this.#zombieTimer = setTimeout(() => this.#depart(true), WORKER_ZOMBIE_MS);
    // Settles with the exit event, or never: native code cannot be interrupted.
    void this.#worker.terminate();
  }

  /** Notes the cause and rejects what is pending: the worker will not answer any more. */
  #blame(cause: Error): void {
    this.#cause ??= cause;
    for (const reject of [...this.#pending]) reject(this.#cause);
  }

  #depart(isZombie: boolean): void {
    if (this.#departed) return;
    this.#departed = true;
    clearTimeout(this.#zombieTimer);
    this.#watch.stop();
    for (const port of this.#ports) port.close();
    const cause = this.#cause ?? new PluginError('MKTS_PLUGIN_EXIT', { plugin: this.#plugin });
    this.#resolveGone({ cause, isZombie });
  }
}

/** Plain functions, so that nothing but these calls can be made through the proxy. */
function remotePlugin(port: MessagePort): PluginShape {
  const remote = wrap<PluginShape>(portEndpoint(port));
  return {
    load: () => remote.load(),
    configure: () => remote.configure(),
    start: (line) => remote.start(transfer(line, [line])),
    fire: (batch) => remote.fire(batch),
    stop: () => remote.stop(),
  };
}

/** What ended a worker, as an error that names the plugin. */
function failureOf(plugin: string, thrown: unknown): Error {
  if (thrown instanceof Error && Reflect.get(thrown, 'code') === 'ERR_WORKER_OUT_OF_MEMORY')
    return new PluginError('MKTS_PLUGIN_MEMORY', {
      plugin,
      usedMb: WORKER_HEAP_HARD_MB,
      limitMb: WORKER_HEAP_HARD_MB,
    });
  return new PluginError(
    'MKTS_PLUGIN_FAILED',
    { plugin, reason: reasonOf(thrown) },
    { cause: thrown },
  );
}
