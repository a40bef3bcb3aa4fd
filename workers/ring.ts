/**
 * A plugin's ring: a byte queue in shared memory, one producer (the plugin's worker), one consumer
 * (the kernel's drain). With ring-mirror.ts, doorbell.ts and word-watch.ts the only code that names
 * Atomics.
 *
 *   control, a cache line (64 B) for each word or group with one owner
 *     line 0  worker  written      cursor behind the last frame handed over
 *     line 1  kernel  consumed     cursor up to which the room is free again
 *     line 2  kernel  committed    cursor up to which the rows are on disk and visible
 *     line 3  worker  waits        1 while the worker waits for room: only then is it notified
 *     line 4  worker  heartbeat, heap KiB, external KiB, CPU ms, throttled ms, pause,
 *                     rows handed over, rows refused
 *     line 5  kernel  closed, high water in bytes, frames rejected
 *   data, `capacity` bytes, a power of two: frames, each contiguous and 8-aligned
 *     … frame | frame | WRAP, skip to the start ┐
 *     frame | frame | …  ◄──────────────────────┘
 *
 * Cursors are free-running u32 counts of bytes: `offset = cursor mod capacity`, distances are
 * `(a - b) | 0`, and running over 2^32 needs no case since the capacity divides it.
 *
 * Invariant (worker): bytes below `written` never change until consumed. A worker that dies in the
 * middle of a frame leaves no trace of it, and what it handed over can still be read.
 * Invariant (kernel): nothing the plugin can write is used as an offset or a length unchecked, and
 * the kernel's own position is private. A scribbling plugin gets PluginError, never a wrong read.
 */

import { assert } from '../kernel/base/assert.ts';
import { PluginError, RequestError } from '../kernel/base/errors.ts';
import { FRAME_BYTES_MAX, HEARTBEAT_MS, RING_BYTES } from '../kernel/base/limits.ts';
import type { RowBlockTarget } from '../kernel/base/row-block.ts';
import type { FramePlace, FrameReader, FrameWriter } from './transport.ts';
import { type SharedWords, WordWatch } from './word-watch.ts';

export const LINE_WORDS = 16;
/** Layout of the control words; ring-mirror.ts is the other file that knows it. */
export const WRITTEN = 0;
export const CONSUMED: number = 1 * LINE_WORDS;
export const COMMITTED: number = 2 * LINE_WORDS;
export const WAITS: number = 3 * LINE_WORDS;
export const HEARTBEAT: number = 4 * LINE_WORDS;
const HEAP_KB = HEARTBEAT + 1;
const EXTERNAL_KB = HEARTBEAT + 2;
export const CPU_MS: number = HEARTBEAT + 3;
const THROTTLED_MS = HEARTBEAT + 4;
/** Never changes, never notified: waiting on it is sleeping. */
const PAUSE = HEARTBEAT + 5;
const ROWS_HANDED = HEARTBEAT + 6;
const ROWS_REFUSED = HEARTBEAT + 7;
export const CLOSED: number = 5 * LINE_WORDS;
const HIGH_WATER = CLOSED + 1;
export const REJECTED: number = CLOSED + 2;
export const CONTROL_WORDS: number = 6 * LINE_WORDS;
export const CONTROL_BYTES: number = 4 * CONTROL_WORDS;

/** In the place of a frame's length: the rest up to the end of the data is skipped. */
const WRAP = 0xffff_ffff;
const FRAME_BYTES_MIN = 8;
/** `close` changes neither word the worker waits on: one between its look and its wait is seen then. */
const CLOSE_POLL_MS = 1_000;

/** Shared memory for a ring. `capacity` is a power of two, at least 16 bytes. */
export function createRing(capacity: number = RING_BYTES): SharedArrayBuffer {
  assert(capacity >= 16 && (capacity & (capacity - 1)) === 0, 'a ring is a power of two');
  return new SharedArrayBuffer(CONTROL_BYTES + capacity);
}

/** The worker's end. */
export class RingWriter implements FrameWriter {
  readonly #control: SharedWords;
  readonly #capacity: number;
  readonly #target: { readonly view: DataView; readonly bytes: Uint8Array; offset: number };
  readonly #onCommit: () => void;
  readonly #room: WordWatch;
  readonly #committed: WordWatch;
  #written: number;
  #reserved = 0;
  #rowsHanded = 0;
  #rowsRefused = 0;

  /** `onCommit` rings the doorbell. */
  constructor(shared: SharedArrayBuffer, onCommit: () => void) {
    this.#control = new Int32Array(shared, 0, CONTROL_WORDS);
    this.#capacity = shared.byteLength - CONTROL_BYTES;
    this.#target = {
      view: new DataView(shared, CONTROL_BYTES),
      bytes: new Uint8Array(shared, CONTROL_BYTES),
      offset: 0,
    };
    this.#onCommit = onCommit;
    this.#room = new WordWatch(this.#control, CONSUMED);
    this.#committed = new WordWatch(this.#control, COMMITTED);
    this.#written = Atomics.load(this.#control, WRITTEN);
  }

  /** Largest frame this ring takes: half of it, so that a skipped end never makes it too small. */
  get frameBytesMax(): number {
    return Math.min(FRAME_BYTES_MAX, this.#capacity / 2);
  }

  tryWrite(bytes: number): RowBlockTarget | undefined {
    assert(bytes % 8 === 0 && bytes >= FRAME_BYTES_MIN, 'a frame is made of whole words');
    assert(bytes <= this.frameBytesMax, 'a frame fits its ring');
    const offset = this.#written & (this.#capacity - 1);
    const toEnd = this.#capacity - offset;
    const skip = toEnd < bytes ? toEnd : 0;
    if (this.#freeBytes() < skip + bytes) return undefined;
    // The marker is not visible before `commit` stores the cursor behind it.
    if (skip > 0) this.#target.view.setUint32(offset, WRAP, true);
    this.#target.offset = skip > 0 ? 0 : offset;
    this.#target.view.setUint32(this.#target.offset, bytes, true);
    this.#reserved = skip + bytes;
    return this.#target;
  }

  get rejectedFrames(): number {
    return Atomics.load(this.#control, REJECTED);
  }

  noteRefused(rowCount: number): void {
    this.#rowsRefused = (this.#rowsRefused + rowCount) | 0;
    Atomics.store(this.#control, ROWS_REFUSED, this.#rowsRefused);
  }

  commit(rowCount = 0): void {
    assert(this.#reserved > 0, 'a frame was begun');
    this.#written = (this.#written + this.#reserved) | 0;
    this.#rowsHanded = (this.#rowsHanded + rowCount) | 0;
    this.#reserved = 0;
    // Order: bytes, then cursor. The kernel loads the cursor atomically, so the bytes below a cursor
    // it can see are there; the other way round it could read a frame half written.
    Atomics.store(this.#control, WRITTEN, this.#written);
    // Order: after the cursor, so that no more rows are counted than there are to be read.
    Atomics.store(this.#control, ROWS_HANDED, this.#rowsHanded);
    this.#onCommit();
  }

  async waitForRoom(bytes: number, signal?: AbortSignal): Promise<void> {
    try {
      for (;;) {
        // Order: say that we wait, then look. The kernel frees room, then looks whether we wait.
        Atomics.store(this.#control, WAITS, 1);
        const consumed = Atomics.load(this.#control, CONSUMED);
        this.#checkOpen();
        if (this.#hasRoom(bytes)) return;
        await this.#room.changed(consumed, { signal, timeoutMs: CLOSE_POLL_MS });
      }
    } finally {
      Atomics.store(this.#control, WAITS, 0);
    }
  }

  async waitForCommitted(signal?: AbortSignal): Promise<void> {
    const target = this.#written;
    for (;;) {
      const committed = Atomics.load(this.#control, COMMITTED);
      if (((committed - target) | 0) >= 0) return;
      this.#checkOpen();
      await this.#committed.changed(committed, { signal, timeoutMs: CLOSE_POLL_MS });
    }
  }

  /** Says that this thread is alive. */
  beat(): void {
    Atomics.add(this.#control, HEARTBEAT, 1);
  }

  /** Memory of this thread, as it sees it itself. */
  reportMemory(heapBytes: number, externalBytes: number): void {
    Atomics.store(this.#control, HEAP_KB, heapBytes / 1024);
    Atomics.store(this.#control, EXTERNAL_KB, externalBytes / 1024);
  }

  /** Totals of this thread; they run over after weeks, so only differences say something. */
  reportCpu(usedMs: number, throttledMs: number): void {
    Atomics.store(this.#control, CPU_MS, usedMs);
    Atomics.store(this.#control, THROTTLED_MS, throttledMs);
  }

  /** Blocks the thread for `ms`, alive to whoever looks at its heartbeat. */
  sleep(ms: number): void {
    const endMs = performance.now() + ms;
    for (let leftMs = ms; leftMs > 0; leftMs = endMs - performance.now()) {
      Atomics.wait(this.#control, PAUSE, 0, Math.min(leftMs, HEARTBEAT_MS));
      this.beat();
    }
  }

  #freeBytes(): number {
    return this.#capacity - ((this.#written - Atomics.load(this.#control, CONSUMED)) | 0);
  }

  #hasRoom(bytes: number): boolean {
    const toEnd = this.#capacity - (this.#written & (this.#capacity - 1));
    return this.#freeBytes() >= (toEnd < bytes ? toEnd + bytes : bytes);
  }

  #checkOpen(): void {
    if (Atomics.load(this.#control, CLOSED) !== 0)
      throw new RequestError('MKTS_WRITES_STOPPED', { reason: 'the kernel takes no more rows' });
  }
}

/**
 * What the kernel sees of a worker without asking it. The plugin can forge all but the high water, the
 * capacity and the frames rejected.
 */
export interface RingGauges {
  readonly heartbeat: number;
  readonly heapKb: number;
  readonly externalKb: number;
  /** u32 totals: CPU time used, and time slept to keep to the CPU budget. */
  readonly cpuMs: number;
  readonly throttledMs: number;
  /** Bytes that wait in the ring, as the worker says. */
  readonly usedBytes: number;
  /** The most bytes that ever waited in the ring, and its size. */
  readonly highWaterBytes: number;
  readonly capacityBytes: number;
  readonly rejectedFrames: number;
  /** u32 totals, as the worker says: rows it handed over, and rows it refused itself. */
  readonly rowsHanded: number;
  readonly rowsRefused: number;
}

/** The kernel's end. Usable after the worker has ended, until all it handed over is consumed. */
export class RingReader implements FrameReader {
  readonly data: Uint8Array;
  readonly #plugin: string;
  readonly #control: SharedWords;
  readonly #view: DataView;
  readonly #capacity: number;
  readonly #place = { offset: 0, bytes: 0 };
  /** Private: the place to read from is never taken from shared memory. */
  #read: number;
  /** The newest `written` that passed its check. */
  #limit: number;
  #highWater = 0;
  #rejected = 0;
  #damage: PluginError | undefined;

  /** A new ring begins at cursor 0. */
  constructor(shared: SharedArrayBuffer, plugin: string, cursor = 0) {
    this.#plugin = plugin;
    this.#read = cursor;
    this.#limit = cursor;
    this.#control = new Int32Array(shared, 0, CONTROL_WORDS);
    this.#capacity = shared.byteLength - CONTROL_BYTES;
    this.data = new Uint8Array(shared, CONTROL_BYTES);
    this.#view = new DataView(shared, CONTROL_BYTES);
  }

  peek(): FramePlace | undefined {
    if (this.#damage !== undefined) throw this.#damage;
    if (this.#read === this.#limit && !this.#advanceLimit()) return undefined;
    let readable = (this.#limit - this.#read) | 0;
    let offset = this.#read & (this.#capacity - 1);
    // Shared memory may change between two reads: this is the only one of the length.
    let bytes = this.#view.getUint32(offset, true);
    if (bytes === WRAP) {
      const skip = this.#capacity - offset;
      if (offset === 0 || skip >= readable) throw this.#damaged(`wrap at ${offset}`);
      this.#read = (this.#read + skip) | 0;
      readable -= skip;
      offset = 0;
      bytes = this.#view.getUint32(0, true);
    }
    if (bytes < FRAME_BYTES_MIN || bytes > FRAME_BYTES_MAX || bytes % 8 !== 0)
      throw this.#damaged(`frame of ${bytes} bytes`);
    if (bytes > readable || bytes > this.#capacity - offset)
      throw this.#damaged(`frame of ${bytes} bytes, ${readable} handed over`);
    this.#place.offset = offset;
    this.#place.bytes = bytes;
    return this.#place;
  }

  consume(): number {
    assert(this.#place.bytes > 0, 'a frame was peeked');
    this.#read = (this.#read + this.#place.bytes) | 0;
    this.#place.bytes = 0;
    Atomics.store(this.#control, CONSUMED, this.#read);
    if (Atomics.load(this.#control, WAITS) !== 0) Atomics.notify(this.#control, CONSUMED);
    return this.#read;
  }

  markCommitted(cursor: number): void {
    Atomics.store(this.#control, COMMITTED, cursor);
    Atomics.notify(this.#control, COMMITTED);
  }

  markRejected(): void {
    this.#rejected++;
    Atomics.store(this.#control, REJECTED, this.#rejected);
  }

  close(): void {
    Atomics.store(this.#control, CLOSED, 1);
    Atomics.notify(this.#control, CONSUMED);
    Atomics.notify(this.#control, COMMITTED);
  }

  /** Cheap: a few loads. */
  gauges(): RingGauges {
    return {
      heartbeat: Atomics.load(this.#control, HEARTBEAT),
      heapKb: Atomics.load(this.#control, HEAP_KB) >>> 0,
      externalKb: Atomics.load(this.#control, EXTERNAL_KB) >>> 0,
      cpuMs: Atomics.load(this.#control, CPU_MS) >>> 0,
      throttledMs: Atomics.load(this.#control, THROTTLED_MS) >>> 0,
      usedBytes: this.#usedBytes(),
      highWaterBytes: this.#highWater,
      capacityBytes: this.#capacity,
      rejectedFrames: this.#rejected,
      rowsHanded: Atomics.load(this.#control, ROWS_HANDED) >>> 0,
      rowsRefused: Atomics.load(this.#control, ROWS_REFUSED) >>> 0,
    };
  }

  /** Not checked, hence only to be shown: within the ring whatever the plugin wrote there. */
  #usedBytes(): number {
    const bytes = (Atomics.load(this.#control, WRITTEN) - this.#read) | 0;
    return Math.min(Math.max(bytes, 0), this.#capacity);
  }

  /** Takes over `written` if it moved. The first thing that is read of what a plugin can scribble. */
  #advanceLimit(): boolean {
    const written = Atomics.load(this.#control, WRITTEN);
    const readable = (written - this.#read) | 0;
    if (readable < 0 || readable > this.#capacity || readable % 8 !== 0)
      throw this.#damaged(`${readable} bytes handed over of ${this.#capacity}`);
    this.#limit = written;
    if (readable > this.#highWater) {
      this.#highWater = readable;
      Atomics.store(this.#control, HIGH_WATER, readable);
    }
    return readable > 0;
  }

  #damaged(reason: string): PluginError {
    this.#damage = new PluginError('MKTS_RING_INVALID', { plugin: this.#plugin, reason });
    return this.#damage;
  }
}
