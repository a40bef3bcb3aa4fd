/**
 * Coinbase Exchange's market data over REST: /time, /products, /products/<id>, and candles.
 * Candles come newest first as [time, low, high, open, close, volume]; one without trades is absent.
 */

import { shortDecimal } from './decimal.ts';
import { type Candle, fixedInterval, type Market } from './market.ts';
import type { VenueClock } from './venue-clock.ts';
import type { VenueAnswer, VenueRequest } from './venue-server.ts';
import type { RequestBucket } from './weight-limit.ts';

const GRANULARITIES = [60, 300, 900, 3600, 21_600, 86_400];
const CANDLES_MAX = 300;

/** A product as /products lists it. */
export interface Product {
  readonly id: string;
  readonly base: string;
  readonly quote: string;
  readonly status: 'online' | 'delisted' | 'internal' | 'offline';
  readonly tradingDisabled: boolean;
}

export interface CoinbaseRestOptions {
  readonly markets: ReadonlyMap<string, Market>;
  readonly products: readonly Product[];
  readonly clock: VenueClock;
  readonly bucket: RequestBucket;
  /** Candles answered from before `start`: the venue may do so, and a client has to bear it. */
  readonly candlesBeforeStart: number;
}

export class CoinbaseRest {
  readonly #options: CoinbaseRestOptions;

  constructor(options: CoinbaseRestOptions) {
    this.#options = options;
  }

  answer(request: VenueRequest): VenueAnswer {
    const { clock, products, bucket } = this.#options;
    if (!bucket.take()) return message(429, 'Public rate limit exceeded');
    if (request.headers['user-agent'] === undefined) {
      return message(400, 'User-Agent header is required.');
    }
    const parts = request.path.split('/').slice(1);
    if (request.method !== 'GET') return message(404, 'NotFound');
    const [first, id, candles, ...rest] = parts;
    if (first === 'time' && parts.length === 1) {
      const nowMs = clock.now();
      return {
        status: 200,
        body: `{"iso":"${new Date(nowMs).toISOString()}","epoch":${nowMs / 1000}}`,
      };
    }
    if (first !== 'products' || rest.length > 0) return message(404, 'NotFound');
    if (id === undefined) return { status: 200, body: JSON.stringify(products.map(entryOf)) };
    const product = products.find((listed) => listed.id === id);
    if (product === undefined) return message(404, 'NotFound');
    if (candles === undefined) return { status: 200, body: JSON.stringify(entryOf(product)) };
    return candles === 'candles' ? this.#candles(id, request.query) : message(404, 'NotFound');
  }

  #candles(id: string, query: URLSearchParams): VenueAnswer {
    const nowMs = this.#options.clock.now();
    const granularity = Number(query.get('granularity') ?? 60);
    if (!GRANULARITIES.includes(granularity)) return message(400, 'Unsupported granularity');
    const stepMs = granularity * 1000;
    // One without the other counts as neither.
    const bounded = query.has('start') && query.has('end');
    const startMs = bounded ? timeOf(query.get('start') ?? '') : 0;
    const endMs = bounded ? timeOf(query.get('end') ?? '') : nowMs;
    if (startMs === undefined) return message(400, 'Invalid start');
    if (endMs === undefined) return message(400, 'Invalid end');
    if (endMs < startMs) return message(400, 'start must be before end');
    const count = Math.floor(endMs / stepMs) - Math.ceil(startMs / stepMs) + 1;
    if (bounded && count > CANDLES_MAX) {
      return message(
        400,
        `granularity too small for the requested time range. Count of aggregations requested exceeds ${CANDLES_MAX}`,
      );
    }
    const found = this.#options.markets.get(id)?.candles({
      interval: fixedInterval(stepMs),
      fromMs: startMs - (bounded ? this.#options.candlesBeforeStart * stepMs : 0),
      toMs: endMs,
      nowMs,
      limit: CANDLES_MAX,
      newest: true,
    });
    return { status: 200, body: `[${(found ?? []).reverse().map(rowOf).join(',')}]` };
  }
}

/** Numbers with the digits that were recorded: JSON.stringify would make doubles of them. */
function rowOf({ openMs, low, high, open, close, volume }: Candle): string {
  return `[${openMs / 1000},${[low, high, open, close, volume].map(shortDecimal).join(',')}]`;
}

/** Unix seconds or ISO 8601, which is UTC unless it says otherwise. */
function timeOf(text: string): number | undefined {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text) * 1000;
  const iso = /^\d{4}-\d{2}-\d{2}T[\d:.]+$/.test(text) ? `${text}Z` : text;
  const timeMs = Date.parse(iso);
  return Number.isNaN(timeMs) ? undefined : timeMs;
}

function entryOf({ id, base, quote, status, tradingDisabled }: Product): object {
  return {
    id,
    base_currency: base,
    quote_currency: quote,
    quote_increment: '0.01',
    base_increment: '0.00000001',
    display_name: `${base}-${quote}`,
    min_market_funds: '1',
    margin_enabled: false,
    post_only: false,
    limit_only: false,
    cancel_only: false,
    status,
    status_message: '',
    trading_disabled: tradingDisabled,
    fx_stablecoin: false,
    auction_mode: false,
  };
}

function message(status: number, text: string): VenueAnswer {
  return { status, body: JSON.stringify({ message: text }) };
}
