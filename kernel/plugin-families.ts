/**
 * Metrics of plugins, for `/metrics`: each name a plugin uses becomes a family
 * `mkts_plugin_<name>{plugin, …}`. The labels of a family are those of its first sample; a sample
 * with others is dropped, as is what exceeds the bounds: a plugin must not fill the kernel's memory
 * by counting. Main thread.
 */

import type { PlainMetric } from '../workers/protocol.ts';
import { PLUGIN_FAMILIES_MAX, PLUGIN_SAMPLES_MAX } from './base/limits.ts';
import type { Metrics, Sample } from './frontend/metrics.ts';

interface Family {
  readonly kind: PlainMetric['kind'];
  readonly labels: readonly string[];
  readonly samples: Map<string, { readonly labels: Record<string, string>; value: number }>;
}

export class PluginFamilies {
  readonly #metrics: Metrics;
  readonly #families = new Map<string, Family>();
  #dropped = 0;

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
    metrics.addCounter({
      name: 'mkts_plugin_metrics_dropped_total',
      help: 'Samples of plugins that did not fit their family or the bounds.',
      read: () => [{ value: this.#dropped }],
    });
  }

  /** Counters come as what was added since the last time. */
  observe(plugin: string, metric: PlainMetric): void {
    const family = this.#families.get(metric.name) ?? this.#addFamily(metric);
    const fits =
      family?.kind === metric.kind &&
      family.labels.length === Object.keys(metric.labels).length &&
      family.labels.every((label) => label in metric.labels);
    if (!fits) {
      this.#dropped++;
      return;
    }
    const identity = [plugin, ...family.labels.map((label) => metric.labels[label])].join('\0');
    const sample = family.samples.get(identity);
    if (sample === undefined) {
      if (family.samples.size >= PLUGIN_SAMPLES_MAX) this.#dropped++;
      else
        family.samples.set(identity, { labels: { ...metric.labels, plugin }, value: metric.value });
    } else if (metric.kind === 'counter') sample.value += metric.value;
    else sample.value = metric.value;
  }

  #addFamily({ name, kind, labels }: PlainMetric): Family | undefined {
    const names = Object.keys(labels);
    const isName = (text: string): boolean => /^[a-z][a-z0-9_]{0,63}$/.test(text);
    if (this.#families.size >= PLUGIN_FAMILIES_MAX || !isName(name)) return undefined;
    if (!names.every((label) => isName(label) && label !== 'plugin')) return undefined;
    const family: Family = { kind, labels: names, samples: new Map() };
    this.#families.set(name, family);
    const options = {
      name: `mkts_plugin_${name}${kind === 'counter' && !name.endsWith('_total') ? '_total' : ''}`,
      help: 'Reported by plugins.',
      labels: ['plugin', ...names],
      read: (): Iterable<Sample> => family.samples.values(),
    };
    if (kind === 'counter') this.#metrics.addCounter(options);
    else this.#metrics.addGauge(options);
    return family;
  }
}
