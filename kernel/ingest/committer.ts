/**
 * Makes groups durable, then visible, then known to triggers; one in flight, the next one filling.
 *
 *   filling ──commit()──▶ log append + fdatasync ──▶ COMMITTED ──▶ store ──▶ APPLIED ──▶ settlers,
 *      ▲                                                                     dispatcher: DISPATCHED
 *      └────────────── cleared and filled again ◀───────────────────────────────────────┘
 *
 * Invariant: nothing is acknowledged before the group that holds all of it is on disk, unless whoever
 * wrote it wants less (base/durability.ts), and nothing is visible to a query before that. A failure of
 * the log or of applying is final: writes stop, what waits is told so, and the process ends, since only
 * replay can say what is on disk.
 *
 * What the disk refuses (storage/refusal.ts) is not final but a pause: nothing of the group is in the
 * log then. Clients are told MKTS_WRITES_PAUSED and their entries leave the group; those of plugins,
 * who were told that they are accepted, stay and are appended when the log takes them again, which is
 * tried with growing delays. A group that is committed and cannot read what it is to be applied to
 * waits in the same way. Main thread.
 */

import { assert } from '../base/assert.ts';
import { asError, RequestError, reasonOf, StorageError } from '../base/errors.ts';
import { WRITE_RETRY_MAX_MS, WRITE_RETRY_MS } from '../base/limits.ts';
import { decodeState, type StateChange } from '../base/state-entry.ts';
import type { Catalog } from '../storage/catalog.ts';
import { isRefusal, refusalReason } from '../storage/refusal.ts';
import { decodeCreateYear, decodeDeleteRows, decodeDestroy } from '../wal/entries.ts';
import { ENTRY_KINDS, GROUP_HEADER_BYTES } from '../wal/format.ts';
import type { WalWriter } from '../wal/writer.ts';
import { TransactionGroup } from './transaction-group.ts';
import type { Watermarks } from './watermarks.ts';

export interface CommitterOptions {
  readonly wal: WalWriter;
  readonly catalog: Catalog;
  readonly watermarks: Watermarks;
  /** What a plugin remembers changes with the rows of its group. */
  readonly onState: (originId: number, change: StateChange) => void;
  /** After a group is applied: tells the dispatcher. Never waits, never throws. */
  readonly onApplied: (group: TransactionGroup) => void;
  /** A group left the buffer: who waits for room may go on. */
  readonly onRoom: () => void;
  readonly onFatal: (error: Error) => void;
  /** The disk refuses writes; undefined: it takes them again. */
  readonly onPause?: (refusal: StorageError | undefined) => void;
  readonly onCommitted?: (stats: CommitStats) => void;
  /** Delays after a refusal: the first, and up to where it doubles; for tests. */
  readonly retryMs?: { readonly first: number; readonly max: number };
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
  #paused: RequestError | undefined;
  /** Ends the delay before the next try. */
  #wake: (() => void) | undefined;
  #isFinishing = false;

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

  /** What clients are told while the disk refuses writes, else undefined. */
  get paused(): RequestError | undefined {
    return this.#paused;
  }

  /** The server stops: from now on what the disk refuses is final, too. */
  finish(): void {
    this.#isFinishing = true;
    this.#wake?.();
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
    this.#filling.failed(error);
    this.#filling.clear();
    this.#wake?.();
    for (const { reject } of this.#between.splice(0)) reject(error);
  }

  get #hasWork(): boolean {
    return !this.#filling.isEmpty || this.#between.length > 0;
  }

  async #run(): Promise<void> {
    try {
      while (this.#stopped === undefined && this.#hasWork) {
        await this.#runBetween();
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
    const { watermarks, onApplied, onRoom, onCommitted } = this.#options;
    const startedMs = performance.now();
    try {
      const sequence = await this.#append(group);
      if (sequence !== undefined) {
        watermarks.advance('committed', sequence); // From here replay repairs a crash.
        const { rowCount, end } = group;
        const committedMs = performance.now();
        await this.#apply(group);
        watermarks.advance('applied', sequence); // From here queries see the group.
        group.applied(sequence);
        onApplied(group);
        watermarks.advance('dispatched', sequence);
        onCommitted?.({
          rowCount,
          bytes: end,
          commitMs: committedMs - startedMs,
          applyMs: performance.now() - committedMs,
        });
      }
    } catch (error) {
      group.failed(asError(error));
      throw error;
    }
    // A group that was made for one large request is not kept.
    group.clear();
    this.#spare = group.capacityBytes > this.#filling.capacityBytes ? undefined : group;
    onRoom();
  }

  /** Appends a group, however long the disk refuses it. Undefined if nothing of it was to be kept. */
  async #append(group: TransactionGroup): Promise<bigint | undefined> {
    const { wal } = this.#options;
    while (!group.isEmpty) {
      try {
        const sequence = await wal.append({
          buffer: group.buffer,
          bytes: group.end,
          entryCount: group.entryCount,
          buckets: group.buckets,
          origins: group.origins,
          durability: group.durability,
        });
        this.#resume();
        return sequence;
      } catch (error) {
        this.#pause(error);
        this.#refuse(group);
      }
      for (let attempt = 0; ; attempt++) {
        await this.#delay(attempt);
        // A checkpoint may be what gives the log its space back.
        await this.#runBetween();
        try {
          await wal.probe();
          break;
        } catch (error) {
          this.#pause(error);
        }
      }
    }
    this.#resume();
    return undefined;
  }

  /** Applies a committed group, however long the disk refuses to read what it changes. */
  async #apply(group: TransactionGroup): Promise<void> {
    const place: ApplyPlace = { offset: GROUP_HEADER_BYTES, row: 0 };
    for (let attempt = 0; ; attempt++) {
      try {
        this.#applyFrom(place, group);
        this.#resume();
        return;
      } catch (error) {
        this.#pause(error);
      }
      // Order: no checkpoint here. It would write a part of the group and not say so.
      await this.#delay(attempt);
    }
  }

  /** Throws what is not a refusal. Clients hear of a pause at once, and again when it ends. */
  #pause(error: unknown): void {
    if (!isRefusal(error) || this.#isFinishing || this.#stopped !== undefined) throw error;
    if (this.#paused === undefined) {
      this.#paused = new RequestError('MKTS_WRITES_PAUSED', { reason: refusalReason(error) });
      this.#options.onPause?.(error);
    }
    this.#refuse(this.#filling);
    this.#options.onRoom();
  }

  #resume(): void {
    if (this.#paused === undefined) return;
    this.#paused = undefined;
    this.#options.onPause?.(undefined);
  }

  /** Takes what clients wait for out of a group, with the buckets that only it would have made. */
  #refuse(group: TransactionGroup): void {
    assert(this.#paused !== undefined, 'clients are refused in a pause');
    const buckets = [...group.buckets];
    group.refuse(this.#paused);
    for (const id of buckets) {
      if (group.buckets.has(id) || this.#filling.buckets.has(id)) continue;
      const bucket = this.#options.catalog.bucketById(id);
      if (bucket !== undefined) this.#options.catalog.undeclare(bucket);
    }
  }

  async #delay(attempt: number): Promise<void> {
    const { first, max } = this.#options.retryMs ?? {
      first: WRITE_RETRY_MS,
      max: WRITE_RETRY_MAX_MS,
    };
    const ms = Math.min(first * 2 ** attempt, max);
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
      if (this.#isFinishing || this.#stopped !== undefined) this.#wake();
    });
    this.#wake = undefined;
  }

  async #runBetween(): Promise<void> {
    for (const { run } of this.#between.splice(0)) await run();
  }

  /** Moves `place` on as it goes: an entry, and a row of it, is applied once. */
  #applyFrom(place: ApplyPlace, group: TransactionGroup): void {
    const { catalog, onState } = this.#options;
    const { buffer, view, bytes, words, end } = group;
    while (place.offset < end) {
      const { offset } = place;
      const kind = view.getUint16(offset + 4, true);
      switch (kind) {
        case ENTRY_KINDS.rows: {
          const bucket = catalog.bucketById(view.getUint32(offset + 8, true));
          assert(bucket !== undefined, 'rows of a group belong to a bucket');
          const rowCount = view.getUint32(offset + 12, true);
          bucket.apply({ buffer, view, bytes, words, offset, rowCount }, place);
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
        case ENTRY_KINDS.deleteRows: {
          const deletion = decodeDeleteRows(view, offset);
          assert(deletion !== undefined, 'an entry we wrote can be read');
          const bucket = catalog.bucketById(deletion.bucketId);
          assert(bucket !== undefined, 'rows are deleted from a bucket');
          bucket.deleteRows(deletion.times);
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
      place.offset += view.getUint32(offset, true);
      place.row = 0;
    }
    assert(place.offset === end, 'entries end where the group ends');
  }
}

/** How far a group is applied: an entry, and the first row of it that is not. */
interface ApplyPlace {
  offset: number;
  row: number;
}
