/**
 * What a scan is asked for, and what it has found so far: rows in parts, one part a step, joined
 * at the end. Parts come in scan order; a scan from the end finds the newest part first.
 */

import type { Column, ColumnSeries } from '../base/column-series.ts';
import { columnBytes } from '../base/column-series.ts';
import {
  type BucketSchema,
  type ColumnShape,
  EPOCH_SHAPE,
  NANOSECONDS_SHAPE,
} from '../base/schema.ts';
import type { ColumnPlace, RecordLayout, RecordMemory } from './record-layout.ts';

/** A time as it is compared: seconds, then nanoseconds. Infinite where a range is open. */
export interface Bounds {
  readonly fromSeconds: number;
  readonly fromNanos: number;
  readonly toSeconds: number;
  readonly toNanos: number;
}

export interface ScanRequest {
  readonly bounds: Bounds;
  readonly fromEnd: boolean;
  /** Columns to materialise, in the order asked for. */
  readonly places: readonly ColumnPlace[];
  readonly withNanoseconds: boolean;
}

/** Where a scan stands in one year: positions [from, to) are to do. */
export interface ScanCursor {
  from: number;
  to: number;
  /** Bytes the next step may look at; grows, so that "the last row" reads little. */
  stepBytes: number;
}

/** A year of a bucket as a scan sees it. */
export interface ScannedYear {
  /** Positions that may hold rows of the bounds; `from >= to` if none. */
  clip(bounds: Bounds): { from: number; to: number };
  /** Takes a piece off the cursor, at the end the scan works from; returns bytes looked at. */
  scanStep(cursor: ScanCursor, request: ScanRequest, parts: ScanParts): number;
}

/** Rows found in one step, as columns: Epoch, the columns asked for, Nanoseconds. */
export interface Part {
  readonly rowCount: number;
  readonly columns: readonly Column[];
  /** The same memory, to be filled: as `columns`. */
  readonly memory: readonly RecordMemory[];
}

export class ScanParts {
  readonly #request: ScanRequest;
  readonly #shapes: readonly ColumnShape[];
  readonly #parts: Part[] = [];
  /** Rows still wanted. */
  remaining: number;

  constructor(request: ScanRequest, limit: number) {
    this.#request = request;
    this.#shapes = [
      EPOCH_SHAPE,
      ...request.places,
      ...(request.withNanoseconds ? [NANOSECONDS_SHAPE] : []),
    ];
    this.remaining = limit;
  }

  /** A new part of `rowCount` rows for the caller to fill. */
  add(rowCount: number): Part {
    const part = this.#makePart(rowCount);
    this.#parts.push(part);
    this.remaining -= rowCount;
    return part;
  }

  /** Hands over the parts found since the last call: for who only looks at them. */
  take(): readonly Part[] {
    return this.#parts.splice(0);
  }

  /** All rows, ascending. */
  join(): ColumnSeries {
    if (this.#parts.length === 1) {
      const [only] = this.#parts;
      if (only !== undefined) return { rowCount: only.rowCount, columns: only.columns };
    }
    const parts = this.#request.fromEnd ? [...this.#parts].reverse() : this.#parts;
    const rowCount = parts.reduce((rows, part) => rows + part.rowCount, 0);
    const all = this.#makePart(rowCount);
    all.memory.forEach(({ bytes }, column) => {
      let at = 0;
      for (const part of parts) {
        const data = part.columns[column]?.data;
        if (data === undefined) continue;
        bytes.set(columnBytes(data), at);
        at += data.byteLength;
      }
    });
    return { rowCount, columns: all.columns };
  }

  #makePart(rowCount: number): Part {
    const buffers = this.#shapes.map(({ type }) => wholeWords(type.bytes * rowCount));
    return {
      rowCount,
      columns: this.#shapes.map(({ name, type }, at) => ({
        name,
        type,
        data: type.view(buffers[at] ?? new ArrayBuffer(0), 0, rowCount),
      })),
      memory: buffers.map((buffer) => ({
        bytes: new Uint8Array(buffer),
        words: new Int32Array(buffer),
      })),
    };
  }
}

/** Columns to materialise: names once each, unknown ones left out. */
export function selectPlaces(
  layout: RecordLayout,
  schema: BucketSchema,
  names: readonly string[] | undefined,
): readonly ColumnPlace[] {
  const isTick = schema.recordType === 'variable';
  const chosen = new Set(names ?? layout.columns.map(({ name }) => name));
  // The one of the tick's time comes anyway; a header that lists another (spec 3.7) is not heard.
  if (isTick) chosen.delete(NANOSECONDS_SHAPE.name);
  return [...chosen].flatMap((name) => layout.columns.find((place) => place.name === name) ?? []);
}

/** Writes whole seconds as the i64 at `row`. */
export function putEpoch(words: Int32Array, row: number, seconds: number): void {
  words[2 * row] = seconds | 0;
  words[2 * row + 1] = Math.floor(seconds / 4_294_967_296);
}

function wholeWords(bytes: number): ArrayBuffer {
  return new ArrayBuffer((bytes + 7) & ~7);
}
