/**
 * Element types of columns: their codes on disk, names on the wire, widths, and typed arrays.
 * On disk: never renumber (spec storage.md 2.3).
 */

export type ColumnData =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array;

export interface ElementType {
  /** Code in year files, logs and GetInfo. */
  readonly code: number;
  /** Name in messages and CLI: 'FLOAT32'. */
  readonly name: string;
  /** Type string of RPC datasets, 'f4'; undefined: storable, but not on the wire. */
  readonly wire: string | undefined;
  /** Bytes of one value. */
  readonly bytes: number;
  /** Entries of `ColumnData` per value: 16 UTF-32 units for STRING16, else 1. */
  readonly lanes: number;
  /** A view of `count` values at a byte offset that is a multiple of the lane's width. */
  view(buffer: ArrayBufferLike, byteOffset: number, count: number): ColumnData;
}

type ArrayClass = new (buffer: ArrayBufferLike, byteOffset: number, length: number) => ColumnData;

function elementType(
  code: number,
  name: string,
  wire: string | undefined,
  bytes: number,
  Class: ArrayClass,
  lanes = 1,
): ElementType {
  return {
    code,
    name,
    wire,
    bytes,
    lanes,
    view: (buffer, byteOffset, count) => new Class(buffer, byteOffset, count * lanes),
  };
}

export const FLOAT32: ElementType = elementType(0, 'FLOAT32', 'f4', 4, Float32Array);
export const INT32: ElementType = elementType(1, 'INT32', 'i4', 4, Int32Array);
export const FLOAT64: ElementType = elementType(2, 'FLOAT64', 'f8', 8, Float64Array);
export const INT64: ElementType = elementType(3, 'INT64', 'i8', 8, BigInt64Array);
export const BYTE: ElementType = elementType(5, 'BYTE', 'i1', 1, Int8Array);
export const BOOL: ElementType = elementType(6, 'BOOL', undefined, 1, Uint8Array);
export const INT16: ElementType = elementType(9, 'INT16', 'i2', 2, Int16Array);
export const UINT8: ElementType = elementType(10, 'UINT8', 'u1', 1, Uint8Array);
export const UINT16: ElementType = elementType(11, 'UINT16', 'u2', 2, Uint16Array);
export const UINT32: ElementType = elementType(12, 'UINT32', 'u4', 4, Uint32Array);
export const UINT64: ElementType = elementType(13, 'UINT64', 'u8', 8, BigUint64Array);
/** 16 UTF-32LE code units, NUL padded: numpy `<U16`. */
export const STRING16: ElementType = elementType(14, 'STRING16', 'U16', 64, Uint32Array, 16);

const ALL: readonly ElementType[] = [
  FLOAT32,
  INT32,
  FLOAT64,
  INT64,
  BYTE,
  BOOL,
  INT16,
  UINT8,
  UINT16,
  UINT32,
  UINT64,
  STRING16,
];
const BY_CODE = new Map(ALL.map((type) => [type.code, type]));
const BY_NAME = new Map(ALL.map((type) => [type.name, type]));
const BY_WIRE = new Map(
  ALL.flatMap((type) => (type.wire === undefined ? [] : [[type.wire, type]])),
);

/** The type with a code on disk; undefined for codes that have no width (4, 7, 8) or are unknown. */
export function elementTypeOfCode(code: number): ElementType | undefined {
  return BY_CODE.get(code);
}

/** The type of a name as errors and listings show it: 'FLOAT64'. */
export function elementTypeOfName(name: string): ElementType | undefined {
  return BY_NAME.get(name);
}

/** The type of a wire string; undefined for any other text ('<f4' too: it carries no byte order). */
export function elementTypeOfWire(wire: string): ElementType | undefined {
  return BY_WIRE.get(wire) as ElementType | undefined;
}
