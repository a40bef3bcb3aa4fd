/**
 * What the kernel tells `/metrics` of each plugin. What a plugin counts itself is in
 * plugin-families.ts.
 *
 * What belongs to a worker has the label `generation`, so that a new version can be compared with the
 * one before; what belongs to the entry over all its workers has `plugin` alone.
 */

import type { BudgetUse } from './base/plugin-report.ts';
import type { Metrics, Sample } from './frontend/metrics.ts';
import type { GenerationRows, RowCounts } from './plugin-rows.ts';
import type { LetterTotals } from './supervisor/dead-letters.ts';
import type { Denials } from './supervisor/denials.ts';
import type { PluginStatus } from './supervisor/plugin-state.ts';

export interface PluginMetricSources {
  readonly plugins: () => readonly PluginStatus[];
  readonly rows: () => readonly GenerationRows[];
  readonly letters: () => readonly LetterTotals[];
  readonly lineCount: (plugin: string) => number;
  readonly budgets: (status: PluginStatus) => readonly BudgetUse[];
  readonly denials: Denials['totals'];
}

type Kind = 'Counter' | 'Gauge';
type Family = readonly [
  kind: Kind,
  name: string,
  help: string,
  value: (status: PluginStatus) => number,
];

const MIB = 1024 * 1024;

const OF_ENTRY: readonly Family[] = [
  ['Counter', 'restarts_total', 'Restarts after a failure.', (status) => status.restarts],
  ['Counter', 'swaps_total', 'New versions that took over.', (status) => status.swaps],
  ['Gauge', 'generation', 'Workers started so far.', (status) => status.generation],
  ['Gauge', 'zombies', 'Threads that could not be ended.', (status) => status.zombies],
];

const OF_WORKER: readonly Family[] = [
  ['Gauge', 'memory_bytes', 'Memory, sampled.', (status) => status.memoryMb * MIB],
  ['Counter', 'cpu_seconds_total', 'CPU time used.', (status) => status.cpuMs / 1000],
  [
    'Counter',
    'cpu_throttled_seconds_total',
    'Time slept to keep to the CPU budget.',
    (status) => status.throttledMs / 1000,
  ],
  ['Gauge', 'ring_used_bytes', 'What waits in the ring.', (status) => status.ringUsedBytes],
  [
    'Gauge',
    'ring_high_water_bytes',
    'The most that ever waited in the ring.',
    (status) => status.ringHighWaterBytes,
  ],
  [
    'Counter',
    'frames_rejected_total',
    'Frames that were not valid.',
    (status) => status.rejectedFrames,
  ],
];

const OF_ROWS: readonly (readonly [name: keyof RowCounts, help: string])[] = [
  ['sent', 'Rows it gave to its calls, of its newest generations.'],
  ['accepted', 'Rows taken from it, of its newest generations.'],
  ['rejected', 'Rows refused by its worker or the drain, of its newest generations.'],
];

const OF_LETTERS: readonly (readonly [
  kind: Kind,
  name: string,
  help: string,
  value: (totals: LetterTotals) => number,
])[] = [
  ['Counter', 'dead_letters_total', 'Dead letters made.', ({ made }) => made],
  ['Counter', 'dead_letters_dropped_total', 'Of them, those not kept.', ({ dropped }) => dropped],
  ['Gauge', 'dead_letters', 'Dead letters kept.', ({ kept }) => kept],
];

const SHADOW_RESULTS: Readonly<Record<string, string>> = {
  onlyOld: 'only_old',
  onlyNew: 'only_new',
  atStart: 'at_start',
};

export function addPluginMetrics(metrics: Metrics, sources: PluginMetricSources): void {
  const { plugins, rows, letters, lineCount, budgets, denials } = sources;
  const add = (
    kind: Kind,
    name: string,
    help: string,
    labels: readonly string[],
    read: () => Iterable<Sample>,
  ): void => metrics[`add${kind}`]({ name: `mkts_plugin_${name}`, help, labels, read });

  add('Gauge', 'state', '1 for its state.', ['plugin', 'generation', 'state'], () =>
    plugins().map((status) => ({
      labels: { ...labelsOf(status), state: status.state },
      value: 1,
    })),
  );
  for (const [kind, name, help, value] of OF_ENTRY)
    add(kind, name, help, ['plugin'], () =>
      plugins().map((status) => ({ labels: { plugin: status.name }, value: value(status) })),
    );
  for (const [kind, name, help, value] of OF_WORKER)
    add(kind, name, help, ['plugin', 'generation'], () =>
      plugins().map((status) => ({ labels: labelsOf(status), value: value(status) })),
    );
  for (const [name, help] of OF_ROWS)
    add('Counter', `rows_${name}_total`, help, ['plugin', 'generation'], () =>
      rows().map(({ plugin, generation, [name]: value }) => ({
        labels: { plugin, generation: String(generation) },
        value,
      })),
    );
  for (const [kind, name, help, value] of OF_LETTERS)
    add(kind, name, help, ['plugin'], () =>
      letters().map((totals) => ({ labels: { plugin: totals.plugin }, value: value(totals) })),
    );
  add('Counter', 'log_lines_total', 'Lines by it and about it.', ['plugin'], () =>
    plugins().map(({ name }) => ({ labels: { plugin: name }, value: lineCount(name) })),
  );
  add(
    'Gauge',
    'budget_used_ratio',
    'What it uses of a bound, 1 = all of it.',
    ['plugin', 'budget'],
    () => plugins().flatMap((status) => usedRatios(status, budgets(status))),
  );
  add(
    'Gauge',
    'shadow_rows',
    'Rows of its shadow and of itself that were held against each other, by result.',
    ['plugin', 'generation', 'result'],
    () => plugins().flatMap(shadowRows),
  );
  add('Counter', 'denied_total', 'What it tried and may not do.', ['plugin', 'what'], () =>
    denials().map(({ plugin, what, count }) => ({ labels: { plugin, what }, value: count })),
  );
}

function labelsOf({ name, generation }: PluginStatus): { plugin: string; generation: string } {
  return { plugin: name, generation: String(generation) };
}

/** Of the shadow's generation: gone with it, and begun anew by the next. */
function shadowRows({ name, shadow }: PluginStatus): readonly Sample[] {
  if (shadow === undefined) return [];
  const generation = String(shadow.generation);
  return Object.entries(shadow.counts).map(([count, value]) => ({
    labels: { plugin: name, generation, result: SHADOW_RESULTS[count] ?? count },
    value,
  }));
}

function usedRatios({ name }: PluginStatus, budgets: readonly BudgetUse[]): readonly Sample[] {
  return budgets.flatMap(({ budget, used, limit }) =>
    used === undefined || limit === undefined
      ? []
      : [{ labels: { plugin: name, budget }, value: used / limit }],
  );
}
