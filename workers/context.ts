/**
 * What a plugin is given: the sdk's `Context`, assembled. Runs in the worker.
 *
 * Rows go by the transport, traffic by the broker, questions by calls to the kernel. All objects a
 * plugin gets here are frozen and without a prototype, and hold closures only: no port, no shared
 * memory, no comlink proxy can be reached through them.
 */

import { elementTypeOfCode } from '../kernel/base/element-type.ts';
import { PLUGIN_LAST_ROWS_MAX } from '../kernel/base/limits.ts';
import { RequestGate } from '../kernel/base/request-gate.ts';
import type { Context, QueriedRows, QueryOptions } from '../plugins/sdk.ts';
import type { BrokerClient } from './broker-client.ts';
import type { KeptState } from './kept-state.ts';
import { revive } from './outcome.ts';
import { createClock, createSlots } from './plugin-clock.ts';
import type { PluginLetters } from './plugin-letters.ts';
import type { PluginLog } from './plugin-log.ts';
import type { PluginMetrics } from './plugin-metrics.ts';
import type { PluginSecrets } from './plugin-secrets.ts';
import type { KernelShape, PlainSeries } from './protocol.ts';
import type { SeriesWriter } from './series-writer.ts';

export interface ContextParts {
  readonly plugin: string;
  readonly config: unknown;
  readonly timezone: string;
  readonly signal: AbortSignal;
  readonly kernel: KernelShape;
  readonly writer: SeriesWriter;
  readonly state: KeptState;
  readonly letters: PluginLetters;
  readonly network: BrokerClient;
  readonly log: PluginLog;
  readonly metrics: PluginMetrics;
  readonly secrets: PluginSecrets;
}

export function createContext(parts: ContextParts): Context<unknown> {
  const { kernel, writer, state, network, log, metrics, signal } = parts;
  // What waits is in the plugin's memory, which is bounded.
  const lastRows = new RequestGate(parts.plugin, PLUGIN_LAST_ROWS_MAX, Number.POSITIVE_INFINITY);
  return facade<Context<unknown>>({
    name: parts.plugin,
    config: parts.config,
    timezone: parts.timezone,
    signal,
    log: facade({
      debug: (message, fields) => log.debug(message, fields),
      info: (message, fields) => log.info(message, fields),
      warn: (message, fields) => log.warn(message, fields),
      error: (message, fields) => log.error(message, fields),
    }),
    metrics: facade({
      count: (name, labels, by) => metrics.count(name, labels, by),
      gauge: (name, value, labels) => metrics.gauge(name, value, labels),
    }),
    clock: facade(createClock(signal)),
    slots: facade(createSlots(parts.timezone)),
    write: (key, rows, options) => writer.write(key, rows, options),
    writeAll: (writes, options) => writer.writeAll(writes, options),
    state: facade({
      get: (name) => state.get(name),
      set: (name, value) => writer.writeAll([], { state: { [name]: value } }),
    }),
    secrets: facade({ get: (name) => parts.secrets.get(String(name)) }),
    deadLetter: (reason, payload) => parts.letters.letter(reason, payload),
    flush: () => writer.flush(),
    query: async (options) => rowsOf(revive(await kernel.query(plainQuery(options)))),
    lastRow: (key) =>
      lastRows.run(async () => lastRowOf(revive(await kernel.lastRow(String(key))))),
    fetch: (url, options) => network.fetch(url, options),
    socket: (url) => network.socket(url),
  });
}

/** Only what is known crosses, and only if it is there. */
function plainQuery(options: QueryOptions): QueryOptions {
  const { key, from, to, limit, oldest, columns } = options;
  return {
    key: String(key),
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
    ...(limit === undefined ? {} : { limit }),
    ...(oldest === undefined ? {} : { oldest }),
    ...(columns === undefined ? {} : { columns: [...columns] }),
  };
}

function rowsOf(series: PlainSeries): QueriedRows {
  const columns: Record<string, ArrayLike<number> | BigInt64Array | BigUint64Array> =
    Object.create(null);
  let epochs = new Float64Array(series.rowCount);
  for (const { name, type, data } of series.columns) {
    const values = elementTypeOfCode(type)?.view(data, 0, series.rowCount);
    if (values === undefined) continue;
    if (name === 'Epoch') epochs = Float64Array.from(values, Number);
    else columns[name] = values;
  }
  return Object.freeze({ rowCount: series.rowCount, Epoch: epochs, columns });
}

function lastRowOf(series: PlainSeries): Readonly<Record<string, number | bigint>> | undefined {
  if (series.rowCount === 0) return undefined;
  const row: Record<string, number | bigint> = Object.create(null);
  for (const { name, type, data } of series.columns) {
    const element = elementTypeOfCode(type);
    // A string has many lanes and is no value of a row here.
    if (element?.lanes !== 1) continue;
    const value = element.view(data, 0, series.rowCount)[series.rowCount - 1];
    if (value !== undefined) row[name] = name === 'Epoch' ? Number(value) : value;
  }
  return row;
}

function facade<T extends object>(members: T): T {
  return Object.freeze(Object.assign(Object.create(null), members));
}
