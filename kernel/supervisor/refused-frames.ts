/**
 * Frames of one generation that the drain refused, gathered into dead letters: a plugin that writes
 * row by row has thousands of frames in its ring when a bucket changes, and learns it only then. What
 * comes in one turn for one reason is one letter, up to the size of the largest frame. Main thread.
 */

import type { DeadLetter, LetterSeries } from '../base/dead-letter.ts';
import type { MktsError } from '../base/errors.ts';
import { FRAME_BYTES_MAX } from '../base/limits.ts';
import { refusedBlocks } from '../base/refused-frame.ts';
import { toPlainSchema } from '../base/schema.ts';
import type { SeriesTarget } from './kernel-api.ts';

/** A letter before it has a number. */
export type NewLetter = Omit<DeadLetter, 'id' | 'time'> & { readonly at: number };

export interface RefusedFramesOptions {
  readonly generation: number;
  readonly series: (seriesId: number) => SeriesTarget | undefined;
  readonly add: (letter: NewLetter) => void;
  readonly now: () => number;
}

interface Gathered {
  readonly code: string;
  readonly reason: string;
  readonly at: number;
  readonly frames: Uint8Array[];
  readonly series: Map<number, LetterSeries>;
  bytes: number;
  rowCount: number;
}

export class RefusedFrames {
  readonly #options: RefusedFramesOptions;
  #gathered: Gathered | undefined;

  constructor(options: RefusedFramesOptions) {
    this.#options = options;
  }

  /** A frame whose bucket changed. Returns the rows in it. */
  add({ code, message }: MktsError, frame: Uint8Array): number {
    const blocks = refusedBlocks(frame) ?? [];
    const rowCount = blocks.reduce((count, block) => count + block.rowCount, 0);
    // A change of state alone that came behind a refused one: there is nothing to keep.
    if (rowCount === 0) return 0;
    const known = this.#gathered;
    if (
      known === undefined ||
      known.reason !== message ||
      known.bytes + frame.length > FRAME_BYTES_MAX
    )
      this.#begin(code, message);
    const gathered = this.#gathered;
    if (gathered === undefined) return rowCount;
    gathered.frames.push(frame);
    gathered.bytes += frame.length;
    gathered.rowCount += rowCount;
    for (const { seriesId } of blocks) this.#noteSeries(gathered, seriesId);
    return rowCount;
  }

  /** A frame that is damage, or malice: evidence, not rows. */
  addInvalid({ code, message }: MktsError, frame: Uint8Array | undefined): void {
    this.flush();
    const { generation, add, now } = this.#options;
    const frames = frame === undefined ? undefined : Buffer.from(frame).toString('base64');
    // How many rows it has nobody can say: they are counted when its ring is given up.
    add({ generation, code, reason: message, at: now(), rowCount: 0, frames });
  }

  /** What was gathered becomes a letter. */
  flush(): void {
    const gathered = this.#gathered;
    if (gathered === undefined) return;
    this.#gathered = undefined;
    const { code, reason, at, rowCount, series } = gathered;
    this.#options.add({
      generation: this.#options.generation,
      code,
      reason,
      at,
      rowCount,
      frames: Buffer.concat(gathered.frames).toString('base64'),
      series: [...series.values()],
    });
  }

  #begin(code: string, reason: string): void {
    this.flush();
    const at = this.#options.now();
    this.#gathered = { code, reason, at, frames: [], series: new Map(), bytes: 0, rowCount: 0 };
    setImmediate(() => this.flush());
  }

  #noteSeries({ series }: Gathered, id: number): void {
    if (series.has(id)) return;
    const target = this.#options.series(id);
    if (target === undefined) return;
    series.set(id, { id, key: target.key.path, schema: toPlainSchema(target.schema) });
  }
}
