/**
 * Takes the frames of a shadow's ring: checked as those of a plugin that runs, told to the diff, and
 * forgotten. Nothing reaches a group, the catalog, the store or what the plugin remembers. Main thread.
 *
 * The shadow is told at once that its rows are committed: it cannot tell that nobody will see them,
 * save by asking for them.
 */

import type { PlainState } from '../../workers/protocol.ts';
import { PluginError } from '../base/errors.ts';
import { FRAME_BYTES_MAX, SHADOW_FRAMES_PER_ROUND, SHADOW_ROUND_MS } from '../base/limits.ts';
import { FrameIntake, invalid, type RingSource, type Series, type Tap } from './frame-intake.ts';
import { PluginStates } from './plugin-states.ts';
import type { ShadowDiff } from './shadow-diff.ts';
import { TransactionGroup } from './transaction-group.ts';

/** Where a shadow's rows come from and go to. */
export interface ShadowFeed {
  readonly source: RingSource;
  readonly diff: ShadowDiff;
  /** What it starts with; what it remembers from then on is its own. */
  readonly state: PlainState;
}

export class ShadowIntake {
  readonly diff: ShadowDiff;
  readonly #tap: Tap;
  readonly #intake: FrameIntake;
  readonly #buckets: ShadowBuckets = new ShadowBuckets();
  /** Never committed: a frame at a time is copied here, checked, and cleared away. */
  readonly #group: TransactionGroup = new TransactionGroup(FRAME_BYTES_MAX);
  #isOver = false;

  constructor({ source, diff, state }: ShadowFeed) {
    this.diff = diff;
    this.#tap = { source, bucketIds: [] };
    this.#intake = new FrameIntake({
      catalog: this.#buckets,
      states: new PluginStates({
        recovered: new Map([[source.plugin, new Map(state.entries)]]),
        bytesMaxOf: () => state.bytesMax,
      }),
      isDestroying: () => false,
    });
  }

  /** It writes no more: takes what is left, as far as there is room. */
  async finish(): Promise<void> {
    this.#tap.source.budget?.lift();
    while (this.drain() > 0) await new Promise<void>((resolve) => setImmediate(resolve));
    this.diff.close();
  }

  /** Takes some of what waits; returns the frames. One that is not valid ends it. */
  drain(): number {
    const { source } = this.#tap;
    const { reader } = source;
    const group = this.#group;
    const endMs = performance.now() + SHADOW_ROUND_MS;
    let frames = 0;
    try {
      while (!this.#isOver && frames < SHADOW_FRAMES_PER_ROUND && this.diff.hasRoom) {
        if (performance.now() > endMs) break;
        if (source.budget?.isOpen === false) break;
        const frame = reader.peek();
        if (frame === undefined) break;
        if (frame.bytes > FRAME_BYTES_MAX)
          throw invalid(source, `it has ${frame.bytes} bytes, at most ${FRAME_BYTES_MAX}`);
        const { offset, bytes } = frame;
        const from = group.end;
        group.bytes.set(reader.data.subarray(offset, offset + bytes), from);
        this.#intake.take(this.#tap, group, bytes);
        this.diff.takeEntries('new', group.view, from, group.end, this.#buckets);
        group.clear();
        reader.markCommitted(reader.consume());
        frames++;
      }
    } catch (error) {
      if (!(error instanceof PluginError)) throw error;
      this.#isOver = true;
      source.onInvalid(error);
    }
    return frames;
  }
}

/** In the place of the catalog: numbers for series, and no bucket. */
class ShadowBuckets {
  readonly #series: Series[] = [];

  bucketById(id: number): (Series & { readonly readOnlyReason?: undefined }) | undefined {
    return this.#series[id];
  }

  declare(key: Series['key'], schema: Series['schema']): { id: number; schema: Series['schema'] } {
    return { id: this.#series.push({ key, schema }) - 1, schema };
  }
}
