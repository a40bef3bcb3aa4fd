/**
 * Entries of a record: what a transaction group says besides rows. Pure; the layouts are drawn in
 * FORMAT.md. Each begins with the 8 bytes it shares with a row block: u32 bytes (a multiple of 8),
 * u16 kind, u16 count.
 *
 * Encoders assert, since only we call them; decoders return undefined for whatever is not exactly
 * what an encoder makes, since a disk may return anything.
 */

import { assert } from '../base/assert.ts';
import { elementTypeOfCode } from '../base/element-type.ts';
import {
  COLUMNS_MAX,
  KEY_BYTES_MAX,
  PLUGIN_NAME_BYTES_MAX,
  TOUCHED_RANGES_MAX,
  YEAR_MAX,
  YEAR_MIN,
} from '../base/limits.ts';
import { type BucketSchema, type ColumnShape, RECORD_TYPE_CODES } from '../base/schema.ts';
import { parseTimeBucketKey, type TimeBucketKey } from '../base/time-bucket-key.ts';
import { type Block, ENTRY_KINDS } from './format.ts';

/** Who wrote rows. */
export interface Origin {
  readonly kind: 'client' | 'plugin';
  readonly name: string;
  readonly generation: number;
}

/** An index cell of a tick file as it is on disk before a checkpoint overwrites it. */
export interface CellImage {
  /** Year file, relative to the data root. */
  readonly path: string;
  readonly offset: number;
  /** 24 bytes. */
  readonly bytes: Uint8Array;
}

export interface BucketDefinition {
  readonly id: number;
  readonly key: TimeBucketKey;
  readonly schema: BucketSchema;
}

export interface OriginDefinition {
  readonly id: number;
  readonly origin: Origin;
}

export interface CheckpointIntent {
  /** The checkpoint will cover all groups up to this one. */
  readonly sequence: bigint;
  /** The checkpoint before; 0: not known. */
  readonly previous: bigint;
  readonly cells: readonly CellImage[];
}

/** What one trigger is still to be told of one bucket. */
export interface OwedBatch {
  /** Its name in mkts.yml. */
  readonly trigger: string;
  readonly key: string;
  /** Unix seconds, both ends inclusive; at least one, at most TOUCHED_RANGES_MAX. */
  readonly ranges: readonly { readonly from: number; readonly to: number }[];
}

export interface OwedEntry {
  /** The checkpoint it belongs to: it counts if that completes. */
  readonly sequence: bigint;
  readonly batch: OwedBatch;
}

/** Memory to write an entry to, and where: a multiple of 8 with room for it. */
export interface EntryTarget extends Block {
  readonly offset: number;
}

export const CELL_BYTES = 24;
const CELL_SLOT_BYTES = 8 + CELL_BYTES;
const ENTRY_HEADER_BYTES = 8;
const BUCKET_FIXED_BYTES = 16;
const ORIGIN_FIXED_BYTES = 24;
const INTENT_FIXED_BYTES = 32;
const OWED_FIXED_BYTES = 24;
const RANGE_BYTES = 16;
const YEAR_PATH_BYTES_MAX = KEY_BYTES_MAX + 16;
/** An origin's name is cut to this; a character has at most 3 bytes here. */
const NAME_CHARACTERS_MAX = 256;
const NAME_BYTES_MAX = 3 * NAME_CHARACTERS_MAX;
const SECOND_NANOS = 1_000_000_000;
const ORIGIN_CODES = { client: 0, plugin: 1 } as const;

/** First instant of year 1, first of year 10000. */
export const EPOCH_MIN = -62_135_596_800;
export const EPOCH_END = 253_402_300_800;

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Bytes `encodeCreateYear` writes. */
export const CREATE_YEAR_BYTES = 16;

/** A bucket gets an (empty) year file. Returns the entry's bytes. */
export function encodeCreateYear(target: EntryTarget, bucketId: number, year: number): number {
  const { view, offset } = target;
  begin(target, CREATE_YEAR_BYTES, ENTRY_KINDS.createYear, 0);
  view.setUint32(offset + 8, bucketId, true);
  view.setInt32(offset + 12, year, true);
  return CREATE_YEAR_BYTES;
}

/** Bytes `encodeDestroy` writes. */
export function destroyBytes(path: string): number {
  return padded(ENTRY_HEADER_BYTES + Buffer.byteLength(path));
}

/** A bucket goes, with all its years. Returns the entry's bytes. */
export function encodeDestroy(target: EntryTarget, path: string): number {
  const text = Buffer.from(path);
  const bytes = padded(ENTRY_HEADER_BYTES + text.length);
  begin(target, bytes, ENTRY_KINDS.destroy, text.length);
  target.bytes.set(text, target.offset + ENTRY_HEADER_BYTES);
  return bytes;
}

/** Which rows of a bucket are deleted: those a scan of these times shows. */
export interface Deletion {
  readonly bucketId: number;
  readonly originId: number;
  readonly times: DeletedTimes;
}

/** Both ends inclusive, within EPOCH_MIN and EPOCH_END. */
export interface DeletedTimes {
  readonly fromSeconds: number;
  readonly fromNanos: number;
  readonly toSeconds: number;
  readonly toNanos: number;
}

/** Bytes `encodeDeleteRows` writes. */
export const DELETE_ROWS_BYTES = 40;

/** Returns the entry's bytes. */
export function encodeDeleteRows(target: EntryTarget, deletion: Deletion): number {
  const { view, offset } = target;
  const { bucketId, originId, times } = deletion;
  begin(target, DELETE_ROWS_BYTES, ENTRY_KINDS.deleteRows, 0);
  view.setUint32(offset + 8, bucketId, true);
  view.setUint32(offset + 12, originId, true);
  view.setBigInt64(offset + 16, BigInt(times.fromSeconds), true);
  view.setBigInt64(offset + 24, BigInt(times.toSeconds), true);
  view.setUint32(offset + 32, times.fromNanos, true);
  view.setUint32(offset + 36, times.toNanos, true);
  return DELETE_ROWS_BYTES;
}

/** What a bucket's id means in this segment. */
export function encodeBucket(id: number, path: string, schema: BucketSchema): Uint8Array {
  const text = Buffer.from(path);
  const names = schema.columns.map(({ name }) => Buffer.from(name));
  const bytes = names.reduce(
    (sum, name) => sum + 2 + name.length,
    BUCKET_FIXED_BYTES + text.length,
  );
  const entry = entryOf(bytes, ENTRY_KINDS.bucket, schema.columns.length);
  entry.view.setUint32(8, id, true);
  entry.view.setUint8(12, RECORD_TYPE_CODES[schema.recordType]);
  entry.view.setUint16(14, text.length, true);
  entry.bytes.set(text, BUCKET_FIXED_BYTES);
  let at = BUCKET_FIXED_BYTES + text.length;
  for (const [index, { type }] of schema.columns.entries()) {
    const name = names[index] ?? Buffer.alloc(0);
    assert(name.length <= 255, 'a column name has at most 255 bytes');
    entry.view.setUint8(at, type.code);
    entry.view.setUint8(at + 1, name.length);
    entry.bytes.set(name, at + 2);
    at += 2 + name.length;
  }
  return entry.bytes;
}

/** What an origin's id means in this segment. */
export function encodeOrigin(id: number, { kind, name, generation }: Origin): Uint8Array {
  const text = Buffer.from(name.slice(0, NAME_CHARACTERS_MAX));
  const entry = entryOf(ORIGIN_FIXED_BYTES + text.length, ENTRY_KINDS.origin, ORIGIN_CODES[kind]);
  entry.view.setUint32(8, id, true);
  entry.view.setUint32(12, text.length, true);
  entry.view.setFloat64(16, generation, true);
  entry.bytes.set(text, ORIGIN_FIXED_BYTES);
  return entry.bytes;
}

/** One entry for cells of one year file. */
export function encodeCheckpointIntent(
  intent: Omit<CheckpointIntent, 'cells'>,
  path: string,
  cells: readonly CellImage[],
): Uint8Array {
  const text = Buffer.from(path);
  const cellsAt = padded(INTENT_FIXED_BYTES + text.length);
  const entry = entryOf(
    cellsAt + cells.length * CELL_SLOT_BYTES,
    ENTRY_KINDS.checkpointIntent,
    text.length,
  );
  entry.view.setBigUint64(8, intent.sequence, true);
  entry.view.setBigUint64(16, intent.previous, true);
  entry.view.setUint32(24, cells.length, true);
  entry.bytes.set(text, INTENT_FIXED_BYTES);
  for (const [index, cell] of cells.entries()) {
    assert(cell.bytes.length === CELL_BYTES, 'a cell has 24 bytes');
    const at = cellsAt + index * CELL_SLOT_BYTES;
    entry.view.setBigUint64(at, BigInt(cell.offset), true);
    entry.bytes.set(cell.bytes, at + 8);
  }
  return entry.bytes;
}

export function encodeCheckpointComplete(sequence: bigint): Uint8Array {
  const entry = entryOf(16, ENTRY_KINDS.checkpointComplete, 0);
  entry.view.setBigUint64(8, sequence, true);
  return entry.bytes;
}

/** What is owed when the checkpoint of `sequence` completes. */
export function encodeOwed(sequence: bigint, { trigger, key, ranges }: OwedBatch): Uint8Array {
  const name = Buffer.from(trigger);
  const path = Buffer.from(key);
  assert(name.length > 0 && name.length <= PLUGIN_NAME_BYTES_MAX, 'a trigger has a short name');
  assert(ranges.length > 0 && ranges.length <= TOUCHED_RANGES_MAX, 'a batch has some ranges');
  const rangesAt = padded(OWED_FIXED_BYTES + name.length + path.length);
  const entry = entryOf(rangesAt + ranges.length * RANGE_BYTES, ENTRY_KINDS.owed, ranges.length);
  entry.view.setBigUint64(8, sequence, true);
  entry.view.setUint16(16, name.length, true);
  entry.view.setUint16(18, path.length, true);
  entry.bytes.set(name, OWED_FIXED_BYTES);
  entry.bytes.set(path, OWED_FIXED_BYTES + name.length);
  for (const [index, { from, to }] of ranges.entries()) {
    const at = rangesAt + index * RANGE_BYTES;
    entry.view.setBigInt64(at, BigInt(from), true);
    entry.view.setBigInt64(at + 8, BigInt(to), true);
  }
  return entry.bytes;
}

export function decodeCreateYear(
  view: DataView,
  offset: number,
): { readonly bucketId: number; readonly year: number } | undefined {
  if (view.getUint32(offset, true) !== CREATE_YEAR_BYTES) return undefined;
  const year = view.getInt32(offset + 12, true);
  if (year < YEAR_MIN || year > YEAR_MAX) return undefined;
  return { bucketId: view.getUint32(offset + 8, true), year };
}

export function decodeDeleteRows(view: DataView, offset: number): Deletion | undefined {
  if (view.getUint32(offset, true) !== DELETE_ROWS_BYTES) return undefined;
  const times = {
    fromSeconds: Number(view.getBigInt64(offset + 16, true)),
    fromNanos: view.getUint32(offset + 32, true),
    toSeconds: Number(view.getBigInt64(offset + 24, true)),
    toNanos: view.getUint32(offset + 36, true),
  };
  const { fromSeconds, fromNanos, toSeconds, toNanos } = times;
  if (fromSeconds < EPOCH_MIN || fromSeconds > toSeconds || toSeconds >= EPOCH_END)
    return undefined;
  if (fromNanos >= SECOND_NANOS || toNanos >= SECOND_NANOS) return undefined;
  const bucketId = view.getUint32(offset + 8, true);
  return { bucketId, originId: view.getUint32(offset + 12, true), times };
}

/** The path of a destroyed bucket. */
export function decodeDestroy({ view, bytes }: Block, offset: number): string | undefined {
  const size = view.getUint32(offset, true);
  const length = view.getUint16(offset + 6, true);
  if (padded(ENTRY_HEADER_BYTES + length) !== size) return undefined;
  const path = textAt(bytes, offset + ENTRY_HEADER_BYTES, length);
  return path === undefined ? undefined : keyOf(path)?.path;
}

export function decodeBucket({ view, bytes }: Block, offset: number): BucketDefinition | undefined {
  const end = offset + view.getUint32(offset, true);
  const count = view.getUint16(offset + 6, true);
  if (offset + BUCKET_FIXED_BYTES > end || count > COLUMNS_MAX) return undefined;
  const recordCode = view.getUint8(offset + 12);
  const pathBytes = view.getUint16(offset + 14, true);
  let at = offset + BUCKET_FIXED_BYTES + pathBytes;
  if (at > end || recordCode > RECORD_TYPE_CODES.variable) return undefined;
  const path = textAt(bytes, offset + BUCKET_FIXED_BYTES, pathBytes);
  const key = path === undefined ? undefined : keyOf(path);
  if (key === undefined) return undefined;
  const columns: ColumnShape[] = [];
  for (let column = 0; column < count; column++) {
    if (at + 2 > end) return undefined;
    const type = elementTypeOfCode(view.getUint8(at));
    const nameBytes = view.getUint8(at + 1);
    if (type === undefined || at + 2 + nameBytes > end) return undefined;
    const name = textAt(bytes, at + 2, nameBytes);
    if (name === undefined) return undefined;
    columns.push({ name, type });
    at += 2 + nameBytes;
  }
  if (offset + padded(at - offset) !== end) return undefined;
  const recordType = recordCode === RECORD_TYPE_CODES.fixed ? 'fixed' : 'variable';
  return { id: view.getUint32(offset + 8, true), key, schema: { recordType, columns } };
}

export function decodeOrigin({ view, bytes }: Block, offset: number): OriginDefinition | undefined {
  const size = view.getUint32(offset, true);
  if (size < ORIGIN_FIXED_BYTES) return undefined;
  const code = view.getUint16(offset + 6, true);
  const nameBytes = view.getUint32(offset + 12, true);
  if (code > ORIGIN_CODES.plugin || nameBytes > NAME_BYTES_MAX) return undefined;
  if (padded(ORIGIN_FIXED_BYTES + nameBytes) !== size) return undefined;
  const name = textAt(bytes, offset + ORIGIN_FIXED_BYTES, nameBytes);
  if (name === undefined) return undefined;
  const kind = code === ORIGIN_CODES.client ? 'client' : 'plugin';
  const generation = view.getFloat64(offset + 16, true);
  return { id: view.getUint32(offset + 8, true), origin: { kind, name, generation } };
}

export function decodeCheckpointIntent(
  { view, bytes }: Block,
  offset: number,
): CheckpointIntent | undefined {
  const size = view.getUint32(offset, true);
  if (size < INTENT_FIXED_BYTES) return undefined;
  const pathBytes = view.getUint16(offset + 6, true);
  const count = view.getUint32(offset + 24, true);
  const cellsAt = padded(INTENT_FIXED_BYTES + pathBytes);
  if (pathBytes > YEAR_PATH_BYTES_MAX || cellsAt + count * CELL_SLOT_BYTES !== size)
    return undefined;
  const path = textAt(bytes, offset + INTENT_FIXED_BYTES, pathBytes);
  if (path === undefined || (count > 0 && !isYearFile(path))) return undefined;
  const cells: CellImage[] = [];
  for (let index = 0; index < count; index++) {
    const at = offset + cellsAt + index * CELL_SLOT_BYTES;
    const cellOffset = view.getBigUint64(at, true);
    if (cellOffset > BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
    cells.push({
      path,
      offset: Number(cellOffset),
      bytes: bytes.slice(at + 8, at + CELL_SLOT_BYTES),
    });
  }
  return {
    sequence: view.getBigUint64(offset + 8, true),
    previous: view.getBigUint64(offset + 16, true),
    cells,
  };
}

export function decodeCheckpointComplete(view: DataView, offset: number): bigint | undefined {
  return view.getUint32(offset, true) === 16 ? view.getBigUint64(offset + 8, true) : undefined;
}

export function decodeOwed({ view, bytes }: Block, offset: number): OwedEntry | undefined {
  const size = view.getUint32(offset, true);
  if (size < OWED_FIXED_BYTES) return undefined;
  const count = view.getUint16(offset + 6, true);
  const nameBytes = view.getUint16(offset + 16, true);
  const pathBytes = view.getUint16(offset + 18, true);
  const rangesAt = padded(OWED_FIXED_BYTES + nameBytes + pathBytes);
  if (count === 0 || count > TOUCHED_RANGES_MAX || rangesAt + count * RANGE_BYTES !== size)
    return undefined;
  if (nameBytes === 0 || nameBytes > PLUGIN_NAME_BYTES_MAX) return undefined;
  const trigger = textAt(bytes, offset + OWED_FIXED_BYTES, nameBytes);
  const path = textAt(bytes, offset + OWED_FIXED_BYTES + nameBytes, pathBytes);
  const key = path === undefined ? undefined : keyOf(path)?.path;
  if (trigger === undefined || key === undefined) return undefined;
  const ranges: { from: number; to: number }[] = [];
  for (let at = offset + rangesAt; at < offset + size; at += RANGE_BYTES) {
    const from = Number(view.getBigInt64(at, true));
    const to = Number(view.getBigInt64(at + 8, true));
    if (from < EPOCH_MIN || from > to || to >= EPOCH_END) return undefined;
    ranges.push({ from, to });
  }
  return { sequence: view.getBigUint64(offset + 8, true), batch: { trigger, key, ranges } };
}

/** The key of `path` if it is exactly a key's path. */
export function keyOf(path: string): TimeBucketKey | undefined {
  try {
    const key = parseTimeBucketKey(path);
    return key.path === path ? key : undefined;
  } catch {
    return undefined; // A refused key is what the caller asks about.
  }
}

function isYearFile(path: string): boolean {
  const match = /^(.+)\/\d{1,5}\.bin$/.exec(path);
  return keyOf(match?.[1] ?? '') !== undefined;
}

function textAt(bytes: Uint8Array, offset: number, length: number): string | undefined {
  try {
    return utf8.decode(bytes.subarray(offset, offset + length));
  } catch {
    return undefined; // Not UTF-8: the caller reports the entry.
  }
}

function entryOf(bytes: number, kind: number, count: number): Block {
  const memory = new Uint8Array(padded(bytes));
  const entry = { bytes: memory, view: new DataView(memory.buffer) };
  begin({ ...entry, offset: 0 }, memory.length, kind, count);
  return entry;
}

function begin(target: EntryTarget, bytes: number, kind: number, count: number): void {
  const { view, offset } = target;
  assert(offset % 8 === 0 && bytes % 8 === 0, 'entries are 8-aligned');
  assert(count <= 0xffff, 'an entry counts in 16 bits');
  target.bytes.fill(0, offset, offset + bytes);
  view.setUint32(offset, bytes, true);
  view.setUint16(offset + 4, kind, true);
  view.setUint16(offset + 6, count, true);
}

export function padded(bytes: number): number {
  return (bytes + 7) & ~7;
}
