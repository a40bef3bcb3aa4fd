/**
 * MessagePack of requests, decoded by hand. Main thread; throws MKTS_RPC_PARSE and nothing else.
 *
 * Why not msgpackr, which reads the rest of the world's MessagePack well: a request needs three
 * things it does not tell. A float 2.0 must be told from the integer 2 (one is refused). Column
 * bytes may come as `str`, whose bytes are no UTF-8 and must survive. And `id` and `params` are
 * repeated in answers as they came, for which their place in the body must be known.
 *
 *   map → Map      int → number, or bigint past 2^53      bin → view of the body
 *   array → Array  float → Real                           str → string, or a view if not UTF-8
 *
 * Invariant: no count is believed before as many bytes are seen, so a small body allocates little.
 */

import { isUtf8 } from 'node:buffer';
import { RequestError } from '../base/errors.ts';
import { MESSAGE_DEPTH_MAX } from '../base/limits.ts';
import { Real } from './fields.ts';

const SHORT_TEXT_BYTES = 32;

export class MsgpackReader {
  readonly #bytes: Buffer;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Where the next value begins. */
  get position(): number {
    return this.#at;
  }

  /** The number of entries of the map that comes next. */
  mapHeader(): number {
    const code = this.#byte();
    if (code >= 0x80 && code <= 0x8f) return code & 0x0f;
    if (code === 0xde) return this.#unsigned(2);
    if (code === 0xdf) return this.#unsigned(4);
    return fail('the request is not a map');
  }

  /** The value that comes next, with all it holds. */
  value(depth = 0): unknown {
    const code = this.#byte();
    if (code < 0x80) return code;
    if (code >= 0xe0) return code - 0x100;
    if (code < 0x90) return this.#map(code & 0x0f, depth);
    if (code < 0xa0) return this.#array(code & 0x0f, depth);
    if (code < 0xc0) return this.#text(code & 0x1f);
    switch (code) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
        return this.#blob(this.#unsigned(1));
      case 0xc5:
        return this.#blob(this.#unsigned(2));
      case 0xc6:
        return this.#blob(this.#unsigned(4));
      case 0xca:
        return new Real(this.#view.getFloat32(this.#take(4)));
      case 0xcb:
        return new Real(this.#view.getFloat64(this.#take(8)));
      case 0xcc:
        return this.#unsigned(1);
      case 0xcd:
        return this.#unsigned(2);
      case 0xce:
        return this.#unsigned(4);
      case 0xcf:
        return shortest(this.#view.getBigUint64(this.#take(8)));
      case 0xd0:
        return this.#view.getInt8(this.#take(1));
      case 0xd1:
        return this.#view.getInt16(this.#take(2));
      case 0xd2:
        return this.#view.getInt32(this.#take(4));
      case 0xd3:
        return shortest(this.#view.getBigInt64(this.#take(8)));
      case 0xd9:
        return this.#text(this.#unsigned(1));
      case 0xda:
        return this.#text(this.#unsigned(2));
      case 0xdb:
        return this.#text(this.#unsigned(4));
      case 0xdc:
        return this.#array(this.#unsigned(2), depth);
      case 0xdd:
        return this.#array(this.#unsigned(4), depth);
      case 0xde:
        return this.#map(this.#unsigned(2), depth);
      case 0xdf:
        return this.#map(this.#unsigned(4), depth);
      default:
        return fail(`byte ${code.toString(16)} at ${this.#at - 1} begins no value known here`);
    }
  }

  #map(count: number, depth: number): Map<string, unknown> {
    this.#checkRoom(2 * count, depth);
    const map = new Map<string, unknown>();
    for (let entry = 0; entry < count; entry++) {
      const key = this.value(depth + 1);
      // Keys of another type name no field; clients of ours send none.
      if (typeof key !== 'string') fail('a key of a map is not a string');
      map.set(key, this.value(depth + 1));
    }
    return map;
  }

  #array(count: number, depth: number): unknown[] {
    this.#checkRoom(count, depth);
    const items: unknown[] = [];
    for (let item = 0; item < count; item++) items.push(this.value(depth + 1));
    return items;
  }

  #text(length: number): string | Uint8Array {
    const start = this.#take(length);
    const end = start + length;
    if (length <= SHORT_TEXT_BYTES) {
      // Field names are short ASCII, and cheaper to build here than by a call into native code.
      let text = '';
      for (let at = start; at < end; at++) {
        const byte = this.#bytes[at] ?? 0;
        if (byte >= 0x80) return this.#unicode(start, end);
        text += String.fromCharCode(byte);
      }
      return text;
    }
    return this.#unicode(start, end);
  }

  #unicode(start: number, end: number): string | Uint8Array {
    const bytes = this.#bytes.subarray(start, end);
    return isUtf8(bytes) ? bytes.toString('utf8') : bytes;
  }

  #blob(length: number): Uint8Array {
    const start = this.#take(length);
    return this.#bytes.subarray(start, start + length);
  }

  #byte(): number {
    return this.#bytes[this.#take(1)] ?? 0;
  }

  #unsigned(width: 1 | 2 | 4): number {
    const at = this.#take(width);
    if (width === 1) return this.#view.getUint8(at);
    return width === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at);
  }

  /** Passes over `length` bytes and returns where they begin. */
  #take(length: number): number {
    const at = this.#at;
    if (length > this.#bytes.length - at) fail(`it ends at byte ${this.#bytes.length}`);
    this.#at = at + length;
    return at;
  }

  /** A value has at least one byte. */
  #checkRoom(values: number, depth: number): void {
    if (values > this.#bytes.length - this.#at) fail(`it ends at byte ${this.#bytes.length}`);
    if (depth >= MESSAGE_DEPTH_MAX) fail(`it nests deeper than ${MESSAGE_DEPTH_MAX}`);
  }
}

function shortest(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function fail(reason: string): never {
  throw new RequestError('MKTS_RPC_PARSE', { encoding: 'MessagePack', reason });
}
