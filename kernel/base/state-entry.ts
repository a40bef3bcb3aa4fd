/**
 * A change of a plugin's state as bytes, and the envelope in which it travels with the rows it
 * belongs to. Pure; the worker encodes, the drain and the log decode.
 *
 *   state      +0   u32  bytes        the whole entry, a multiple of 8
 *              +4   u16  kind         9
 *              +6   u16  nameBytes    1 to STATE_NAME_BYTES_MAX
 *              +8   u32  originId     in the log: whose state; in a ring: 0
 *              +12  u32  jsonBytes    0: the name is removed
 *              +16  name, JSON text (UTF-8), padded with zeros to 8 bytes
 *
 *   envelope   +0   u32  bytes        the whole frame, a multiple of 8
 *              +4   u16  kind         10; in rings only, the log never sees one
 *              +6   u16  entryCount   at least 1
 *              +8   row blocks (row-block.ts) and states, each 8-aligned
 *
 * On disk (a state lies in the log as it is): never reorder, never renumber. Nothing here looks into
 * the JSON: it is the plugin's own text, and only the plugin reads it.
 */

import { assert } from './assert.ts';
import { STATE_ENTRY_OVERHEAD_BYTES, STATE_NAME_BYTES_MAX } from './limits.ts';
import { ROW_BLOCK_KIND, type RowBlockTarget } from './row-block.ts';

export const STATE_KIND = 9;
export const ENVELOPE_KIND = 10;
export const STATE_HEADER_BYTES = 16;
export const ENVELOPE_HEADER_BYTES = 8;

/** One change: `json` undefined removes the name. */
export interface StateChange {
  readonly name: string;
  readonly json: string | undefined;
}

/** A change ready to be written. */
export interface EncodedState extends StateChange {
  readonly nameBytes: Uint8Array;
  readonly jsonBytes: Uint8Array;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const NONE = new Uint8Array(0);

export function encodeTexts({ name, json }: StateChange): EncodedState {
  return {
    name,
    json,
    nameBytes: encoder.encode(name),
    jsonBytes: json === undefined ? NONE : encoder.encode(json),
  };
}

/** What one name costs of its plugin's bound. */
export function stateCostBytes(nameBytes: number, jsonBytes: number): number {
  return STATE_ENTRY_OVERHEAD_BYTES + nameBytes + jsonBytes;
}

/** Bytes `encodeState` writes. */
export function stateEntryBytes({ nameBytes, jsonBytes }: EncodedState): number {
  return padded(STATE_HEADER_BYTES + nameBytes.length + jsonBytes.length);
}

/** Writes an entry; returns its bytes. */
export function encodeState(
  { view, bytes, offset }: RowBlockTarget,
  originId: number,
  state: EncodedState,
): number {
  const { nameBytes, jsonBytes } = state;
  assert(nameBytes.length > 0 && nameBytes.length <= STATE_NAME_BYTES_MAX, 'a name is short');
  const size = stateEntryBytes(state);
  view.setUint32(offset, size, true);
  view.setUint16(offset + 4, STATE_KIND, true);
  view.setUint16(offset + 6, nameBytes.length, true);
  view.setUint32(offset + 8, originId, true);
  view.setUint32(offset + 12, jsonBytes.length, true);
  const textAt = offset + STATE_HEADER_BYTES;
  const end = textAt + nameBytes.length + jsonBytes.length;
  bytes.set(nameBytes, textAt);
  bytes.set(jsonBytes, textAt + nameBytes.length);
  bytes.fill(0, end, offset + size);
  return size;
}

/** A decoded change and what its name costs. */
export interface DecodedState extends StateChange {
  readonly originId: number;
  readonly costBytes: number;
}

/** Undefined for whatever is not exactly what `encodeState` makes. The entry lies within `bytes`. */
export function decodeState(
  { view, bytes }: Pick<RowBlockTarget, 'view' | 'bytes'>,
  offset: number,
): DecodedState | undefined {
  const size = view.getUint32(offset, true);
  if (size < STATE_HEADER_BYTES) return undefined;
  const nameBytes = view.getUint16(offset + 6, true);
  const jsonBytes = view.getUint32(offset + 12, true);
  if (nameBytes === 0 || nameBytes > STATE_NAME_BYTES_MAX || jsonBytes > size) return undefined;
  if (padded(STATE_HEADER_BYTES + nameBytes + jsonBytes) !== size) return undefined;
  const textAt = offset + STATE_HEADER_BYTES;
  const name = textOf(bytes, textAt, nameBytes);
  const json = textOf(bytes, textAt + nameBytes, jsonBytes);
  if (name === undefined || json === undefined) return undefined;
  return {
    name,
    json: jsonBytes === 0 ? undefined : json,
    originId: view.getUint32(offset + 8, true),
    costBytes: stateCostBytes(nameBytes, jsonBytes),
  };
}

/** Writes the header of a frame of `frameBytes` whose entries follow it. */
export function encodeEnvelopeHeader(
  { view, offset }: RowBlockTarget,
  frameBytes: number,
  entryCount: number,
): void {
  assert(entryCount > 0 && entryCount <= 0xffff, 'an envelope has entries');
  view.setUint32(offset, frameBytes, true);
  view.setUint16(offset + 4, ENVELOPE_KIND, true);
  view.setUint16(offset + 6, entryCount, true);
}

/**
 * Where the row blocks of a frame lie in the copy of it that `view` is over: for who only looks on.
 * Ends where a length is not one.
 */
export function* rowBlockOffsets(view: DataView): Generator<number> {
  const isEnvelope = view.getUint16(4, true) === ENVELOPE_KIND;
  let offset = isEnvelope ? ENVELOPE_HEADER_BYTES : 0;
  while (offset + ENVELOPE_HEADER_BYTES <= view.byteLength) {
    if (view.getUint16(offset + 4, true) === ROW_BLOCK_KIND) yield offset;
    const bytes = view.getUint32(offset, true);
    if (bytes === 0) return;
    offset += bytes;
  }
}

function textOf(bytes: Uint8Array, offset: number, length: number): string | undefined {
  try {
    return decoder.decode(bytes.subarray(offset, offset + length));
  } catch {
    return undefined; // Not UTF-8: the caller reports the entry.
  }
}

function padded(bytes: number): number {
  return (bytes + 7) & ~7;
}
