/**
 * A supervisor with real workers and a kernel made of maps: buckets are declared as they are asked
 * for, and rows are "committed" as soon as they are drained. Plugins are CommonJS texts.
 */

import { MessageChannel } from 'node:worker_threads';
import type { Column } from '../../kernel/base/column-series.ts';
import { FLOAT64 } from '../../kernel/base/element-type.ts';
import { RequestError } from '../../kernel/base/errors.ts';
import { decodeRowBlock, ROW_BLOCK_HEADER_BYTES } from '../../kernel/base/row-block.ts';
import { type BucketSchema, EPOCH_SHAPE, sameSchema } from '../../kernel/base/schema.ts';
import { rowBlockOffsets } from '../../kernel/base/state-entry.ts';
import type { Denial } from '../../kernel/supervisor/denials.ts';
import type { PluginEntry, PluginFeed } from '../../kernel/supervisor/plugin-entry.ts';
import type { PluginState } from '../../kernel/supervisor/plugin-state.ts';
import { Supervisor, type SupervisorOptions } from '../../kernel/supervisor/supervisor.ts';
import { Doorbell } from '../../workers/doorbell.ts';
import type { PlainMetric } from '../../workers/protocol.ts';

export interface HarnessPlugin {
  readonly name: string;
  readonly kind?: 'bgworker' | 'trigger';
  /** Body of the module: assigns `module.exports`. */
  readonly code: string;
  readonly config?: unknown;
  /** Other keys of its entry. */
  readonly entry?: Partial<PluginEntry>;
}

export interface HarnessLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** A bgworker whose `start` has this body, with `ctx` in scope. */
export function bgworker(body: string, definition = ''): string {
  return `module.exports = { kind: 'bgworker', name: 'test', version: '1', api: 1,
    config: { safeParseAsync: async (data) => ({ success: true, data }) }, ${definition}
    async start(ctx) { ${body} } };`;
}

/** A trigger whose `fire` has this body, with `ctx` and `batch` in scope. */
export function trigger(body: string): string {
  return `module.exports = { kind: 'trigger', name: 'test', version: '1', api: 1,
    config: { safeParseAsync: async (data) => ({ success: true, data }) },
    async fire(ctx, batch) { ${body} } };`;
}

/** Text of a loop that writes one bar after the other until it is stopped. */
export function ticker(key: string): string {
  return `for (let at = 0; !ctx.signal.aborted; at++) {
    await ctx.write('${key}', { Epoch: [1700000000 + 60 * at], Close: [at] });
    if (at % 100 === 99) await ctx.clock.sleep(1);
  }`;
}

export class PluginHarness {
  readonly supervisor: Supervisor;
  readonly lines: HarnessLine[] = [];
  readonly states: { readonly plugin: string; readonly state: PluginState }[] = [];
  readonly metrics: (PlainMetric & { readonly plugin: string })[] = [];
  /** Rows by 'plugin key', as drained. */
  readonly rows: Map<string, { epoch: number; values: (number | bigint)[] }[]> = new Map();
  /** By plugin: what a build gives. Another text is another version. */
  readonly code: Map<string, string>;
  readonly grants: Map<string, readonly string[]> = new Map();
  readonly denials: Denial[] = [];
  readonly doorbell: Doorbell = new Doorbell();
  readonly #feeds = new Set<PluginFeed>();
  readonly #buckets = new Map<string, { readonly id: number; readonly schema: BucketSchema }>();
  readonly #watchers = new Set<() => void>();
  #draining: Promise<void> | undefined;
  #stopped = false;

  constructor(plugins: readonly HarnessPlugin[], options: Partial<SupervisorOptions> = {}) {
    const line =
      (level: HarnessLine['level']) =>
      (fields: HarnessLine['fields'], message: string): void => {
        this.lines.push({ level, message, fields });
        this.#changed();
      };
    this.code = new Map(plugins.map(({ name, code }) => [name, code]));
    this.supervisor = new Supervisor({
      entries: plugins.map(entryOf),
      bundle: async ({ name }) => {
        const code = this.code.get(name) ?? '';
        return { code, filename: `${name}.js`, hash: code, inputs: [] };
      },
      kernel: () => ({
        openBucket: (key, schema) => this.#openBucket(key.path, schema),
        schemaOf: (key) => this.#buckets.get(key.path)?.schema,
        query: async ({ key }) => this.#stored(key.path),
        lastRow: (key) => this.#stored(key.path, 1),
        metric: (plugin, metric) => {
          this.metrics.push({ ...metric, plugin });
          this.#changed();
        },
        denied: (denial) => {
          this.denials.push(denial);
          this.#changed();
        },
      }),
      network: {
        register: (plugin, grants) => {
          this.grants.set(plugin, grants);
          return new MessageChannel().port1;
        },
        unregister: () => {},
      },
      doorbell: this.doorbell,
      timezone: 'UTC',
      log: { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') },
      onRing: (feed) => {
        this.#feeds.add(feed);
      },
      onGone: async (feed) => {
        this.#drainFeed(feed);
        this.#feeds.delete(feed);
      },
      onState: (plugin, state) => {
        this.states.push({ plugin, state });
        this.#changed();
      },
      ...options,
      limits: { restartDelayMs: 20, sampleMs: 50, ...options.limits },
    });
  }

  async start(): Promise<void> {
    await this.supervisor.start();
    this.#draining = this.#drain();
  }

  async stop(): Promise<void> {
    await this.supervisor.stop();
    this.#stopped = true;
    this.doorbell.ring();
    await this.#draining;
  }

  /** Resolves once `condition` holds; looks again whenever anything happened. */
  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!condition()) return;
        this.#watchers.delete(look);
        resolve();
      };
      this.#watchers.add(look);
      look();
    });
  }

  /** Resolves when the plugin has entered the state `count` times. */
  entered(plugin: string, kind: PluginState['kind'], count = 1): Promise<void> {
    return this.until(
      () => this.statesOf(plugin).filter((state) => state === kind).length >= count,
    );
  }

  statesOf(plugin: string): readonly PluginState['kind'][] {
    return this.states.filter((entry) => entry.plugin === plugin).map(({ state }) => state.kind);
  }

  /** Code and text of the causes in the plugin's states, in order. */
  causesOf(plugin: string): readonly string[] {
    return this.states.flatMap(({ plugin: name, state }) =>
      name === plugin && 'cause' in state ? [String(Reflect.get(state.cause, 'code') ?? '')] : [],
    );
  }

  rowsOf(plugin: string, key: string): readonly { epoch: number; values: (number | bigint)[] }[] {
    return this.rows.get(`${plugin} ${key}`) ?? [];
  }

  /** What a plugin said by ctx.log. */
  saidBy(plugin: string): readonly string[] {
    return this.lines
      .filter(({ fields, message }) => fields.plugin === plugin && !message.startsWith('plugin '))
      .map(({ message }) => message);
  }

  #changed(): void {
    for (const look of [...this.#watchers]) look();
  }

  #openBucket(path: string, schema: BucketSchema): { id: number; schema: BucketSchema } {
    let bucket = this.#buckets.get(path);
    if (bucket === undefined) {
      bucket = { id: this.#buckets.size + 1, schema };
      this.#buckets.set(path, bucket);
    }
    if (bucket.schema.columns.length === 0)
      throw new RequestError('MKTS_BUCKET_UNKNOWN', { key: path });
    return sameSchema(bucket.schema, schema) ? bucket : { ...bucket };
  }

  #stored(path: string, limit = Number.POSITIVE_INFINITY): { rowCount: number; columns: Column[] } {
    const rows = [...this.rows].filter(([id]) => id.endsWith(` ${path}`)).flatMap(([, all]) => all);
    const taken = rows.slice(-Math.min(limit, rows.length));
    return {
      rowCount: taken.length,
      columns: [
        { ...EPOCH_SHAPE, data: BigInt64Array.from(taken, ({ epoch }) => BigInt(epoch)) },
        {
          name: 'Close',
          type: FLOAT64,
          data: Float64Array.from(taken, ({ values }) => Number(values[0])),
        },
      ],
    };
  }

  async #drain(): Promise<void> {
    do {
      await this.doorbell.wait(10);
      for (const feed of this.#feeds) this.#drainFeed(feed);
      this.#changed();
    } while (!this.#stopped);
  }

  #drainFeed(feed: PluginFeed): void {
    try {
      for (let frame = feed.ring.peek(); frame !== undefined; frame = feed.ring.peek()) {
        const copy = feed.ring.data.slice(frame.offset, frame.offset + frame.bytes);
        const cursor = feed.ring.consume();
        for (const offset of rowBlockOffsets(new DataView(copy.buffer)))
          this.#take(feed, copy, offset);
        feed.ring.markCommitted(cursor);
      }
    } catch (cause) {
      this.#feeds.delete(feed);
      this.supervisor.reject(feed, cause as Error);
    }
  }

  #take(feed: PluginFeed, block: Uint8Array<ArrayBuffer>, offset: number): void {
    const view = new DataView(block.buffer);
    const target = feed.series(view.getUint32(offset + 8, true));
    if (target === undefined) throw new Error('a frame of a series that was never opened');
    const rowCount = view.getUint32(offset + 12, true);
    if (block.byteLength < ROW_BLOCK_HEADER_BYTES) throw new Error('a frame is too short');
    const [epochs, ...columns] = decodeRowBlock(block.buffer, offset, target.schema, rowCount);
    const id = `${feed.plugin} ${target.key.path}`;
    const rows = this.rows.get(id) ?? [];
    this.rows.set(id, rows);
    for (let row = 0; row < rowCount; row++)
      rows.push({
        epoch: Number(epochs?.data[row]),
        values: columns.map(({ data }) => data[row] ?? Number.NaN),
      });
  }
}

function entryOf({ name, kind = 'bgworker', config, entry }: HarnessPlugin): PluginEntry {
  return {
    name,
    kind,
    module: `${name}.so`,
    config,
    locate: (path) => `mkts.yml:1:${path.length + 1}`,
    ...entry,
  };
}
