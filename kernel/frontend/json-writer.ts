/**
 * JSON of answers. Main thread. Texts gather in one string; base64 of a large column becomes pieces
 * of its own, so that no string has to hold a whole answer.
 */

import type { AnswerWriter } from './answer-writer.ts';
import type { Field } from './fields.ts';

/** Bytes turned into base64 at a time: a multiple of 3, so that pieces join without padding. */
const BASE64_SLICE_BYTES = 3 * 262_144;
const GATHERED_LENGTH_MAX = 1_048_576;

export class JsonWriter implements AnswerWriter {
  readonly #pieces: Uint8Array[] = [];
  #text = '';
  /** True where the next value or key is the first of its list or map, or follows a key. */
  #first = true;

  beginMap(): void {
    this.#separate();
    this.#text += '{';
    this.#first = true;
  }

  endMap(): void {
    this.#text += '}';
    this.#first = false;
  }

  beginList(): void {
    this.#separate();
    this.#text += '[';
    this.#first = true;
  }

  endList(): void {
    this.#text += ']';
    this.#first = false;
  }

  key(field: Field | string): void {
    this.#separate();
    this.#text += `${JSON.stringify(typeof field === 'string' ? field : field.go)}:`;
    this.#first = true;
  }

  text(value: string): void {
    this.#value(JSON.stringify(value));
  }

  integer(value: number): void {
    this.#value(String(value));
  }

  int8(value: number): void {
    this.integer(value);
  }

  uint8(value: number): void {
    this.integer(value);
  }

  nil(): void {
    this.#value('null');
  }

  blob(pieces: readonly Uint8Array[]): void {
    this.#separate();
    this.#text += '"';
    // Pieces of several buckets need not end where base64 groups end: left-over bytes go on.
    let rest: Uint8Array = new Uint8Array(0);
    for (const piece of pieces) {
      const bytes = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
      const whole = bytes.length - (bytes.length % 3);
      for (let at = 0; at < whole; at += BASE64_SLICE_BYTES)
        this.#base64(bytes.subarray(at, Math.min(at + BASE64_SLICE_BYTES, whole)));
      rest = bytes.subarray(whole);
    }
    this.#base64(rest);
    this.#text += '"';
  }

  encoded(bytes: Uint8Array): void {
    this.#value(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString());
  }

  /** Ends with a newline, as the reference's answers do. */
  finish(): readonly Uint8Array[] {
    this.#text += '\n';
    this.#cut();
    return this.#pieces;
  }

  #base64(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#text += Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64');
    if (this.#text.length > GATHERED_LENGTH_MAX) this.#cut();
  }

  #value(text: string): void {
    this.#separate();
    this.#text += text;
  }

  #separate(): void {
    if (!this.#first) this.#text += ',';
    this.#first = false;
  }

  #cut(): void {
    if (this.#text !== '') this.#pieces.push(Buffer.from(this.#text));
    this.#text = '';
  }
}
