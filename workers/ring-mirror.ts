/**
 * A ring that spans two processes: each side has one of its own, and a line carries the bytes from
 * the plugin's to the kernel's and the cursors back. The plugin's writer and the kernel's reader are
 * those of ring.ts and see no difference.
 *
 *   plugin's process                                                kernel
 *   RingWriter ─▶ ring ─▶ RingSource ══ bytes below `written` ══▶ RingCopy ─▶ ring ─▶ RingReader
 *                   ▲                                                                     │
 *                   └──── consumed, committed, closed ◀══ cursors ══ MirroredReader ◀─────┘
 *
 * Both rings have one capacity and a byte has one place in both, so cursors mean the same on both
 * sides and a frame is neither parsed nor split on its way.
 *
 * Invariant (kernel): bytes are taken only into room the reader gave back, and become readable only
 * at the end of the message they came in; what they are is checked by RingReader as ever.
 */

import { PluginError } from '../kernel/base/errors.ts';
import {
  CLOSED,
  COMMITTED,
  CONSUMED,
  CONTROL_BYTES,
  CONTROL_WORDS,
  CPU_MS,
  HEARTBEAT,
  LINE_WORDS,
  REJECTED,
  RingReader,
  WAITS,
  WRITTEN,
} from './ring.ts';
import type { SharedWords } from './word-watch.ts';

/** Bytes of the words a worker says of itself: its line of the control block. */
export const GAUGE_BYTES: number = 4 * LINE_WORDS;

/** What the kernel tells the plugin's side. */
export interface RingCursors {
  readonly consumed: number;
  readonly committed: number;
  readonly closed: number;
  /** Frames the kernel refused. */
  readonly rejected: number;
}

/** The plugin's side: reads what its worker writes, and tells the worker what the kernel says. */
export class RingSource {
  readonly #control: SharedWords;
  readonly #data: Uint8Array<SharedArrayBuffer>;
  readonly #gauges: Uint8Array<SharedArrayBuffer>;
  readonly #plugin: string;
  #sent = 0;

  constructor(shared: SharedArrayBuffer, plugin: string) {
    this.#plugin = plugin;
    this.#control = new Int32Array(shared, 0, CONTROL_WORDS);
    this.#data = new Uint8Array(shared, CONTROL_BYTES);
    this.#gauges = new Uint8Array(shared, 4 * HEARTBEAT, GAUGE_BYTES);
  }

  /**
   * What was handed over since the last call, in one or two pieces. They are views of the ring: they
   * stay as they are until the kernel says it consumed them, which it can only after they arrived.
   * Throws MKTS_RING_INVALID.
   */
  take(): readonly Uint8Array<SharedArrayBuffer>[] {
    const written = Atomics.load(this.#control, WRITTEN);
    const bytes = (written - this.#sent) | 0;
    const capacity = this.#data.length;
    if (bytes === 0) return [];
    if (bytes < 0 || bytes > capacity)
      throw new PluginError('MKTS_RING_INVALID', {
        plugin: this.#plugin,
        reason: `${bytes} bytes handed over of ${capacity}`,
      });
    const offset = this.#sent & (capacity - 1);
    this.#sent = written;
    const toEnd = capacity - offset;
    if (bytes <= toEnd) return [this.#data.subarray(offset, offset + bytes)];
    return [this.#data.subarray(offset), this.#data.subarray(0, bytes - toEnd)];
  }

  /** Copy of the worker's words. */
  gauges(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#gauges);
  }

  apply({ consumed, committed, closed, rejected }: RingCursors): void {
    // Order: before the room of a refused frame is given back, whose writer then looks.
    Atomics.store(this.#control, REJECTED, rejected);
    Atomics.store(this.#control, CONSUMED, consumed);
    if (closed !== 0) Atomics.store(this.#control, CLOSED, closed);
    if (closed !== 0 || Atomics.load(this.#control, WAITS) !== 0)
      Atomics.notify(this.#control, CONSUMED);
    Atomics.store(this.#control, COMMITTED, committed);
    Atomics.notify(this.#control, COMMITTED);
  }
}

/** The kernel's side: puts what arrives where the reader finds it. */
export class RingCopy {
  readonly #plugin: string;
  readonly #control: SharedWords;
  readonly #data: Uint8Array;
  readonly #gauges: Uint8Array;
  /** Cursor behind what arrived, ahead of what is published. */
  #arrived = 0;

  constructor(shared: SharedArrayBuffer, plugin: string) {
    this.#plugin = plugin;
    this.#control = new Int32Array(shared, 0, CONTROL_WORDS);
    this.#data = new Uint8Array(shared, CONTROL_BYTES);
    this.#gauges = new Uint8Array(shared, 4 * HEARTBEAT, GAUGE_BYTES);
  }

  /** Copies a piece of a message. Throws MKTS_RING_INVALID if it was sent without room for it. */
  append(bytes: Uint8Array): void {
    const capacity = this.#data.length;
    const waiting = (this.#arrived - Atomics.load(this.#control, CONSUMED)) | 0;
    if (bytes.length > capacity - waiting)
      throw new PluginError('MKTS_RING_INVALID', {
        plugin: this.#plugin,
        reason: `${bytes.length} bytes sent with room for ${capacity - waiting}`,
      });
    const offset = this.#arrived & (capacity - 1);
    const toEnd = capacity - offset;
    if (bytes.length <= toEnd) {
      this.#data.set(bytes, offset);
    } else {
      this.#data.set(bytes.subarray(0, toEnd), offset);
      this.#data.set(bytes.subarray(toEnd), 0);
    }
    this.#arrived = (this.#arrived + bytes.length) | 0;
  }

  /** At the end of a message: what it brought is whole frames. Then the doorbell is rung. */
  publish(): void {
    Atomics.store(this.#control, WRITTEN, this.#arrived);
  }

  /** The worker's words, GAUGE_BYTES; of CPU time the system knows better than the worker. */
  setGauges(bytes: Uint8Array, cpuMs: number): void {
    this.#gauges.set(bytes);
    Atomics.store(this.#control, CPU_MS, cpuMs);
  }

  cursors(): RingCursors {
    return {
      consumed: Atomics.load(this.#control, CONSUMED),
      committed: Atomics.load(this.#control, COMMITTED),
      closed: Atomics.load(this.#control, CLOSED),
      rejected: Atomics.load(this.#control, REJECTED),
    };
  }
}

/** The kernel's reader, which says when there is something to tell the other side. */
export class MirroredReader extends RingReader {
  readonly #onChange: () => void;

  constructor(shared: SharedArrayBuffer, plugin: string, onChange: () => void) {
    super(shared, plugin);
    this.#onChange = onChange;
  }

  override consume(): number {
    const cursor = super.consume();
    this.#onChange();
    return cursor;
  }

  override markCommitted(cursor: number): void {
    super.markCommitted(cursor);
    this.#onChange();
  }

  override close(): void {
    super.close();
    this.#onChange();
  }
}
