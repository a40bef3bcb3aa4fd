/**
 * One bucket a feeder fills: where it stands (`next`, the open of the first bar not stored yet, by
 * the venue's time) and the one way rows get in. The position is never kept anywhere but in the
 * rows: a start reads it back from the newest stored one.
 *
 * Invariant: `next` moves only after the kernel took the rows below it.
 */

import type { Context } from '../sdk.ts';
import { type Bar, barRows, sameBar } from './bar.ts';
import { type Labels, utcLabels } from './labels.ts';
import type { Timeframe } from './timeframe.ts';

export interface SeriesOptions {
  /** As the venue names it. */
  readonly symbol: string;
  /** First part of the bucket's key. */
  readonly bucket: string;
  readonly timeframe: Timeframe;
  /** Where history begins and ends, [from, to); Unix seconds. */
  readonly queryStart: number | undefined;
  readonly queryEnd: number | undefined;
  /** How far back a bucket without rows begins if `queryStart` is not given. */
  readonly lookbackSeconds: number;
  /** A bar counts as closed this long after its end. */
  readonly settleSeconds: number;
  readonly fillEmpty: boolean;
  /** How far before the newest row a start begins again, where rows may be provisional. */
  readonly overlapSeconds: number;
}

export class Series {
  readonly symbol: string;
  readonly key: string;
  readonly options: SeriesOptions;
  /** Seconds of a bar. */
  readonly step: number;
  /** Open of the first bar not stored yet. */
  next = 0;
  /** True once a bar of it is known: from then on an empty page is a pause, not a time before it. */
  hasBegun = false;
  /** Close of the last bar before `next`, if known. */
  closeBefore: number | undefined;
  readonly #ctx: Context<unknown>;
  readonly #labels: Labels;
  #newest: Bar | undefined;

  constructor(ctx: Context<unknown>, options: SeriesOptions) {
    this.#ctx = ctx;
    this.options = options;
    this.symbol = options.symbol;
    this.step = options.timeframe.seconds;
    this.key = `${options.bucket}/${options.timeframe.name}/OHLCV`;
    this.#labels = utcLabels(ctx.slots, this.step);
  }

  /** True when everything up to `queryEnd` is stored. */
  get isFinished(): boolean {
    return this.options.queryEnd !== undefined && this.next >= this.options.queryEnd;
  }

  /**
   * Takes the position from the newest stored row. That row is asked for once more: it may have
   * been stored by a server that did not wait for its bar to close.
   */
  async load(venueSeconds: () => Promise<number>): Promise<void> {
    const { queryStart, lookbackSeconds, overlapSeconds } = this.options;
    const last = await this.#ctx.lastRow(this.key);
    this.#newest = undefined;
    if (last !== undefined) {
      this.hasBegun = true;
      const open = this.#labels.toOpen(Number(last.Epoch));
      const overlap = Math.floor(overlapSeconds / this.step) * this.step;
      this.next = Math.max(open - overlap, Math.min(open, this.#aligned(queryStart ?? 0)));
      if (this.options.fillEmpty) this.closeBefore = await this.#closeBeforeNext();
      return;
    }
    const start = queryStart ?? (await venueSeconds()) - lookbackSeconds;
    this.next = this.#aligned(start);
  }

  /** Nothing before `open` exists. Never goes back. */
  skipTo(open: number): void {
    this.next = Math.max(this.next, this.#aligned(open));
  }

  /** Writes closed bars (ascending) and moves `next` past them; what is stored as it is stays. */
  async store(bars: readonly Bar[], venueSeconds: number): Promise<number> {
    const last = bars.at(-1);
    if (last === undefined) return 0;
    const changed = sameBar(bars[0], this.#newest) ? bars.slice(1) : bars;
    await this.#write(changed, venueSeconds);
    this.next = Math.max(this.next, last.epoch + this.step);
    this.hasBegun = true;
    this.closeBefore = last.close;
    this.#newest = last;
    return changed.length;
  }

  /** Writes bars that are to be asked for again: `next` stays. */
  async storeProvisional(bars: readonly Bar[], venueSeconds: number): Promise<void> {
    await this.#write(bars, venueSeconds);
  }

  /** The first open at or after an instant. */
  #aligned(seconds: number): number {
    return Math.ceil(seconds / this.step) * this.step;
  }

  async #closeBeforeNext(): Promise<number | undefined> {
    const to = this.#labels.toStored(this.next) - 1;
    const { columns } = await this.#ctx.query({ key: this.key, to, limit: 1, columns: ['Close'] });
    const close = columns.Close?.[0];
    return close === undefined ? undefined : Number(close);
  }

  async #write(bars: readonly Bar[], venueSeconds: number): Promise<void> {
    const last = bars.at(-1);
    if (last === undefined) return;
    const { metrics } = this.#ctx;
    await this.#ctx.write(
      this.key,
      barRows(bars, (open) => this.#labels.toStored(open)),
    );
    const labels = { symbol: this.symbol };
    metrics.count('rows_written', labels, bars.length);
    metrics.gauge('last_bar_epoch', last.epoch, labels);
    metrics.gauge('lag_seconds', Math.max(0, venueSeconds - last.epoch - this.step), labels);
  }
}
