/**
 * One frame of a plugin, from its copy at the end of the group that fills to entries of that group:
 * checks the copy, and puts the bucket's and the origin's number where the plugin had its own.
 * Main thread; drain.ts says which frame is next.
 *
 * Invariant: a frame becomes entries as a whole or not at all. Whatever is wrong with a part of an
 * envelope is found before its first part counts, and nothing else runs in between: so its rows and
 * its state are in one group, whose record in the log has one checksum.
 *
 * Two kinds of refusal. What no worker's own code sends (bytes that do not fit, a bad Epoch, a series
 * it never opened) says that memory was damaged or written on purpose: MKTS_FRAME_INVALID, and nothing
 * of that ring is believed any more. A bucket that is not what it was when the worker opened it is
 * nobody's fault: BucketRefusal, and the frames behind it are taken.
 *
 * Invariant: what a plugin remembers never passes rows that were refused. After an envelope with state
 * is refused (MKTS_STATE_REFUSED), all with state behind it in that ring are; its worker is replaced by
 * one that knows what is committed.
 */

import type { FrameReader } from '../../workers/transport.ts';
import type { LogDurability } from '../base/durability.ts';
import { type MktsError, PluginError, RequestError } from '../base/errors.ts';
import { EPOCH_MAX, EPOCH_MIN } from '../base/fit-columns.ts';
import {
  epochAt,
  ROW_BLOCK_HEADER_BYTES,
  ROW_BLOCK_KIND,
  rowBlockLayout,
} from '../base/row-block.ts';
import { type BucketSchema, EPOCH_SHAPE, listShapes, sameSchema } from '../base/schema.ts';
import {
  type DecodedState,
  decodeState,
  ENVELOPE_HEADER_BYTES,
  ENVELOPE_KIND,
  STATE_KIND,
} from '../base/state-entry.ts';
import type { TimeBucketKey } from '../base/time-bucket-key.ts';
import type { PluginStates } from './plugin-states.ts';
import type { RowBudget } from './row-budget.ts';
import type { TransactionGroup } from './transaction-group.ts';

const SECOND_NANOS = 1_000_000_000;
const ENTRY_BYTES_MIN = 16;

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
  /** Default: fsync. */
  readonly durability?: LogDurability | undefined;
  series(seriesId: number): Series | undefined;
  /** The ring or a frame (a copy) is not valid: the source is left alone from now on. */
  onInvalid(error: PluginError, frame?: Uint8Array): void;
  /**
   * A frame (a copy) whose bucket changed since it was opened was left out. MKTS_STATE_REFUSED: it held
   * changes of state, and none of this ring will be taken any more.
   */
  onRefused?(cause: MktsError, frame: Uint8Array): void;
  /** Rows a second; undefined: as many as there are. */
  readonly budget?: RowBudget | undefined;
  /** Told of the rows of each frame that was taken. */
  onRows?(rowCount: number): void;
}

/** The bucket of rows is not what it was when the plugin opened it: the cause says what it is. */
export class BucketRefusal extends Error {
  override readonly cause: MktsError;

  constructor(cause: MktsError) {
    super(cause.message, { cause });
    this.cause = cause;
  }
}

/** A source and the bucket each of its series was last seen to belong to. */
export interface Tap {
  readonly source: RingSource;
  readonly bucketIds: number[];
  /** Of the first envelope with state that was refused: so are all behind it. */
  stateRefusal?: BucketRefusal;
}

/** The catalog, as far as rows need it. */
export interface IntakeBuckets {
  bucketById(id: number): { readonly readOnlyReason?: string | undefined } | undefined;
  /** Throws RequestError if no rows may be written to it. */
  declare(
    key: TimeBucketKey,
    schema: BucketSchema,
  ): { readonly id: number; readonly schema: BucketSchema };
}

export interface FrameIntakeOptions {
  readonly catalog: IntakeBuckets;
  readonly states: PluginStates;
  /** True while rows for a key must wait for its removal. */
  readonly isDestroying: (path: string) => boolean;
}

/** A checked entry of an envelope. */
interface Entry {
  readonly bytes: number;
  readonly rowCount: number;
}

export class FrameIntake {
  readonly #options: FrameIntakeOptions;

  constructor(options: FrameIntakeOptions) {
    this.#options = options;
  }

  /**
   * Takes the frame of `frameBytes` that was copied to the group's end into the group. False if it
   * must wait for the removal of its bucket. Throws PluginError MKTS_FRAME_INVALID, BucketRefusal.
   */
  take(tap: Tap, group: TransactionGroup, frameBytes: number): boolean {
    if (group.view.getUint16(group.end + 4, true) === ENVELOPE_KIND)
      return this.#takeEnvelope(tap, group, frameBytes);
    const rowCount = this.#acceptRows(tap, group, group.end, frameBytes);
    if (rowCount === undefined) return false;
    group.push(frameBytes, rowCount);
    tap.source.budget?.spend(rowCount);
    tap.source.onRows?.(rowCount);
    return true;
  }

  #takeEnvelope(tap: Tap, group: TransactionGroup, frameBytes: number): boolean {
    const { source } = tap;
    const { view, bytes, end } = group;
    if (view.getUint32(end, true) !== frameBytes)
      throw invalid(source, 'its length is not the one it was sent with');
    const entryCount = view.getUint16(end + 6, true);
    // What the log gets are the entries; their envelope has done its work.
    bytes.copyWithin(end, end + ENVELOPE_HEADER_BYTES, end + frameBytes);
    const stop = end + frameBytes - ENVELOPE_HEADER_BYTES;
    const entries: Entry[] = [];
    const changes: DecodedState[] = [];
    let refusal: BucketRefusal | undefined;
    for (let at = end; at < stop; at += entries.at(-1)?.bytes ?? stop) {
      const size = stop - at < ENTRY_BYTES_MIN ? 0 : view.getUint32(at, true);
      if (size < ENTRY_BYTES_MIN || size % 8 !== 0 || size > stop - at)
        throw invalid(source, `an entry of ${size} bytes does not fit its envelope`);
      if (view.getUint16(at + 4, true) === STATE_KIND) {
        changes.push(this.#acceptState(source, group, at));
        entries.push({ bytes: size, rowCount: 0 });
      } else {
        let rowCount: number | undefined = 0;
        try {
          rowCount = this.#acceptRows(tap, group, at, size);
        } catch (error) {
          // The rest is looked at, too: damage behind it is worse, and state makes it another refusal.
          if (!(error instanceof BucketRefusal)) throw error;
          refusal ??= error;
        }
        if (rowCount === undefined) return false;
        entries.push({ bytes: size, rowCount });
      }
    }
    if (entryCount === 0 || entries.length !== entryCount)
      throw invalid(source, `it holds ${entries.length} entries and says ${entryCount}`);
    const { states } = this.#options;
    if (!states.fits(source.plugin, changes))
      throw invalid(source, 'its state is larger than it may be');
    if (changes.length > 0 && refusal !== undefined) {
      const fields = { plugin: source.plugin, reason: refusal.message };
      tap.stateRefusal ??= new BucketRefusal(new PluginError('MKTS_STATE_REFUSED', fields));
    }
    if (changes.length > 0) refusal = tap.stateRefusal;
    if (refusal !== undefined) throw refusal;

    for (const change of changes) states.take(source.plugin, change);
    let rows = 0;
    for (const { bytes: size, rowCount } of entries) {
      group.push(size, rowCount);
      rows += rowCount;
    }
    if (rows > 0) source.budget?.spend(rows);
    if (rows > 0) source.onRows?.(rows);
    return true;
  }

  #acceptState(source: RingSource, group: TransactionGroup, offset: number): DecodedState {
    const change = decodeState(group, offset);
    if (change === undefined) throw invalid(source, 'a change of its state is not readable');
    group.view.setUint32(offset + 8, source.originId, true);
    group.origins.add(source.originId);
    return change;
  }

  /**
   * Checks the row block at `offset`. Returns its rows, or undefined if it must wait for the removal
   * of its bucket.
   */
  #acceptRows(
    tap: Tap,
    group: TransactionGroup,
    offset: number,
    blockBytes: number,
  ): number | undefined {
    const { source } = tap;
    const { view } = group;
    if (blockBytes < ROW_BLOCK_HEADER_BYTES || view.getUint32(offset, true) !== blockBytes)
      throw invalid(source, 'its length is not the one it was sent with');
    const kind = view.getUint16(offset + 4, true);
    if (kind !== ROW_BLOCK_KIND) throw invalid(source, `its kind ${kind} is not known`);
    const seriesId = view.getUint32(offset + 8, true);
    const series = source.series(seriesId);
    if (series === undefined) throw invalid(source, 'its series was never opened');
    const rowCount = view.getUint32(offset + 12, true);
    checkBlock(source, view, offset, blockBytes, rowCount, series.schema);
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
  #bucketOf({ bucketIds }: Tap, seriesId: number, series: Series): number {
    const { catalog } = this.#options;
    const known = bucketIds[seriesId];
    const found = known === undefined ? undefined : catalog.bucketById(known);
    if (known !== undefined && found !== undefined && found.readOnlyReason === undefined)
      return known;
    try {
      const bucket = catalog.declare(series.key, series.schema);
      if (!sameSchema(bucket.schema, series.schema))
        throw new RequestError('MKTS_COLUMN_MISMATCH', {
          have: listShapes([EPOCH_SHAPE, ...series.schema.columns]),
          want: listShapes([EPOCH_SHAPE, ...bucket.schema.columns]),
          key: series.key.path,
        });
      bucketIds[seriesId] = bucket.id;
      return bucket.id;
    } catch (cause) {
      if (cause instanceof RequestError) throw new BucketRefusal(cause);
      throw cause;
    }
  }
}

function checkBlock(
  source: RingSource,
  view: DataView,
  offset: number,
  blockBytes: number,
  rowCount: number,
  schema: BucketSchema,
): void {
  const { columnOffsets, blockBytes: wantedBytes } = rowBlockLayout(schema, rowCount);
  if (rowCount === 0 || wantedBytes !== blockBytes)
    throw invalid(source, `${rowCount} rows of its series do not have ${blockBytes} bytes`);
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

export function invalid(source: RingSource, reason: string): PluginError {
  return new PluginError('MKTS_FRAME_INVALID', { plugin: source.plugin, reason });
}
