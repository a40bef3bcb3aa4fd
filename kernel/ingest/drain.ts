/**
 * Takes frames from the plugins' rings into the group that fills: copies each frame once, to the
 * place it has in the log, and validates the copy there (frame-intake.ts), since a plugin may rewrite
 * shared memory between a check and its use.
 *
 * A round visits every ring, each with a quota, and ends after a few milliseconds, so that a flood
 * in one ring starves neither the others nor the rest of the main thread. While frames flow, rounds
 * follow each other by `setImmediate`; else the kernel sleeps on the doorbell. When the group is
 * full the frames stay where they are: the ring fills, and the plugin's `write` waits. Main thread.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import type { Doorbell } from '../../workers/doorbell.ts';
import type { FrameReader } from '../../workers/transport.ts';
import { PluginError } from '../base/errors.ts';
import {
  CHECKPOINT_LOG_BYTES,
  DRAIN_BYTES_PER_ROUND,
  DRAIN_FRAMES_PER_ROUND,
  DRAIN_IDLE_POLL_MS,
  DRAIN_ROUND_MS,
  FRAME_BYTES_MAX,
} from '../base/limits.ts';
import type { Catalog } from '../storage/catalog.ts';
import type { Committer } from './committer.ts';
import {
  BucketRefusal,
  FrameIntake,
  type FrameIntakeOptions,
  invalid,
  type RingSource,
  type Tap,
} from './frame-intake.ts';
import { type ShadowFeed, ShadowIntake } from './shadow-intake.ts';
import type { TransactionGroup } from './transaction-group.ts';

export type { RingSource, Series } from './frame-intake.ts';

export interface DrainOptions extends FrameIntakeOptions {
  readonly catalog: Catalog;
  readonly committer: Committer;
  readonly doorbell: Doorbell;
  /** Log bytes no checkpoint covers: far past the bound, draining pauses. */
  readonly pendingLogBytes: () => number;
}

export class Drain {
  readonly #options: DrainOptions;
  readonly #intake: FrameIntake;
  #taps: Tap[] = [];
  /** By plugin. */
  readonly #shadows = new Map<string, ShadowIntake>();
  /** Per ring the cursor behind its last frame in the group that fills. */
  #taken = new Map<FrameReader, number>();
  #takenFor: { readonly group: TransactionGroup; readonly fillCount: number } | undefined;
  #first = 0;
  #running = false;
  #stopping: (() => void) | undefined;

  constructor(options: DrainOptions) {
    this.#options = options;
    this.#intake = new FrameIntake(options);
  }

  add(source: RingSource): void {
    this.#taps.push({ source, bucketIds: [] });
  }

  /** Takes what a plugin that is gone had committed to its ring, then forgets the ring. */
  async remove(source: RingSource): Promise<void> {
    source.budget?.lift();
    while (this.#isTapped(source) && this.#options.committer.stopped === undefined) {
      if (!hasFrame(source)) break;
      this.#round();
      // While the disk refuses writes the group stays full: then there is nothing to hurry for.
      if (this.#options.committer.paused !== undefined) await sleep(DRAIN_IDLE_POLL_MS);
      else await new Promise<void>((resolve) => setImmediate(resolve));
    }
    this.#drop(source);
  }

  /**
   * From now on the rows of this ring, and those taken from the plugin that runs under the same name,
   * go to a diff; those of this ring to nowhere else. Call what it returns when it writes no more:
   * that resolves when the last of them is taken.
   */
  shadow(feed: ShadowFeed): () => Promise<void> {
    const { plugin } = feed.source;
    const shadow = new ShadowIntake(feed);
    this.#shadows.set(plugin, shadow);
    return async () => {
      await shadow.finish();
      if (this.#shadows.get(plugin) === shadow) this.#shadows.delete(plugin);
    };
  }

  start(): void {
    if (this.#running) return;
    this.#running = true;
    void this.#loop();
  }

  /** Ends the loop; what is in the rings stays there. */
  async stop(): Promise<void> {
    if (!this.#running) return;
    await new Promise<void>((resolve) => {
      this.#stopping = resolve;
    });
  }

  async #loop(): Promise<void> {
    while (this.#stopping === undefined) {
      const frames = this.#round();
      if (frames > 0) await new Promise<void>((resolve) => setImmediate(resolve));
      else await this.#options.doorbell.wait(DRAIN_IDLE_POLL_MS);
    }
    this.#running = false;
    this.#stopping();
    this.#stopping = undefined;
  }

  /** One fair round over all rings. Returns the frames taken. */
  #round(): number {
    const { committer, pendingLogBytes } = this.#options;
    if (committer.stopped !== undefined) return 0;
    if (pendingLogBytes() > 2 * CHECKPOINT_LOG_BYTES) return 0;
    const endMs = performance.now() + DRAIN_ROUND_MS;
    const taps = this.#taps;
    let frames = 0;
    for (let turn = 0; turn < taps.length && performance.now() < endMs; turn++) {
      const tap = taps[(this.#first + turn) % taps.length];
      if (tap !== undefined) frames += this.#drainOne(tap);
    }
    this.#first = (this.#first + 1) % Math.max(1, taps.length);
    if (frames > 0) committer.kick();
    // After all others, and a little even when they took all the time there was.
    for (const shadow of this.#shadows.values()) frames += shadow.drain();
    return frames;
  }

  #drainOne(tap: Tap): number {
    const { source } = tap;
    const group = this.#options.committer.filling;
    const { reader } = source;
    let frames = 0;
    let bytes = 0;
    let cursor = 0;
    let invalidFrame: Uint8Array | undefined;
    try {
      while (frames < DRAIN_FRAMES_PER_ROUND && bytes < DRAIN_BYTES_PER_ROUND) {
        if (source.budget?.isOpen === false) break;
        const frame = reader.peek();
        if (frame === undefined) break;
        if (frame.bytes > FRAME_BYTES_MAX)
          throw invalid(source, `it has ${frame.bytes} bytes, at most ${FRAME_BYTES_MAX}`);
        if (!group.hasRoom(frame.bytes)) break;
        const { offset } = frame;
        const from = group.end;
        group.bytes.set(reader.data.subarray(offset, offset + frame.bytes), group.end);
        try {
          if (!this.#intake.take(tap, group, frame.bytes)) break;
        } catch (error) {
          const copy = reader.data.slice(offset, offset + frame.bytes);
          if (!(error instanceof BucketRefusal)) {
            invalidFrame = copy;
            throw error;
          }
          reader.markRejected();
          source.onRefused?.(error.cause, copy);
        }
        const shadow = this.#shadows.get(source.plugin);
        shadow?.diff.takeEntries('old', group.view, from, group.end, this.#options.catalog);
        group.want(source.durability ?? 'fsync');
        frames++;
        bytes += frame.bytes;
        cursor = reader.consume();
      }
    } catch (error) {
      if (!(error instanceof PluginError)) throw error;
      this.#drop(source);
      source.onInvalid(error, invalidFrame);
    }
    if (frames > 0) this.#noteTaken(reader, cursor, group);
    return frames;
  }

  /** When the group is applied the plugin learns how far its rows are committed. */
  #noteTaken(reader: FrameReader, cursor: number, group: TransactionGroup): void {
    if (group.isEmpty) {
      // All was refused: there is no group to wait for but the one in flight. If writes have stopped
      // the process ends.
      const tell = async (): Promise<void> => reader.markCommitted(cursor);
      this.#options.committer.between(tell).catch(() => undefined);
      return;
    }
    if (this.#takenFor?.group !== group || this.#takenFor.fillCount !== group.fillCount) {
      const taken = new Map<FrameReader, number>();
      this.#taken = taken;
      this.#takenFor = { group, fillCount: group.fillCount };
      group.onEnd({
        applied: () => {
          for (const [ring, committed] of taken) ring.markCommitted(committed);
        },
        // The process ends: plugins are not told anything any more.
        failed: () => undefined,
      });
    }
    this.#taken.set(reader, cursor);
  }

  #drop(source: RingSource): void {
    this.#taps = this.#taps.filter((tap) => tap.source !== source);
  }

  #isTapped(source: RingSource): boolean {
    return this.#taps.some((tap) => tap.source === source);
  }
}

/** False for a damaged ring, too: what is left in it is not read. */
function hasFrame({ reader }: RingSource): boolean {
  try {
    return reader.peek() !== undefined;
  } catch (error) {
    if (error instanceof PluginError) return false;
    throw error;
  }
}
