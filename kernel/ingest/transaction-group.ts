/**
 * What becomes durable together: row blocks of plugins and clients, and the creation and removal of
 * buckets, gathered in one buffer that is written to the log as it is.
 *
 * The buffer is shared memory, so that the sync thread writes it without a copy. Its first
 * GROUP_HEADER_BYTES are the log's. Main thread only; the kernel owns two, one fills while the other
 * is in flight.
 */

import { assert } from '../base/assert.ts';
import type { LogDurability } from '../base/durability.ts';
import { GROUP_BYTES_MAX } from '../base/limits.ts';
import { ENTRY_KINDS, GROUP_HEADER_BYTES } from '../wal/format.ts';

/** Kinds of entries that begin with the id of a bucket. */
const NAMING_BUCKETS: ReadonlySet<number> = new Set([
  ENTRY_KINDS.rows,
  ENTRY_KINDS.createYear,
  ENTRY_KINDS.deleteRows,
]);

export class TransactionGroup {
  readonly buffer: SharedArrayBuffer;
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  /** Buckets and origins its entries name. */
  readonly buckets: Set<number> = new Set();
  readonly origins: Set<number> = new Set();
  readonly #settlers: GroupSettler[] = [];
  /** Entries that leave again if the disk refuses the group, in order. */
  readonly #requests: Request[] = [];
  #durability: LogDurability = 'wal';
  #end: number = GROUP_HEADER_BYTES;
  #entryCount = 0;
  #rowCount = 0;
  #fillCount = 0;

  constructor(capacityBytes: number = GROUP_BYTES_MAX) {
    this.buffer = new SharedArrayBuffer(GROUP_HEADER_BYTES + ((capacityBytes + 7) & ~7));
    this.view = new DataView(this.buffer);
    this.bytes = new Uint8Array(this.buffer);
    this.words = new Int32Array(this.buffer);
  }

  get isEmpty(): boolean {
    return this.#entryCount === 0;
  }
  /** The most that any of its entries wants. */
  get durability(): LogDurability {
    return this.#durability;
  }
  /** One past the last entry. */
  get end(): number {
    return this.#end;
  }
  get entryCount(): number {
    return this.#entryCount;
  }
  get rowCount(): number {
    return this.#rowCount;
  }
  /** Which filling of this buffer it is: a cleared group is another group. */
  get fillCount(): number {
    return this.#fillCount;
  }
  /** Room for entries, whatever it holds now. */
  get capacityBytes(): number {
    return this.buffer.byteLength - GROUP_HEADER_BYTES;
  }

  hasRoom(entryBytes: number): boolean {
    return this.#end + entryBytes <= this.buffer.byteLength;
  }

  /** Something in it wants to be on the device before it is answered, or contents itself with less. */
  want(durability: LogDurability): void {
    if (durability === 'fsync') this.#durability = durability;
  }

  /** Counts an entry of `entryBytes` that was written at `end`. */
  push(entryBytes: number, rowCount: number): void {
    assert(entryBytes > 0 && (entryBytes & 7) === 0, 'an entry has a multiple of 8 bytes');
    assert(this.hasRoom(entryBytes), 'an entry fits its group');
    this.#end += entryBytes;
    this.#entryCount++;
    this.#rowCount += rowCount;
  }

  /** `settler` is told once how the group ended. */
  onEnd(settler: GroupSettler): void {
    this.#settlers.push(settler);
  }

  /**
   * As `onEnd`, for one who would rather be refused than wait: `encode` pushes its entries, which
   * `refuse` takes out again.
   */
  request(settler: GroupSettler, encode: () => void): void {
    const [from, entries, rows] = [this.#end, this.#entryCount, this.#rowCount];
    encode();
    this.#requests.push({
      settler,
      from,
      to: this.#end,
      entryCount: this.#entryCount - entries,
      rowCount: this.#rowCount - rows,
    });
  }

  /** Tells all who wait that the group is applied. */
  applied(sequence: bigint): void {
    for (const { settler } of this.#requests) settler.applied(sequence);
    for (const settler of this.#settlers) settler.applied(sequence);
  }

  /** Tells all who wait that it was not committed, or that it is not known. */
  failed(error: Error): void {
    for (const { settler } of this.#requests) settler.failed(error);
    for (const settler of this.#settlers) settler.failed(error);
  }

  /** Takes the entries of requests out and tells those who wait for them; the rest stays, in order. */
  refuse(error: Error): void {
    const requests = this.#requests.splice(0);
    let end = requests[0]?.from ?? this.#end;
    for (const [at, { to, entryCount, rowCount }] of requests.entries()) {
      const next = requests[at + 1]?.from ?? this.#end;
      this.bytes.copyWithin(end, to, next);
      end += next - to;
      this.#entryCount -= entryCount;
      this.#rowCount -= rowCount;
    }
    this.#end = end;
    if (requests.length > 0) this.#findIds();
    for (const { settler } of requests) settler.failed(error);
  }

  #findIds(): void {
    const { view } = this;
    this.buckets.clear();
    this.origins.clear();
    for (let at = GROUP_HEADER_BYTES; at < this.#end; at += view.getUint32(at, true)) {
      const kind = view.getUint16(at + 4, true);
      const id = view.getUint32(at + 8, true);
      if (kind === ENTRY_KINDS.state) this.origins.add(id);
      else if (NAMING_BUCKETS.has(kind)) this.buckets.add(id);
      if (kind === ENTRY_KINDS.rows) this.origins.add(view.getUint32(at + 16, true));
      if (kind === ENTRY_KINDS.deleteRows) this.origins.add(view.getUint32(at + 12, true));
    }
  }

  /** Makes it ready to be filled again. */
  clear(): void {
    this.#end = GROUP_HEADER_BYTES;
    this.#entryCount = 0;
    this.#rowCount = 0;
    this.#fillCount++;
    this.#durability = 'wal';
    this.buckets.clear();
    this.origins.clear();
    this.#settlers.length = 0;
    this.#requests.length = 0;
  }
}

interface Request {
  readonly settler: GroupSettler;
  /** Where its entries lie: [from, to). */
  readonly from: number;
  readonly to: number;
  readonly entryCount: number;
  readonly rowCount: number;
}

/** Told once how the group ended. Never throws. */
export interface GroupSettler {
  applied(sequence: bigint): void;
  failed(error: Error): void;
}
