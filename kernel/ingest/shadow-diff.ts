/**
 * What a plugin wrote against what its shadow wrote: the diff by which a new version is judged before
 * it may write. Pure but for its clock; main thread.
 *
 *   old ─ row ─┐    same key and time?
 *              ├──▶ the other side's is there: the same bytes are equal
 *   new ─ row ─┘    none, or another: wait until nothing was written there for a window
 *
 * What is compared is what would be stored. Of rows with an Epoch alone the last one written counts,
 * so two that ask their venue at other moments agree once both have the final bar; until then the
 * place is `disputed`. What they agreed on is remembered: one may write it once more. Ticks (Epoch and Nanoseconds) are all kept: the n-th of one side at an instant is
 * held against the n-th of the other, at once.
 *
 * The two do not begin at the same row: one may be in the middle of something, the other must connect
 * first. What only one wrote until shortly after the shadow's first row is counted apart.
 *
 * Bounds: rows, bytes and keys of limits.ts. Past them the oldest are `uncompared`, and so is what the
 * other side alone writes for a window; the shadow is held up before (`hasRoom`), the running plugin
 * never is.
 */

import {
  SHADOW_AGREED_MAX,
  SHADOW_BYTES_MAX,
  SHADOW_KEPT_SHARE,
  SHADOW_KEYS_MAX,
  SHADOW_LAGS_MAX,
  SHADOW_ROWS_MAX,
  SHADOW_SAMPLES_MAX,
  SHADOW_SETTLE_FRACTION,
  SHADOW_WINDOWS_MAX,
} from '../base/limits.ts';
import type { ShadowCounts, ShadowSample } from '../base/plugin-report.ts';
import { epochAt, ROW_BLOCK_KIND, rowBlockLayout } from '../base/row-block.ts';
import type { BucketSchema } from '../base/schema.ts';
import { sameSchema } from '../base/schema.ts';
import type { TimeBucketKey } from '../base/time-bucket-key.ts';
import { valuesOf } from './shadow-values.ts';

export type Side = 'old' | 'new';

export interface ShadowDiffOptions {
  readonly nowMs: () => number;
  readonly windowMs: number;
  readonly rowsMax?: number;
  readonly bytesMax?: number;
}

/** What the numbers in row blocks mean. */
export interface BlockBuckets {
  bucketById(
    id: number,
  ): { readonly key: TimeBucketKey; readonly schema: BucketSchema } | undefined;
}

interface WaitingRow {
  readonly bytes: Uint8Array;
  readonly schema: BucketSchema;
  readonly atMs: number;
  /** Of ticks: the next of the same side at the same instant. */
  next: WaitingRow | undefined;
}

/** A key and a time. */
interface Spot {
  readonly id: string;
  readonly key: string;
  readonly epoch: number;
  /** Undefined: a row with an Epoch alone, of which each side has one at most. */
  readonly nanoseconds: number | undefined;
}

/** Rows at one key and time that are not equal, or not yet. */
interface Place extends Spot {
  readonly firstMs: number;
  /** When something was written here last; never falls along the order of places. */
  changedMs: number;
  /** The first that waits, of each side; of ticks only one side waits. */
  old: WaitingRow | undefined;
  new: WaitingRow | undefined;
  /** Of ticks: the last that waits. */
  last: WaitingRow | undefined;
}

/** Besides its bytes, what a row costs that waits. */
const ROW_OVERHEAD_BYTES = 200;
const OTHER = { old: 'new', new: 'old' } as const;

export class ShadowDiff {
  readonly #nowMs: () => number;
  readonly #windowMs: number;
  readonly #rowsMax: number;
  readonly #bytesMax: number;
  readonly #keyIds = new Map<string, number>();
  /** By key and time; those that did not change for longest first. */
  readonly #places = new Map<string, Place>();
  readonly #agreed: AgreedRows;
  readonly #waiting = { old: { rows: 0, bytes: 0 }, new: { rows: 0, bytes: 0 } };
  readonly #counts = {
    equal: 0,
    different: 0,
    onlyOld: 0,
    onlyNew: 0,
    disputed: 0,
    atStart: 0,
    uncompared: 0,
  };
  readonly #samples: Record<ShadowSample['what'], ShadowSample[]> = {
    different: [],
    'only old': [],
    'only new': [],
    disputed: [],
  };
  readonly #lags: number[] = [];
  #lagCount = 0;
  #firstNewMs: number | undefined;
  /** When rows of a side were given up for being too many: those of the other may be their halves. */
  readonly #evictedMs: Record<Side, number> = {
    old: Number.NEGATIVE_INFINITY,
    new: Number.NEGATIVE_INFINITY,
  };
  #row = new Uint8Array(1024);
  #enough: { readonly rows: number; readonly atMs: number } | undefined;

  constructor({ nowMs, windowMs, rowsMax, bytesMax }: ShadowDiffOptions) {
    this.#nowMs = nowMs;
    this.#windowMs = windowMs;
    this.#rowsMax = rowsMax ?? SHADOW_ROWS_MAX;
    this.#bytesMax = bytesMax ?? SHADOW_BYTES_MAX;
    this.#agreed = new AgreedRows(this.#bytesMax / 4);
  }

  /** False: the shadow is so far ahead, or beside, that it must wait. */
  get hasRoom(): boolean {
    const { rows, bytes } = this.#waiting.new;
    return rows < this.#rowsMax / 2 && bytes < this.#bytesMax / 2;
  }

  get counts(): ShadowCounts {
    const { disputed } = this.#counts;
    const rows = this.#waiting.old.rows + this.#waiting.new.rows;
    return { ...this.#counts, waiting: rows - 2 * disputed };
  }

  /** The first differences of each kind. */
  get samples(): readonly ShadowSample[] {
    const { disputed: _none, ...kept } = this.#samples;
    const samples = Object.values(kept).flat();
    let found = Math.min(this.#counts.disputed, SHADOW_SAMPLES_MAX);
    for (const place of this.#places.values()) {
      if (found === 0) break;
      if (place.old === undefined || place.new === undefined) continue;
      samples.push(sampleOf('disputed', place, place.old, place.new));
      found--;
    }
    return samples;
  }

  /** Rows that are not what the other side wrote, or that it did not write at all. */
  get differences(): number {
    const { different, onlyOld, onlyNew } = this.#counts;
    return different + onlyOld + onlyNew;
  }

  /** By how much the shadow's rows come later, of the newest pairs; undefined: there are none. */
  get lagMs(): { readonly median: number; readonly p99: number } | undefined {
    if (this.#lags.length === 0) return undefined;
    const sorted = Float64Array.from(this.#lags).sort();
    const at = (q: number): number => tenths(sorted[Math.floor(q * (sorted.length - 1))] ?? 0);
    return { median: at(0.5), p99: at(0.99) };
  }

  /** Takes the rows among checked entries of a group, from `from` up to `to`. */
  takeEntries(side: Side, view: DataView, from: number, to: number, buckets: BlockBuckets): void {
    for (let at = from; at < to; at += view.getUint32(at, true)) {
      if (view.getUint16(at + 4, true) !== ROW_BLOCK_KIND) continue;
      const bucket = buckets.bucketById(view.getUint32(at + 8, true));
      if (bucket !== undefined) this.takeBlock(side, bucket.key.path, bucket.schema, view, at);
    }
    if (this.#isFull) this.sweep();
  }

  /** Takes the rows of a checked row block. */
  takeBlock(side: Side, key: string, schema: BucketSchema, view: DataView, offset: number): void {
    const rowCount = view.getUint32(offset + 12, true);
    const nowMs = this.#nowMs();
    if (side === 'new') this.#firstNewMs ??= nowMs;
    const keyId = this.#keyId(key);
    if (keyId === undefined) {
      this.#counts.uncompared += rowCount;
      return;
    }
    const { columnOffsets } = rowBlockLayout(schema, rowCount);
    const isTick = schema.recordType === 'variable';
    const nanosAt = offset + (columnOffsets.at(-1) ?? 0);
    const source = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    for (let row = 0; row < rowCount; row++) {
      const bytes = this.#pack(schema, source, offset, columnOffsets, row);
      const epoch = epochAt(view, offset + (columnOffsets[0] ?? 0) + 8 * row);
      const nanoseconds = isTick ? view.getInt32(nanosAt + 4 * row, true) : undefined;
      const id = isTick ? `${keyId} ${epoch} ${nanoseconds}` : `${keyId} ${epoch}`;
      const spot = { id, key, epoch, nanoseconds };
      if (isTick) this.#takeTick(side, spot, { bytes, schema }, nowMs);
      else this.#takeRow(side, spot, { bytes, schema }, nowMs);
    }
  }

  /** Judges rows that waited long enough; of those that are too many, gives up some and not just one. */
  sweep(): void {
    const nowMs = this.#nowMs();
    let isTooMany = this.#isFull;
    for (const place of this.#places.values()) {
      if (isTooMany) isTooMany = this.#share > SHADOW_KEPT_SHARE;
      if (!isTooMany && nowMs - place.changedMs < this.#windowMs) return;
      this.#settle(place, isTooMany ? nowMs : undefined);
    }
  }

  /** The shadow is over: what waits is never going to be known, and is forgotten. */
  close(): void {
    const nowMs = this.#nowMs();
    for (const place of this.#places.values()) this.#settle(place, nowMs);
  }

  /**
   * True if at least `rows` were equal, nothing differed, and nothing that was written until there
   * were so many still waits for its other half.
   */
  isProven(rows: number): boolean {
    if (this.#counts.equal < rows || this.differences > 0 || this.#counts.uncompared > 0)
      return false;
    if (this.#enough?.rows !== rows) this.#enough = { rows, atMs: this.#nowMs() };
    for (const place of this.#places.values()) {
      if (place.firstMs > this.#enough.atMs) continue;
      if (place.old !== undefined && place.new !== undefined) return false;
      for (let row = place.old ?? place.new; row !== undefined; row = row.next)
        if (!this.#isOfStart(row.atMs)) return false;
    }
    return true;
  }

  /** How much waits, of what may. */
  get #share(): number {
    const { old, new: fresh } = this.#waiting;
    return Math.max(
      (old.rows + fresh.rows) / this.#rowsMax,
      (old.bytes + fresh.bytes) / this.#bytesMax,
    );
  }
  get #isFull(): boolean {
    return this.#share > 1;
  }

  /** Of rows with an Epoch alone the last of each side counts. `row` is valid for this call only. */
  #takeRow(side: Side, spot: Spot, row: RowValues, nowMs: number): void {
    let place = this.#places.get(spot.id);
    if (place === undefined) {
      const agreed = this.#agreed.get(spot.id);
      if (agreed !== undefined && isSame(agreed, row)) return;
      place = this.#newPlace(spot, nowMs);
      if (agreed !== undefined) place[OTHER[side]] = this.#wait(OTHER[side], agreed, agreed.atMs);
    }
    const mine = place[side];
    const theirs = place[OTHER[side]];
    if (mine !== undefined) this.#forget(side, mine);
    if (mine !== undefined && theirs !== undefined) this.#counts.disputed--;
    if (theirs !== undefined && isSame(theirs, row)) {
      this.#forget(OTHER[side], theirs);
      this.#places.delete(spot.id);
      this.#pair(side, theirs, nowMs);
      this.#counts.equal++;
      this.#agreed.set(spot.id, theirs);
      return;
    }
    if (theirs !== undefined) this.#counts.disputed++;
    place[side] = this.#wait(side, row, nowMs);
    this.#changed(place, nowMs);
  }

  /** Of ticks each counts, in their order. `row` is valid for this call only. */
  #takeTick(side: Side, spot: Spot, row: RowValues, nowMs: number): void {
    const place = this.#places.get(spot.id) ?? this.#newPlace(spot, nowMs);
    const theirs = place[OTHER[side]];
    if (theirs === undefined) {
      const waiting = this.#wait(side, row, nowMs);
      if (place.last === undefined) place[side] = waiting;
      else place.last.next = waiting;
      place.last = waiting;
      this.#changed(place, nowMs);
      return;
    }
    this.#forget(OTHER[side], theirs);
    place[OTHER[side]] = theirs.next;
    if (theirs.next === undefined) this.#places.delete(spot.id);
    this.#pair(side, theirs, nowMs);
    if (isSame(theirs, row)) {
      this.#counts.equal++;
      return;
    }
    this.#counts.different++;
    if (side === 'old') this.#sample('different', place, row, theirs);
    else this.#sample('different', place, theirs, row);
  }

  #newPlace(spot: Spot, nowMs: number): Place {
    const rows = { old: undefined, new: undefined, last: undefined };
    const place = { ...spot, firstMs: nowMs, changedMs: nowMs, ...rows };
    this.#places.set(spot.id, place);
    return place;
  }

  /** It waits a window anew, to the end of the order; one that is never quiet is judged all the same. */
  #changed(place: Place, nowMs: number): void {
    if (place.changedMs === nowMs) return;
    if (nowMs - place.firstMs > SHADOW_WINDOWS_MAX * this.#windowMs) {
      this.#settle(place, undefined);
      return;
    }
    place.changedMs = nowMs;
    this.#places.delete(place.id);
    this.#places.set(place.id, place);
  }

  /** Its rows wait no more. `evictedMs`: because they are too many. */
  #settle(place: Place, evictedMs: number | undefined): void {
    this.#places.delete(place.id);
    const { old, new: fresh } = place;
    const isDisputed = old !== undefined && fresh !== undefined;
    if (isDisputed) this.#counts.disputed--;
    if (isDisputed && evictedMs === undefined) {
      this.#counts.different++;
      this.#sample('different', place, old, fresh);
    }
    for (const side of ['old', 'new'] as const)
      for (let row = place[side]; row !== undefined; row = row.next) {
        this.#forget(side, row);
        if (evictedMs !== undefined) {
          this.#evictedMs[side] = evictedMs;
          this.#counts.uncompared++;
        } else if (!isDisputed) this.#alone(side, place, row);
      }
  }

  /** The other side did not write it. */
  #alone(side: Side, place: Place, row: WaitingRow): void {
    if (this.#isOfStart(row.atMs)) this.#counts.atStart++;
    else if (row.atMs <= this.#evictedMs[OTHER[side]] + this.#windowMs) this.#counts.uncompared++;
    else if (side === 'old') {
      this.#counts.onlyOld++;
      this.#sample('only old', place, row, undefined);
    } else {
      this.#counts.onlyNew++;
      this.#sample('only new', place, undefined, row);
    }
  }

  #wait(side: Side, { schema, bytes }: RowValues, atMs: number): WaitingRow {
    const waiting = this.#waiting[side];
    waiting.rows++;
    waiting.bytes += ROW_OVERHEAD_BYTES + bytes.length;
    return { bytes: bytes.slice(), schema, atMs, next: undefined };
  }

  #forget(side: Side, { bytes }: WaitingRow): void {
    const waiting = this.#waiting[side];
    waiting.rows--;
    waiting.bytes -= ROW_OVERHEAD_BYTES + bytes.length;
  }

  /** A row of `side` came now, and the one it belongs to before. */
  #pair(side: Side, theirs: WaitingRow, nowMs: number): void {
    const lag = side === 'new' ? nowMs - theirs.atMs : theirs.atMs - nowMs;
    this.#lags[this.#lagCount++ % SHADOW_LAGS_MAX] = lag;
  }

  #isOfStart(atMs: number): boolean {
    const firstMs = this.#firstNewMs;
    return firstMs !== undefined && atMs <= firstMs + SHADOW_SETTLE_FRACTION * this.#windowMs;
  }

  #sample(
    what: ShadowSample['what'],
    place: Place,
    old: RowValues | undefined,
    fresh: RowValues | undefined,
  ): void {
    const samples = this.#samples[what];
    if (samples.length < SHADOW_SAMPLES_MAX) samples.push(sampleOf(what, place, old, fresh));
  }

  #keyId(key: string): number | undefined {
    let id = this.#keyIds.get(key);
    if (id === undefined && this.#keyIds.size < SHADOW_KEYS_MAX) {
      id = this.#keyIds.size;
      this.#keyIds.set(key, id);
    }
    return id;
  }

  /** The values of a row, without its time, one after the other. Valid until the next call. */
  #pack(
    schema: BucketSchema,
    source: Uint8Array,
    offset: number,
    columnOffsets: readonly number[],
    row: number,
  ): Uint8Array {
    let end = 0;
    for (const [at, { type }] of schema.columns.entries()) {
      const from = offset + (columnOffsets[at + 1] ?? 0) + row * type.bytes;
      if (end + type.bytes > this.#row.length) {
        const larger = new Uint8Array(2 * (end + type.bytes));
        larger.set(this.#row);
        this.#row = larger;
      }
      for (let byte = 0; byte < type.bytes; byte++)
        this.#row[end + byte] = source[from + byte] ?? 0;
      end += type.bytes;
    }
    return this.#row.subarray(0, end);
  }
}

/**
 * The newest rows with an Epoch alone that were equal. Two generations of them, the older of which goes
 * as a whole: a Map from whose front entries are removed one by one becomes slow to read there.
 */
class AgreedRows {
  readonly #bytesMax: number;
  #newest = new Map<string, WaitingRow>();
  #before: ReadonlyMap<string, WaitingRow> = new Map();
  #newestBytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get(id: string): WaitingRow | undefined {
    return this.#newest.get(id) ?? this.#before.get(id);
  }

  set(id: string, row: WaitingRow): void {
    this.#newest.set(id, row);
    this.#newestBytes += row.bytes.length;
    if (this.#newest.size < SHADOW_AGREED_MAX / 2 && this.#newestBytes < this.#bytesMax / 2) return;
    this.#before = this.#newest;
    this.#newest = new Map();
    this.#newestBytes = 0;
  }
}

type RowValues = Pick<WaitingRow, 'bytes' | 'schema'>;

function isSame(one: RowValues, other: RowValues): boolean {
  return (
    Buffer.compare(one.bytes, other.bytes) === 0 &&
    (one.schema === other.schema || sameSchema(one.schema, other.schema))
  );
}

function sampleOf(
  what: ShadowSample['what'],
  { key, epoch, nanoseconds }: Spot,
  old: RowValues | undefined,
  fresh: RowValues | undefined,
): ShadowSample {
  return {
    ...{ what, key, epoch, nanoseconds },
    old: old && valuesOf(old.schema, old.bytes),
    new: fresh && valuesOf(fresh.schema, fresh.bytes),
  };
}

function tenths(value: number): number {
  return Math.round(10 * value) / 10;
}
