/**
 * Tells the operator how the disk does: one line of the log when it begins to refuse writes, or a
 * checkpoint fails, and one when that is over, however often it is tried in between; the same in
 * `/metrics` and `/heartbeat`. Main thread.
 */

import { reasonOf, type StorageError } from './base/errors.ts';
import type { Readiness } from './frontend/data-service.ts';
import type { Metrics } from './frontend/metrics.ts';
import type { Log } from './log.ts';
import { refusalReason } from './storage/refusal.ts';

export interface DiskStateOptions {
  readonly log: Log;
  readonly metrics: Metrics;
  readonly readiness: Readiness;
}

export class DiskState {
  readonly #log: Log;
  readonly #readiness: Readiness;
  #pausedSinceMs: number | undefined;
  #pauses = 0;
  #failedCheckpoints = 0;
  /** One after the other, since the last that did not fail. */
  #failures = 0;

  constructor({ log, metrics, readiness }: DiskStateOptions) {
    this.#log = log;
    this.#readiness = readiness;
    metrics.addGauge({
      name: 'mkts_writes_paused',
      help: '1 while the disk refuses writes.',
      read: () => [{ value: this.#pausedSinceMs === undefined ? 0 : 1 }],
    });
    metrics.addCounter({
      name: 'mkts_write_pauses_total',
      help: 'Times the disk began to refuse writes.',
      read: () => [{ value: this.#pauses }],
    });
    metrics.addCounter({
      name: 'mkts_checkpoints_failed_total',
      help: 'Checkpoints that failed and are tried again.',
      read: () => [{ value: this.#failedCheckpoints }],
    });
  }

  /** The committer tells it when a pause begins, and with undefined when it ends. */
  onPause(refusal: StorageError | undefined): void {
    if (refusal !== undefined) {
      this.#pausedSinceMs = performance.now();
      this.#pauses++;
      this.#readiness.writesPaused = refusalReason(refusal);
      this.#log.error(
        { error: refusal, code: refusal.code },
        `writes are paused, reads go on: ${refusal.message}; tried again until the disk takes them`,
      );
      return;
    }
    const seconds = (performance.now() - (this.#pausedSinceMs ?? 0)) / 1000;
    this.#pausedSinceMs = undefined;
    this.#readiness.writesPaused = undefined;
    this.#log.info({ seconds: Number(seconds.toFixed(1)) }, 'the disk takes writes again');
  }

  onCheckpointFailed(error: unknown): void {
    this.#failedCheckpoints++;
    this.#failures++;
    const fields = { error, code: 'MKTS_CHECKPOINT' };
    const text = `checkpoint failed: ${reasonOf(error)}`;
    if (this.#failures > 1) this.#log.debug(fields, text);
    else this.#log.error(fields, `${text}; the log keeps what it covers, and it is tried again`);
  }

  onCheckpointDone(): void {
    if (this.#failures > 0)
      this.#log.info({ failures: this.#failures }, 'a checkpoint is complete again');
    this.#failures = 0;
  }
}
