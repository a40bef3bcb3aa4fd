/** Coinbase Exchange on loopback: a port for REST and one for the feed, over the same markets. */

import type { RecordedSeries } from '../fixture.ts';
import type { Venue, VenueParts } from './binance.ts';
import { CoinbaseFeed } from './coinbase-feed.ts';
import { CoinbaseRest, type Product } from './coinbase-rest.ts';
import { Market } from './market.ts';
import { VenueServer } from './venue-server.ts';
import { RequestBucket } from './weight-limit.ts';

export interface CoinbaseOptions {
  readonly series: readonly RecordedSeries[];
  /** Products that are listed but of which nothing was recorded. */
  readonly products?: readonly Product[];
  /** Requests a second of venue time, and at once. */
  readonly requestsPerSecond?: number;
  readonly requestBurst?: number;
  /** Candles answered from before `start`; default 1. */
  readonly candlesBeforeStart?: number;
}

/** As documented for one address. */
const REQUESTS_PER_SECOND = 10;
const REQUEST_BURST = 15;

export function coinbaseVenue(options: CoinbaseOptions, parts: VenueParts): Venue {
  const markets = new Map(
    options.series.map((series) => [`${series.base}-${series.quote}`, new Market(series)]),
  );
  const recorded = options.series.map(
    ({ base, quote }): Product => ({
      id: `${base}-${quote}`,
      base,
      quote,
      status: 'online',
      tradingDisabled: false,
    }),
  );
  const products = [...recorded, ...(options.products ?? [])];
  const { clock, faults } = parts;
  const rest = new CoinbaseRest({
    markets,
    products,
    clock,
    bucket: new RequestBucket(clock, {
      perSecond: options.requestsPerSecond ?? REQUESTS_PER_SECOND,
      burst: options.requestBurst ?? REQUEST_BURST,
    }),
    candlesBeforeStart: options.candlesBeforeStart ?? 1,
  });
  const feed = new CoinbaseFeed({
    markets,
    products: new Set(products.map(({ id }) => id)),
    clock,
    faults,
  });
  return {
    rest: new VenueServer({
      ...parts,
      venue: 'coinbase',
      answer: (request) => rest.answer(request),
      accept: (socket) => socket.close(),
      refuseHandshake: () => 404,
    }),
    stream: new VenueServer({
      ...parts,
      venue: 'coinbase',
      answer: () => ({ status: 404, body: '{}' }),
      accept: (socket) => feed.accept(socket),
      refuseHandshake: () => undefined,
    }),
    stop: () => feed.stop(),
  };
}
