/**
 * What an answer is written through: one call per value, in the order of the message, the same for
 * both encodings (msgpack-writer.ts, json-writer.ts). A message is thus written down once, where it
 * is made, and column bytes go from the store's arrays to the socket without being copied.
 */

import type { Field } from './fields.ts';

export interface AnswerWriter {
  /** Counts are of what follows: entries (a `key` and a value each), or items. */
  beginMap(entries: number): void;
  endMap(): void;
  beginList(items: number): void;
  endList(): void;
  /** A field's key, or a name that is data: the same text in both encodings. */
  key(field: Field | string): void;
  text(value: string): void;
  /** A Go `int` or `int64`: always nine bytes in MessagePack, as the reference writes it. */
  integer(value: number): void;
  /** A Go `int8` and `uint8`: two bytes in MessagePack. */
  int8(value: number): void;
  uint8(value: number): void;
  nil(): void;
  /** A byte string made of pieces, which must not change until the answer has left. */
  blob(pieces: readonly Uint8Array[]): void;
  /** A value that is encoded already, in this writer's encoding. */
  encoded(bytes: Uint8Array): void;
  /** The answer so far, in pieces. The writer is used up. */
  finish(): readonly Uint8Array[];
}

/** Writes one value: the body of an answer. */
export type AnswerBody = (writer: AnswerWriter) => void;
