/**
 * A kernel for tests of plugins: buckets are Maps, time is a clock turned by the test, the network
 * is a tape or a function. What it does is what plugins/sdk.ts promises; rows, states, grants and
 * times go through the same code as in a server.
 *
 * The plugin runs in the test's own process, so that a debugger stops in it; that it also builds and
 * loads the way a server does it is what `mkts plugin test` checks besides.
 *
 * `kernel.until(condition)` lets the plugin run as far as it can, then turns the clock to its next
 * timer, and so on: no test sleeps.
 */

import { PluginError, reasonOf } from '../../kernel/base/errors.ts';
import { PLUGIN_DISK_MB } from '../../kernel/base/limits.ts';
import type { Tape } from '../../kernel/base/tape.ts';
import { parseTimeBucketKey } from '../../kernel/base/time-bucket-key.ts';
import { KeptState } from '../../workers/kept-state.ts';
import { createSlots } from '../../workers/plugin-clock.ts';
import { definitionOf } from '../../workers/plugin-definition.ts';
import {
  type BgWorker,
  type Capabilities,
  type Context,
  type FetchOptions,
  type FetchResponse,
  KERNEL_API,
  type KeyedRows,
  type Rows,
  type Slots,
  type Socket,
  type TouchedBatch,
  type Trigger,
  type WholeOptions,
  type WriteOptions,
  type z,
} from '../sdk.ts';
import { FakeClock, settled } from './fake-clock.ts';
import { allowances } from './fake-grants.ts';
import { FakeSocket } from './fake-socket.ts';
import { FakeStore, type Row } from './fake-store.ts';
import { TapePlayer } from './tape-player.ts';

const TURNS_MAX = 20_000;
const STORY_LINES = 20;
/** A Monday, when markets are open. */
const DEFAULT_NOW_MS = Date.UTC(2026, 0, 5, 15);

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** A venue's answer; a body that is no text is sent as JSON. */
export interface FakeAnswer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

/** An Error is a network failure. */
export type FakeFetch = (url: URL, request: FetchOptions) => FakeAnswer | Error;

export interface FakeKernelOptions {
  /** Unix milliseconds. Default: where the tape begins, or 2026-01-05 15:00 UTC. */
  readonly nowMs?: number;
  /** The server's `timezone`. Default: UTC. */
  readonly timezone?: string;
  /** Answers and sockets in place of `fetch` and `socket`. */
  readonly tape?: Tape;
  /** Query parameters by which a request need not agree with the tape's. */
  readonly ignoreParameters?: readonly string[];
  readonly fetch?: FakeFetch;
  readonly socket?: (socket: FakeSocket) => void;
}

export interface RunOptions {
  /** Name of the entry of mkts.yml. Default: the plugin's. State is kept by it, over runs. */
  readonly name?: string;
  /** Values of `ctx.secrets`. */
  readonly secrets?: Readonly<Record<string, string>>;
}

/** One run of a plugin, from start to end. */
export interface Run {
  readonly ended: boolean;
  /** What the plugin threw. */
  readonly failure: unknown;
  /** Aborts `ctx.signal` and lets the plugin see it. */
  stop(): Promise<void>;
  /** Tells a trigger what was written; resolves when it is done, rejects with what it threw. */
  fire(batch: TouchedBatch): Promise<void>;
}

/** What one run may do; everything, where a test asks for a context alone. */
interface RunParts {
  readonly name: string;
  readonly capabilities: Capabilities | undefined;
  readonly secrets: Readonly<Record<string, string>>;
  readonly rawConfig: unknown;
}

/** The database, the network and the time of one or more runs of plugins. */
export class FakeKernel {
  readonly clock: FakeClock;
  readonly store: FakeStore;
  readonly requests: { readonly atMs: number; readonly url: URL }[] = [];
  readonly sockets: FakeSocket[] = [];
  readonly logLines: LogLine[] = [];
  /** What plugins gave to `ctx.deadLetter`. */
  readonly deadLetters: { readonly reason: string; readonly payload: unknown }[] = [];
  /** By name and label values: 'dropped_rows not_closed'. */
  readonly counters: Map<string, number> = new Map();
  readonly gauges: Map<string, number> = new Map();
  writeCount = 0;
  flushCount = 0;
  /** Throws to refuse a write or a flush. */
  onWrite: (key: string, rows: Rows) => void = () => undefined;
  onFlush: () => void = () => undefined;
  onFetch: FakeFetch;
  onSocket: (socket: FakeSocket) => void;
  readonly #timezone: string;
  readonly #slots: Slots;
  readonly #states = new Map<string, KeptState>();
  readonly #player: TapePlayer | undefined;
  readonly #failures: unknown[] = [];

  constructor(options: FakeKernelOptions = {}) {
    const { tape, timezone = 'UTC' } = options;
    this.clock = new FakeClock(options.nowMs ?? tape?.startedMs ?? DEFAULT_NOW_MS);
    this.#timezone = timezone;
    this.#slots = createSlots(timezone);
    this.store = new FakeStore(this.#slots);
    this.#player =
      tape && new TapePlayer(tape, this.clock, { ignoreParameters: options.ignoreParameters });
    const player = this.#player;
    this.onFetch =
      options.fetch ??
      ((url, request) => player?.fetch(url, request) ?? new Error('no network in this test'));
    this.onSocket = options.socket ?? ((socket) => player?.connect(socket));
  }

  /** Starts a plugin as the kernel does; `config` is as it stands in mkts.yml. */
  start<Schema extends z.ZodType>(
    plugin: BgWorker<Schema> | Trigger<Schema>,
    config: unknown = {},
    options: RunOptions = {},
  ): Run {
    const name = options.name ?? plugin.name;
    definitionOf(name, plugin);
    if (plugin.api !== KERNEL_API)
      throw new PluginError('MKTS_PLUGIN_API', {
        plugin: name,
        wanted: plugin.api,
        have: KERNEL_API,
      });
    const parsed = plugin.config.parse(config) as z.output<Schema>;
    const controller = new AbortController();
    const { capabilities = {} } = plugin;
    const parts = { name, capabilities, secrets: options.secrets ?? {}, rawConfig: config };
    const ctx = this.#context(parsed, controller.signal, parts);
    const run = { ended: false, failure: undefined as unknown };
    const started = Promise.resolve(plugin.start?.(ctx));
    const ended = started.then(
      () => {
        if (plugin.kind === 'bgworker') run.ended = true;
      },
      (failure: unknown) => {
        run.ended = true;
        // Whoever is told to stop may say so by throwing the signal's reason: that is no failure.
        if (controller.signal.aborted && failure === controller.signal.reason) return;
        run.failure = failure;
        this.#failures.push(failure);
      },
    );
    return Object.assign(run, {
      stop: async (): Promise<void> => {
        controller.abort(new DOMException('the plugin shall stop', 'AbortError'));
        if (plugin.kind === 'trigger') run.ended = true;
        await settled();
      },
      fire: async (batch: TouchedBatch): Promise<void> => {
        if (plugin.kind !== 'trigger') throw new TypeError('only a trigger is fired');
        await ended;
        if (run.failure !== undefined) throw run.failure;
        await plugin.fire(ctx, batch);
        // As in a server: what came of a batch must be on disk before it counts as done.
        await ctx.flush();
      },
    });
  }

  /** Rows somebody else wrote. Returns what a trigger is told of them, for `run.fire`. */
  put(key: string, rows: Rows, options: WriteOptions = {}): TouchedBatch {
    const variable = options.variable === true;
    this.store.write([{ key, rows, variable }]);
    const { path, symbol, timeframe, attributeGroup } = parseTimeBucketKey(key);
    const epochs = Array.from(rows.Epoch, Number).sort((a, b) => a - b);
    const ranges = epochs.length === 0 ? [] : [{ from: epochs[0] ?? 0, to: epochs.at(-1) ?? 0 }];
    return { key: path, symbol, timeframe, attributeGroup, ranges };
  }

  /** A context alone, for tests of the parts of a plugin: it may do everything. */
  context<Config>(config: Config, signal: AbortSignal): Context<Config> {
    const parts = { name: 'fake', capabilities: undefined, secrets: {}, rawConfig: config };
    return this.#context(config, signal, parts);
  }

  /** Rows of a bucket, ascending. */
  rows(key: string): readonly Row[] {
    return this.store.rows(key);
  }

  epochs(key: string): readonly number[] {
    return this.rows(key).map(({ Epoch }) => Epoch);
  }

  lines(level: LogLine['level']): readonly LogLine[] {
    return this.logLines.filter((line) => line.level === level);
  }

  /** What is on the tape and was not asked for, a line each. */
  get unplayed(): readonly string[] {
    return this.#player?.left ?? [];
  }

  /** Runs, and turns the clock from timer to timer, until `condition` holds. */
  async until(condition: () => boolean): Promise<void> {
    for (let turn = 0; turn < TURNS_MAX; turn++) {
      await settled();
      if (condition()) return;
      if (!this.clock.turn()) throw this.#unmet('nothing is left to happen');
    }
    throw this.#unmet(`the condition was not met in ${TURNS_MAX} turns of the clock`);
  }

  #context<Config>(config: Config, signal: AbortSignal, parts: RunParts): Context<Config> {
    const allowed = allowances(parts);
    const state = this.#stateOf(parts.name);
    const log =
      (level: LogLine['level']) =>
      (message: string, fields: LogLine['fields'] = {}): void => {
        this.logLines.push({ level, message, fields });
      };
    const writeAll = async (writes: readonly KeyedRows[], options: WholeOptions = {}) => {
      for (const { key } of writes) allowed.checkWrite(key);
      const changes = state.encode(options.state);
      state.checkRoom(changes);
      for (const { key, rows } of writes) this.onWrite(key, rows);
      this.store.write(writes);
      state.accept(changes);
      if (writes.length > 0) this.writeCount++;
    };
    return {
      name: parts.name,
      config,
      timezone: this.#timezone,
      signal,
      log: { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') },
      metrics: {
        count: (name, labels = {}, by = 1) => {
          const id = metricId(name, labels);
          this.counters.set(id, (this.counters.get(id) ?? 0) + by);
        },
        gauge: (name, value, labels = {}) => {
          this.gauges.set(metricId(name, labels), value);
        },
      },
      clock: {
        now: () => this.clock.now(),
        sleep: (ms, own) =>
          this.clock.sleep(ms, own === undefined ? signal : AbortSignal.any([own, signal])),
      },
      slots: this.#slots,
      write: (key, rows, options = {}) =>
        writeAll([{ key, rows, variable: options.variable === true }], options),
      writeAll,
      state: {
        get: (name) => state.get(name),
        set: (name, value) => writeAll([], { state: { [name]: value } }),
      },
      secrets: { get: (name) => allowed.secret(name) },
      deadLetter: (reason, payload) => {
        this.deadLetters.push({ reason, payload });
      },
      flush: async () => {
        this.flushCount++;
        this.onFlush();
      },
      query: async (options) => this.store.query(options),
      lastRow: async (key) => this.rows(key).at(-1),
      fetch: async (url, options = {}) => {
        allowed.checkUrl(url);
        return this.#fetch(new URL(url), options);
      },
      socket: async (url) => {
        allowed.checkUrl(url);
        return this.#open(url);
      },
    };
  }

  #stateOf(name: string): KeptState {
    let state = this.#states.get(name);
    if (state === undefined) {
      state = new KeptState(name);
      state.reset({ entries: [], bytesMax: PLUGIN_DISK_MB * 1024 * 1024 });
      this.#states.set(name, state);
    }
    return state;
  }

  async #fetch(url: URL, request: FetchOptions): Promise<FetchResponse> {
    request.signal?.throwIfAborted();
    this.requests.push({ atMs: this.clock.now(), url });
    const answer = this.onFetch(url, request);
    if (answer instanceof Error) throw answer;
    const { status = 200, headers = {}, body } = answer;
    const text = typeof body === 'string' ? body : JSON.stringify(body ?? null);
    return {
      status,
      ok: status >= 200 && status < 300,
      headers,
      text: () => text,
      json: () => JSON.parse(text) as unknown,
    };
  }

  #open(url: string): Socket {
    const socket = new FakeSocket(url);
    this.sockets.push(socket);
    this.onSocket(socket);
    return socket;
  }

  /** An error that tells how it came to this: the last of the log, and what runs threw. */
  #unmet(what: string): Error {
    const lines = this.logLines
      .slice(-STORY_LINES)
      .map(({ level, message, fields }) => `${level} ${message} ${JSON.stringify(fields)}`);
    const failures = this.#failures.map((failure) => `the plugin threw: ${reasonOf(failure)}`);
    const cause = this.#failures.at(-1);
    return new Error([`${what}:`, ...lines, ...failures].join('\n'), { cause });
  }
}

function metricId(name: string, labels: Readonly<Record<string, string>>): string {
  return [name, ...Object.values(labels)].join(' ');
}
