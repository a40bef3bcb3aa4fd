/**
 * OHLCV bars of Binance spot pairs: history from `query_start`, then every bar as it closes. Each
 * pair goes its own way (back-fill, then follow); they share the venue's request budget and the
 * stream's connections.
 */

import { backfill } from '../feeder/catch-up.ts';
import { followStream } from '../feeder/follow.ts';
import { Inbox } from '../feeder/inbox.ts';
import { keepGoing } from '../feeder/keep-going.ts';
import { noticeKeys } from '../feeder/known-keys.ts';
import { LazyFlush } from '../feeder/lazy-flush.ts';
import { pollBars } from '../feeder/poll.ts';
import { Series } from '../feeder/series.ts';
import { bucketOf, isPast, seriesOptions } from '../feeder/series-options.ts';
import { endsWithin, Tasks, untilStopped } from '../feeder/tasks.ts';
import { type BgWorker, type Context, defineBgWorker, type z } from '../sdk.ts';
import { type BinanceConfig, config, KNOWN_KEYS } from './config.ts';
import { KlineStream } from './kline-stream.ts';
import { type Pair, type Resolved, resolvePairs } from './pairs.ts';
import { BinanceVenue } from './venue.ts';

const LIST_AGE_MAX_MS = 86_400_000;

class BinanceFeeder {
  readonly #ctx: Context<BinanceConfig>;
  readonly #random: () => number;
  readonly #venue: BinanceVenue;
  readonly #stream: KlineStream;
  readonly #streamTasks = new Tasks();
  readonly #pairTasks = new Tasks();
  readonly #started = new Set<string>();
  readonly #unknown = new Set<string>();
  readonly #inboxes = new Set<Inbox>();
  readonly #flush: LazyFlush;

  constructor(ctx: Context<BinanceConfig>, random: () => number) {
    this.#ctx = ctx;
    this.#random = random;
    this.#venue = new BinanceVenue(ctx, random);
    this.#stream = new KlineStream(ctx, { venue: this.#venue, tasks: this.#streamTasks, random });
    this.#flush = new LazyFlush(ctx, () => {
      for (const inbox of this.#inboxes) inbox.reload();
    });
  }

  /** Until every pair has reached `query_end`, or the plugin stops (then it rejects). */
  async run(): Promise<void> {
    const { query_end } = this.#ctx.config;
    for (;;) {
      let resolved: Resolved | undefined;
      await keepGoing(this.#ctx, { symbol: '*', random: this.#random }, async (healthy) => {
        resolved = await resolvePairs(this.#venue, this.#ctx.config);
        healthy();
      });
      this.#begin(resolved ?? { pairs: [], unknown: [] });
      const working = Promise.race([this.#pairTasks.finished(), this.#streamTasks.failed]);
      const ended = await endsWithin(working, LIST_AGE_MAX_MS, this.#ctx);
      if (!ended) continue;
      if (query_end !== undefined) break;
      // No pair is on the venue: nothing to do but wait for one to be listed.
      await this.#ctx.clock.sleep(LIST_AGE_MAX_MS, this.#ctx.signal);
    }
    this.#stream.close();
    await this.#streamTasks.finished();
    await this.#ctx.flush();
    this.#ctx.log.info('all pairs have reached query_end');
  }

  /** Starts what is new on the venue's list, and says what is not on it. */
  #begin({ pairs, unknown }: Resolved): void {
    for (const name of unknown) {
      if (this.#unknown.has(name)) continue;
      this.#unknown.add(name);
      this.#ctx.log.warn('pair is not on the venue; skipped, looked for again daily', {
        symbol: name,
      });
    }
    for (const pair of pairs) {
      this.#unknown.delete(pair.symbol);
      if (this.#started.has(pair.symbol)) continue;
      this.#started.add(pair.symbol);
      this.#pairTasks.start(this.#keep(pair));
    }
  }

  async #keep(pair: Pair): Promise<void> {
    const { ctx, random } = { ctx: this.#ctx, random: this.#random };
    const series = this.#seriesOf(pair);
    const inbox = new Inbox();
    this.#inboxes.add(inbox);
    // Order: the stream before the history, so that between the two there is nothing to miss.
    const unsubscribe =
      ctx.config.live === 'stream' && !(await isPast(ctx.config, this.#venue))
        ? this.#stream.subscribe(series, inbox)
        : undefined;
    await keepGoing(ctx, { symbol: pair.symbol, random }, async (healthy) => {
      await series.load(() => this.#venue.venueSeconds());
      await backfill(ctx, series, this.#venue);
      healthy();
      if (ctx.config.live === 'poll') await pollBars(ctx, series, this.#venue, random);
      else {
        const { source, flush } = { source: this.#venue, flush: this.#flush };
        await followStream(ctx, series, { source, inbox, flush });
      }
    });
    unsubscribe?.();
    this.#inboxes.delete(inbox);
  }

  #seriesOf({ symbol, base, quote }: Pair): Series {
    const { config } = this.#ctx;
    return new Series(this.#ctx, {
      ...seriesOptions(config),
      symbol,
      bucket: bucketOf(config.exchange_prefix, `${base}-${quote}`),
      fillEmpty: false,
      overlapSeconds: 0,
    });
  }
}

const plugin: BgWorker<z.ZodType<BinanceConfig>> = defineBgWorker({
  name: 'binancefeeder',
  version: '1.0.0',
  api: 1,
  config,
  capabilities: {
    network: ['data-api.binance.vision', 'data-stream.binance.vision'],
    networkFromConfig: ['base_url', 'stream_url'],
  },
  async start(ctx) {
    noticeKeys(ctx.config, { known: KNOWN_KEYS }, ctx.log);
    await untilStopped(ctx.signal, () => new BinanceFeeder(ctx, Math.random).run());
  },
});

export default plugin;
