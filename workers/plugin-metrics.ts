/**
 * `ctx.metrics`: counters add up and gauges keep their last value in the worker; what changed is sent
 * once a second. Runs in the worker.
 */

import { METRICS_PER_PLUGIN_MAX } from '../kernel/base/limits.ts';
import type { Metrics } from '../plugins/sdk.ts';
import type { PlainMetric } from './protocol.ts';

type Labels = Readonly<Record<string, string>>;
interface Entry {
  readonly metric: Omit<PlainMetric, 'value'>;
  value: number;
  changed: boolean;
}

export class PluginMetrics implements Metrics {
  readonly #send: (metrics: readonly PlainMetric[]) => Promise<void>;
  readonly #entries = new Map<string, Entry>();

  constructor(send: (metrics: readonly PlainMetric[]) => Promise<void>) {
    this.#send = send;
  }

  count(name: string, labels: Labels = {}, by = 1): void {
    const entry = this.#entry('counter', name, labels);
    if (entry === undefined || !(by >= 0)) return;
    entry.value += by;
    entry.changed = true;
  }

  gauge(name: string, value: number, labels: Labels = {}): void {
    const entry = this.#entry('gauge', name, labels);
    if (entry === undefined) return;
    entry.value = Number(value);
    entry.changed = true;
  }

  /** Sends what changed: counters as what was added since, gauges as they are. */
  send(): void {
    const metrics: PlainMetric[] = [];
    for (const entry of this.#entries.values()) {
      if (!entry.changed) continue;
      metrics.push({ ...entry.metric, value: entry.value });
      entry.changed = false;
      if (entry.metric.kind === 'counter') entry.value = 0;
    }
    if (metrics.length > 0) this.#send(metrics).catch(() => {});
  }

  /** Undefined past METRICS_PER_PLUGIN_MAX: labels that never repeat shall not fill the memory. */
  #entry(kind: PlainMetric['kind'], name: string, labels: Labels): Entry | undefined {
    const plain: Record<string, string> = {};
    for (const label of Object.keys(labels).sort()) plain[label] = String(labels[label]);
    const id = JSON.stringify([kind, String(name), plain]);
    let entry = this.#entries.get(id);
    if (entry !== undefined) return entry;
    if (this.#entries.size >= METRICS_PER_PLUGIN_MAX) return undefined;
    entry = { metric: { kind, name: String(name), labels: plain }, value: 0, changed: false };
    this.#entries.set(id, entry);
    return entry;
  }
}
