/**
 * The ticks of one interval in memory: packed records in order of arrival, of which a first part
 * is known to be sorted. Sorting makes new memory, and appending writes behind what is there, so
 * that a write-back can hold `bytes` and `count` of a moment without copying.
 */

import type { CorruptionError } from '../base/errors.ts';
import { type ColumnPlace, type RecordMemory, scatterColumn } from './record-layout.ts';
import type { Resident } from './residents.ts';
import { sortedPart, sortRecords, TICK_BYTES, tickAt } from './tick-chunk.ts';

/** Rough cost of the objects around the bytes. */
const OVERHEAD_BYTES = 256;
const FIRST_RECORDS = 4;

export class Interval implements Resident, RecordMemory {
  readonly position: number;
  readonly stride: number;
  bytes: Uint8Array;
  words: Int32Array;
  count = 0;
  #sortedCount = 0;
  /** The chunk a checkpoint has left on disk; a length of 0: none. */
  cellOffset = 0;
  cellLength = 0;
  /** The chunk it was loaded from was not what was written: readers are refused. */
  fault: CorruptionError | undefined;
  isDirty = false;
  isInFlight = false;
  /** How often records were taken away: with the count, it says whether memory is as it was. */
  #cuts = 0;
  readonly #onEvict: (interval: Interval) => void;

  constructor(position: number, stride: number, onEvict: (interval: Interval) => void) {
    this.position = position;
    this.stride = stride;
    this.#onEvict = onEvict;
    this.bytes = new Uint8Array(0);
    this.words = new Int32Array(0);
  }

  get residentBytes(): number {
    return this.bytes.length + OVERHEAD_BYTES;
  }

  get isHeld(): boolean {
    return this.isDirty || this.isInFlight;
  }

  evict(): void {
    this.#onEvict(this);
  }

  /** Room for `more` records behind those that are there. */
  reserve(more: number): void {
    const needed = (this.count + more) * this.stride;
    if (needed <= this.bytes.length) return;
    const wanted = Math.max(needed, 2 * this.bytes.length, FIRST_RECORDS * this.stride);
    const grown = new Uint8Array(new ArrayBuffer((wanted + 7) & ~7));
    grown.set(this.bytes.subarray(0, this.count * this.stride));
    this.#adopt(grown);
  }

  /** Takes over records read from disk. */
  load(records: Uint8Array): void {
    this.count = 0;
    this.#sortedCount = 0;
    this.reserve(records.length / this.stride);
    this.bytes.set(records);
    this.count = records.length / this.stride;
    this.#sortedCount = sortedPart(records, this.count, this.stride);
  }

  /** Appends rows of a block: `sources[i]` is where the values of column i begin. */
  append(
    block: RecordMemory,
    columns: readonly ColumnPlace[],
    sources: Int32Array,
    row: number,
    ticks: Uint32Array,
    records: Int32Array,
    count: number,
  ): void {
    const { stride } = this;
    for (let at = 0; at < count; at++) records[at] = (this.count + at) * stride;
    for (let column = 0; column < columns.length; column++) {
      const place = columns[column];
      if (place === undefined) continue;
      const from = (sources[column + 1] ?? 0) + row * place.bytes;
      scatterColumn(place, block, from, this, records, count);
    }
    this.#putTicks(ticks, count);
    this.#extendSorted(ticks, count);
    this.count += count;
  }

  #putTicks(ticks: Uint32Array, count: number): void {
    const { bytes, words, stride } = this;
    let write = this.count * stride + stride - TICK_BYTES;
    if (stride % 4 === 0) {
      for (let at = 0; at < count; at++, write += stride) words[write >> 2] = ticks[at] ?? 0;
      return;
    }
    for (let at = 0; at < count; at++, write += stride) {
      const tick = ticks[at] ?? 0;
      bytes[write] = tick;
      bytes[write + 1] = tick >>> 8;
      bytes[write + 2] = tick >>> 16;
      bytes[write + 3] = tick >>> 24;
    }
  }

  /** `ticks` go behind what is there: if all that is sorted, they may be a part of it. */
  #extendSorted(ticks: Uint32Array, count: number): void {
    if (this.#sortedCount < this.count) return;
    let last = this.count === 0 ? 0 : tickAt(this.bytes, this.count * this.stride);
    for (let at = 0; at < count; at++) {
      const tick = ticks[at] ?? 0;
      if (tick < last) return;
      last = tick;
      this.#sortedCount++;
    }
  }

  /**
   * Takes records [from, to) away, in the order they are in now. The rest is new memory, since a
   * write-back may hold what is here.
   */
  cut(from: number, to: number): void {
    const { bytes, count, stride } = this;
    const kept = count - (to - from);
    const rest = new Uint8Array(new ArrayBuffer((kept * stride + 7) & ~7));
    rest.set(bytes.subarray(0, from * stride));
    rest.set(bytes.subarray(to * stride, count * stride), from * stride);
    this.#adopt(rest);
    this.count = kept;
    this.#sortedCount = sortedPart(rest, kept, stride);
    this.#cuts++;
  }

  /** Puts the records in order, if they are not. */
  sort(): void {
    if (this.#sortedCount === this.count) return;
    this.#adopt(sortRecords(this.bytes, this.count, this.#sortedCount, this.stride));
    this.#sortedCount = this.count;
  }

  /**
   * What is here now, sorted when asked for: a write-back begins at once and sorts in its slices,
   * while rows go on being appended.
   */
  snapshot(): () => Uint8Array {
    const { bytes, count, stride } = this;
    const sortedCount = this.#sortedCount;
    const cuts = this.#cuts;
    return () => {
      if (this.count === count && this.#cuts === cuts) {
        this.sort();
        return this.bytes.subarray(0, count * stride);
      }
      const sorted = sortedCount === count ? bytes : sortRecords(bytes, count, sortedCount, stride);
      return sorted.subarray(0, count * stride);
    };
  }

  #adopt(bytes: Uint8Array): void {
    this.bytes = bytes;
    this.words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
  }
}
