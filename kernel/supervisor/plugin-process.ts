/**
 * One process of one plugin, from its start to its end: for code one does not trust, and for code
 * that may take a process with it. Main thread.
 *
 *   this file ══ socket ══ process-host.ts, main thread of the process ── its worker thread: host.ts
 *
 * In the process runs what runs in a thread of ours for other plugins, told and asked the same. What
 * a process adds: SIGKILL ends it whatever it does, V8 that aborts for want of memory aborts only it,
 * and the system bounds its memory. What it costs: a copy of every row, some 100 ms at the start, and
 * memory for two more V8 heaps.
 *
 * Invariant: whatever the process sends, the kernel goes on: what is not valid ends the process.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { Duplex } from 'node:stream';
import { serialize } from 'node:v8';
import type { MessagePort } from 'node:worker_threads';
import { expose, wrap } from 'comlink';
import { Doorbell } from '../../workers/doorbell.ts';
import { callsOf } from '../../workers/port-endpoint.ts';
import {
  CURSOR_BYTES,
  FROM_PROCESS,
  type ProcessEnded,
  type ProcessStart,
  TO_PROCESS,
} from '../../workers/process-protocol.ts';
import type { PluginShape } from '../../workers/protocol.ts';
import { createRing, type RingReader } from '../../workers/ring.ts';
import { GAUGE_BYTES, MirroredReader, RingCopy } from '../../workers/ring-mirror.ts';
import { fromPlainError, PluginError, reasonOf } from '../base/errors.ts';
import {
  HEARTBEAT_MS,
  PROCESS_DATA_BASE_MB,
  PROCESS_MEMORY_SLACK_MB,
  WORKER_NICENESS,
  WORKER_ZOMBIE_MS,
} from '../base/limits.ts';
import { BrokerBridge } from './broker-bridge.ts';
import { CallChannel } from './call-channel.ts';
import { bundleProcessHost } from './host-bundle.ts';
import { HostCalls } from './host-calls.ts';
import { checkedAnswers, isPlainAnswer, isProcessEnded } from './plugin-answers.ts';
import type { Departure, PluginHost, PluginHostOptions } from './plugin-host.ts';
import { WORKER_EXEC_ARGV } from './plugin-worker.ts';
import { ProcessLine } from './process-line.ts';
import { ProcessProfiles } from './process-profiles.ts';
import { type ProcessUsage, processUsage } from './process-usage.ts';
import { captureOutput } from './worker-output.ts';
import { WorkerWatch } from './worker-watch.ts';

/** It may start one worker, which may start none; no files, no processes, no addons. */
const PROCESS_ARGV = [
  '--permission',
  '--allow-worker',
  '--no-addons',
  '--disable-warning=ExperimentalWarning',
  '--disable-warning=SecurityWarning',
];
/** What V8 prints when it ends a process for want of memory. */
const OUT_OF_MEMORY = /out of memory/i;

/** A system whose Node needs more than PROCESS_DATA_BASE_MB: from then on without that bound. */
let dataLimitHolds = process.platform === 'linux';

export class PluginProcess implements PluginHost {
  readonly isolation = 'process';
  readonly ring: RingReader;
  readonly gone: Promise<Departure>;
  readonly #plugin: string;
  readonly #memorySoftMb: number;
  readonly #child: ChildProcess;
  readonly #line: ProcessLine;
  readonly #copy: RingCopy;
  readonly #calls: HostCalls;
  readonly #remote: PluginShape;
  /** Our calls of the plugin, and its calls of us. */
  readonly #ours: CallChannel;
  readonly #theirs: CallChannel;
  readonly #resolveGone: (departure: Departure) => void;
  readonly #startWatch: () => WorkerWatch;
  readonly #profiles = new ProcessProfiles((command) =>
    this.#line.send(TO_PROCESS.profile, serialize(command)),
  );
  #watch: WorkerWatch | undefined;
  #bridge: BrokerBridge | undefined;
  #cursorsDue = false;
  /** Of the worker, as V8 says in the process. */
  #reportedMb = 0;
  #usage: ProcessUsage | undefined;
  /** Resident before the plugin had anything. */
  #baseMb: number | undefined;
  #ranOutOfMemory = false;
  #departed = false;
  #killTimer: NodeJS.Timeout | undefined;

  /** Throws if `start` cannot be cloned. A process that cannot be started is `gone`. */
  constructor(options: PluginHostOptions) {
    const { plugin, limits, api } = options;
    this.#plugin = plugin;
    this.#memorySoftMb = limits.memorySoftMb;
    this.#calls = new HostCalls(plugin);
    const { promise, resolve } = Promise.withResolvers<Departure>();
    this.gone = promise;
    this.#resolveGone = resolve;
    const heapMb = Math.ceil(limits.memorySoftMb);
    const start: ProcessStart = {
      hostCode: options.hostCode,
      plugin,
      start: options.start,
      execArgv: WORKER_EXEC_ARGV,
      heapMb,
      reportMs: HEARTBEAT_MS,
      niceness: WORKER_NICENESS,
    };
    const startBytes = serialize(start);
    const shared = createRing();
    const doorbell = new Doorbell(options.doorbell);
    this.#copy = new RingCopy(shared, plugin);
    this.ring = new MirroredReader(shared, plugin, () => this.#cursorsChanged());
    this.#child = startChild(heapMb);
    this.#child.on('error', (cause) => {
      this.#calls.blame(failureOf(plugin, reasonOf(cause), cause));
      this.#depart();
    });
    this.#child.on('exit', (exitCode, signal) => this.#onExit(exitCode ?? signal ?? ''));
    // After `exit`, and when all it sent was read: what it handed over before is accepted.
    this.#child.on('close', () => this.#depart());
    for (const output of [this.#child.stdout, this.#child.stderr])
      if (output !== null) captureOutput(output, (line) => this.#onOutput(line, options.onOutput));
    const socket = this.#child.stdio?.[3];
    // Out of descriptors: Node gives a child without any stream then.
    if (!(socket instanceof Duplex))
      throw new PluginError('MKTS_PLUGIN_FAILED', { plugin, reason: 'no process can be started' });
    this.#line = new ProcessLine({
      plugin,
      socket,
      ring: this.#copy,
      onRows: () => doorbell.ring(),
      onReport: (report) => this.#onReport(report),
      onMessage: (channel, message) => this.#onMessage(channel, message),
      onFault: (error) => this.terminate(error),
    });
    this.#ours = new CallChannel((call) => this.#line.send(TO_PROCESS.call, call), isPlainAnswer);
    this.#theirs = new CallChannel(
      (answer) => this.#line.send(TO_PROCESS.answer, answer),
      callsOf(api.calls, () => undefined),
    );
    expose(api.facade, this.#theirs.endpoint);
    this.#remote = checkedAnswers(plugin, this.#remotePlugin());
    this.#startWatch = () =>
      new WorkerWatch({
        plugin,
        measure: async () => ({ totalMb: this.#measureMb() }),
        ring: this.ring,
        sampleMs: limits.sampleMs,
        heartbeatTimeoutMs: limits.heartbeatTimeoutMs,
        memorySoftMb: limits.memorySoftMb,
        heapMb: limits.heapMb,
        externalMb: limits.externalMb,
        processMemory: undefined,
        onFault: (error) => this.terminate(error),
        onLate: options.onLate,
        onThrottled: options.onThrottled,
      });
    this.#line.send(TO_PROCESS.start, startBytes);
    void this.#sendCode();
  }

  /** Undefined if it could not be started. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  get memoryMb(): number {
    return this.#watch?.memoryMb ?? 0;
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
    return this.#profiles.take({ plugin: this.#plugin, milliseconds, signal, gone });
  }

  terminate(cause: Error): void {
    if (this.#departed) return;
    this.#calls.blame(cause);
    if (this.#killTimer !== undefined) return;
    this.#child.kill('SIGKILL');
    // Only a process in a system call that cannot be interrupted outlives this.
    this.#killTimer = setTimeout(() => this.#depart(), WORKER_ZOMBIE_MS);
  }

  /** Its main thread reads its code from its input: no file, and no bound on its length. */
  async #sendCode(): Promise<void> {
    const input = this.#child.stdin;
    if (input === null) return;
    // One that ended before it read everything: its exit says so.
    input.on('error', () => undefined);
    try {
      input.end(await bundleProcessHost());
    } catch (cause) {
      this.terminate(failureOf(this.#plugin, reasonOf(cause), cause));
    }
  }

  #remotePlugin(): PluginShape {
    const remote = wrap<PluginShape>(this.#ours.endpoint);
    return {
      load: () => remote.load(),
      configure: () => remote.configure(),
      start: (line, ...others) => {
        this.#bridge?.close();
        this.#bridge = new BrokerBridge(line, (notice) =>
          this.#line.send(TO_PROCESS.broker, serialize(notice)),
        );
        // The process puts a port of its own in this place.
        return remote.start(undefined as unknown as MessagePort, ...others);
      },
      fire: (batch) => remote.fire(batch),
      park: () => remote.park(),
      stop: () => remote.stop(),
    };
  }

  #onMessage(channel: number, message: unknown): void {
    switch (channel) {
      case FROM_PROCESS.call:
        this.#theirs.receive(message);
        break;
      case FROM_PROCESS.answer:
        this.#ours.receive(message);
        break;
      case FROM_PROCESS.broker:
        this.#bridge?.request(message);
        break;
      case FROM_PROCESS.ended:
        if (!isProcessEnded(message)) throw new Error('an end of no known shape');
        this.#onEnded(message);
        break;
      case FROM_PROCESS.profile:
        this.#profiles.receive(message);
    }
  }

  #onReport(report: Buffer): void {
    this.#reportedMb = report.readDoubleLE(GAUGE_BYTES);
    const cpuMs = this.#usage?.cpuMs ?? report.readDoubleLE(GAUGE_BYTES + 8);
    this.#copy.setGauges(report.subarray(0, GAUGE_BYTES), cpuMs);
    if (this.#watch !== undefined || this.#departed) return;
    this.#baseMb = processUsage(this.pid ?? 0)?.residentMb;
    this.#watch = this.#startWatch();
  }

  /**
   * What V8 says in the process, or the system of it: a process that lies about itself does not get
   * past the second.
   */
  #measureMb(): number {
    const reportedMb = Number.isFinite(this.#reportedMb) ? this.#reportedMb : 0;
    this.#usage = processUsage(this.pid ?? 0);
    if (this.#usage === undefined || this.#baseMb === undefined) return reportedMb;
    return Math.max(reportedMb, this.#usage.residentMb - this.#baseMb - PROCESS_MEMORY_SLACK_MB);
  }

  /** The worker in it is over, and so is it: everything it had to say is here. */
  #onEnded({ exitCode, isOutOfMemory, error }: ProcessEnded): void {
    const plugin = this.#plugin;
    if (isOutOfMemory) this.terminate(this.#memoryError());
    else if (error === undefined)
      this.terminate(new PluginError('MKTS_PLUGIN_EXIT', { plugin, exitCode }));
    else this.terminate(failureOf(plugin, error.message, fromPlainError(error)));
  }

  #onOutput(line: string, onOutput: (line: string) => void): void {
    if (OUT_OF_MEMORY.test(line)) this.#ranOutOfMemory = true;
    onOutput(line);
  }

  #onExit(exitCode: number | string): void {
    this.#calls.blame(this.#exitCause(exitCode));
    // Who holds its output open, if anybody does, shall not hold us up.
    this.#killTimer ??= setTimeout(() => this.#depart(), WORKER_ZOMBIE_MS);
  }

  #exitCause(exitCode: number | string): PluginError {
    const plugin = this.#plugin;
    if (!this.#ranOutOfMemory) return new PluginError('MKTS_PLUGIN_EXIT', { plugin, exitCode });
    if (this.#watch !== undefined) return this.#memoryError();
    // Before the plugin had anything: this Node needs more than PROCESS_DATA_BASE_MB.
    dataLimitHolds = false;
    const reason = 'Node does not start within the memory limit; the next start is without it';
    return new PluginError('MKTS_PLUGIN_FAILED', { plugin, reason });
  }

  #memoryError(): PluginError {
    const limitMb = this.#memorySoftMb;
    const usedMb = Math.max(limitMb, Math.round(this.memoryMb));
    return new PluginError('MKTS_PLUGIN_MEMORY', { plugin: this.#plugin, usedMb, limitMb });
  }

  /** Once for all that changes in this turn: a round of the drain consumes thousands of frames. */
  #cursorsChanged(): void {
    if (this.#cursorsDue) return;
    this.#cursorsDue = true;
    queueMicrotask(() => {
      this.#cursorsDue = false;
      const { consumed, committed, closed, rejected } = this.#copy.cursors();
      const cursors = Buffer.allocUnsafe(CURSOR_BYTES);
      cursors.writeInt32LE(consumed, 0);
      cursors.writeInt32LE(committed, 4);
      cursors.writeInt32LE(closed, 8);
      cursors.writeInt32LE(rejected, 12);
      this.#line.send(TO_PROCESS.cursors, cursors);
    });
  }

  #depart(): void {
    if (this.#departed) return;
    this.#departed = true;
    clearTimeout(this.#killTimer);
    this.#watch?.gone();
    this.#line.close();
    this.#bridge?.close();
    const cause = this.#calls.blame(new PluginError('MKTS_PLUGIN_EXIT', { plugin: this.#plugin }));
    this.#resolveGone({ cause, isZombie: false });
  }
}

function startChild(heapMb: number): ChildProcess {
  const node = [process.execPath, ...PROCESS_ARGV, `--max-old-space-size=${heapMb}`, '-'];
  // Between two samples a loop may take gigabytes: the system stops it before.
  const dataKb = (PROCESS_DATA_BASE_MB + 2 * heapMb) * 1024;
  const limited = ['/bin/sh', '-c', 'ulimit -d "$0"; exec "$@"', String(dataKb), ...node];
  const [command = '', ...args] = dataLimitHolds ? limited : node;
  return spawn(command, args, { env: {}, stdio: ['pipe', 'pipe', 'pipe', 'pipe'] });
}

function failureOf(plugin: string, reason: string, cause: unknown): Error {
  return new PluginError('MKTS_PLUGIN_FAILED', { plugin, reason }, { cause });
}
