/**
 * One step of a scan over ticks: the cells of a piece, and the intervals in memory among them,
 * decoded, cut to the bounds and gathered into one part.
 */

import { SCAN_SLICE_BYTES } from '../base/limits.ts';
import { nanosOf, referenceTimeOf } from '../base/tick-time.ts';
import { intervalsPerDay } from '../base/timeframe.ts';
import type { Piece } from './pages.ts';
import { gatherColumn, type RecordMemory } from './record-layout.ts';
import {
  type Bounds,
  putEpoch,
  type ScanCursor,
  type ScanParts,
  type ScanRequest,
} from './scan-parts.ts';
import { CELL_BYTES, ChunkReader, readCell, slotOf } from './tick-cells.ts';
import { sortedPart, sortRecords, tickAt } from './tick-chunk.ts';
import type { TickYear } from './tick-file.ts';

const SECOND_NANOS = 1_000_000_000;
const LAST_NANO = SECOND_NANOS - 1;

/** Kept records of an interval: `count` of them at byte `at` of the gathered bytes. */
interface Taken {
  readonly slotStart: number;
  readonly at: number;
  readonly count: number;
}

/** Time of a tick after the start of its interval; filled in, so that none is allocated per row. */
interface TickTime {
  seconds: number;
  nanos: number;
}

export function scanTicks(
  year: TickYear,
  cursor: ScanCursor,
  request: ScanRequest,
  parts: ScanParts,
): number {
  const { file, cells } = year;
  const isBackward = request.fromEnd;
  const piece = isBackward
    ? cells.pieceAtEnd(cursor.from, cursor.to, cursor.stepBytes)
    : cells.pieceAtStart(cursor.from, cursor.to, cursor.stepBytes);
  const positions = filledPositions(year, piece);
  if (positions.length === 0) file.foundEmpty(piece.first, piece.end);
  if (isBackward) positions.reverse();

  const gathered = new Gathered();
  const taken: Taken[] = [];
  const reader = new ChunkReader(file, year.layout.strideBytes, isBackward);
  const clock = new TickClock(year);
  let bytes = (piece.end - piece.first) * CELL_BYTES;
  let rows = 0;
  let stoppedAt: number | undefined;
  for (const position of positions) {
    const records = recordsAt(year, piece, position, reader);
    if (records === undefined) continue;
    const slotStart = file.grid.startOf(position);
    const kept = clock.keep(records, slotStart, request.bounds);
    const count = Math.min(kept.to - kept.from, parts.remaining - rows);
    if (count > 0) {
      const from = isBackward ? kept.to - count : kept.from;
      const { strideBytes } = year.layout;
      const at = gathered.append(
        records.subarray(from * strideBytes, (from + count) * strideBytes),
      );
      taken.push({ slotStart, at, count });
    }
    bytes += records.length;
    rows += Math.max(0, count);
    if (rows >= parts.remaining || bytes >= 2 * SCAN_SLICE_BYTES) {
      stoppedAt = position;
      break;
    }
  }
  if (isBackward) cursor.to = stoppedAt ?? piece.first;
  else cursor.from = stoppedAt === undefined ? piece.end : stoppedAt + 1;
  if (rows > 0)
    fillPart(year, request, parts, isBackward ? taken.reverse() : taken, gathered, clock);
  return bytes;
}

/** Positions of a piece that have ticks, on disk or in memory, ascending. */
function filledPositions(year: TickYear, piece: Piece): number[] {
  const resident = year.positions();
  let next = lowerBound(resident.length, (at) => (resident[at] ?? 0) >= piece.first);
  const positions: number[] = [];
  const words = piece.memory?.words;
  if (words === undefined) {
    for (; next < resident.length && (resident[next] ?? 0) < piece.end; next++)
      positions.push(resident[next] ?? 0);
    return positions;
  }
  for (let position = piece.first; position < piece.end; position++) {
    if (resident[next] === position) {
      positions.push(position);
      next++;
      continue;
    }
    const slot = slotOf(piece, position) >> 2;
    // Jan 1 of a daily bucket has index 0 like an empty cell: there the length tells.
    const at = position === -1 ? slot + 4 : slot;
    if (words[at] !== 0 || words[at + 1] !== 0) positions.push(position);
  }
  return positions;
}

function recordsAt(
  year: TickYear,
  piece: Piece,
  position: number,
  reader: ChunkReader,
): Uint8Array | undefined {
  const { strideBytes } = year.layout;
  const interval = year.intervals.get(position);
  if (interval !== undefined) {
    if (interval.fault !== undefined) throw interval.fault;
    interval.sort();
    if (!interval.isHeld) year.file.context.residents.touch(interval);
    return interval.bytes.subarray(0, interval.count * strideBytes);
  }
  if (piece.memory === undefined) return undefined;
  const slot = slotOf(piece, position);
  const cell = readCell(year.file, position, piece.memory, slot, year.fileBytes);
  if (cell === undefined) return undefined;
  const fault = reader.fault(position, cell);
  if (fault !== undefined) throw fault;
  const records = reader.records(position, cell);
  if (records === undefined) return undefined;
  const count = records.length / strideBytes;
  const sorted = sortedPart(records, count, strideBytes);
  return sorted === count
    ? records
    : sortRecords(records, count, sorted, strideBytes).subarray(0, records.length);
}

function fillPart(
  year: TickYear,
  request: ScanRequest,
  parts: ScanParts,
  taken: readonly Taken[],
  gathered: Gathered,
  clock: TickClock,
): void {
  const { strideBytes } = year.layout;
  const rowCount = taken.reduce((rows, { count }) => rows + count, 0);
  const part = parts.add(rowCount);
  const records = new Int32Array(rowCount);
  const epochs = part.memory[0]?.words;
  const nanoseconds = part.memory.at(-1)?.words;
  if (epochs === undefined || nanoseconds === undefined) return;
  const time: TickTime = { seconds: 0, nanos: 0 };
  let row = 0;
  for (const { slotStart, at, count } of taken)
    for (let record = 0; record < count; record++, row++) {
      const start = at + record * strideBytes;
      records[row] = start;
      clock.read(tickAt(gathered.bytes, start + strideBytes), time);
      putEpoch(epochs, row, slotStart + time.seconds);
      nanoseconds[row] = time.nanos;
    }
  for (let column = 0; column < request.places.length; column++) {
    const place = request.places[column];
    const target = part.memory[column + 1];
    if (place !== undefined && target !== undefined)
      gatherColumn(place, gathered, records, rowCount, target);
  }
}

/** Ticks as times, in the mode the server was started with. */
export class TickClock {
  readonly #isExact: boolean;
  readonly #timeframeNanos: number;
  readonly #perDay: number;
  readonly #timeframeSeconds: number;
  readonly #stride: number;

  constructor(year: TickYear) {
    const { grid, context } = year.file;
    this.#isExact = context.tickReadMode === 'exact';
    this.#timeframeSeconds = grid.timeframeSeconds;
    this.#timeframeNanos = grid.timeframeSeconds * SECOND_NANOS;
    this.#perDay = intervalsPerDay(grid.timeframeSeconds);
    this.#stride = year.layout.strideBytes;
  }

  /** True if no tick of an interval that ends at `endSeconds` can be read as later than the bounds. */
  endsWithin(endSeconds: number, { toSeconds, toNanos }: Bounds): boolean {
    if (!this.#isExact) return toSeconds > endSeconds;
    return toSeconds >= endSeconds || (toSeconds === endSeconds - 1 && toNanos >= LAST_NANO);
  }

  read(ticks: number, time: TickTime): void {
    if (!this.#isExact) {
      const { seconds, nanos } = referenceTimeOf(ticks, this.#perDay);
      time.seconds = seconds;
      time.nanos = nanos;
      return;
    }
    const nanos = nanosOf(ticks, this.#timeframeNanos);
    time.seconds = Math.floor(nanos / SECOND_NANOS);
    time.nanos = nanos - time.seconds * SECOND_NANOS;
  }

  /** Records [from, to) of an interval whose times lie in the bounds, both ends included. */
  keep(
    records: Uint8Array,
    slotStart: number,
    bounds: Bounds,
  ): { readonly from: number; readonly to: number } {
    const count = records.length / this.#stride;
    const time: TickTime = { seconds: 0, nanos: 0 };
    const compare = (record: number, seconds: number, nanos: number): number => {
      this.read(tickAt(records, (record + 1) * this.#stride), time);
      return slotStart + time.seconds - seconds || time.nanos - nanos;
    };
    const { fromSeconds, fromNanos, toSeconds, toNanos } = bounds;
    const notBefore = (record: number): boolean => compare(record, fromSeconds, fromNanos) >= 0;
    const after = (record: number): boolean => compare(record, toSeconds, toNanos) > 0;
    // The reference's rounding can carry a tick into the next second, hence into the next interval.
    const slack = this.#timeframeSeconds + 1;
    let from = 0;
    let to = count;
    if (slotStart <= fromSeconds) {
      if (this.#isExact) from = lowerBound(count, notBefore);
      else while (from < count && !notBefore(from)) from++;
    }
    if (slotStart + slack >= toSeconds) {
      if (this.#isExact) to = lowerBound(count, after);
      else while (to > from && after(to - 1)) to--;
    }
    return { from, to };
  }
}

/** Records of several intervals, one behind the other. */
class Gathered implements RecordMemory {
  bytes = new Uint8Array(0);
  words = new Int32Array(0);
  #used = 0;

  append(records: Uint8Array): number {
    const at = this.#used;
    if (at + records.length > this.bytes.length) {
      const wanted = Math.max(4096, 2 * this.bytes.length, at + records.length);
      const buffer = new ArrayBuffer((wanted + 7) & ~7);
      const grown = new Uint8Array(buffer);
      grown.set(this.bytes.subarray(0, at));
      this.bytes = grown;
      this.words = new Int32Array(buffer);
    }
    this.bytes.set(records, at);
    this.#used += records.length;
    return at;
  }
}

/** First number in [0, count) for which `holds` is true, given that it stays true; else `count`. */
function lowerBound(count: number, holds: (at: number) => boolean): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}
