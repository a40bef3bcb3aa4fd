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
 *
 * For a backup the files are held: after a checkpoint that lets no group by, so that they are exactly
 * what was applied at its sequence, no other one runs until the hold is released. It is broken when
 * one cannot wait.
 */

import { assert } from '../base/assert.ts';
import { RequestError } from '../base/errors.ts';
import {
  BACKUP_DIRTY_BYTES_MAX,
  BACKUP_LOG_BYTES_MAX,
  CHECKPOINT_DIRTY_BYTES,
  CHECKPOINT_LOG_BYTES,
} from '../base/limits.ts';
import type { Catalog } from '../storage/catalog.ts';
import type { WriteBack } from '../storage/write-back.ts';
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
  /** Log that may wait while the files are held; default BACKUP_LOG_BYTES_MAX. */
  readonly heldLogBytesMax?: number;
}

/** While it lasts, the year files and states are exactly those of `sequence`, and stay so. */
export interface Hold {
  readonly sequence: bigint;
  /** Throws RequestError MKTS_BACKUP when it was broken: then files have changed, or will. */
  check(): void;
  /** May be repeated. */
  release(): void;
}

interface HeldFiles {
  readonly release: () => void;
  broken: RequestError | undefined;
}

interface Begun {
  readonly sequence: bigint;
  readonly writeBack: WriteBack;
  readonly writeStates: () => Promise<void>;
}

export class Checkpointer {
  readonly #options: CheckpointerOptions;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<boolean> | undefined;
  #held: HeldFiles | undefined;
  #isStopped = false;

  constructor(options: CheckpointerOptions) {
    this.#options = options;
  }

  /** Called after every group: starts a checkpoint when much is pending, else within the interval. */
  onApplied(): void {
    const { wal, catalog, heldLogBytesMax = BACKUP_LOG_BYTES_MAX } = this.#options;
    const isHeld = this.#held !== undefined;
    const logMax = isHeld ? heldLogBytesMax : CHECKPOINT_LOG_BYTES;
    const dirtyMax = isHeld ? BACKUP_DIRTY_BYTES_MAX : CHECKPOINT_DIRTY_BYTES;
    if (wal.pendingBytes >= logMax || catalog.dirtyBytes >= dirtyMax)
      void this.#run('more was written meanwhile than a checkpoint can wait for');
    else if (!isHeld) this.#runLater();
  }

  /** Log that a checkpoint should have covered: while files are held, what waits is not late. */
  get lateLogBytes(): number {
    return this.#held === undefined ? this.#options.wal.pendingBytes : 0;
  }

  /** Writes back everything applied so far. False if it failed: everything is as it was. */
  run(): Promise<boolean> {
    return this.#run('a checkpoint cannot wait');
  }

  /**
   * Writes back everything applied so far and holds the files as they are then. One at a time. Groups
   * wait for the last part of it. Rejects with RequestError MKTS_BACKUP if that fails.
   */
  async hold(): Promise<Hold> {
    assert(this.#held === undefined, 'files are held once');
    // The first takes what has gathered, while groups go on; so the other is short.
    if (this.#running === undefined) await this.run();
    while (this.#running !== undefined) await this.#running;
    let hold: Hold | undefined;
    await this.#start(async () => {
      hold = await this.#checkpointAndHold();
    });
    if (hold === undefined)
      throw new RequestError('MKTS_BACKUP', { reason: 'the checkpoint before it failed' });
    return hold;
  }

  /** Resolves when none is running; no more start by themselves. */
  async stop(): Promise<void> {
    this.#break('the server stops');
    this.#isStopped = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#running;
  }

  #run(reason: string): Promise<boolean> {
    this.#break(reason);
    return this.#running ?? this.#start(() => this.#checkpoint());
  }

  /** False if `work` fails. */
  #start(work: () => Promise<void>): Promise<boolean> {
    const { committer, onFailed, onDone } = this.#options;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const startedMs = performance.now();
    this.#running = work()
      .then(
        () => {
          onDone?.(performance.now() - startedMs);
          return true;
        },
        (error: unknown) => {
          onFailed(error);
          if (committer.stopped === undefined) this.#runLater();
          return false;
        },
      )
      .finally(() => {
        this.#running = undefined;
      });
    return this.#running;
  }

  #break(reason: string): void {
    const held = this.#held;
    if (held === undefined) return;
    held.broken = new RequestError('MKTS_BACKUP', { reason });
    this.#letGo(held);
  }

  #letGo(held: HeldFiles): void {
    if (this.#held !== held) return;
    this.#held = undefined;
    held.release();
  }

  #runLater(): void {
    if (this.#isStopped) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      if (this.#held !== undefined) return; // Its release sees to it.
      // The one under way does not cover what was applied since it began.
      if (this.#running === undefined) void this.run();
      else this.#runLater();
    }, this.#options.intervalMs).unref();
  }

  async #checkpoint(): Promise<void> {
    const { committer } = this.#options;
    const begun = await committer.between(() => this.#begin());
    await begun.writeBack.run();
    await begun.writeStates();
    await committer.between(() => this.#complete(begun));
  }

  /** Pages are written back as they are when their turn comes: here no group may change them. */
  #checkpointAndHold(): Promise<Hold> {
    return this.#options.committer.between(async () => {
      const begun = await this.#begin();
      await begun.writeBack.run();
      await begun.writeStates();
      await this.#complete(begun);
      const held: HeldFiles = { release: this.#options.catalog.holdFiles(), broken: undefined };
      this.#held = held;
      return {
        sequence: begun.sequence,
        check() {
          if (held.broken !== undefined) throw held.broken;
        },
        release: () => {
          if (this.#held !== held) return;
          this.#letGo(held);
          this.onApplied();
        },
      };
    });
  }

  async #begin(): Promise<Begun> {
    const { catalog, wal, watermarks, keepStates } = this.#options;
    const sequence = watermarks.get('applied');
    const writeBack = catalog.beginWriteBack();
    try {
      const writeStates = keepStates();
      await wal.checkpointIntent(sequence, writeBack.cells);
      return { sequence, writeBack, writeStates };
    } catch (error) {
      writeBack.abandon();
      throw error;
    }
  }

  async #complete({ sequence }: Begun): Promise<void> {
    const { wal, watermarks, owed } = this.#options;
    // Groups after S are replayed after a crash, and triggers told again: to say too much is safe.
    await wal.checkpointComplete(sequence, owed());
    watermarks.advance('checkpointed', sequence);
  }
}
