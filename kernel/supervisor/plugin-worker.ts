/**
 * One worker thread of one plugin, from its start to its end: the thread, its ring, its two ports
 * and its watch. Main thread. What to do when it ends is decided by plugin-life.ts.
 *
 * Invariant: `gone` settles even if the thread hangs in native code and cannot be ended: it is then
 * a *zombie*, which burns a core until its call returns but never runs a line of the plugin again.
 */

import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { expose, transfer, wrap } from 'comlink';
import { callsOf, portEndpoint } from '../../workers/port-endpoint.ts';
import type { PluginShape, WorkerStart } from '../../workers/protocol.ts';
import { createRing, RingReader } from '../../workers/ring.ts';
import { profileWorker } from '../../workers/worker-profile.ts';
import { PluginError, reasonOf } from '../base/errors.ts';
import { WORKER_HEAP_HARD_MB, WORKER_ZOMBIE_MS } from '../base/limits.ts';
import { HostCalls } from './host-calls.ts';
import type { Departure, PluginHost, PluginHostOptions } from './plugin-host.ts';
import { captureOutput } from './worker-output.ts';
import { WorkerWatch } from './worker-watch.ts';

/** Denies files, child processes, threads, addons and the inspector, in C++. */
export const WORKER_EXEC_ARGV: readonly string[] = [
  '--permission',
  '--no-addons',
  '--disable-warning=ExperimentalWarning',
];

const MIB = 1024 * 1024;

export class PluginWorker implements PluginHost {
  readonly isolation = 'worker';
  readonly ring: RingReader;
  readonly gone: Promise<Departure>;
  readonly #plugin: string;
  readonly #worker: Worker;
  readonly #remote: PluginShape;
  readonly #ports: readonly MessagePort[];
  readonly #watch: WorkerWatch;
  readonly #calls: HostCalls;
  readonly #resolveGone: (departure: Departure) => void;
  #departed = false;
  #zombieTimer: NodeJS.Timeout | undefined;

  /** Throws if the thread cannot be started at all, or if `start` cannot be cloned. */
  constructor(options: PluginHostOptions) {
    const { plugin, limits, api } = options;
    this.#plugin = plugin;
    this.#calls = new HostCalls(plugin);
    const { promise, resolve } = Promise.withResolvers<Departure>();
    this.gone = promise;
    this.#resolveGone = resolve;
    const shared = createRing();
    this.ring = new RingReader(shared, plugin);
    const plugins = new MessageChannel();
    const kernels = new MessageChannel();
    this.#ports = [plugins.port1, kernels.port1];
    const start: WorkerStart = {
      ...options.start,
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
    this.#worker.on('error', (error) => this.#calls.blame(failureOf(plugin, error)));
    this.#worker.on('messageerror', (error) => this.terminate(failureOf(plugin, error)));
    this.#worker.on('exit', (exitCode) => {
      this.#calls.blame(new PluginError('MKTS_PLUGIN_EXIT', { plugin, exitCode }));
      this.#depart(false);
      this.#watch.gone();
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
      measure: async () => {
        const heap = await this.#worker.getHeapStatistics();
        const heapMb = heap.used_heap_size / MIB;
        const externalMb = heap.external_memory / MIB;
        return { totalMb: heapMb + externalMb, heapMb, externalMb };
      },
      ring: this.ring,
      sampleMs: limits.sampleMs,
      heartbeatTimeoutMs: limits.heartbeatTimeoutMs,
      memorySoftMb: limits.memorySoftMb,
      heapMb: limits.heapMb,
      externalMb: limits.externalMb,
      processMemory: options.processMemory,
      onFault: (error) => this.terminate(error),
      onLate: options.onLate,
      onThrottled: options.onThrottled,
    });
  }

  get memoryMb(): number {
    return this.#watch.memoryMb;
  }

  call<T>(
    name: keyof PluginShape,
    invoke: (plugin: PluginShape) => Promise<T>,
    timeoutMs?: number,
  ): Promise<T> {
    return this.#calls.run(name, this.#remote, invoke, timeoutMs);
  }

  profile(milliseconds: number, signal: AbortSignal): Promise<string> {
    const { gone } = this;
    return profileWorker(this.#worker, { plugin: this.#plugin, milliseconds, signal, gone });
  }

  terminate(cause: Error): void {
    if (this.#departed) return;
    this.#calls.blame(cause);
    if (this.#zombieTimer !== undefined) return;
    this.#zombieTimer = setTimeout(() => this.#depart(true), WORKER_ZOMBIE_MS);
    // Settles with the exit event, or never: native code cannot be interrupted.
    void this.#worker.terminate();
  }

  #depart(isZombie: boolean): void {
    if (this.#departed) return;
    this.#departed = true;
    clearTimeout(this.#zombieTimer);
    this.#watch.stop();
    for (const port of this.#ports) port.close();
    // Whoever calls from now on is told the same.
    const cause = this.#calls.blame(new PluginError('MKTS_PLUGIN_EXIT', { plugin: this.#plugin }));
    this.#resolveGone({ cause, isZombie });
  }
}

/** Plain functions, so that nothing but these calls can be made through the proxy. */
function remotePlugin(port: MessagePort): PluginShape {
  const remote = wrap<PluginShape>(portEndpoint(port));
  return {
    load: () => remote.load(),
    configure: () => remote.configure(),
    start: (line, ...others) => remote.start(transfer(line, [line]), ...others),
    fire: (batch) => remote.fire(batch),
    park: () => remote.park(),
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
