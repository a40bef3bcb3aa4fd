/**
 * The log's writing side. Main thread; the device is waited for on the sync thread.
 *
 * A segment is a file of WAL_SEGMENT_BYTES zeros, so that an append changes no metadata and costs
 * one fdatasync. The next segment is made ready while the current one fills, and a segment that a
 * checkpoint has made worthless is renamed and used again, so that in the long run nothing is zeroed.
 *
 *   mkts-…05.wal   full, needed until a checkpoint       → renamed to mkts-…08.wal, or removed
 *   mkts-…06.wal   current                               → full
 *   mkts-…07.wal   spare: zeros, or stale records        → current
 *
 * Invariant: sequences rise by one with every record, definitions and checkpoints included, so the
 * sequences of groups rise but have gaps.
 * Invariant: one request is under way at a time; a second append while one is, is our own mistake.
 * A failed sync, or a write of which it is not known what came of it, is final: the log refuses
 * everything from then on, and a restart with replay is the repair. What the disk merely refuses
 * (storage/refusal.ts: it is full, descriptors are gone, it is read-only) is not: the log is as it was
 * before the call, the place and the sequences included, and the call may be repeated.
 */

import { randomBytes } from 'node:crypto';
import { assert } from '../base/assert.ts';
import type { LogDurability } from '../base/durability.ts';
import { reasonOf, StorageError } from '../base/errors.ts';
import { GROUP_BYTES_MAX, WAL_SEGMENT_BYTES } from '../base/limits.ts';
import type { BucketSchema } from '../base/schema.ts';
import type { Filesystem } from '../storage/filesystem.ts';
import { isRefusal } from '../storage/refusal.ts';
import {
  type CellImage,
  encodeBucket,
  encodeCheckpointComplete,
  encodeCheckpointIntent,
  encodeOrigin,
  encodeOwed,
  type Origin,
  type OwedBatch,
  padded,
} from './entries.ts';
import {
  encodeRecordHeader,
  encodeSegmentHeader,
  RECORD_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
} from './format.ts';
import type { LogSpan, LogSync, LogWrite } from './log-sync.ts';
import { SegmentPool } from './segment-pool.ts';
import { listSegments, segmentPath } from './segments.ts';
import { bytesOf, SMALL_RECORD_BYTES, type SmallRecord, splitEntries } from './small-record.ts';

export type { CellImage, Origin, OwedBatch } from './entries.ts';
export { GROUP_HEADER_BYTES } from './format.ts';

/** Cells of one checkpoint record; more are split. */
const CELLS_PER_ENTRY = 16_384;

/** What ids in a group mean: asked the first time a segment needs them. */
export interface Definitions {
  bucket(id: number): { readonly path: string; readonly schema: BucketSchema };
  origin(id: number): Origin;
}

export interface WalWriterOptions {
  readonly root: string;
  readonly sync: LogSync;
  readonly filesystem: Filesystem;
  /** One more than the last sequence replay found; 1 for a new directory. */
  readonly nextSequence: bigint;
  readonly definitions: Definitions;
  /** Bytes of a segment; for tests. */
  readonly segmentBytes?: number;
  /** For tests: where log ids come from. */
  readonly newLogId?: () => bigint;
}

export interface WalGroup {
  /** Entries lie at [GROUP_HEADER_BYTES, bytes). Not touched until the append is answered. */
  readonly buffer: SharedArrayBuffer;
  readonly bytes: number;
  readonly entryCount: number;
  /** Ids the entries refer to. */
  readonly buckets: ReadonlySet<number>;
  readonly origins: ReadonlySet<number>;
  /** 'fsync', the default: answered when it is on the device; 'wal': when it is in the page cache. */
  readonly durability?: LogDurability;
}

interface Segment {
  readonly number: number;
  readonly bytes: number;
  readonly logId: bigint;
  /** Sequence of its last record. */
  lastSequence: bigint;
  /** Where the next record goes. */
  end: number;
}

export class WalWriter {
  readonly #root: string;
  readonly #sync: LogSync;
  readonly #filesystem: Filesystem;
  readonly #definitions: Definitions;
  readonly #segmentBytes: number;
  readonly #newLogId: () => bigint;
  readonly #views = new WeakMap<SharedArrayBuffer, DataView>();

  #current: Segment;
  /** Full segments that hold something newer than the last checkpoint, oldest first. */
  readonly #full: Segment[] = [];
  readonly #pool: SegmentPool;
  /** Defined in the current segment. */
  readonly #definedBuckets = new Set<number>();
  readonly #definedOrigins = new Set<number>();
  /** Memory of small records and of the segment header; grows. */
  #small: SharedArrayBuffer;

  #nextSequence: bigint;
  #syncedSequence: bigint;
  /** Sequence of the last group of this log; 0 before the first. */
  #lastGroup = 0n;
  #checkpointed = 0n;
  /** The intent under way: what it covers and how much log that is. */
  #intent: { readonly sequence: bigint; readonly bytes: number } | undefined;
  /** Bytes of log since the last completed checkpoint. */
  #pendingBytes = 0;
  /** Something was owed when the newest checkpoint completed. */
  #isOwed = false;
  #busy = false;
  #dead: StorageError | undefined;
  #closed = false;

  private constructor(options: WalWriterOptions, number: number) {
    this.#root = options.root;
    this.#sync = options.sync;
    this.#filesystem = options.filesystem;
    this.#definitions = options.definitions;
    this.#segmentBytes = options.segmentBytes ?? WAL_SEGMENT_BYTES;
    this.#newLogId = options.newLogId ?? (() => randomBytes(8).readBigUInt64LE());
    this.#small = new SharedArrayBuffer(64 * 1024);
    this.#nextSequence = options.nextSequence;
    this.#syncedSequence = options.nextSequence - 1n;
    this.#current = this.#newSegment(number, this.#segmentBytes);
    const { root, sync } = options;
    this.#pool = new SegmentPool({ root, sync, segmentBytes: this.#segmentBytes });
  }

  /**
   * Begins a log after whatever segments are in `root`; it leaves those alone (replay.ts says when
   * they go). Rejects with StorageError.
   */
  static async open(options: WalWriterOptions): Promise<WalWriter> {
    const segmentBytes = options.segmentBytes ?? WAL_SEGMENT_BYTES;
    assert(segmentBytes % 8 === 0 && segmentBytes >= 4096, 'a segment is 8-aligned');
    assert(options.nextSequence >= 1n, 'sequences begin at 1');
    if (options.segmentBytes === undefined)
      assert(
        GROUP_BYTES_MAX + SMALL_RECORD_BYTES + SEGMENT_HEADER_BYTES < WAL_SEGMENT_BYTES,
        'a group and its definitions fit a segment',
      );
    const last = listSegments(options.root, options.filesystem).at(-1)?.number ?? 0;
    const writer = new WalWriter(options, last + 1);
    await writer.#exclusively(async () => {
      const path = segmentPath(writer.#root, writer.#current.number);
      await writer.#sync.prepare(path, writer.#segmentBytes);
      await writer.#begin(writer.#current);
    });
    return writer;
  }

  /** Log bytes after the last completed checkpoint. */
  get pendingBytes(): number {
    return this.#isCheckpointed ? 0 : this.#pendingBytes;
  }

  /** Newest checkpoint that is complete; 0 before the first. */
  get checkpointed(): bigint {
    return this.#checkpointed;
  }

  /**
   * Makes a group durable and answers its sequence. One append at a time. Rejects with StorageError:
   * MKTS_DISK_REFUSED, nothing of the group is in the log, and it may be appended again; MKTS_WAL_WRITE,
   * the log is dead, and what became of this group is not known. So do checkpoints.
   */
  append(group: WalGroup): Promise<bigint> {
    const bodyBytes = group.bytes - RECORD_HEADER_BYTES;
    assert(bodyBytes >= 0 && bodyBytes % 8 === 0, 'a group is whole entries');
    return this.#exclusively(async () => {
      let definitions = this.#missingDefinitions(group);
      const wanted = bytesOf(definitions) + group.bytes;
      if (wanted > this.#roomBytes) {
        // In a new segment everything is to be defined again.
        const { buckets, origins } = group;
        definitions = this.#definitionsOf([...buckets], [...origins]);
        await this.#rotate(bytesOf(definitions) + group.bytes);
      }
      await this.#write({ sync: group.durability !== 'wal', isGroup: true }, () => [
        ...this.#smallSpans(definitions),
        this.#seal(group.buffer, 0, bodyBytes, group.entryCount),
      ]);
      const sequence = this.#nextSequence - 1n;
      this.#markDefined(group);
      this.#lastGroup = sequence;
      this.#prepareAhead();
      return sequence;
    });
  }

  /**
   * After a refusal: resolves if the log can go on for a while, in the current segment and in the
   * next. A record of nothing tells for the current one.
   */
  probe(): Promise<void> {
    return this.#exclusively(async () => {
      await this.#pool.ready(this.#current.number);
      await this.#appendSmall({ entries: [], bodyBytes: 0 }, true);
    });
  }

  /**
   * Says that a checkpoint of all groups up to `sequence` begins, and keeps what it will overwrite.
   * Between groups only. Write-back may begin when this resolves, not before.
   */
  checkpointIntent(sequence: bigint, cells: readonly CellImage[]): Promise<void> {
    return this.#exclusively(async () => {
      const bytes = this.#pendingBytes;
      const intent = { sequence, previous: this.#checkpointed };
      const entries: Uint8Array[] = [];
      for (const [path, ofFile] of Map.groupBy(cells, (cell) => cell.path))
        for (let at = 0; at < ofFile.length; at += this.#cellsPerEntry)
          entries.push(
            encodeCheckpointIntent(intent, path, ofFile.slice(at, at + this.#cellsPerEntry)),
          );
      if (entries.length === 0) entries.push(encodeCheckpointIntent(intent, '', []));
      for (const record of this.#split(entries)) await this.#appendSmall(record, true);
      this.#intent = { sequence, bytes };
    });
  }

  /**
   * Says that all groups up to `sequence` are in the year files, and frees their segments. `owed` is
   * what triggers are still to be told of them: from here on replay does not tell it any more.
   */
  checkpointComplete(sequence: bigint, owed: readonly OwedBatch[]): Promise<void> {
    return this.#exclusively(async () => {
      assert(this.#intent?.sequence === sequence, 'a checkpoint completes what it intended');
      const { bytes } = this.#intent;
      const pendingBytes = this.#pendingBytes;
      const entries = owed.map((batch) => encodeOwed(sequence, batch));
      // Order: the completion last. Only with it do the owed entries before it count.
      entries.push(encodeCheckpointComplete(sequence));
      const records = this.#split(entries);
      for (const record of records) await this.#appendSmall(record, record === records.at(-1));
      this.#intent = undefined;
      this.#checkpointed = sequence;
      this.#isOwed = owed.length > 0;
      // Without what the completion takes itself: a long one must not ask for the next checkpoint.
      this.#pendingBytes = Math.max(0, pendingBytes - bytes);
      await this.#retire();
    });
  }

  /**
   * Clean stop. If everything is checkpointed and nothing owed all segments go, so that a Go server
   * finds no trace; otherwise they stay for the next start. Ends the sync thread.
   */
  async close(): Promise<void> {
    if (this.#closed) return;
    assert(!this.#busy, 'the log is closed between groups');
    this.#closed = true;
    await this.#pool.settled();
    try {
      await this.#sync.close();
    } catch (cause) {
      this.#dead ??= this.#failure(cause);
    }
    if (this.#dead !== undefined || this.#intent !== undefined || !this.#isCheckpointed) return;
    if (this.#isOwed) return;
    // Order: oldest first, so that a crash in between leaves no hole.
    for (const { number } of this.#full) this.#remove(number);
    this.#remove(this.#current.number);
    for (const number of this.#pool.numbers) this.#remove(number);
    this.#filesystem.syncDirectory(this.#root);
  }

  get #isCheckpointed(): boolean {
    return this.#lastGroup <= this.#checkpointed;
  }

  get #roomBytes(): number {
    return this.#current.bytes - this.#current.end;
  }

  /** A record of this many cells fits any segment. */
  get #cellsPerEntry(): number {
    return Math.min(CELLS_PER_ENTRY, Math.floor((this.#segmentBytes - 2048) / 64));
  }

  async #exclusively<T>(run: () => Promise<T>): Promise<T> {
    assert(!this.#busy, 'one request of the log is under way at a time');
    if (this.#dead !== undefined) throw this.#dead;
    assert(!this.#closed, 'the log is open');
    this.#busy = true;
    try {
      return await run();
    } catch (cause) {
      if (isRefusal(cause)) throw cause;
      this.#dead ??= this.#failure(cause);
      throw this.#dead;
    } finally {
      this.#busy = false;
    }
  }

  #failure(cause: unknown): StorageError {
    const path = segmentPath(this.#root, this.#current.number);
    return new StorageError('MKTS_WAL_WRITE', { path, reason: reasonOf(cause) }, { cause });
  }

  // ---- records ----------------------------------------------------------------------------------

  #missingDefinitions({ buckets, origins }: WalGroup): readonly SmallRecord[] {
    return this.#definitionsOf(
      [...buckets].filter((id) => !this.#definedBuckets.has(id)),
      [...origins].filter((id) => !this.#definedOrigins.has(id)),
    );
  }

  #definitionsOf(buckets: readonly number[], origins: readonly number[]): readonly SmallRecord[] {
    const entries: Uint8Array[] = [];
    for (const id of buckets) {
      const { path, schema } = this.#definitions.bucket(id);
      entries.push(encodeBucket(id, path, schema));
    }
    for (const id of origins) entries.push(encodeOrigin(id, this.#definitions.origin(id)));
    return this.#split(entries);
  }

  #markDefined({ buckets, origins }: WalGroup): void {
    for (const id of buckets) this.#definedBuckets.add(id);
    for (const id of origins) this.#definedOrigins.add(id);
  }

  #split(entries: readonly Uint8Array[]): readonly SmallRecord[] {
    return splitEntries(entries, Math.min(SMALL_RECORD_BYTES, this.#segmentBytes / 4));
  }

  async #appendSmall(record: SmallRecord, sync: boolean): Promise<void> {
    if (bytesOf([record]) > this.#roomBytes) await this.#rotate(bytesOf([record]));
    await this.#write({ sync, isGroup: false }, () => this.#smallSpans([record]));
  }

  /** Lays small records out in the memory for them; they come right before the next span. */
  #smallSpans(records: readonly SmallRecord[]): LogSpan[] {
    const total = bytesOf(records);
    if (total > this.#small.byteLength)
      this.#small = new SharedArrayBuffer(Math.max(total, 2 * this.#small.byteLength));
    const memory = new Uint8Array(this.#small);
    const spans: LogSpan[] = [];
    let at = 0;
    for (const { entries, bodyBytes } of records) {
      let to = at + RECORD_HEADER_BYTES;
      for (const entry of entries) {
        memory.set(entry, to);
        to += entry.length;
      }
      spans.push(this.#seal(this.#small, at, bodyBytes, entries.length));
      at = to;
    }
    return spans;
  }

  /** Gives a record its header, its sequence and its place. The sync thread adds the CRC. */
  #seal(buffer: SharedArrayBuffer, start: number, bodyBytes: number, entryCount: number): LogSpan {
    const segment = this.#current;
    const sequence = this.#nextSequence++;
    encodeRecordHeader(this.#viewOf(buffer), start, {
      bodyBytes,
      entryCount,
      sequence,
      logId: segment.logId,
      synced: this.#syncedSequence,
    });
    const end = start + RECORD_HEADER_BYTES + bodyBytes;
    const span = { buffer, start, end, fileOffset: segment.end };
    segment.end += end - start;
    segment.lastSequence = sequence;
    return span;
  }

  /**
   * Writes what `lay` gives places and sequences. Refused, both are given back: what a refused write
   * left in the file is written over by the next one.
   */
  async #write(how: Omit<LogWrite, 'spans'>, lay: () => readonly LogSpan[]): Promise<void> {
    const segment = this.#current;
    const { end: firstFree, lastSequence } = segment;
    const nextSequence = this.#nextSequence;
    const spans = lay();
    try {
      await this.#sync.write({ spans, ...how });
    } catch (error) {
      segment.end = firstFree;
      segment.lastSequence = lastSequence;
      this.#nextSequence = nextSequence;
      throw error;
    }
    if (how.sync) this.#syncedSequence = this.#nextSequence - 1n;
    for (const { start, end } of spans) this.#pendingBytes += end - start;
  }

  #viewOf(buffer: SharedArrayBuffer): DataView {
    let view = this.#views.get(buffer);
    if (view === undefined) {
      view = new DataView(buffer);
      this.#views.set(buffer, view);
    }
    return view;
  }

  // ---- segments ---------------------------------------------------------------------------------

  #newSegment(number: number, bytes: number): Segment {
    return {
      number,
      bytes,
      logId: this.#newLogId(),
      lastSequence: this.#nextSequence - 1n,
      end: SEGMENT_HEADER_BYTES,
    };
  }

  /** Begins a segment whose file is ready. */
  async #begin({ number, logId }: Segment): Promise<void> {
    const bytes = new Uint8Array(this.#small);
    encodeSegmentHeader(
      { bytes, view: this.#viewOf(this.#small) },
      { number, logId, firstSequence: this.#nextSequence, checkpointed: this.#checkpointed },
    );
    const header = { buffer: this.#small, start: 0, end: SEGMENT_HEADER_BYTES, fileOffset: 0 };
    await this.#sync.begin(segmentPath(this.#root, number), header);
    // It has synced the segment before: from here all that was written is on the device.
    this.#syncedSequence = this.#nextSequence - 1n;
  }

  /** Goes on in the next segment, which will have room for `wanted` bytes. */
  async #rotate(wanted: number): Promise<void> {
    const bytes = Math.max(this.#segmentBytes, SEGMENT_HEADER_BYTES + padded(wanted));
    const number = await this.#pool.take(this.#current.number, bytes);
    const next = this.#newSegment(number, bytes);
    try {
      await this.#begin(next);
    } catch (error) {
      this.#pool.giveBack(number, bytes);
      throw error;
    }
    this.#full.push(this.#current);
    this.#current = next;
    this.#definedBuckets.clear();
    this.#definedOrigins.clear();
  }

  /** Makes the next segment ready once the current one is half full. */
  #prepareAhead(): void {
    const { end, bytes, number } = this.#current;
    if (end >= bytes / 2) this.#pool.prepareAhead(number);
  }

  /** Lets go of segments whose records are all checkpointed. */
  #retire(): Promise<void> {
    const kept = this.#full.findIndex(({ lastSequence }) => lastSequence > this.#checkpointed);
    const freed = this.#full.splice(0, kept < 0 ? this.#full.length : kept);
    return this.#pool.retire(freed, this.#current.number);
  }

  #remove(number: number): void {
    this.#filesystem.remove(segmentPath(this.#root, number));
  }
}
