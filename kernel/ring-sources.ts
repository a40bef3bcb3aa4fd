/**
 * The rings the drain reads, one for each generation that may write: joins a plugin's feed to the
 * drain, to the counts of its rows, and to its dead letters. Main thread.
 */

import type { LogDurability } from './base/durability.ts';
import type { Drain, RingSource } from './ingest/drain.ts';
import type { Origins } from './ingest/origins.ts';
import type { PluginRows, RowCounter } from './plugin-rows.ts';
import type { DeadLetters } from './supervisor/dead-letters.ts';
import type { PluginFeed } from './supervisor/plugin-entry.ts';
import { RefusedFrames } from './supervisor/refused-frames.ts';

export interface RingSourcesOptions {
  readonly drain: Drain;
  readonly origins: Origins;
  readonly rows: PluginRows;
  readonly letters: DeadLetters;
  /** Of plugins whose entry says nothing. */
  readonly durability: LogDurability;
  /** The worker of a feed is replaced: what it sent is damaged, or its state was refused. */
  readonly reject: (feed: PluginFeed, cause: Error) => void;
}

interface Joined {
  readonly source: RingSource;
  readonly counter: RowCounter;
  readonly refused: RefusedFrames;
}

export class RingSources {
  readonly #options: RingSourcesOptions;
  readonly #joined = new Map<PluginFeed, Joined>();

  constructor(options: RingSourcesOptions) {
    this.#options = options;
  }

  /** The feed's worker may write from now on. */
  add(feed: PluginFeed): void {
    const { drain, origins, rows, letters, reject, durability } = this.#options;
    const { plugin, generation, ring } = feed;
    const counter = rows.open(plugin, generation, () => ring.gauges());
    const refused = new RefusedFrames({
      generation,
      series: (seriesId) => feed.series(seriesId),
      add: (letter) => letters.add(plugin, letter),
      now: Date.now,
    });
    const source: RingSource = {
      plugin,
      originId: origins.add({ kind: 'plugin', name: plugin, generation }),
      reader: ring,
      durability: feed.durability ?? durability,
      budget: feed.budget,
      series: (seriesId) => feed.series(seriesId),
      onRows: (rowCount) => counter.accepted(rowCount),
      onRefused(cause, frame) {
        counter.rejected(refused.add(cause, frame));
        // Its own view of what it remembers is ahead of what is committed: only a new one's is not.
        if (cause.code === 'MKTS_STATE_REFUSED') reject(feed, cause);
      },
      onInvalid(error, frame) {
        refused.addInvalid(error, frame);
        reject(feed, error);
      },
    };
    this.#joined.set(feed, { source, counter, refused });
    drain.add(source);
  }

  /** It writes no more. Resolves when the last frame of its ring is taken. */
  async remove(feed: PluginFeed): Promise<void> {
    const joined = this.#joined.get(feed);
    if (joined === undefined) return;
    this.#joined.delete(feed);
    await this.#options.drain.remove(joined.source);
    joined.refused.flush();
    joined.counter.close();
  }
}
