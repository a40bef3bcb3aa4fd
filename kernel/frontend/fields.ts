/**
 * Reading the fields of a message, whichever encoding it came in.
 *
 * A field has two names (spec api.md 2.2): MessagePack uses snake case, exactly; JSON uses the Go
 * name in any letter case, and here also the snake-case name, which the reference ignores without a
 * word. Absent and nil mean the zero value; a value of another type is MKTS_RPC_PARAMS, never a guess.
 */

import { isUtf8 } from 'node:buffer';
import { RequestError } from '../base/errors.ts';
import type { Integer } from '../query/plan.ts';

export type Encoding = 'msgpack' | 'json';

export interface Field {
  /** Name in MessagePack. */
  readonly snake: string;
  /** Name in JSON. */
  readonly go: string;
}

/** A float of a MessagePack message: 2.0 must not pass for the integer 2. */
export class Real {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
}

const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

export class Fields {
  readonly #method: string;
  readonly #encoding: Encoding;
  readonly #values: ReadonlyMap<string, unknown>;

  /** The fields of a decoded map; nil is the empty map. Throws MKTS_RPC_PARAMS for anything else. */
  constructor(method: string, encoding: Encoding, value: unknown) {
    this.#method = method;
    this.#encoding = encoding;
    const entries = entriesOf(value);
    if (entries === undefined)
      throw new RequestError('MKTS_RPC_PARAMS', { method, reason: 'expected a map' });
    this.#values = encoding === 'msgpack' ? entries : lowerCased(entries);
  }

  text(field: Field): string {
    return textOf(this.#of(field)) ?? this.#refuse(field, 'a string');
  }

  flag(field: Field): boolean | undefined {
    const value = this.#of(field) ?? undefined;
    return typeof value === 'boolean' || value === undefined
      ? value
      : this.#refuse(field, 'a boolean');
  }

  integer(field: Field): Integer | undefined {
    return this.#integer(field, this.#of(field));
  }

  /** Undefined for an absent list, which is not always the same as an empty one. */
  texts(field: Field): readonly string[] | undefined {
    return this.#list(field)?.map((item) => textOf(item) ?? this.#refuse(field, 'strings'));
  }

  child(field: Field): Fields | undefined {
    const value = this.#of(field) ?? undefined;
    return value === undefined ? undefined : this.#nested(field, value);
  }

  children(field: Field): readonly Fields[] {
    return (this.#list(field) ?? []).map((item) => this.#nested(field, item));
  }

  /** Byte strings: bin or str in MessagePack, base64 in JSON. Views where that is possible. */
  blobs(field: Field): readonly Uint8Array[] | undefined {
    return this.#list(field)?.map((item) => this.#blob(field, item));
  }

  /** A map of names to integers. */
  integers(field: Field): ReadonlyMap<string, Integer> {
    const entries = entriesOf(this.#of(field)) ?? this.#refuse(field, 'a map');
    const integers = new Map<string, Integer>();
    for (const [name, value] of entries) integers.set(name, this.#integer(field, value) ?? 0);
    return integers;
  }

  #of({ snake, go }: Field): unknown {
    if (this.#encoding === 'msgpack') return this.#values.get(snake);
    return this.#values.get(go.toLowerCase()) ?? this.#values.get(snake);
  }

  #list(field: Field): readonly unknown[] | undefined {
    const value = this.#of(field) ?? undefined;
    return Array.isArray(value) || value === undefined ? value : this.#refuse(field, 'a list');
  }

  #nested(field: Field, value: unknown): Fields {
    if (entriesOf(value) === undefined) this.#refuse(field, 'a map');
    return new Fields(this.#method, this.#encoding, value);
  }

  #integer(field: Field, value: unknown): Integer | undefined {
    if (value === undefined || value === null) return undefined;
    if (typeof value === 'bigint') return value;
    if (typeof value !== 'number' || !Number.isInteger(value))
      return this.#refuse(field, 'an integer');
    // Only JSON brings integers that are not exact: far outside every bound that matters.
    return Number.isSafeInteger(value) ? value : BigInt(value);
  }

  #blob(field: Field, value: unknown): Uint8Array {
    if (value instanceof Uint8Array) return value;
    if (value === null) return new Uint8Array(0);
    if (typeof value !== 'string') return this.#refuse(field, 'bytes');
    if (this.#encoding === 'msgpack') return Buffer.from(value);
    if (value.length % 4 !== 0 || !BASE64.test(value)) this.#refuse(field, 'base64');
    return Buffer.from(value, 'base64');
  }

  #refuse({ snake, go }: Field, expected: string): never {
    const name = this.#encoding === 'msgpack' ? snake : go;
    throw new RequestError('MKTS_RPC_PARAMS', {
      method: this.#method,
      reason: `${name}: expected ${expected}`,
    });
  }
}

/** Text may come as `bin` from clients that know no `str`; nil is the empty text. */
function textOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (value === undefined || value === null) return '';
  return value instanceof Uint8Array && isUtf8(value) ? Buffer.from(value).toString() : undefined;
}

/** MessagePack maps arrive as Map, JSON ones as objects. */
function entriesOf(value: unknown): ReadonlyMap<string, unknown> | undefined {
  if (value === undefined || value === null) return new Map();
  if (value instanceof Map) return value;
  if (typeof value !== 'object' || Array.isArray(value) || value instanceof Uint8Array)
    return undefined;
  return value instanceof Real ? undefined : new Map(Object.entries(value));
}

function lowerCased(entries: ReadonlyMap<string, unknown>): ReadonlyMap<string, unknown> {
  const lower = new Map<string, unknown>();
  for (const [name, value] of entries) lower.set(name.toLowerCase(), value);
  return lower;
}
