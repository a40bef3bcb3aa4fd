/**
 * Makes groups durable, then visible, then known to triggers; one in flight, the next one filling.
 *
 *   filling ──commit()──▶ log append + fdatasync ──▶ COMMITTED ──▶ store ──▶ APPLIED ──▶ settlers,
 *      ▲                                                                     dispatcher: DISPATCHED
 *      └────────────── cleared and filled again ◀───────────────────────────────────────┘
 *
 * Invariant: nothing is acknowledged before the group that holds all of it is on disk, and nothing
 * is visible to a query before that. A failure of the log or of applying is final: writes stop, what
 * waits is told so, and the process ends, since only replay can say what is on disk. Main thread.
 */

import { assert } from '../base/assert.ts';
import { reasonOf, StorageError } from '../base/errors.ts';
import { decodeState, type StateChange } from '../base/state-entry.ts';
import type { Catalog } from '../storage/catalog.ts';
import { decodeCreateYear, decodeDestroy } from '../wal/entries.ts';
import { ENTRY_KINDS, GROUP_HEADER_BYTES } from '../wal/format.ts';
import type { WalWriter } from '../wal/writer.ts';
import { TransactionGroup } from './transaction-group.ts';
import type { Watermarks } from './watermarks.ts';

export interface CommitterOptions {
  readonly wal: WalWriter;
  readonly catalog: Catalog;
  readonly watermarks: Watermarks;
  /** `fsync`: on the device before anything is acknowledged; `wal`: in the page cache. */
  readonly durability: 'fsync' | 'wal';
  /** What a plugin remembers changes with the rows of its group. */
  readonly onState: (originId: number, change: StateChange) => void;
  /** After a group is applied: tells the dispatcher. Never waits, never throws. */
  readonly onApplied: (group: TransactionGroup) => void;
  /** A group left the buffer: who waits for room may go on. */
  readonly onRoom: () => void;
  readonly onFatal: (error: Error) => void;
  readonly onCommitted?: (stats: CommitStats) => void;
}

export interface CommitStats {
  readonly rowCount: number;
  readonly bytes: number;
  readonly commitMs: number;
  readonly applyMs: number;
}

export class Committer {
  readonly #options: CommitterOptions;
  #filling = new TransactionGroup();
  #spare: TransactionGroup | undefined = new TransactionGroup();
  #inFlight: Promise<void> | undefined;
  #between: { readonly run: () => Promise<void>; readonly reject: (error: Error) => void }[] = [];
  #stopped: Error | undefined;

  constructor(options: CommitterOptions) {
    this.#options = options;
  }

  /** The group that fills now. Valid until control returns to the event loop. */
  get filling(): TransactionGroup {
    return this.#filling;
  }

  /** Why writes have stopped, or undefined. */
  get stopped(): Error | undefined {
    return this.#stopped;
  }

  /** Starts to commit what has gathered, unless a group is in flight: then it goes right after it. */
  kick(): void {
    if (this.#inFlight === undefined && this.#stopped === undefined && this.#hasWork)
      this.#inFlight = this.#run();
  }

  /** Resolves when nothing is in flight and nothing waits. */
  async idle(): Promise<void> {
    this.kick();
    while (this.#inFlight !== undefined) {
      await this.#inFlight;
      this.kick();
    }
  }

  /** Runs `work` between two groups: the log is not being written meanwhile. */
  between<T>(work: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#stopped !== undefined) return reject(this.#stopped);
      this.#between.push({ run: () => work().then(resolve, reject), reject });
      this.kick();
    });
  }

  /** Puts a group larger than the usual buffer in the place of the filling one, which is empty. */
  enlargeFilling(capacityBytes: number): void {
    assert(this.#filling.isEmpty, 'only an empty group is replaced by a larger one');
    if (this.#filling.capacityBytes < capacityBytes)
      this.#filling = new TransactionGroup(capacityBytes);
  }

  /** Ends writing: everything that waits is told `error`. */
  stop(error: Error): void {
    if (this.#stopped !== undefined) return;
    this.#stopped = error;
    for (const settler of this.#filling.settlers) settler.failed(error);
    this.#filling.clear();
    for (const { reject } of this.#between.splice(0)) reject(error);
  }

  get #hasWork(): boolean {
    return !this.#filling.isEmpty || this.#between.length > 0;
  }

  async #run(): Promise<void> {
    try {
      while (this.#stopped === undefined && this.#hasWork) {
        const between = this.#between.splice(0);
        for (const { run } of between) await run();
        if (!this.#filling.isEmpty) await this.#commit(this.#swap());
      }
    } catch (cause) {
      const error =
        cause instanceof Error
          ? cause
          : new StorageError('MKTS_WAL_WRITE', { reason: reasonOf(cause) });
      this.stop(error);
      this.#options.onFatal(error);
    } finally {
      this.#inFlight = undefined;
    }
  }

  #swap(): TransactionGroup {
    const full = this.#filling;
    this.#filling = this.#spare ?? new TransactionGroup();
    this.#spare = undefined;
    return full;
  }

  async #commit(group: TransactionGroup): Promise<void> {
    const { wal, watermarks, durability, onApplied, onRoom, onCommitted } = this.#options;
    const { rowCount, end } = group;
    const startedMs = performance.now();
    let sequence: bigint;
    let committedMs: number;
    try {
      sequence = await wal.append({
        buffer: group.buffer,
        bytes: group.end,
        entryCount: group.entryCount,
        buckets: group.buckets,
        origins: group.origins,
        durability,
      });
      watermarks.advance('committed', sequence); // From here replay repairs a crash.
      committedMs = performance.now();
      this.#apply(group);
    } catch (error) {
      for (const settler of group.settlers) settler.failed(asError(error));
      throw error;
    }
    watermarks.advance('applied', sequence); // From here queries see the group.
    for (const settler of group.settlers) settler.applied(sequence);
    onApplied(group);
    watermarks.advance('dispatched', sequence);
    onCommitted?.({
      rowCount,
      bytes: end,
      commitMs: committedMs - startedMs,
      applyMs: performance.now() - committedMs,
    });
    // A group that was made for one large request is not kept.
    group.clear();
    this.#spare = group.capacityBytes > this.#filling.capacityBytes ? undefined : group;
    onRoom();
  }

  #apply(group: TransactionGroup): void {
    const { catalog, onState } = this.#options;
    const { buffer, view, bytes, words, end } = group;
    let offset: number = GROUP_HEADER_BYTES;
    while (offset < end) {
      const kind = view.getUint16(offset + 4, true);
      switch (kind) {
        case ENTRY_KINDS.rows: {
          const bucket = catalog.bucketById(view.getUint32(offset + 8, true));
          assert(bucket !== undefined, 'rows of a group belong to a bucket');
          const rowCount = view.getUint32(offset + 12, true);
          bucket.apply({ buffer, view, bytes, words, offset, rowCount });
          break;
        }
        case ENTRY_KINDS.state: {
          const state = decodeState(group, offset);
          assert(state !== undefined, 'a change of state was checked when it was taken');
          onState(state.originId, state);
          break;
        }
        case ENTRY_KINDS.createYear: {
          const created = decodeCreateYear(view, offset);
          assert(created !== undefined, 'an entry we wrote can be read');
          const bucket = catalog.bucketById(created.bucketId);
          assert(bucket !== undefined, 'a year is created in a bucket');
          catalog.materialize(bucket, created.year);
          break;
        }
        case ENTRY_KINDS.destroy: {
          const path = decodeDestroy(group, offset);
          assert(path !== undefined, 'a removal names a bucket');
          catalog.destroy(path);
          break;
        }
        default:
          assert(false, `entry kind ${kind} belongs in a group`);
      }
      offset += view.getUint32(offset, true);
    }
    assert(offset === end, 'entries end where the group ends');
  }
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
