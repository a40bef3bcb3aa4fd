/** Binance's REST interface as the feeder's loops see it: pages of klines, and the venue's time. */

import { HostGate } from '../feeder/host-gate.ts';
import type { BarSource, Page } from '../feeder/source.ts';
import { fieldOf, VenueHttp } from '../feeder/venue-http.ts';
import type { Context } from '../sdk.ts';
import type { BinanceConfig } from './config.ts';
import { INTERVALS, parseKlines } from './kline.ts';

const PAGE_BARS = 1_000;
const KLINES_WEIGHT = 2;
/** Error codes: no such symbol. */
export const UNKNOWN_SYMBOL = -1121;

export class BinanceVenue implements BarSource {
  /** Binance has a bar for every interval; one without trades has volume 0. */
  readonly isSparse = false;
  readonly http: VenueHttp;
  readonly #config: BinanceConfig;

  constructor(ctx: Context<BinanceConfig>, random: () => number) {
    this.#config = ctx.config;
    const { base_url, rate_limit } = ctx.config;
    const gate = new HostGate({
      clock: ctx.clock,
      signal: ctx.signal,
      metrics: ctx.metrics,
      tokensPerSecond: rate_limit / 60,
      // A second's worth, and enough for the heaviest request (exchangeInfo, 20).
      burst: Math.max(20, rate_limit / 60),
    });
    this.http = new VenueHttp(ctx, {
      baseUrl: base_url,
      gate,
      random,
      timePath: '/api/v3/time',
      readTime: (answer) => Number(fieldOf(answer, 'serverTime')),
      readError,
      onHeaders: (headers) => {
        // Counted per address: other programs of this machine use up the same budget.
        const used = Number(headers['x-mbx-used-weight-1m'] ?? Number.NaN);
        if (Number.isFinite(used)) gate.limitTo(rate_limit - used);
      },
      deniedHint:
        'Binance does not serve every region: set base_url, for example to https://api.binance.us, and stream_url.',
    });
  }

  async page(symbol: string, from: number): Promise<Page> {
    const { name, seconds } = this.#config.base_timeframe;
    const query = `symbol=${symbol}&interval=${INTERVALS[name]}&startTime=${from * 1000}&limit=${PAGE_BARS}`;
    const { body, venueSeconds } = await this.http.get(`/api/v3/klines?${query}`, KLINES_WEIGHT);
    return { bars: parseKlines(body), until: from + PAGE_BARS * seconds, venueSeconds };
  }

  async firstOpen(symbol: string, _from: number): Promise<number | undefined> {
    const interval = INTERVALS[this.#config.base_timeframe.name];
    const query = `symbol=${symbol}&interval=${interval}&startTime=0&limit=1`;
    const { body } = await this.http.get(`/api/v3/klines?${query}`, KLINES_WEIGHT);
    return parseKlines(body)[0]?.epoch;
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
}

/** `{"code":-1121,"msg":"Invalid symbol."}` */
function readError(answer: unknown): { readonly code?: number; readonly text?: string } {
  const code = fieldOf(answer, 'code');
  const text = fieldOf(answer, 'msg');
  return {
    ...(typeof code === 'number' ? { code } : {}),
    ...(typeof text === 'string' ? { text } : {}),
  };
}
