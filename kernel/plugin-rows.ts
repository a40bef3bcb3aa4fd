/**
 * Rows of plugins, by plugin and generation. Main thread.
 *
 *   sent      what a plugin gave to its calls that settled: handed over by its ring, or refused
 *   accepted  taken by the drain into a group of the log
 *   rejected  refused by its worker (bad columns, a key it may not write, …), or by the drain
 *
 * Invariant: sent = accepted + rejected + what is in the ring; after the end of a generation nothing
 * is. The worker says in its ring how many rows it handed over and how many it refused; those in the
 * ring are the difference to what was taken out. What a ring holds that is never read (its plugin
 * damaged it) is rejected. A worker that is killed between handing over a frame and counting it is
 * believed less than the frame.
 *
 * Only the newest generations are told apart; what older ones sent is in the plugin's total.
 */

import { RING_BYTES, ROW_GENERATIONS_MAX } from './base/limits.ts';

/** A row has an Epoch at least: no ring holds more, whatever its worker says. */
const WAITING_MAX = RING_BYTES / 8;

export interface RowCounts {
  readonly sent: number;
  readonly accepted: number;
  readonly rejected: number;
}

export interface GenerationRows extends RowCounts {
  readonly plugin: string;
  readonly generation: number;
}

/** What a worker says of itself: u32 totals. */
export interface RowWords {
  readonly rowsHanded: number;
  readonly rowsRefused: number;
}

/** Of one generation while its ring is read. */
export interface RowCounter {
  accepted(rowCount: number): void;
  /** By the drain. */
  rejected(rowCount: number): void;
  /** The last frame was taken. */
  close(): void;
}

class Counted {
  /** Out of the ring: accepted, and rejected by the drain. */
  accepted = 0;
  rejected = 0;
  /** By the worker. */
  refused = 0;
  words: (() => RowWords) | undefined;
  /** The words as of the last look: they run over. */
  #refusedWord: number;
  /** Rows out of the ring since it was made. */
  #out: number;

  constructor({ rowsHanded, rowsRefused }: RowWords) {
    this.#out = rowsHanded;
    this.#refusedWord = rowsRefused;
  }

  take(kind: 'accepted' | 'rejected', rowCount: number): void {
    this[kind] += rowCount;
    this.#out += rowCount;
  }

  close(): void {
    const waiting = this.#look();
    if (waiting > 0) this.take('rejected', waiting);
    this.words = undefined;
  }

  counts(): RowCounts {
    const waiting = this.#look();
    const { accepted } = this;
    const rejected = this.rejected + this.refused;
    return { sent: accepted + rejected + waiting, accepted, rejected };
  }

  /** Takes over what the worker refused. Returns the rows in the ring. */
  #look(): number {
    if (this.words === undefined) return 0;
    const { rowsHanded, rowsRefused } = this.words();
    this.refused += (rowsRefused - this.#refusedWord) >>> 0;
    this.#refusedWord = rowsRefused;
    const waiting = (rowsHanded - this.#out) | 0;
    return waiting > 0 && waiting <= WAITING_MAX ? waiting : 0;
  }
}

interface OfPlugin {
  readonly byGeneration: Map<number, Counted>;
  /** Of generations that are no longer told apart. */
  before: RowCounts;
}

export class PluginRows {
  readonly #plugins = new Map<string, OfPlugin>();

  /** The ring of a generation is read from now on; again, if it was parked. */
  open(plugin: string, generation: number, words: () => RowWords): RowCounter {
    let known = this.#plugins.get(plugin);
    if (known === undefined) {
      known = { byGeneration: new Map(), before: { sent: 0, accepted: 0, rejected: 0 } };
      this.#plugins.set(plugin, known);
    }
    const { byGeneration } = known;
    const counted = byGeneration.get(generation) ?? new Counted(words());
    byGeneration.set(generation, counted);
    counted.words = words;
    for (const [oldest, counts] of byGeneration) {
      if (byGeneration.size <= ROW_GENERATIONS_MAX) break;
      // One whose ring is still read goes on counting: it stays until it is closed.
      if (counts.words !== undefined) continue;
      known.before = sum(known.before, counts.counts());
      byGeneration.delete(oldest);
    }
    return {
      accepted: (rowCount) => counted.take('accepted', rowCount),
      rejected: (rowCount) => counted.take('rejected', rowCount),
      close: () => counted.close(),
    };
  }

  /** Rows accepted from all its generations. */
  total(plugin: string): number {
    const known = this.#plugins.get(plugin);
    if (known === undefined) return 0;
    let total = known.before.accepted;
    for (const { accepted } of known.byGeneration.values()) total += accepted;
    return total;
  }

  counts(plugin: string): RowCounts {
    const known = this.#plugins.get(plugin);
    if (known === undefined) return { sent: 0, accepted: 0, rejected: 0 };
    return [...known.byGeneration.values()].reduce<RowCounts>(
      (total, counted) => sum(total, counted.counts()),
      known.before,
    );
  }

  forget(plugin: string): void {
    this.#plugins.delete(plugin);
  }

  all(): readonly GenerationRows[] {
    return [...this.#plugins].flatMap(([plugin, { byGeneration }]) =>
      [...byGeneration].map(([generation, counted]) => ({
        plugin,
        generation,
        ...counted.counts(),
      })),
    );
  }
}

function sum(a: RowCounts, b: RowCounts): RowCounts {
  return {
    sent: a.sent + b.sent,
    accepted: a.accepted + b.accepted,
    rejected: a.rejected + b.rejected,
  };
}
