/**
 * OHLCV bars of Coinbase Exchange products: history from `query_start`, then every bar as it
 * closes, by asking once per bar or by making bars of streamed trades. Each product goes its own
 * way; they share the venue's request budget and one connection.
 */

import { backfill } from '../feeder/catch-up.ts';
import { Inbox } from '../feeder/inbox.ts';
import { keepGoing } from '../feeder/keep-going.ts';
import { noticeKeys } from '../feeder/known-keys.ts';
import { LazyFlush } from '../feeder/lazy-flush.ts';
import { pollBars } from '../feeder/poll.ts';
import { Series } from '../feeder/series.ts';
import { bucketOf, isPast, seriesOptions } from '../feeder/series-options.ts';
import { Tasks, untilStopped } from '../feeder/tasks.ts';
import { type BgWorker, type Context, defineBgWorker, type z } from '../sdk.ts';
import { config, type GdaxConfig, KNOWN_KEYS } from './config.ts';
import { followMatches, MatchStream, REFRESH_SECONDS } from './match-stream.ts';
import { GdaxVenue } from './venue.ts';

class GdaxFeeder {
  readonly #ctx: Context<GdaxConfig>;
  readonly #random: () => number;
  readonly #venue: GdaxVenue;
  readonly #stream: MatchStream;
  readonly #inboxes = new Set<Inbox>();
  readonly #flush: LazyFlush;

  constructor(ctx: Context<GdaxConfig>, random: () => number) {
    this.#ctx = ctx;
    this.#random = random;
    this.#venue = new GdaxVenue(ctx, random);
    this.#stream = new MatchStream(ctx, this.#venue, random);
    this.#flush = new LazyFlush(ctx, () => {
      for (const inbox of this.#inboxes) inbox.reload();
    });
  }

  /** Until every product has reached `query_end`, or the plugin stops (then it rejects). */
  async run(): Promise<void> {
    const products = new Tasks();
    const connection = new Tasks();
    const follows =
      this.#ctx.config.live === 'stream' && !(await isPast(this.#ctx.config, this.#venue));
    for (const product of this.#ctx.config.symbols) products.start(this.#keep(product, follows));
    // Order: the products first, so that the connection opens with all of them to subscribe.
    if (follows) connection.start(this.#stream.run());
    await Promise.race([products.finished(), connection.failed]);
    this.#stream.close();
    await connection.finished();
    await this.#ctx.flush();
    this.#ctx.log.info('all products have reached query_end');
  }

  async #keep(product: string, follows: boolean): Promise<void> {
    const { ctx, random } = { ctx: this.#ctx, random: this.#random };
    const series = this.#seriesOf(product);
    const inbox = new Inbox();
    this.#inboxes.add(inbox);
    const unsubscribe = follows ? this.#stream.subscribe(series, inbox) : undefined;
    await keepGoing(ctx, { symbol: product, random }, async (healthy) => {
      await series.load(() => this.#venue.venueSeconds());
      await backfill(ctx, series, this.#venue);
      healthy();
      const { venue, flush } = { venue: this.#venue, flush: this.#flush };
      if (follows) await followMatches(ctx, series, { venue, inbox, flush });
      else await pollBars(ctx, series, venue, random);
    });
    unsubscribe?.();
    this.#inboxes.delete(inbox);
  }

  #seriesOf(product: string): Series {
    const { config } = this.#ctx;
    return new Series(this.#ctx, {
      ...seriesOptions(config),
      symbol: product,
      bucket: bucketOf(config.exchange_prefix, product),
      fillEmpty: config.fill_empty,
      // What a stream wrote since its last refresh was provisional when the plugin stopped.
      overlapSeconds: config.live === 'stream' ? REFRESH_SECONDS : 0,
    });
  }
}

const plugin: BgWorker<z.ZodType<GdaxConfig>> = defineBgWorker({
  name: 'gdaxfeeder',
  version: '1.0.0',
  api: 1,
  config,
  capabilities: {
    network: ['api.exchange.coinbase.com', 'ws-feed.exchange.coinbase.com'],
    networkFromConfig: ['base_url', 'stream_url'],
  },
  async start(ctx) {
    noticeKeys(ctx.config, { known: KNOWN_KEYS }, ctx.log);
    await untilStopped(ctx.signal, () => new GdaxFeeder(ctx, Math.random).run());
  },
});

export default plugin;
