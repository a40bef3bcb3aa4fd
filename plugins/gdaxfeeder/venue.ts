/** Coinbase's REST interface as the feeder's loops see it: pages of candles, and the venue's time. */

import type { Bar } from '../feeder/bar.ts';
import { VenueRefusal } from '../feeder/failure.ts';
import { HostGate } from '../feeder/host-gate.ts';
import { formatPointInTime } from '../feeder/point-in-time.ts';
import type { BarSource, Page } from '../feeder/source.ts';
import { type Answer, fieldOf, VenueHttp } from '../feeder/venue-http.ts';
import type { Context } from '../sdk.ts';
import { parseCandles } from './candle.ts';
import type { GdaxConfig } from './config.ts';

/** Candles of a request; one more is refused. */
const PAGE_BARS = 300;
const DAY_SECONDS = 86_400;
/** Requests a search for the beginning of a product's history may take. */
const SEARCH_REQUESTS_MAX = 12;

interface Range {
  readonly from: number;
  readonly until: number;
  readonly granularity: number;
}

export class GdaxVenue implements BarSource {
  /** Coinbase has no candle for an interval without trades. */
  readonly isSparse = true;
  readonly http: VenueHttp;
  readonly #ctx: Context<GdaxConfig>;
  #pageBars = PAGE_BARS;

  constructor(ctx: Context<GdaxConfig>, random: () => number) {
    this.#ctx = ctx;
    const { base_url, rate_limit } = ctx.config;
    this.http = new VenueHttp(ctx, {
      baseUrl: base_url,
      gate: new HostGate({
        clock: ctx.clock,
        signal: ctx.signal,
        metrics: ctx.metrics,
        tokensPerSecond: rate_limit,
        burst: Math.max(1, rate_limit),
      }),
      random,
      timePath: '/time',
      readTime: (answer) => Number(fieldOf(answer, 'epoch')) * 1000,
      readError: (answer) => {
        const text = fieldOf(answer, 'message');
        return typeof text === 'string' ? { text } : {};
      },
      deniedHint: 'Coinbase does not serve every region: set base_url to a host that serves yours.',
    });
  }

  async page(symbol: string, from: number): Promise<Page> {
    const granularity = this.#ctx.config.base_timeframe.seconds;
    const venueSeconds = await this.venueSeconds();
    // A range that ends in the future is answered too, but says nothing more.
    const current = Math.floor(venueSeconds / granularity) * granularity;
    for (;;) {
      const last = Math.max(from, Math.min(from + (this.#pageBars - 1) * granularity, current));
      const range = { from, until: last + granularity, granularity };
      try {
        const answer = await this.#candles(symbol, range);
        return {
          bars: parseCandles(answer.body),
          until: range.until,
          venueSeconds: answer.venueSeconds,
        };
      } catch (failure) {
        if (!isTooWide(failure) || this.#pageBars === 1) throw failure;
        if (this.#pageBars === PAGE_BARS)
          this.#ctx.log.warn('the venue finds a page too wide; smaller ones from now on', {
            bars: PAGE_BARS,
            reason: (failure as Error).message,
          });
        this.#pageBars = Math.ceil(this.#pageBars / 2);
      }
    }
  }

  /**
   * Where a product's history begins. A page of days covers most of a year, so the search takes a
   * handful of requests, and no lull in trading is long enough to mislead it.
   */
  async firstOpen(symbol: string, from: number): Promise<number | undefined> {
    const step = this.#ctx.config.base_timeframe.seconds;
    const byDays = await this.#search(symbol, from, DAY_SECONDS);
    const open = byDays ?? (await this.#search(symbol, from, step));
    return open === undefined ? undefined : Math.max(from, open);
  }

  venueSeconds(): Promise<number> {
    return this.http.venueSeconds();
  }

  localMs(venueSpanMs: number): number {
    return this.http.clock.localMs(venueSpanMs);
  }

  msUntil(venueSeconds: number): number {
    return this.http.clock.msUntil(venueSeconds * 1000);
  }

  /** Binary search for the first page with a candle; undefined if there is none. */
  async #search(symbol: string, from: number, granularity: number): Promise<number | undefined> {
    const start = Math.floor(from / granularity) * granularity;
    const pageSeconds = this.#pageBars * granularity;
    const now = await this.venueSeconds();
    let low = 0;
    let high = Math.max(0, Math.ceil((now - start) / pageSeconds) - 1);
    let found: number | undefined;
    // Invariant: pages below `low` are empty; `found` is the oldest candle of page `high`.
    for (let request = 0; request < SEARCH_REQUESTS_MAX; request++) {
      const middle = Math.floor((low + high) / 2);
      const pageStart = start + middle * pageSeconds;
      const range = { from: pageStart, until: pageStart + pageSeconds, granularity };
      const oldest = oldestFrom(parseCandles((await this.#candles(symbol, range)).body), pageStart);
      if (oldest !== undefined) {
        found = oldest;
        high = middle;
      } else low = middle + 1;
      if (low > high || (found !== undefined && low === high)) return found;
    }
    // Not narrowed down to a page: the few that are left are walked.
    return found === undefined ? undefined : start + low * pageSeconds;
  }

  #candles(symbol: string, { from, until, granularity }: Range): Promise<Answer> {
    const start = formatPointInTime(from);
    const end = formatPointInTime(until - granularity);
    const product = encodeURIComponent(symbol);
    // Order: both bounds, always; with one of them the venue ignores it and answers the newest.
    const query = `granularity=${granularity}&start=${start}&end=${end}`;
    return this.http.get(`/products/${product}/candles?${query}`, 1);
  }
}

/** Open of the oldest candle at or after `from`: an answer may hold earlier ones. */
function oldestFrom(candles: readonly Bar[], from: number): number | undefined {
  const opens = candles.map(({ epoch }) => epoch).filter((epoch) => epoch >= from);
  return opens.length === 0 ? undefined : Math.min(...opens);
}

/** The sentence of this refusal is not documented: it speaks of granularity, or of the 300. */
function isTooWide(failure: unknown): boolean {
  return (
    failure instanceof VenueRefusal &&
    failure.status === 400 &&
    /granularity|300/i.test(failure.message)
  );
}
