/**
 * Entry of a plugin's own process (`isolation: process`): starts the same worker thread the kernel
 * starts for other plugins, and is to it what the kernel is there. The main thread of that process
 * runs this file and nothing of the plugin's, so it sends on what the plugin handed over, says how it
 * is, and ends when the kernel is gone, whatever the plugin does meanwhile.
 *
 *   kernel ══ socket, descriptor 3 ══ this file ── ring, ports ── worker thread: host.ts
 *
 * Order: what a worker wrote before a call or an answer arrives before it. Rows are therefore sent
 * before every message, and the answer to `stop` follows the last row.
 */

import { Socket } from 'node:net';
import { setPriority } from 'node:os';
import { deserialize } from 'node:v8';
import {
  MessageChannel,
  type MessagePort,
  receiveMessageOnPort,
  Worker,
} from 'node:worker_threads';
import { PluginError, toPlainError } from '../kernel/base/errors.ts';
import {
  LINE_MESSAGE_BYTES_MAX,
  PROCESS_CODE_RANGE_MB,
  PROFILE_PIECE_CHARACTERS,
  WORKER_SAMPLE_MS,
} from '../kernel/base/limits.ts';
import { Doorbell } from './doorbell.ts';
import { LineReader } from './line-reader.ts';
import {
  type BrokerNotice,
  FROM_PROCESS,
  messageHead,
  type ProcessEnded,
  type ProcessStart,
  type ProfileCommand,
  type ProfilePiece,
  REPORT_BYTES,
  TO_PROCESS,
} from './process-protocol.ts';
import { createRing } from './ring.ts';
import { GAUGE_BYTES, RingSource } from './ring-mirror.ts';
import { profileWorker } from './worker-profile.ts';

const LINE_FD = 3;
const MIB = 1024 * 1024;
/** The kernel is asked for rows' sake only; the doorbell wakes us before this. */
const IDLE_POLL_MS = 1_000;

type Data = Readonly<Record<string, unknown>>;

/** The worker, and everything it reaches the kernel by. */
class HostedWorker {
  readonly #socket: Socket;
  readonly #worker: Worker;
  readonly #doorbell = new Doorbell();
  readonly #ring: RingSource;
  /** Calls of the kernel, to the plugin. */
  readonly #pluginPort: MessagePort;
  /** Calls of the plugin, to the kernel. */
  readonly #kernelPort: MessagePort;
  readonly #ended = new AbortController();
  #line: MessagePort | undefined;
  #broker: MessagePort | undefined;
  #heapMb = 0;
  /** Profiles under way, by the kernel's number; aborted: enough. */
  readonly #profiles = new Map<number, AbortController>();
  readonly #plugin: string;
  #failure: Omit<ProcessEnded, 'exitCode'> = { isOutOfMemory: false, error: undefined };

  constructor(socket: Socket, options: ProcessStart) {
    this.#socket = socket;
    this.#plugin = options.plugin;
    const shared = createRing();
    this.#ring = new RingSource(shared, options.plugin);
    const plugins = new MessageChannel();
    const kernels = new MessageChannel();
    this.#pluginPort = plugins.port1;
    this.#kernelPort = kernels.port1;
    this.#worker = new Worker(options.hostCode, {
      eval: true,
      name: options.plugin,
      env: {},
      argv: [],
      execArgv: [...options.execArgv],
      stdin: false,
      stdout: false,
      stderr: false,
      resourceLimits: {
        maxOldGenerationSizeMb: options.heapMb,
        codeRangeSizeMb: PROCESS_CODE_RANGE_MB,
      },
      workerData: {
        ...(options.start as Data),
        ring: shared,
        doorbell: this.#doorbell.shared,
        ports: { plugin: plugins.port2, kernel: kernels.port2 },
      },
      transferList: [plugins.port2, kernels.port2],
    });
    this.#worker.on('error', (thrown) => {
      this.#failure = {
        isOutOfMemory: Reflect.get(Object(thrown), 'code') === 'ERR_WORKER_OUT_OF_MEMORY',
        error: toPlainError(thrown),
      };
    });
    this.#worker.on('exit', (exitCode) => this.#end(exitCode));
    this.#pluginPort.on('message', (message) => this.#sendAnswer(message));
    this.#kernelPort.on('message', (message) => this.#sendCall(message));
    this.#worker.on('online', () => this.#report());
    setInterval(() => this.#report(), options.reportMs);
    setInterval(() => this.#askHeap(), WORKER_SAMPLE_MS);
    void this.#pumpRows();
  }

  receive(channel: number, payload: Buffer): void {
    switch (channel) {
      case TO_PROCESS.cursors:
        this.#ring.apply({
          consumed: payload.readInt32LE(0),
          committed: payload.readInt32LE(4),
          closed: payload.readInt32LE(8),
          rejected: payload.readInt32LE(12),
        });
        break;
      case TO_PROCESS.call:
        this.#callPlugin(deserialize(payload));
        break;
      case TO_PROCESS.answer:
        this.#kernelPort.postMessage(deserialize(payload));
        break;
      case TO_PROCESS.broker:
        this.#noteBroker(deserialize(payload) as BrokerNotice);
        break;
      case TO_PROCESS.profile:
        void this.#profile(deserialize(payload) as ProfileCommand);
        break;
    }
  }

  /** A call as it came; that of `start` takes a port with it, which only this side can make. */
  #callPlugin(message: { path: readonly string[]; argumentList: unknown[] }): void {
    if (message.path[0] !== 'start') {
      this.#pluginPort.postMessage(message);
      return;
    }
    this.#broker?.close();
    this.#broker = undefined;
    this.#line?.close();
    const { port1, port2 } = new MessageChannel();
    this.#line = port1;
    message.argumentList[0] = { type: 'RAW', value: port2 };
    this.#pluginPort.postMessage(message, [port2]);
  }

  #noteBroker(notice: BrokerNotice): void {
    switch (notice.kind) {
      case 'attached': {
        this.#broker?.close();
        const { port1, port2 } = new MessageChannel();
        this.#broker = port1;
        port1.on('message', (request) => this.#sendRequest(port1, request));
        this.#line?.postMessage({ port: port2 }, [port2]);
        break;
      }
      case 'detached':
        this.#broker?.close();
        this.#broker = undefined;
        break;
      case 'reply':
        this.#broker?.postMessage(notice.reply);
        break;
    }
  }

  #sendCall(message: Data): void {
    const refused = this.#sendJson(FROM_PROCESS.call, message);
    if (refused !== undefined) this.#kernelPort.postMessage(thrownAnswer(message.id, refused));
  }

  #sendAnswer(message: Data): void {
    // What it said before it answered, by the other port: log lines and metrics of a `stop`.
    this.#sendCallsWaiting();
    // Behind an answer the kernel may end us: what was counted until then is told before.
    this.#report();
    const refused = this.#sendJson(FROM_PROCESS.answer, message);
    if (refused !== undefined)
      this.#sendJson(FROM_PROCESS.answer, thrownAnswer(message.id, refused));
  }

  #sendCallsWaiting(): void {
    for (const message of waitingIn(this.#kernelPort)) this.#sendCall(message);
  }

  #sendRequest(broker: MessagePort, request: Data): void {
    const refused = this.#sendJson(FROM_PROCESS.broker, request);
    if (refused === undefined) return;
    const error = new PluginError('MKTS_NET_FAILED', {
      method: String(request.method ?? 'WebSocket'),
      url: 'request',
      reason: refused.message,
    });
    broker.postMessage({ kind: 'failed', id: request.id, error: toPlainError(error) });
  }

  /** Never rejects. */
  async #profile({ id, milliseconds }: ProfileCommand): Promise<void> {
    if (milliseconds === 0) {
      this.#profiles.get(id)?.abort();
      return;
    }
    const enough = new AbortController();
    this.#profiles.set(id, enough);
    const { signal } = enough;
    const gone = new Promise((ended) => this.#ended.signal.addEventListener('abort', ended));
    const piece = (part: Omit<ProfilePiece, 'id'>): void => {
      this.#sendJson(FROM_PROCESS.profile, { id, ...part } satisfies ProfilePiece);
    };
    try {
      const plugin = this.#plugin;
      const text = await profileWorker(this.#worker, { plugin, milliseconds, signal, gone });
      for (let from = 0; from < text.length; from += PROFILE_PIECE_CHARACTERS) {
        const to = from + PROFILE_PIECE_CHARACTERS;
        piece({ text: text.slice(from, to), isLast: to >= text.length });
      }
    } catch (cause) {
      const problem = cause instanceof PluginError ? String(cause.fields.reason) : String(cause);
      piece({ text: '', isLast: true, problem });
    } finally {
      this.#profiles.delete(id);
    }
  }

  /** Sends it, or returns why it cannot cross. */
  #sendJson(channel: number, message: unknown): Error | undefined {
    let payload: Buffer;
    try {
      payload = Buffer.from(JSON.stringify(message, plain));
    } catch (cause) {
      return cause as Error;
    }
    if (payload.length > LINE_MESSAGE_BYTES_MAX)
      return new Error(`${payload.length} bytes in one piece, at most ${LINE_MESSAGE_BYTES_MAX}`);
    this.#sendRows();
    this.#send(channel, payload);
    return undefined;
  }

  #send(channel: number, ...pieces: readonly Uint8Array[]): void {
    if (!this.#socket.writable) return;
    const payloadBytes = pieces.reduce((bytes, piece) => bytes + piece.length, 0);
    this.#socket.cork();
    this.#socket.write(messageHead(channel, payloadBytes));
    for (const piece of pieces) this.#socket.write(piece);
    this.#socket.uncork();
  }

  /** At most a ring full is under way: the kernel gives room back only for what it received. */
  #sendRows(): void {
    const pieces = this.#ring.take();
    if (pieces.length > 0) this.#send(FROM_PROCESS.rows, ...pieces);
  }

  async #pumpRows(): Promise<void> {
    const { signal } = this.#ended;
    while (!signal.aborted) {
      await this.#doorbell.wait(IDLE_POLL_MS);
      try {
        this.#sendRows();
      } catch (cause) {
        this.#failure = { isOutOfMemory: false, error: toPlainError(cause) };
        await this.#worker.terminate();
        return;
      }
      // What gathers while the socket is full goes as one message.
      while (this.#socket.writableNeedDrain && !signal.aborted)
        await new Promise((resolve) => this.#socket.once('drain', resolve));
    }
  }

  #report(): void {
    const report = Buffer.alloc(REPORT_BYTES);
    report.set(this.#ring.gauges());
    const { user, system } = process.cpuUsage();
    report.writeDoubleLE(this.#heapMb, GAUGE_BYTES);
    report.writeDoubleLE((user + system) / 1000, GAUGE_BYTES + 8);
    // Order: the rows a report counts are there before it, also if the process is killed in between.
    try {
      this.#sendRows();
    } catch {
      return; // A damaged ring: #pumpRows meets it, too, and ends the worker.
    }
    this.#send(FROM_PROCESS.report, report);
  }

  /** V8 answers for the worker even while it spins. */
  #askHeap(): void {
    this.#worker.getHeapStatistics().then(
      ({ used_heap_size, external_memory }) => {
        this.#heapMb = (used_heap_size + external_memory) / MIB;
      },
      // Not running yet, or no more: the exit event says so.
      () => undefined,
    );
  }

  #end(exitCode: number): void {
    this.#ended.abort();
    // What it said last may lie in the ports still.
    for (const message of waitingIn(this.#pluginPort)) this.#sendAnswer(message);
    this.#sendCallsWaiting();
    try {
      this.#sendRows();
    } catch (cause) {
      this.#failure = { isOutOfMemory: false, error: toPlainError(cause) };
    }
    this.#report();
    this.#sendJson(FROM_PROCESS.ended, { exitCode, ...this.#failure } satisfies ProcessEnded);
    this.#socket.end(() => process.exit());
  }
}

/** Messages that have come and were not told yet. */
function* waitingIn(port: MessagePort): Generator<Data> {
  for (let next = receiveMessageOnPort(port); next !== undefined; ) {
    yield next.message as Data;
    next = receiveMessageOnPort(port);
  }
}

/** What comlink would send for a call that threw. */
function thrownAnswer(id: unknown, { name, message, stack }: Error): Data {
  return {
    id,
    type: 'HANDLER',
    name: 'throw',
    value: { isError: true, value: { name, message, stack } },
  };
}

/** JSON knows no bigint; those that occur are fields of errors, to be read. */
function plain(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}

function run(): void {
  // The kernel alone says when it is over: a terminal's Ctrl-C reaches us as well as the kernel,
  // which then stops its plugins in good order.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => undefined);
  const socket = new Socket({ fd: LINE_FD, readable: true, writable: true });
  let worker: HostedWorker | undefined;
  const reader = new LineReader({
    bytesMax: () => Number.POSITIVE_INFINITY,
    onMessage: (channel, payload) => {
      if (channel === TO_PROCESS.start) {
        const options = deserialize(payload) as ProcessStart;
        // Before the first thread of the plugin, which inherits it.
        if (process.platform === 'linux') setPriority(options.niceness);
        worker = new HostedWorker(socket, options);
      } else worker?.receive(channel, payload);
    },
  });
  socket.on('data', (bytes) => reader.read(bytes));
  socket.on('error', () => undefined);
  // The kernel is gone. Not `exit`, which would wait for a worker that hangs in native code.
  socket.on('close', () => process.kill(process.pid, 'SIGKILL'));
}

run();
