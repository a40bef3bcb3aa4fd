/**
 * A plugin's `ctx` without a kernel: buckets are Maps, time is a clock turned by hand, the network
 * is a function. For unit tests of plugins only; what it does is what plugins/sdk.ts promises.
 *
 * `world.until(condition)` lets the plugin run as far as it can, then turns the clock to its next
 * timer, and so on: no test sleeps.
 */

import { type MktsError, RequestError } from '../../kernel/base/errors.ts';
import type {
  BgWorker,
  Clock,
  Context,
  FetchResponse,
  QueriedRows,
  Rows,
  Socket,
  z,
} from '../../plugins/sdk.ts';
import { createSlots } from '../../workers/plugin-clock.ts';

const TURNS_MAX = 20_000;

interface Timer {
  readonly atMs: number;
  readonly fire: () => void;
}

/** Time that passes only when a test says so. */
export class FakeClock implements Clock {
  #nowMs: number;
  #timers: Timer[] = [];

  constructor(nowMs: number) {
    this.#nowMs = nowMs;
  }

  now(): number {
    return this.#nowMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason);
        return;
      }
      const onAbort = (): void => {
        this.#timers = this.#timers.filter((other) => other !== timer);
        reject(signal?.reason);
      };
      const fire = (): void => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      };
      const timer = this.at(this.#nowMs + Math.max(0, ms), fire);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** Calls `fire` when the clock gets there: for what a fake venue does by itself. */
  at(atMs: number, fire: () => void): Timer {
    const timer = { atMs, fire };
    this.#timers.push(timer);
    return timer;
  }

  /** Turns the clock to its next timer and fires it; false if there is none. */
  turn(): boolean {
    let next: Timer | undefined;
    for (const timer of this.#timers)
      if (next === undefined || timer.atMs < next.atMs) next = timer;
    if (next === undefined) return false;
    this.#timers = this.#timers.filter((timer) => timer !== next);
    this.#nowMs = Math.max(this.#nowMs, next.atMs);
    next.fire();
    return true;
  }

  /** Turns the clock by `ms`, firing what lies between. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await settled();
    while (this.#timers.some(({ atMs }) => atMs <= endMs)) {
      this.turn();
      await settled();
    }
    this.#nowMs = endMs;
  }
}

/** Everything that can happen without time passing has happened. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise<void>((resolve) => setImmediate(resolve));
}

export interface FakeAnswer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

/** The venue's side of a socket: `receive` what it sends, `end` it, see what the plugin sent. */
export class FakeSocket implements Socket {
  readonly url: string;
  readonly sent: string[] = [];
  closedWith: number | undefined;
  onSent: ((text: string) => void) | undefined;
  #waiting: string[] = [];
  #isEnded = false;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(url: string) {
    this.url = url;
  }

  get isOpen(): boolean {
    return !this.#isEnded;
  }

  receive(message: unknown): void {
    if (this.#isEnded) return;
    this.#waiting.push(typeof message === 'string' ? message : JSON.stringify(message));
    this.#wake?.();
  }

  end(failure?: Error): void {
    this.#isEnded = true;
    this.#failure = failure;
    this.#wake?.();
  }

  send(text: string): void {
    if (this.#isEnded) return;
    this.sent.push(text);
    this.onSent?.(text);
  }

  close(code?: number): void {
    if (this.#isEnded) return;
    this.closedWith = code;
    this.end();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string, void, undefined> {
    for (;;) {
      const text = this.#waiting.shift();
      if (text !== undefined) yield text;
      else if (this.#failure !== undefined) throw this.#failure;
      else if (this.#isEnded) return;
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
    }
  }
}

export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export type Row = Readonly<Record<string, number>>;

export interface FakeWorldOptions {
  readonly nowMs: number;
  readonly timezone?: string;
  /** An Error is a network failure. */
  readonly fetch?: (url: URL) => FakeAnswer | Error;
  readonly socket?: (socket: FakeSocket) => void;
}

/** The database and the network of one or more runs of a plugin. */
export class FakeWorld {
  readonly clock: FakeClock;
  readonly buckets: Map<string, Map<number, Row>> = new Map();
  readonly requests: { readonly atMs: number; readonly url: URL }[] = [];
  readonly sockets: FakeSocket[] = [];
  readonly logLines: LogLine[] = [];
  readonly counters: Map<string, number> = new Map();
  readonly gauges: Map<string, number> = new Map();
  writeCount = 0;
  flushCount = 0;
  /** Throws to refuse a write or a flush. */
  onWrite: (key: string, rows: Rows) => void = () => undefined;
  onFlush: () => void = () => undefined;
  onFetch: (url: URL) => FakeAnswer | Error;
  onSocket: (socket: FakeSocket) => void;
  readonly #timezone: string;

  constructor(options: FakeWorldOptions) {
    this.clock = new FakeClock(options.nowMs);
    this.#timezone = options.timezone ?? 'UTC';
    this.onFetch = options.fetch ?? (() => new Error('no network in this test'));
    this.onSocket = options.socket ?? (() => undefined);
  }

  /** Starts a plugin as the kernel does; `config` is as it stands in mkts.yml. */
  start<Schema extends z.ZodType>(plugin: BgWorker<Schema>, config: unknown): Run {
    const controller = new AbortController();
    const parsed = plugin.config.parse(config) as z.output<Schema>;
    const run: Run = {
      ended: false,
      failure: undefined,
      stop: async () => {
        controller.abort(new Error('stop'));
        await settled();
      },
    };
    plugin.start(this.context(parsed, controller.signal)).then(
      () => {
        run.ended = true;
      },
      (failure: unknown) => {
        run.ended = true;
        run.failure = failure;
      },
    );
    return run;
  }

  context<Config>(config: Config, signal: AbortSignal): Context<Config> {
    const log =
      (level: string) =>
      (message: string, fields: LogLine['fields'] = {}) => {
        this.logLines.push({ level, message, fields });
      };
    return {
      name: 'fake',
      config,
      timezone: this.#timezone,
      signal,
      log: { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') },
      metrics: {
        count: (name, labels = {}, by = 1) => {
          const id = [name, ...Object.values(labels)].join(' ');
          this.counters.set(id, (this.counters.get(id) ?? 0) + by);
        },
        gauge: (name, value, labels = {}) => {
          this.gauges.set([name, ...Object.values(labels)].join(' '), value);
        },
      },
      clock: this.clock,
      slots: createSlots(this.#timezone),
      write: async (key, rows) => this.#write(key, rows),
      flush: async () => {
        this.flushCount++;
        this.onFlush();
      },
      query: async ({
        key,
        from = Number.NEGATIVE_INFINITY,
        to = Number.POSITIVE_INFINITY,
        limit,
      }) =>
        queried(
          this.rows(key).filter(({ Epoch = 0 }) => Epoch >= from && Epoch <= to),
          limit,
        ),
      lastRow: async (key) => this.rows(key).at(-1),
      fetch: async (url) => this.#fetch(new URL(url)),
      socket: async (url) => {
        const socket = new FakeSocket(url);
        this.sockets.push(socket);
        this.onSocket(socket);
        return socket;
      },
    };
  }

  /** Rows of a bucket, ascending. */
  rows(key: string): readonly Row[] {
    return [...(this.buckets.get(key)?.values() ?? [])].sort(
      (a, b) => (a.Epoch ?? 0) - (b.Epoch ?? 0),
    );
  }

  epochs(key: string): readonly number[] {
    return this.rows(key).map(({ Epoch = 0 }) => Epoch);
  }

  lines(level: string): readonly LogLine[] {
    return this.logLines.filter((line) => line.level === level);
  }

  /** Runs, and turns the clock from timer to timer, until `condition` holds. */
  async until(condition: () => boolean): Promise<void> {
    for (let turn = 0; turn < TURNS_MAX; turn++) {
      await settled();
      if (condition()) return;
      if (!this.clock.turn()) throw new Error(`nothing is left to happen: ${this.#story()}`);
    }
    throw new Error(`the condition was not met: ${this.#story()}`);
  }

  #write(key: string, rows: Rows): void {
    this.onWrite(key, rows);
    this.writeCount++;
    const bucket = this.buckets.get(key) ?? new Map<number, Row>();
    this.buckets.set(key, bucket);
    for (let index = 0; index < rows.Epoch.length; index++) {
      const row: Record<string, number> = {};
      for (const [column, values] of Object.entries(rows)) row[column] = Number(values[index]);
      bucket.set(row.Epoch ?? 0, row);
    }
  }

  async #fetch(url: URL): Promise<FetchResponse> {
    this.requests.push({ atMs: this.clock.now(), url });
    const answer = this.onFetch(url);
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

  #story(): string {
    return this.logLines
      .slice(-20)
      .map(({ level, message, fields }) => `${level} ${message} ${JSON.stringify(fields)}`)
      .join('\n');
  }
}

export interface Run {
  ended: boolean;
  failure: unknown;
  stop(): Promise<void>;
}

function queried(rows: readonly Row[], limit = rows.length): QueriedRows {
  const taken = limit === 0 ? [] : rows.slice(-limit);
  const columns: Record<string, Float64Array> = {};
  for (const name of Object.keys(taken[0] ?? {}))
    if (name !== 'Epoch') columns[name] = Float64Array.from(taken, (row) => row[name] ?? 0);
  return {
    rowCount: taken.length,
    Epoch: Float64Array.from(taken, ({ Epoch = 0 }) => Epoch),
    columns,
  };
}

/** A refusal of the kernel that another try meets again. */
export function columnsRefused(): MktsError {
  return new RequestError('MKTS_COLUMN_MISMATCH', { have: 'Open', want: 'Price' });
}
