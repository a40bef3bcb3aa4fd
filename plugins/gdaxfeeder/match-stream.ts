/**
 * Bars by WebSocket, made of trades. They are provisional: every quarter of an hour, and whenever
 * trades were missed, the venue's own candles are asked for and take their place.
 */

import { isWhole } from '../feeder/bar.ts';
import { catchUp } from '../feeder/catch-up.ts';
import { Connection } from '../feeder/connection.ts';
import type { Inbox } from '../feeder/inbox.ts';
import type { LazyFlush } from '../feeder/lazy-flush.ts';
import type { Series } from '../feeder/series.ts';
import type { Context, Socket } from '../sdk.ts';
import { parseFeedMessage } from './candle.ts';
import type { GdaxConfig } from './config.ts';
import { MatchBars } from './match-bars.ts';
import type { GdaxVenue } from './venue.ts';

/** How often provisional bars are replaced, in the venue's time. */
export const REFRESH_SECONDS = 900;
/** The same once `query_end` is past: then the replacement is all that is waited for. */
const ENDING_REFRESH_SECONDS = 30;

interface Follower {
  readonly series: Series;
  readonly inbox: Inbox;
  readonly maker: MatchBars;
  refreshedSeconds: number;
}

export class MatchStream {
  readonly #ctx: Context<GdaxConfig>;
  readonly #venue: GdaxVenue;
  readonly #connection: Connection;
  readonly #followers = new Map<string, Follower>();
  #socket: Socket | undefined;

  constructor(ctx: Context<GdaxConfig>, venue: GdaxVenue, random: () => number) {
    this.#ctx = ctx;
    this.#venue = venue;
    this.#connection = new Connection(ctx, {
      url: ctx.config.stream_url,
      random,
      onOpen: (socket) => this.#opened(socket),
      onMessage: (text) => this.#received(text),
    });
  }

  run(): Promise<void> {
    return this.#connection.run();
  }

  close(): void {
    this.#connection.close();
  }

  /** Bars of the series' product go to `inbox` from now on. Returns what ends that. */
  subscribe(series: Series, inbox: Inbox): () => void {
    const { fill_empty } = this.#ctx.config;
    const maker = new MatchBars({ stepSeconds: series.step, fillEmpty: fill_empty });
    this.#followers.set(series.symbol, { series, inbox, maker, refreshedSeconds: 0 });
    if (this.#socket !== undefined) this.#ask(this.#socket, [series.symbol]);
    return () => void this.#followers.delete(series.symbol);
  }

  #opened(socket: Socket): void {
    this.#socket = socket;
    for (const { maker } of this.#followers.values()) maker.restart();
    // The venue closes a connection that has not subscribed within five seconds.
    this.#ask(socket, [...this.#followers.keys()]);
  }

  #ask(socket: Socket, products: readonly string[]): void {
    const channels = ['matches', 'heartbeat'];
    socket.send(JSON.stringify({ type: 'subscribe', product_ids: products, channels }));
  }

  #received(text: string): void {
    const message = parseFeedMessage(JSON.parse(text));
    if (message === undefined) return;
    if (message.kind === 'error') {
      this.#ctx.log.warn('the stream refuses a subscription', { reason: message.reason });
      return;
    }
    const follower = this.#followers.get(message.product);
    if (follower === undefined || !Number.isFinite(message.timeMs)) return;
    const isPast = message.kind === 'match' && message.isBefore;
    // The trade before the subscription may be hours old: no word on what time it is now.
    if (!isPast) this.#venue.http.clock.observe(message.timeMs);
    if (message.kind === 'heartbeat') follower.maker.beat(message);
    else if (Number.isFinite(message.price * message.size * message.tradeId))
      follower.maker.add(message);
    else this.#ctx.metrics.count('dropped_rows', { reason: 'not_a_number' });
    if (!isPast) this.#deliver(follower, message.timeMs / 1000);
  }

  #deliver(follower: Follower, venueSeconds: number): void {
    const { series, inbox, maker } = follower;
    const { bars, isIncomplete } = maker.take(venueSeconds);
    for (const bar of bars) if (isWhole(bar)) inbox.push(bar);
    const { queryEnd = Number.POSITIVE_INFINITY, settleSeconds } = series.options;
    const closedBy = series.next + series.step + settleSeconds;
    const everySeconds = venueSeconds > queryEnd ? ENDING_REFRESH_SECONDS : REFRESH_SECONDS;
    if (follower.refreshedSeconds === 0) follower.refreshedSeconds = venueSeconds;
    const isDue =
      venueSeconds >= closedBy && venueSeconds - follower.refreshedSeconds >= everySeconds;
    if (!isDue && !isIncomplete) return;
    follower.refreshedSeconds = venueSeconds;
    inbox.seam();
  }
}

/** Until the series is finished or the plugin stops (then it rejects). */
export async function followMatches(
  ctx: Context<unknown>,
  series: Series,
  options: { readonly venue: GdaxVenue; readonly inbox: Inbox; readonly flush: LazyFlush },
): Promise<void> {
  const { venue, inbox, flush } = options;
  const { queryEnd = Number.POSITIVE_INFINITY } = series.options;
  while (!series.isFinished) {
    const { hasSeam, mustReload, bars } = await inbox.take(ctx.signal);
    if (mustReload) await series.load(() => venue.venueSeconds());
    // One bar early: the newest candle of the last time may have been corrected since.
    if (hasSeam || mustReload) await catchUp(ctx, series, venue, { overlap: true });
    const ahead = bars.filter(({ epoch }) => epoch >= series.next && epoch < queryEnd);
    if (ahead.length === 0) continue;
    await series.storeProvisional(ahead, await venue.venueSeconds());
    flush.touch();
  }
}
