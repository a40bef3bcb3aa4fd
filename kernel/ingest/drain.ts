/**
 * Takes frames from the plugins' rings into the group that fills: copies each frame once, to the
 * place it has in the log, and validates the copy there, since a plugin may rewrite shared memory
 * between a check and its use.
 *
 * A round visits every ring, each with a quota, and ends after a few milliseconds, so that a flood
 * in one ring starves neither the others nor the rest of the main thread. While frames flow, rounds
 * follow each other by `setImmediate`; else the kernel sleeps on the doorbell. When the group is
 * full the frames stay where they are: the ring fills, and the plugin's `write` waits. Main thread.
 */

import type { Doorbell } from '../../workers/doorbell.ts';
import type { FrameReader } from '../../workers/transport.ts';
import { PluginError, RequestError } from '../base/errors.ts';
import { EPOCH_MAX, EPOCH_MIN } from '../base/fit-columns.ts';
import {
  CHECKPOINT_LOG_BYTES,
  DRAIN_BYTES_PER_ROUND,
  DRAIN_FRAMES_PER_ROUND,
  DRAIN_IDLE_POLL_MS,
  DRAIN_ROUND_MS,
  FRAME_BYTES_MAX,
} from '../base/limits.ts';
import {
  epochAt,
  ROW_BLOCK_HEADER_BYTES,
  ROW_BLOCK_KIND,
  rowBlockLayout,
} from '../base/row-block.ts';
import { type BucketSchema, sameSchema } from '../base/schema.ts';
import type { TimeBucketKey } from '../base/time-bucket-key.ts';
import type { Catalog } from '../storage/catalog.ts';
import type { Committer } from './committer.ts';
import type { TransactionGroup } from './transaction-group.ts';

const SECOND_NANOS = 1_000_000_000;

/** A series a plugin opened. */
export interface Series {
  readonly key: TimeBucketKey;
  readonly schema: BucketSchema;
}

/** One plugin's ring and what the kernel knows of the plugin. */
export interface RingSource {
  readonly plugin: string;
  readonly originId: number;
  readonly reader: FrameReader;
  series(seriesId: number): Series | undefined;
  /** The ring or a frame is not valid: the source is left alone from now on. */
  onInvalid(error: PluginError): void;
}

/** A source and the bucket each of its series was last seen to belong to. */
interface Tap {
  readonly source: RingSource;
  readonly bucketIds: number[];
}

export interface DrainOptions {
  readonly catalog: Catalog;
  readonly committer: Committer;
  readonly doorbell: Doorbell;
  /** True while rows for a key must wait for its removal. */
  readonly isDestroying: (path: string) => boolean;
  /** Log bytes no checkpoint covers: far past the bound, draining pauses. */
  readonly pendingLogBytes: () => number;
}

export class Drain {
  readonly #options: DrainOptions;
  #taps: Tap[] = [];
  /** Per ring the cursor behind its last frame in the group that fills. */
  #taken = new Map<FrameReader, number>();
  #takenFor: { readonly group: TransactionGroup; readonly fillCount: number } | undefined;
  #first = 0;
  #running = false;
  #stopping: (() => void) | undefined;

  constructor(options: DrainOptions) {
    this.#options = options;
  }

  add(source: RingSource): void {
    this.#taps.push({ source, bucketIds: [] });
  }

  /** Takes what a plugin that is gone had committed to its ring, then forgets the ring. */
  async remove(source: RingSource): Promise<void> {
    while (this.#isTapped(source) && this.#options.committer.stopped === undefined) {
      if (!hasFrame(source)) break;
      this.#round();
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    this.#drop(source);
  }

  start(): void {
    if (this.#running) return;
    this.#running = true;
    void this.#loop();
  }

  /** Ends the loop; what is in the rings stays there. */
  async stop(): Promise<void> {
    if (!this.#running) return;
    await new Promise<void>((resolve) => {
      this.#stopping = resolve;
    });
  }

  async #loop(): Promise<void> {
    while (this.#stopping === undefined) {
      const frames = this.#round();
      if (frames > 0) await new Promise<void>((resolve) => setImmediate(resolve));
      else await this.#options.doorbell.wait(DRAIN_IDLE_POLL_MS);
    }
    this.#running = false;
    this.#stopping();
    this.#stopping = undefined;
  }

  /** One fair round over all rings. Returns the frames taken. */
  #round(): number {
    const { committer, pendingLogBytes } = this.#options;
    if (committer.stopped !== undefined) return 0;
    if (pendingLogBytes() > 2 * CHECKPOINT_LOG_BYTES) return 0;
    const endMs = performance.now() + DRAIN_ROUND_MS;
    const taps = this.#taps;
    let frames = 0;
    for (let turn = 0; turn < taps.length && performance.now() < endMs; turn++) {
      const tap = taps[(this.#first + turn) % taps.length];
      if (tap !== undefined) frames += this.#drainOne(tap);
    }
    this.#first = (this.#first + 1) % Math.max(1, taps.length);
    if (frames > 0) committer.kick();
    return frames;
  }

  #drainOne(tap: Tap): number {
    const { source } = tap;
    const group = this.#options.committer.filling;
    const { reader } = source;
    let frames = 0;
    let bytes = 0;
    let cursor = 0;
    try {
      while (frames < DRAIN_FRAMES_PER_ROUND && bytes < DRAIN_BYTES_PER_ROUND) {
        const frame = reader.peek();
        if (frame === undefined) break;
        if (frame.bytes > FRAME_BYTES_MAX)
          throw invalid(source, `it has ${frame.bytes} bytes, at most ${FRAME_BYTES_MAX}`);
        if (!group.hasRoom(frame.bytes)) break;
        const { offset } = frame;
        group.bytes.set(reader.data.subarray(offset, offset + frame.bytes), group.end);
        const rowCount = this.#accept(tap, group, frame.bytes);
        if (rowCount === undefined) break;
        group.push(frame.bytes, rowCount);
        frames++;
        bytes += frame.bytes;
        cursor = reader.consume();
      }
    } catch (error) {
      if (!(error instanceof PluginError)) throw error;
      this.#drop(source);
      source.onInvalid(error);
    }
    if (frames > 0) this.#noteTaken(reader, cursor, group);
    return frames;
  }

  /**
   * Validates the copy at the group's end and gives it the bucket's and the origin's number. Returns
   * its rows, or undefined if it must wait for the removal of its bucket.
   */
  #accept(tap: Tap, group: TransactionGroup, frameBytes: number): number | undefined {
    const { source } = tap;
    const { view, end: offset } = group;
    if (frameBytes < ROW_BLOCK_HEADER_BYTES || view.getUint32(offset, true) !== frameBytes)
      throw invalid(source, 'its length is not the one it was sent with');
    const kind = view.getUint16(offset + 4, true);
    if (kind !== ROW_BLOCK_KIND) throw invalid(source, `its kind ${kind} is not known`);
    const seriesId = view.getUint32(offset + 8, true);
    const series = source.series(seriesId);
    if (series === undefined) throw invalid(source, 'its series was never opened');
    const rowCount = view.getUint32(offset + 12, true);
    checkBlock(source, view, offset, frameBytes, rowCount, series.schema);
    if (this.#options.isDestroying(series.key.path)) return undefined;

    const bucketId = this.#bucketOf(tap, seriesId, series);
    view.setUint32(offset + 8, bucketId, true);
    view.setUint32(offset + 16, source.originId, true);
    view.setUint32(offset + 20, 0, true);
    group.buckets.add(bucketId);
    group.origins.add(source.originId);
    return rowCount;
  }

  /** The series' bucket; declared by its first frame, and again if it was destroyed since. */
  #bucketOf({ source, bucketIds }: Tap, seriesId: number, series: Series): number {
    const { catalog } = this.#options;
    const known = bucketIds[seriesId];
    if (known !== undefined && catalog.bucketById(known) !== undefined) return known;
    try {
      const bucket = catalog.declare(series.key, series.schema);
      if (!sameSchema(bucket.schema, series.schema))
        throw invalid(source, `${series.key.path} has other columns now than when it was opened`);
      bucketIds[seriesId] = bucket.id;
      return bucket.id;
    } catch (cause) {
      // Read-only since it was opened, for instance: the plugin learns it when it opens it again.
      if (cause instanceof RequestError) throw invalid(source, cause.message);
      throw cause;
    }
  }

  /** When the group is applied the plugin learns how far its rows are committed. */
  #noteTaken(reader: FrameReader, cursor: number, group: TransactionGroup): void {
    if (this.#takenFor?.group !== group || this.#takenFor.fillCount !== group.fillCount) {
      const taken = new Map<FrameReader, number>();
      this.#taken = taken;
      this.#takenFor = { group, fillCount: group.fillCount };
      group.settlers.push({
        applied: () => {
          for (const [ring, committed] of taken) ring.markCommitted(committed);
        },
        // The process ends: plugins are not told anything any more.
        failed: () => undefined,
      });
    }
    this.#taken.set(reader, cursor);
  }

  #drop(source: RingSource): void {
    this.#taps = this.#taps.filter((tap) => tap.source !== source);
  }

  #isTapped(source: RingSource): boolean {
    return this.#taps.some((tap) => tap.source === source);
  }
}

/** False for a damaged ring, too: what is left in it is not read. */
function hasFrame({ reader }: RingSource): boolean {
  try {
    return reader.peek() !== undefined;
  } catch (error) {
    if (error instanceof PluginError) return false;
    throw error;
  }
}

function checkBlock(
  source: RingSource,
  view: DataView,
  offset: number,
  frameBytes: number,
  rowCount: number,
  schema: BucketSchema,
): void {
  const { columnOffsets, blockBytes } = rowBlockLayout(schema, rowCount);
  if (rowCount === 0 || blockBytes !== frameBytes)
    throw invalid(source, `${rowCount} rows of its series do not have ${frameBytes} bytes`);
  if (view.getUint16(offset + 6, true) !== columnOffsets.length)
    throw invalid(source, 'its column count is not that of its series');
  const epochs = offset + ROW_BLOCK_HEADER_BYTES;
  for (let at = epochs; at < epochs + 8 * rowCount; at += 8) {
    const epoch = epochAt(view, at);
    if (!(epoch >= EPOCH_MIN && epoch < EPOCH_MAX))
      throw invalid(source, `Epoch ${epoch} is outside the years 1 to 9999`);
  }
  if (schema.recordType !== 'variable') return;
  const nanoseconds = offset + (columnOffsets.at(-1) ?? 0);
  for (let at = nanoseconds; at < nanoseconds + 4 * rowCount; at += 4) {
    if (view.getUint32(at, true) >= SECOND_NANOS)
      throw invalid(source, 'its Nanoseconds are not within a second');
  }
}

function invalid(source: RingSource, reason: string): PluginError {
  return new PluginError('MKTS_FRAME_INVALID', { plugin: source.plugin, reason });
}
