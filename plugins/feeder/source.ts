/** What a venue's adapter offers to the loops that back-fill and follow it. */

import type { Bar } from './bar.ts';

export interface Page {
  /** As the venue gave them: any order, open bars and bars before the range among them. */
  readonly bars: readonly Bar[];
  /** First open the request did not ask for: a page covers [from, until). */
  readonly until: number;
  /** The venue's time when it answered. */
  readonly venueSeconds: number;
}

export interface BarSource {
  /**
   * True if an interval without trades has no bar. False if the venue names every interval: then a
   * missing bar is one the venue has not got ready yet.
   */
  readonly isSparse: boolean;
  /** The bars from `from` on, at most one page. Waits out failures; rejects with VenueRefusal. */
  page(symbol: string, from: number): Promise<Page>;
  /** Open of the first bar there is, at or after `from`; undefined if there is none yet. */
  firstOpen(symbol: string, from: number): Promise<number | undefined>;
  venueSeconds(): Promise<number>;
  /** Local milliseconds for a span of venue time, and until a venue time. */
  localMs(venueSpanMs: number): number;
  msUntil(venueSeconds: number): number;
}
