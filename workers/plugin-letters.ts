/**
 * Dead letters of a plugin on their way to the kernel: rows its calls could not write, and messages
 * it says it cannot read. Runs in the worker.
 *
 * Sent at the end of the turn, so that a plugin that throws right after is still heard. Bounded a
 * second, in number and in size: what is past it is counted as a letter that was dropped, and its
 * rows are counted as rejected all the same (ring.ts), so that no number is ever short.
 */

import {
  type LetterColumn,
  type LetterRows,
  letterValue,
  type PlainDeadLetter,
} from '../kernel/base/dead-letter.ts';
import { FLOAT64, INT64 } from '../kernel/base/element-type.ts';
import { MktsError, reasonOf } from '../kernel/base/errors.ts';
import {
  LETTER_BYTES_MAX,
  LETTER_CHARACTERS_PER_SECOND_MAX,
  LETTER_REASON_MAX,
  LETTERS_PER_SECOND_MAX,
} from '../kernel/base/limits.ts';
import type { KeyedRows } from '../plugins/sdk.ts';
import { typeOf } from './infer-columns.ts';

/** Room for the rest of a letter besides its rows or its payload. */
const FRAME_CHARACTERS = 16_384;

export interface PluginLettersOptions {
  readonly send: (letters: readonly PlainDeadLetter[], dropped: number) => Promise<void>;
  /** Counts rows that were refused. */
  readonly noteRefused: (rowCount: number) => void;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

export class PluginLetters {
  readonly #options: PluginLettersOptions;
  readonly #underWay = new Set<Promise<void>>();
  #letters: PlainDeadLetter[] = [];
  #dropped = 0;
  #scheduled = false;
  /** What is left of this second. */
  #lettersLeft = LETTERS_PER_SECOND_MAX;
  #charactersLeft = LETTER_CHARACTERS_PER_SECOND_MAX;

  constructor(options: PluginLettersOptions) {
    this.#options = options;
  }

  /** A call was refused; `acceptedRows` of its rows were accepted before. */
  refused(writes: readonly KeyedRows[], error: unknown, acceptedRows = 0): void {
    const rowCount = writes.reduce((count, { rows }) => count + rowCountOf(rows), 0) - acceptedRows;
    if (rowCount > 0) this.#options.noteRefused(rowCount);
    if (writes.length === 0 || isOfTheEnd(error)) return;
    this.#add(() => {
      const rows = lettersOf(writes, this.#charactersLeft);
      return rows === undefined ? undefined : { ...this.#head(error), rowCount, rows };
    });
  }

  /** `ctx.deadLetter`: never throws. */
  letter(reason: string, payload: unknown): void {
    this.#add(() => {
      const text = textOf(payload);
      const head = { at: this.#options.now(), reason: cut(String(reason)), rowCount: 0 };
      return text.length > this.#charactersLeft ? undefined : { ...head, payload: text };
    });
  }

  /** A second is over; a timer calls it. */
  tick(): void {
    this.#lettersLeft = LETTERS_PER_SECOND_MAX;
    this.#charactersLeft = LETTER_CHARACTERS_PER_SECOND_MAX;
    this.#send();
  }

  /** Resolves when the kernel has all of them. */
  async settled(): Promise<void> {
    this.#send();
    await Promise.all(this.#underWay);
  }

  #head(error: unknown): Pick<PlainDeadLetter, 'at' | 'code' | 'reason'> {
    const code = error instanceof MktsError ? error.code : undefined;
    return { at: this.#options.now(), code, reason: cut(reasonOf(error)) };
  }

  /** Asks for a letter if there is room for one. */
  #add(make: () => PlainDeadLetter | undefined): void {
    const letter = this.#lettersLeft > 0 ? make() : undefined;
    const size = letter === undefined ? 0 : JSON.stringify(letter).length;
    if (letter === undefined || size > Math.min(this.#charactersLeft, LETTER_BYTES_MAX)) {
      this.#dropped++;
      return;
    }
    this.#lettersLeft--;
    this.#charactersLeft -= size;
    this.#letters.push(letter);
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => this.#send());
  }

  #send(): void {
    this.#scheduled = false;
    if (this.#letters.length === 0 && this.#dropped === 0) return;
    const sent = this.#options
      .send(this.#letters, this.#dropped)
      .catch(() => undefined)
      .then(() => {
        this.#underWay.delete(sent);
      });
    this.#underWay.add(sent);
    this.#letters = [];
    this.#dropped = 0;
  }
}

/** The plugin stops, or the kernel does: it is no fault of the rows. */
function isOfTheEnd(error: unknown): boolean {
  if (error instanceof MktsError) return error.code === 'MKTS_WRITES_STOPPED';
  return error instanceof DOMException && error.name === 'AbortError';
}

/** Whatever a plugin gave in their place. */
function rowCountOf(rows: unknown): number {
  const epochs: unknown = isObject(rows) ? rows.Epoch : undefined;
  return Array.isArray(epochs) || ArrayBuffer.isView(epochs) ? lengthOf(epochs) : 0;
}

/** Undefined: more than `charactersMax`. */
function lettersOf(
  writes: readonly KeyedRows[],
  charactersMax: number,
): readonly LetterRows[] | undefined {
  let left = Math.min(charactersMax, LETTER_BYTES_MAX - FRAME_CHARACTERS);
  const letters: LetterRows[] = [];
  for (const { key, rows, variable = false } of writes) {
    const columns: LetterColumn[] = [];
    const given: unknown = rows;
    for (const [name, values] of isObject(given) ? Object.entries(given) : []) {
      const count = lengthOf(values);
      // A value and its comma have two characters at least: nothing large is ever taken apart.
      if (2 * count > left) return undefined;
      const column = columnOf(name, values);
      left -= JSON.stringify(column).length;
      if (left < 0) return undefined;
      columns.push(column);
    }
    letters.push({ key: String(key), variable: variable === true, columns });
  }
  return letters;
}

function columnOf(name: string, values: unknown): LetterColumn {
  const isList = Array.isArray(values) || ArrayBuffer.isView(values);
  if (!isList) return { name, values: [letterValue(values)] };
  const list = Array.from(values as unknown as ArrayLike<unknown>);
  const type = typeOf(values) ?? plainType(list);
  return { name, type: type?.name, values: list.map(letterValue) };
}

/** The type a plain array is written with. */
function plainType(list: readonly unknown[]): typeof FLOAT64 | undefined {
  if (list.every((value) => typeof value === 'number')) return FLOAT64;
  return list.every((value) => typeof value === 'bigint') ? INT64 : undefined;
}

function lengthOf(values: unknown): number {
  const length: unknown = isObject(values) ? values.length : undefined;
  return typeof length === 'number' && length >= 0 ? length : 0;
}

function textOf(payload: unknown): string {
  if (typeof payload === 'string') return payload;
  try {
    const text: unknown = JSON.stringify(payload, (_name, value: unknown) =>
      typeof value === 'bigint' ? String(value) : value,
    );
    return typeof text === 'string' ? text : String(payload);
  } catch (cause) {
    return `what is no JSON: ${reasonOf(cause)}`;
  }
}

function cut(text: string): string {
  return text.length > LETTER_REASON_MAX ? `${text.slice(0, LETTER_REASON_MAX)}…` : text;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
