/**
 * What becomes durable together: row blocks of plugins and clients, and the creation and removal of
 * buckets, gathered in one buffer that is written to the log as it is.
 *
 * The buffer is shared memory, so that the sync thread writes it without a copy. Its first
 * GROUP_HEADER_BYTES are the log's. Main thread only; the kernel owns two, one fills while the other
 * is in flight.
 */

import { assert } from '../base/assert.ts';
import { GROUP_BYTES_MAX } from '../base/limits.ts';
import { GROUP_HEADER_BYTES } from '../wal/format.ts';

export class TransactionGroup {
  readonly buffer: SharedArrayBuffer;
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  /** Buckets and origins its entries name. */
  readonly buckets: Set<number> = new Set();
  readonly origins: Set<number> = new Set();
  /** Called when the group is applied, or could not be committed. */
  readonly settlers: GroupSettler[] = [];
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

  /** Counts an entry of `entryBytes` that was written at `end`. */
  push(entryBytes: number, rowCount: number): void {
    assert(entryBytes > 0 && (entryBytes & 7) === 0, 'an entry has a multiple of 8 bytes');
    assert(this.hasRoom(entryBytes), 'an entry fits its group');
    this.#end += entryBytes;
    this.#entryCount++;
    this.#rowCount += rowCount;
  }

  /** Makes it ready to be filled again. */
  clear(): void {
    this.#end = GROUP_HEADER_BYTES;
    this.#entryCount = 0;
    this.#rowCount = 0;
    this.#fillCount++;
    this.buckets.clear();
    this.origins.clear();
    this.settlers.length = 0;
  }
}

/** Told once how the group ended. Never throws. */
export interface GroupSettler {
  applied(sequence: bigint): void;
  failed(error: Error): void;
}
