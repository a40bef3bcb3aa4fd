/**
 * A local exchange: Binance Spot and Coinbase Exchange over recorded minutes, on four ports of
 * loopback, with one clock, one request log and one set of faults. A plugin whose base URLs point
 * here cannot tell it from the venues.
 *
 * Limits and streams count venue time: a test that turns the clock by hand decides when a limit is
 * free again, and a plugin under test must live by the same clock. When the clock passes the end of
 * a recording the venue goes on answering, and simply does not trade any more.
 */

import { type BinanceOptions, binanceVenue, type Venue } from './binance.ts';
import { type CoinbaseOptions, coinbaseVenue } from './coinbase.ts';
import { Faults, RequestLog } from './faults.ts';
import type { VenueClock } from './venue-clock.ts';

export interface ExchangeOptions<Clock extends VenueClock = VenueClock> {
  readonly binance?: BinanceOptions;
  readonly coinbase?: CoinbaseOptions;
  readonly clock: Clock;
  /** The first of four ports in a row; default: four free ones. */
  readonly port?: number;
}

export interface Exchange<Clock extends VenueClock = VenueClock> {
  /** `http://127.0.0.1:<port>`, to be followed by `/api/v3/…`. */
  readonly binanceUrl: string;
  /** `ws://127.0.0.1:<port>`, to be followed by `/ws/…` or `/stream?…`. */
  readonly binanceStreamUrl: string;
  readonly coinbaseUrl: string;
  readonly coinbaseFeedUrl: string;
  readonly clock: Clock;
  readonly requests: RequestLog;
  readonly faults: Faults;
  /** Open WebSockets of both venues. */
  readonly streamCount: number;
  /** Breaks every connection without a closing handshake. */
  disconnectAll(): void;
  /** Binance announces the end of its streams; it comes ten seconds of venue time later. */
  announceShutdown(): void;
  stop(): Promise<void>;
}

/** Starts both venues; one without options lists nothing. */
export async function startExchange<Clock extends VenueClock>(
  options: ExchangeOptions<Clock>,
): Promise<Exchange<Clock>> {
  const { clock, port = 0 } = options;
  const requests = new RequestLog();
  const disconnectAll = (): void => {
    for (const server of servers) server.disconnectAll();
  };
  const faults = new Faults(disconnectAll);
  const parts = { clock, faults, log: requests };
  const binance = binanceVenue(options.binance ?? { series: [] }, parts);
  const coinbase = coinbaseVenue(options.coinbase ?? { series: [] }, parts);
  const venues: readonly Venue[] = [binance, coinbase];
  const servers = venues.flatMap(({ rest, stream }) => [rest, stream]);
  const hosts = await Promise.all(
    servers.map((server, i) => server.start(port === 0 ? 0 : port + i)),
  );
  const [binanceHost, binanceStreamHost, coinbaseHost, coinbaseFeedHost] = hosts;
  return {
    binanceUrl: `http://${binanceHost}`,
    binanceStreamUrl: `ws://${binanceStreamHost}`,
    coinbaseUrl: `http://${coinbaseHost}`,
    coinbaseFeedUrl: `ws://${coinbaseFeedHost}`,
    clock,
    requests,
    faults,
    get streamCount() {
      return venues.reduce((count, { stream }) => count + stream.streams.size, 0);
    },
    disconnectAll,
    announceShutdown: () => binance.announceShutdown(),
    async stop() {
      for (const venue of venues) venue.stop();
      await Promise.all(servers.map((server) => server.stop()));
    },
  };
}
