/**
 * How frames leave a plugin, whatever lies between it and the kernel. The ring implements both ends;
 * a plugin in a process of its own would be given other ends and notice nothing.
 *
 * A frame is 8-aligned bytes whose first u32 is its length in bytes (row-block.ts).
 */

import type { RowBlockTarget } from '../kernel/base/row-block.ts';

/** The plugin's end. Not reentrant: `tryWrite` and `commit` come in pairs. */
export interface FrameWriter {
  /**
   * Room for a frame of `bytes` (a multiple of 8, at most FRAME_BYTES_MAX) to encode into in place,
   * or undefined while there is none. The target is valid until `commit`.
   */
  tryWrite(bytes: number): RowBlockTarget | undefined;
  /** Hands the frame of the last `tryWrite` over, with its rows: they are *accepted*. */
  commit(rowCount?: number): void;
  /** Counts rows that were refused before they became a frame. */
  noteRefused(rowCount: number): void;
  /** Grows when the kernel refuses a frame: what is known of buckets may be old. */
  readonly rejectedFrames: number;
  /** Resolves when there was room for `bytes`. Rejects with MKTS_WRITES_STOPPED once closed. */
  waitForRoom(bytes: number, signal?: AbortSignal): Promise<void>;
  /** Resolves when all frames accepted so far are committed. Rejects with MKTS_WRITES_STOPPED. */
  waitForCommitted(signal?: AbortSignal): Promise<void>;
}

/** Where a frame lies in the reader's `bytes`. */
export interface FramePlace {
  readonly offset: number;
  readonly bytes: number;
}

/** The kernel's end. */
export interface FrameReader {
  /** Memory the frames lie in. The plugin may change it at any time: copy, then check the copy. */
  readonly data: Uint8Array;
  /**
   * The oldest frame not yet consumed, if any; the same object every time. Throws PluginError
   * MKTS_RING_INVALID, and from then on always.
   */
  peek(): FramePlace | undefined;
  /** Gives the room of the peeked frame back. Returns the cursor after it. */
  consume(): number;
  /** Everything before `cursor` is committed and applied; wakes `waitForCommitted`. */
  markCommitted(cursor: number): void;
  /** Counts a frame that was consumed and refused. */
  markRejected(): void;
  /** No more frames are taken: ends every wait of the plugin with MKTS_WRITES_STOPPED. */
  close(): void;
}
