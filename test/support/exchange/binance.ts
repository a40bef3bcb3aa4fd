/** Binance Spot on loopback: a port for REST and one for streams, over the same markets. */

import type { RecordedSeries } from '../fixture.ts';
import { BinanceRest } from './binance-rest.ts';
import { BinanceStream } from './binance-stream.ts';
import type { Faults, RequestLog } from './faults.ts';
import { Market } from './market.ts';
import type { VenueClock } from './venue-clock.ts';
import { VenueServer } from './venue-server.ts';
import { WeightLimit } from './weight-limit.ts';

/** A symbol as exchangeInfo lists it. */
export interface Listing {
  readonly symbol: string;
  readonly base: string;
  readonly quote: string;
  readonly status: 'TRADING' | 'END_OF_DAY' | 'HALT' | 'BREAK' | 'CANCEL_ONLY';
}

export interface BinanceOptions {
  readonly series: readonly RecordedSeries[];
  /** Symbols that are listed but of which nothing was recorded. */
  readonly listings?: readonly Listing[];
  /** Request weight allowed in a minute of venue time. */
  readonly weightPerMinute?: number;
}

/** As documented for one address. */
const WEIGHT_PER_MINUTE = 6000;

export interface VenueParts {
  readonly clock: VenueClock;
  readonly faults: Faults;
  readonly log: RequestLog;
}

export interface Venue {
  readonly rest: VenueServer;
  readonly stream: VenueServer;
  /** Ends timers; the servers are ended by who started them. */
  stop(): void;
}

export interface BinanceVenue extends Venue {
  announceShutdown(): void;
}

export function binanceVenue(options: BinanceOptions, parts: VenueParts): BinanceVenue {
  const bySymbol = new Map(
    options.series.map((series) => [`${series.base}${series.quote}`, new Market(series)]),
  );
  const recorded = options.series.map(
    ({ base, quote }): Listing => ({ symbol: `${base}${quote}`, base, quote, status: 'TRADING' }),
  );
  const { clock, faults } = parts;
  const rest = new BinanceRest({
    markets: bySymbol,
    listings: [...recorded, ...(options.listings ?? [])],
    clock,
    limit: new WeightLimit(clock, options.weightPerMinute ?? WEIGHT_PER_MINUTE),
  });
  const markets = new Map([...bySymbol].map(([symbol, market]) => [symbol.toLowerCase(), market]));
  const stream = new BinanceStream({ markets, clock, faults });
  return {
    rest: new VenueServer({
      ...parts,
      venue: 'binance',
      answer: (request) => rest.answer(request),
      accept: (socket) => socket.close(),
      refuseHandshake: () => 404,
    }),
    stream: new VenueServer({
      ...parts,
      venue: 'binance',
      answer: () => ({ status: 404, body: '' }),
      accept: (socket, url) => stream.accept(socket, url),
      refuseHandshake: (url) => stream.refuseHandshake(url),
    }),
    stop: () => stream.stop(),
    announceShutdown: () => stream.announceShutdown(),
  };
}
