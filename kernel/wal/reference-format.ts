/**
 * Bytes of the Go server's log, `WALFile.<ns>.walfile` (spec storage.md 4): messages without
 * padding, which say by themselves neither where they begin nor how long a damaged one is.
 *
 *   0  group         u8 0 | i64 bytes | body: i64 id, i64 count, write sets | MD5 of bytes and body
 *   1  transaction   u8 1 | i64 id | i8 destination (0 log, 1 checkpoint) | i8 status
 *   2  status        u8 2 | i8 file | i8 replay | i64 owner          only at offset 0
 *
 * Pure. A group counts if its MD5 is right and every write set in it is whole to the last byte.
 * After anything else the next message that proves itself is looked for: a group by its MD5, a
 * transaction by an id seen before.
 */

import { createHash } from 'node:crypto';
import { elementTypeOfCode, INT64 } from '../base/element-type.ts';
import { YEAR_MAX, YEAR_MIN } from '../base/limits.ts';
import {
  type BucketSchema,
  type ColumnShape,
  EPOCH_SHAPE,
  payloadBytesOf,
  recordBytesOf,
  tickBytesOf,
} from '../base/schema.ts';

export const STATUS_BYTES = 11;
const YEAR_HEADER_BYTES = 37_024;
const TRANSACTION_BYTES = 11;
const GROUP_OVERHEAD_BYTES = 1 + 8 + 16;
/** Type, path length, the shortest path, data length, offset, index. */
const WRITE_SET_BYTES_MIN = 32n;
const MID_GROUP = 0;
const MID_TRANSACTION = 1;
const MID_STATUS = 2;
const DESTINATION_CHECKPOINT = 1;
const STATUS_COMPLETE = 2;

/** One write command: rows for one slot. */
export interface WriteSet {
  /** Leaf directory, relative to the root. */
  readonly directory: string;
  readonly year: number;
  /** Interval index as on disk. */
  readonly index: number;
  readonly offset: number;
  readonly recordType: 'fixed' | 'variable';
  /** FIXED: packed columns; VARIABLE: tick records. A view of the log. */
  readonly data: Uint8Array;
  /** Columns without Epoch; undefined in logs older than 4.0.1. */
  readonly columns: readonly ColumnShape[] | undefined;
}

export interface ReferenceGroup {
  readonly id: bigint;
  readonly offset: number;
  readonly sets: readonly WriteSet[];
}

/** What a log says, one message after the other. */
export type ReferenceMessage =
  | { readonly kind: 'status'; readonly offset: number; readonly status: ReferenceStatus }
  | { readonly kind: 'group'; readonly offset: number; readonly group: ReferenceGroup }
  | {
      readonly kind: 'transaction';
      readonly offset: number;
      readonly id: bigint;
      readonly destination: 'log' | 'checkpoint';
      /** 0 preparing, 1 commit intended, 2 complete. */
      readonly status: number;
    };

export interface ReferenceStatus {
  /** 1 open, 2 closed. */
  readonly file: number;
  /** 1 not replayed, 2 replayed, 3 in replay. */
  readonly replay: number;
  /** Start of the server that wrote it, in Unix nanoseconds. */
  readonly owner: bigint;
}

export interface ReferenceProblem {
  readonly offset: number;
  readonly reason: string;
}

export interface ReferenceLog {
  /** Intact groups no checkpoint covers, ascending by id. */
  readonly groups: readonly ReferenceGroup[];
  /** Intact groups a checkpoint covers. */
  readonly checkpointedGroups: number;
  readonly problems: readonly ReferenceProblem[];
  /** All that could be read, in the order of the file. */
  readonly messages: readonly ReferenceMessage[];
  /** Bytes at the end that are no whole message: what a crash leaves. */
  readonly tornBytes: number;
}

/** Reads a whole log. Never throws. */
export function parseReferenceLog(bytes: Uint8Array): ReferenceLog {
  return new ReferenceParser(bytes).run();
}

class ReferenceParser {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #problems: ReferenceProblem[] = [];
  readonly #messages: ReferenceMessage[] = [];
  readonly #groups = new Map<string, ReferenceGroup>();
  /** Ids that groups or transactions of the log have named. */
  readonly #ids = new Set<bigint>();
  /** Id of the checkpoint that was begun last. */
  #preparing: bigint | undefined;
  #checkpoint: bigint | undefined;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  run(): ReferenceLog {
    let at = this.#start();
    let tornBytes = 0;
    while (at < this.#bytes.length) {
      const end = this.#message(at);
      if (end !== undefined) {
        at = end;
        continue;
      }
      const found = this.#resume(at + 1);
      if (found === undefined) {
        tornBytes = this.#bytes.length - at;
        if (!this.#isTorn(at)) this.#problem(at, `its last ${tornBytes} bytes cannot be read`);
        break;
      }
      this.#problem(at, `${found - at} bytes are no message that can be read`);
      at = found;
    }
    const all = [...this.#groups.values()];
    const groups = all.filter(({ id }) => this.#checkpoint === undefined || id > this.#checkpoint);
    return {
      groups: groups.sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : a.offset - b.offset)),
      checkpointedGroups: all.length - groups.length,
      problems: this.#problems,
      messages: this.#messages,
      tornBytes,
    };
  }

  /** True if what is left is the beginning of a message, or was never written. */
  #isTorn(at: number): boolean {
    const rest = this.#bytes.subarray(at);
    if (rest.every((byte) => byte === 0)) return true;
    if (rest[0] === MID_TRANSACTION) return rest.length < TRANSACTION_BYTES;
    if (rest[0] === MID_STATUS) return rest.length < STATUS_BYTES;
    if (rest[0] !== MID_GROUP) return false;
    if (rest.length < 9) return true;
    const bodyBytes = this.#view.getBigInt64(at + 1, true);
    return bodyBytes >= 0n && bodyBytes > BigInt(rest.length - GROUP_OVERHEAD_BYTES);
  }

  /** Where the messages begin. A status that is wrong is reported, and does not matter further. */
  #start(): number {
    if (this.#bytes.length < STATUS_BYTES || this.#bytes[0] !== MID_STATUS) return 0;
    const status = this.#statusAt(0);
    this.#messages.push({ kind: 'status', offset: 0, status });
    if (status.file !== 1 && status.file !== 2)
      this.#problem(1, `its file status is ${status.file}`);
    if (status.replay < 1 || status.replay > 3)
      this.#problem(2, `its replay state is ${status.replay}`);
    if (status.owner === 0n) this.#problem(3, 'it has no owner');
    return STATUS_BYTES;
  }

  /** Takes the message at `at` and answers where it ends; undefined if it is none. */
  #message(at: number): number | undefined {
    const groupEnd = this.#groupEnd(at);
    if (groupEnd !== undefined) return this.#group(at, groupEnd);
    if (this.#bytes[at] === MID_TRANSACTION) return this.#transaction(at);
    return this.#bytes[at] === MID_STATUS ? this.#laterStatus(at) : undefined;
  }

  /** The first message at or after `from` that proves itself. */
  #resume(from: number): number | undefined {
    for (let at = from; at < this.#bytes.length; at++) if (this.#proves(at)) return at;
    return undefined;
  }

  #proves(at: number): boolean {
    if (this.#groupEnd(at) !== undefined) return true;
    if (this.#bytes[at] !== MID_TRANSACTION || this.#transactionAt(at) === undefined) return false;
    return this.#ids.has(this.#view.getBigInt64(at + 1, true));
  }

  #statusAt(at: number): ReferenceStatus {
    return {
      file: this.#view.getInt8(at + 1),
      replay: this.#view.getInt8(at + 2),
      owner: this.#view.getBigInt64(at + 3, true),
    };
  }

  #laterStatus(at: number): number | undefined {
    const end = at + STATUS_BYTES;
    if (end > this.#bytes.length) return undefined;
    const status = this.#statusAt(at);
    const { file, replay } = status;
    if (file < 1 || file > 2 || replay < 1 || replay > 3) return undefined;
    this.#messages.push({ kind: 'status', offset: at, status });
    return end;
  }

  #transactionAt(
    at: number,
  ): { readonly destination: number; readonly status: number } | undefined {
    if (at + TRANSACTION_BYTES > this.#bytes.length) return undefined;
    const destination = this.#view.getInt8(at + 9);
    const status = this.#view.getInt8(at + 10);
    if (destination < 0 || destination > 1 || status < 0 || status > 2) return undefined;
    return { destination, status };
  }

  #transaction(at: number): number | undefined {
    const found = this.#transactionAt(at);
    if (found === undefined) return undefined;
    const id = this.#view.getBigInt64(at + 1, true);
    const { status } = found;
    const destination = found.destination === DESTINATION_CHECKPOINT ? 'checkpoint' : 'log';
    this.#messages.push({ kind: 'transaction', offset: at, id, destination, status });
    if (found.destination !== DESTINATION_CHECKPOINT) this.#ids.add(id);
    else if (found.status !== STATUS_COMPLETE) this.#preparing = id;
    // Messages of this kind have no checksum. A checkpoint that nobody prepared, or of an id nobody
    // has named, may be damage, and believing it would lose groups; not believing it costs
    // nothing, since applying groups again changes nothing.
    else if (this.#preparing === id && this.#ids.has(id))
      if (this.#checkpoint === undefined || id > this.#checkpoint) this.#checkpoint = id;
    return at + TRANSACTION_BYTES;
  }

  #group(at: number, end: number): number {
    if (this.#bytes[at] !== MID_GROUP) this.#problem(at, `its message id is ${this.#bytes[at]}`);
    const body = this.#bytes.subarray(at + 9, end - 16);
    const id = this.#view.getBigInt64(at + 9, true);
    this.#ids.add(id);
    const sets = parseBody(body);
    if (typeof sets === 'string') {
      this.#problem(at, `group ${id}: ${sets}`);
      return end;
    }
    // The same group twice is one group; another group under its number counts as well.
    const identity = `${id}:${Buffer.from(this.#bytes.subarray(end - 16, end)).toString('hex')}`;
    if (this.#groups.has(identity)) this.#problem(at, `group ${id} is there twice`);
    else {
      const group = { id, offset: at, sets };
      this.#groups.set(identity, group);
      this.#messages.push({ kind: 'group', offset: at, group });
    }
    return end;
  }

  /**
   * Where the group at `at` ends, if its MD5 is right. The MD5 does not cover the message id, so
   * that a group is known even where that byte is damaged.
   */
  #groupEnd(at: number): number | undefined {
    const room = this.#bytes.length - at - GROUP_OVERHEAD_BYTES;
    if (room < 16) return undefined;
    const high = this.#view.getInt32(at + 5, true);
    const bodyBytes = high * 4_294_967_296 + this.#view.getUint32(at + 1, true);
    if (bodyBytes < 16 || bodyBytes > room) return undefined;
    // Cheap before costly: a search calls this for every byte.
    const count = this.#view.getBigInt64(at + 17, true);
    if (count < 0n || count * WRITE_SET_BYTES_MIN > BigInt(bodyBytes)) return undefined;
    const end = at + 9 + bodyBytes;
    const digest = createHash('md5')
      .update(this.#bytes.subarray(at + 1, end))
      .digest();
    return digest.equals(this.#bytes.subarray(end, end + 16)) ? end + 16 : undefined;
  }

  #problem(offset: number, reason: string): void {
    this.#problems.push({ offset, reason });
  }
}

/** What a write set holds besides its data, by version of the server. */
interface Layout {
  readonly hasTickBytes: boolean;
  readonly hasColumns: boolean;
}

/** Newest first: since 4.0.1, since 3.2.0, before. */
const LAYOUTS: readonly Layout[] = [
  { hasTickBytes: true, hasColumns: true },
  { hasTickBytes: true, hasColumns: false },
  { hasTickBytes: false, hasColumns: false },
];

/** Write sets of a group's body, or why there are none. */
function parseBody(body: Uint8Array): readonly WriteSet[] | string {
  let problem: string | undefined;
  for (const layout of LAYOUTS) {
    const sets = new BodyReader(body, layout).read();
    if (typeof sets !== 'string') return sets;
    problem ??= sets;
  }
  return problem ?? 'it is empty';
}

class BodyReader {
  readonly #body: Uint8Array;
  readonly #view: DataView;
  readonly #layout: Layout;
  #at = 16;

  constructor(body: Uint8Array, layout: Layout) {
    this.#body = body;
    this.#view = new DataView(body.buffer, body.byteOffset, body.byteLength);
    this.#layout = layout;
  }

  read(): readonly WriteSet[] | string {
    const count = this.#view.getBigInt64(8, true);
    const sets: WriteSet[] = [];
    while (this.#at < this.#body.length) {
      const start = this.#at;
      const set = this.#set();
      if (set === undefined) return `a write set at ${start} of its body cannot be read`;
      sets.push(set);
    }
    if (BigInt(sets.length) !== count)
      return `it says ${count} write sets and holds ${sets.length}`;
    return sets;
  }

  #set(): WriteSet | undefined {
    if (!this.#has(3)) return undefined;
    const recordCode = this.#view.getInt8(this.#at);
    const pathBytes = this.#view.getInt16(this.#at + 1, true);
    this.#at += 3;
    if (recordCode < 0 || recordCode > 1 || pathBytes <= 0 || !this.#has(pathBytes))
      return undefined;
    const path = /^([^/]+\/[^/]+\/[^/]+)\/(\d{1,5})\.bin$/.exec(this.#text(pathBytes));
    const [, directory = '', yearText = ''] = path ?? [];
    const year = Number(yearText);
    if (path === null || year < YEAR_MIN || year > YEAR_MAX) return undefined;
    const headBytes = 4 + (this.#layout.hasTickBytes ? 4 : 0) + 16;
    if (!this.#has(headBytes)) return undefined;
    const dataBytes = this.#view.getInt32(this.#at, true);
    const tickBytes = this.#layout.hasTickBytes
      ? this.#view.getInt32(this.#at + 4, true)
      : undefined;
    const offset = Number(this.#view.getBigInt64(this.#at + headBytes - 16, true));
    const index = Number(this.#view.getBigInt64(this.#at + headBytes - 8, true));
    this.#at += headBytes;
    if (dataBytes < 0 || !this.#has(dataBytes)) return undefined;
    const data = this.#body.subarray(this.#at, this.#at + dataBytes);
    this.#at += dataBytes;
    const columns = this.#layout.hasColumns ? this.#columns() : undefined;
    if (this.#layout.hasColumns && columns === undefined) return undefined;
    const recordType = recordCode === 0 ? 'fixed' : 'variable';
    const set: WriteSet = { directory, year, index, offset, recordType, data, columns };
    if (tickBytes !== undefined && !isTickBytes(set, tickBytes)) return undefined;
    if (columns !== undefined && !fitsSchema(set, { recordType, columns })) return undefined;
    return set;
  }

  #columns(): readonly ColumnShape[] | undefined {
    if (!this.#has(1)) return undefined;
    const count = this.#body[this.#at++] ?? 0;
    const columns: ColumnShape[] = [];
    for (let column = 0; column < count; column++) {
      if (!this.#has(1)) return undefined;
      const nameBytes = this.#body[this.#at++] ?? 0;
      if (!this.#has(nameBytes + 1)) return undefined;
      const name = this.#text(nameBytes);
      const type = elementTypeOfCode(this.#body[this.#at++] ?? 0);
      if (type === undefined) return undefined;
      columns.push({ name, type });
    }
    const [epoch, ...rest] = columns;
    return epoch?.name === EPOCH_SHAPE.name && epoch.type === INT64 ? rest : undefined;
  }

  #text(length: number): string {
    const text = Buffer.from(this.#body.subarray(this.#at, this.#at + length)).toString();
    this.#at += length;
    return text;
  }

  #has(bytes: number): boolean {
    return this.#at + bytes <= this.#body.length;
  }
}

function isTickBytes({ recordType, data }: WriteSet, tickBytes: number): boolean {
  if (recordType === 'fixed') return tickBytes === 0;
  return tickBytes > 4 && data.length > 0 && data.length % tickBytes === 0;
}

/** True if place and data of a write set are those of a bucket of this schema. */
export function fitsSchema(set: WriteSet, schema: BucketSchema): boolean {
  const { recordType, data, index, offset } = set;
  if (recordType !== schema.recordType) return false;
  if (offset !== YEAR_HEADER_BYTES + (index - 1) * recordBytesOf(schema)) return false;
  return recordType === 'fixed'
    ? data.length === payloadBytesOf(schema)
    : data.length > 0 && data.length % tickBytesOf(schema) === 0;
}
