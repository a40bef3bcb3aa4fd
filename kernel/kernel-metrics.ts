/**
 * What the kernel tells `/metrics` of itself: rows and groups, durations of commits and checkpoints,
 * watermarks, dirty memory, triggers. Counting costs an addition on the path of a record;
 * the rest is read when someone scrapes.
 */

import type { Metrics, Observe, Sample } from './frontend/metrics.ts';
import type { CommitStats } from './ingest/committer.ts';
import type { Watermarks } from './ingest/watermarks.ts';
import type { Catalog } from './storage/catalog.ts';
import type { TriggerStats } from './triggers/trigger-queue.ts';
import type { WalWriter } from './wal/writer.ts';

const FSYNC_BUCKETS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1];

export interface MetricSources {
  readonly catalog: Catalog;
  readonly wal: WalWriter;
  readonly watermarks: Watermarks;
  readonly triggers: () => readonly TriggerStats[];
}

export class KernelMetrics {
  readonly #observeCommit: Observe;
  readonly #observeApply: Observe;
  readonly #observeCheckpoint: Observe;
  #rows = 0;
  #groups = 0;
  #logBytes = 0;
  #lossyCasts = 0;
  #forgotten = 0;

  constructor(metrics: Metrics, sources: MetricSources) {
    const { catalog, wal, watermarks, triggers } = sources;
    const counter = (name: string, help: string, value: () => number): void =>
      metrics.addCounter({ name, help, read: () => [{ value: value() }] });
    const gauge = (name: string, help: string, value: () => number): void =>
      metrics.addGauge({ name, help, read: () => [{ value: value() }] });

    counter('mkts_rows_committed_total', 'Rows on disk and visible.', () => this.#rows);
    counter('mkts_groups_committed_total', 'Transaction groups.', () => this.#groups);
    counter('mkts_group_bytes_total', 'Bytes of groups in the log.', () => this.#logBytes);
    counter('mkts_lossy_casts_total', 'Values a client’s cast changed.', () => this.#lossyCasts);
    counter(
      'mkts_forgotten_writes_total',
      'Requests that were answered from memory, and then refused by the disk.',
      () => this.#forgotten,
    );
    gauge('mkts_log_pending_bytes', 'Log no checkpoint covers.', () => wal.pendingBytes);
    gauge('mkts_dirty_bytes', 'Pages and ticks not written back.', () => catalog.dirtyBytes);
    gauge('mkts_buckets', 'Buckets.', () => catalog.buckets().length);
    gauge('mkts_damage', 'Damaged files and cells found.', () => catalog.damaged().length);
    metrics.addGauge({
      name: 'mkts_watermark',
      help: 'Sequence of the newest group of which it is true.',
      labels: ['mark'],
      read: () =>
        (['committed', 'applied', 'dispatched', 'checkpointed'] as const).map((mark) => ({
          labels: { mark },
          value: Number(watermarks.get(mark)),
        })),
    });
    this.#observeCommit = metrics.addHistogram({
      name: 'mkts_commit_seconds',
      help: 'Append and sync of a group.',
      bucketSeconds: FSYNC_BUCKETS,
    });
    this.#observeApply = metrics.addHistogram({
      name: 'mkts_apply_seconds',
      help: 'A group into the pages in memory.',
      bucketSeconds: FSYNC_BUCKETS,
    });
    this.#observeCheckpoint = metrics.addHistogram({
      name: 'mkts_checkpoint_seconds',
      help: 'A checkpoint from its intent to its end.',
    });
    addTriggerFamilies(metrics, triggers);
  }

  onCommitted({ rowCount, bytes, commitMs, applyMs }: CommitStats): void {
    this.#rows += rowCount;
    this.#groups++;
    this.#logBytes += bytes;
    this.#observeCommit(commitMs / 1000);
    this.#observeApply(applyMs / 1000);
  }

  onCheckpoint(durationMs: number): void {
    this.#observeCheckpoint(durationMs / 1000);
  }

  onForgotten(): void {
    this.#forgotten++;
  }

  onLossyCasts(count: number): void {
    this.#lossyCasts += count;
  }
}

function addTriggerFamilies(metrics: Metrics, triggers: () => readonly TriggerStats[]): void {
  const read = (value: (stats: TriggerStats) => number) => (): Iterable<Sample> =>
    triggers().map((stats) => ({ labels: { plugin: stats.name }, value: value(stats) }));
  const labels = ['plugin'];
  metrics.addGauge({
    name: 'mkts_trigger_backlog_keys',
    help: 'Buckets with writes the trigger was not told of yet.',
    labels,
    read: read(({ backlogKeys }) => backlogKeys),
  });
  metrics.addCounter({
    name: 'mkts_trigger_fired_total',
    help: 'Batches done.',
    labels,
    read: read(({ fired }) => fired),
  });
  metrics.addCounter({
    name: 'mkts_trigger_failed_total',
    help: 'Batches that failed.',
    labels,
    read: read(({ failed }) => failed),
  });
}
