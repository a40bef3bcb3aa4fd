/**
 * Decides when what is applied is written back to the year files, and in which order that and the
 * log's records happen, so that a crash at any place is repaired by replay exactly once:
 *
 *   1. between two groups: take the applied sequence S and a snapshot of what is dirty;
 *      log the intent, with the VARIABLE cells that will be overwritten, as they are on disk
 *   2. while groups go on: write back, and sync the year files; then write what plugins remembered
 *      at S to its file
 *   3. between two groups: log that S is complete, and what triggers are still owed; segments below
 *      S are free
 *
 * A crash between 1 and 3 is replayed from the checkpoint before: replay first puts the cells of the
 * intent back, whose chunks are still in the file, and so appends no tick twice. A write-back that
 * fails leaves everything dirty and is tried again; the log keeps what it covers. Main thread.
 */

import { CHECKPOINT_DIRTY_BYTES, CHECKPOINT_LOG_BYTES } from '../base/limits.ts';
import type { Catalog } from '../storage/catalog.ts';
import type { OwedBatch, WalWriter } from '../wal/writer.ts';
import type { Committer } from './committer.ts';
import type { Watermarks } from './watermarks.ts';

export interface CheckpointerOptions {
  readonly catalog: Catalog;
  readonly wal: WalWriter;
  readonly committer: Committer;
  readonly watermarks: Watermarks;
  /** A checkpoint starts at most this long after the first group it covers. */
  readonly intervalMs: number;
  /** What triggers are still to be told of what is applied. */
  readonly owed: () => readonly OwedBatch[];
  /** Takes what plugins remember now; the function returned makes it durable. */
  readonly keepStates: () => () => Promise<void>;
  readonly onFailed: (error: unknown) => void;
  readonly onDone?: (durationMs: number) => void;
}

export class Checkpointer {
  readonly #options: CheckpointerOptions;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<boolean> | undefined;

  constructor(options: CheckpointerOptions) {
    this.#options = options;
  }

  /** Called after every group: starts a checkpoint when much is pending, else within the interval. */
  onApplied(): void {
    const { wal, catalog } = this.#options;
    if (wal.pendingBytes >= CHECKPOINT_LOG_BYTES || catalog.dirtyBytes >= CHECKPOINT_DIRTY_BYTES)
      void this.run();
    else this.#runLater();
  }

  /** Writes back everything applied so far. False if it failed: everything is as it was. */
  run(): Promise<boolean> {
    this.#running ??= this.#checkpoint().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** Resolves when none is running; no more start by themselves. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#running;
  }

  #runLater(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      // The one under way does not cover what was applied since it began.
      if (this.#running === undefined) void this.run();
      else this.#runLater();
    }, this.#options.intervalMs).unref();
  }

  async #checkpoint(): Promise<boolean> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const { catalog, wal, committer, watermarks } = this.#options;
    const { owed, keepStates, onFailed, onDone } = this.#options;
    const startedMs = performance.now();
    try {
      const { sequence, writeBack, writeStates } = await committer.between(async () => {
        const applied = watermarks.get('applied');
        const snapshot = catalog.beginWriteBack();
        const keep = keepStates();
        await wal.checkpointIntent(applied, snapshot.cells);
        return { sequence: applied, writeBack: snapshot, writeStates: keep };
      });
      await writeBack.run();
      await writeStates();
      await committer.between(async () => {
        // Groups after S are replayed after a crash, and triggers told again: to say too much is safe.
        await wal.checkpointComplete(sequence, owed());
        watermarks.advance('checkpointed', sequence);
      });
      onDone?.(performance.now() - startedMs);
      return true;
    } catch (error) {
      onFailed(error);
      if (committer.stopped === undefined) this.#runLater();
      return false;
    }
  }
}
