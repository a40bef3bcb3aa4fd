/**
 * What a plugin wrote against what its shadow wrote: the diff by which a new version is judged before
 * it may write. Pure but for its clock; main thread.
 *
 *   old ─ row ─┐    same key, Epoch (and Nanoseconds)?
 *              ├──▶ the other side's waits: compare bytes, equal or different
 *   new ─ row ─┘    none waits: wait, for a window; then it is a row of one side only
 *
 * The n-th row of one side at a place is held against the n-th of the other: rows that wait at a
 * place are of one side, and the oldest is matched first. So sides that write the same rows in the
 * same order per place are equal, however they interleave.
 *
 * The two do not begin at the same row: one may be in the middle of something, the other must connect
 * first. What only one wrote until shortly after the shadow's first row is counted apart.
 *
 * Bounds: rows, bytes and keys of limits.ts. Past them the oldest are `uncompared`; the shadow is held
 * up before (`hasRoom`), the running plugin never is.
 */

import {
  SHADOW_BYTES_MAX,
  SHADOW_KEYS_MAX,
  SHADOW_LAGS_MAX,
  SHADOW_ROWS_MAX,
  SHADOW_SAMPLES_MAX,
  SHADOW_SETTLE_FRACTION,
} from '../base/limits.ts';
import type { ShadowCounts, ShadowSample, ShadowValues } from '../base/plugin-report.ts';
import { epochAt, ROW_BLOCK_KIND, rowBlockLayout } from '../base/row-block.ts';
import type { BucketSchema } from '../base/schema.ts';
import { EPOCH_SHAPE, NANOSECONDS_SHAPE, sameSchema } from '../base/schema.ts';
import type { TimeBucketKey } from '../base/time-bucket-key.ts';

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
}

/** Rows of one side at one place that the other side did not write yet. */
interface Place {
  readonly key: string;
  readonly epoch: number;
  readonly nanoseconds: number | undefined;
  readonly side: Side;
  readonly rows: WaitingRow[];
  /** Never falls along the order of places. */
  sinceMs: number;
}

/** Besides its bytes, what a row costs that waits. */
const ROW_OVERHEAD_BYTES = 200;

export class ShadowDiff {
  readonly #nowMs: () => number;
  readonly #windowMs: number;
  readonly #rowsMax: number;
  readonly #bytesMax: number;
  readonly #keyIds = new Map<string, number>();
  /** By key and time; those that wait longest first. */
  readonly #places = new Map<string, Place>();
  readonly #waiting: Record<Side, number> = { old: 0, new: 0 };
  #waitingBytes = 0;
  readonly #counts = {
    equal: 0,
    different: 0,
    onlyOld: 0,
    onlyNew: 0,
    atStart: 0,
    uncompared: 0,
  };
  readonly #samples: Record<ShadowSample['what'], ShadowSample[]> = {
    different: [],
    'only old': [],
    'only new': [],
  };
  readonly #lags: number[] = [];
  #lagCount = 0;
  #firstNewMs: number | undefined;
  #row = new Uint8Array(1024);
  #enough: { readonly rows: number; readonly atMs: number } | undefined;

  constructor({ nowMs, windowMs, rowsMax, bytesMax }: ShadowDiffOptions) {
    this.#nowMs = nowMs;
    this.#windowMs = windowMs;
    this.#rowsMax = rowsMax ?? SHADOW_ROWS_MAX;
    this.#bytesMax = bytesMax ?? SHADOW_BYTES_MAX;
  }

  /** False: the shadow is so far ahead, or beside, that it must wait. */
  get hasRoom(): boolean {
    return this.#waiting.new < this.#rowsMax / 2 && this.#waitingBytes < this.#bytesMax / 2;
  }

  get counts(): ShadowCounts {
    return { ...this.#counts, waiting: this.#waiting.old + this.#waiting.new };
  }

  /** The first differences of each kind. */
  get samples(): readonly ShadowSample[] {
    return Object.values(this.#samples).flat();
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
    this.sweep();
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
      const place = this.#places.get(id);
      if (place !== undefined && place.side !== side) this.#match(id, place, schema, bytes, nowMs);
      else {
        const rows = place?.rows ?? [];
        if (place === undefined)
          this.#places.set(id, { key, epoch, nanoseconds, side, rows, sinceMs: nowMs });
        rows.push({ bytes: bytes.slice(), schema, atMs: nowMs });
        this.#waiting[side]++;
        this.#waitingBytes += ROW_OVERHEAD_BYTES + bytes.length;
      }
    }
  }

  /** Gives up on rows that waited too long, or that are too many. Cheap if there are none. */
  sweep(): void {
    const nowMs = this.#nowMs();
    for (const [id, place] of this.#places) {
      const isTooMany =
        this.#waiting.old + this.#waiting.new > this.#rowsMax ||
        this.#waitingBytes > this.#bytesMax;
      if (!isTooMany && nowMs - place.sinceMs < this.#windowMs) return;
      const [first] = place.rows;
      this.#places.delete(id);
      if (!isTooMany && first !== undefined && nowMs - first.atMs < this.#windowMs) {
        // Rows before it were matched meanwhile. To the end of the order: late rather than wrong.
        place.sinceMs = nowMs;
        this.#places.set(id, place);
        continue;
      }
      // All that wait at this place: which of the other side's is the n-th is not known any more.
      for (const row of place.rows) this.#giveUp(place, row, isTooMany);
    }
  }

  /**
   * True if at least `rows` were equal, nothing differed, and nothing that was written until there
   * were so many still waits for its other half.
   */
  isProven(rows: number): boolean {
    if (this.#counts.equal < rows || this.differences > 0 || this.#counts.uncompared > 0)
      return false;
    if (this.#enough?.rows !== rows) this.#enough = { rows, atMs: this.#nowMs() };
    for (const { rows: waiting, sinceMs } of this.#places.values()) {
      if (sinceMs > this.#enough.atMs) return true;
      if (waiting.some(({ atMs }) => !this.#isOfStart(atMs))) return false;
    }
    return true;
  }

  #match(id: string, place: Place, schema: BucketSchema, bytes: Uint8Array, nowMs: number): void {
    const waited = place.rows.shift();
    if (waited === undefined) return;
    if (place.rows.length === 0) this.#places.delete(id);
    this.#forget(place.side, waited);
    const lag = place.side === 'old' ? nowMs - waited.atMs : waited.atMs - nowMs;
    this.#lags[this.#lagCount++ % SHADOW_LAGS_MAX] = lag;
    const isSame =
      (waited.schema === schema || sameSchema(waited.schema, schema)) &&
      Buffer.compare(waited.bytes, bytes) === 0;
    if (isSame) {
      this.#counts.equal++;
      return;
    }
    this.#counts.different++;
    const [old, fresh] =
      place.side === 'old' ? [waited, { bytes, schema }] : [{ bytes, schema }, waited];
    this.#sample('different', place, old, fresh);
  }

  #giveUp(place: Place, row: WaitingRow, isTooMany: boolean): void {
    this.#forget(place.side, row);
    if (isTooMany) this.#counts.uncompared++;
    else if (this.#isOfStart(row.atMs)) this.#counts.atStart++;
    else if (place.side === 'old') {
      this.#counts.onlyOld++;
      this.#sample('only old', place, row, undefined);
    } else {
      this.#counts.onlyNew++;
      this.#sample('only new', place, undefined, row);
    }
  }

  #forget(side: Side, { bytes }: WaitingRow): void {
    this.#waiting[side]--;
    this.#waitingBytes -= ROW_OVERHEAD_BYTES + bytes.length;
  }

  #isOfStart(atMs: number): boolean {
    const firstMs = this.#firstNewMs;
    return firstMs !== undefined && atMs <= firstMs + SHADOW_SETTLE_FRACTION * this.#windowMs;
  }

  #sample(
    what: ShadowSample['what'],
    { key, epoch, nanoseconds }: Place,
    old: Pick<WaitingRow, 'bytes' | 'schema'> | undefined,
    fresh: Pick<WaitingRow, 'bytes' | 'schema'> | undefined,
  ): void {
    const samples = this.#samples[what];
    if (samples.length >= SHADOW_SAMPLES_MAX) return;
    samples.push({
      what,
      key,
      epoch,
      nanoseconds,
      old: old && valuesOf(old.schema, old.bytes),
      new: fresh && valuesOf(fresh.schema, fresh.bytes),
    });
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

/** Column by column; a name that is that of the time cannot be among them. */
function valuesOf(schema: BucketSchema, packed: Uint8Array): ShadowValues {
  const values: Record<string, number | string> = Object.create(null);
  let at = 0;
  for (const { name, type } of schema.columns) {
    // A copy: a view must be aligned.
    const { buffer } = packed.slice(at, at + type.bytes);
    const lanes = type.view(buffer, 0, 1);
    at += type.bytes;
    if (name === EPOCH_SHAPE.name || name === NANOSECONDS_SHAPE.name) continue;
    values[name] = type.lanes > 1 ? textOf(lanes) : plainNumber(lanes[0] ?? 0);
  }
  return values;
}

function plainNumber(value: number | bigint): number | string {
  const number = Number(value);
  const isExact =
    typeof value === 'bigint' ? Number.isSafeInteger(number) : Number.isFinite(number);
  return isExact ? number : String(value);
}

/** UTF-32 units, padded with NUL. */
function textOf(lanes: Iterable<number | bigint>): string {
  return Array.from(lanes, (unit) => {
    const point = Number(unit);
    return point === 0 || point > 0x10ffff ? '' : String.fromCodePoint(point);
  }).join('');
}

function tenths(value: number): number {
  return Math.round(10 * value) / 10;
}
