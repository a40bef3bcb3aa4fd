/**
 * Closed bars by WebSocket. As many connections as the venue's bound on streams asks for; each
 * subscribes its pairs when it opens, and marks a seam in their inboxes once that is confirmed:
 * what closed before is asked for over REST.
 */

import { isWhole } from '../feeder/bar.ts';
import { Connection } from '../feeder/connection.ts';
import type { Inbox } from '../feeder/inbox.ts';
import type { Series } from '../feeder/series.ts';
import type { Tasks } from '../feeder/tasks.ts';
import { fieldOf } from '../feeder/venue-http.ts';
import type { Context, Socket } from '../sdk.ts';
import type { BinanceConfig } from './config.ts';
import { INTERVALS, type KlineEvent, parseKlineEvent } from './kline.ts';
import type { BinanceVenue } from './venue.ts';

/** Bounds of the venue: streams of a connection, and messages we may send in a second (5). */
const STREAMS_MAX = 1_024;
const STREAMS_PER_MESSAGE = 200;
const MESSAGE_GAP_MS = 250;
/** Pairs without a bar for two intervals are asked for over REST: at most this often, by each clock. */
const SWEEP_VENUE_MS = 60_000;
const SWEEP_LOCAL_MS = 5_000;

interface Follower {
  readonly series: Series;
  readonly inbox: Inbox;
}

export class KlineStream {
  readonly #ctx: Context<BinanceConfig>;
  readonly #venue: BinanceVenue;
  readonly #tasks: Tasks;
  readonly #random: () => number;
  readonly #shards: Shard[] = [];

  constructor(
    ctx: Context<BinanceConfig>,
    options: { venue: BinanceVenue; tasks: Tasks; random: () => number },
  ) {
    this.#ctx = ctx;
    this.#venue = options.venue;
    this.#tasks = options.tasks;
    this.#random = options.random;
  }

  /** Bars of the series' symbol go to `inbox` from now on. Returns what ends that. */
  subscribe(series: Series, inbox: Inbox): () => void {
    let shard = this.#shards.find(({ size }) => size < STREAMS_MAX);
    if (shard === undefined) {
      shard = new Shard(this.#ctx, this.#venue, this.#random);
      this.#shards.push(shard);
      this.#tasks.start(shard.run());
    }
    return shard.add({ series, inbox });
  }

  /** Ends all connections: nobody listens any more. */
  close(): void {
    for (const shard of this.#shards) shard.close();
  }
}

/** One connection and the pairs on it. */
class Shard {
  readonly #ctx: Context<BinanceConfig>;
  readonly #venue: BinanceVenue;
  readonly #connection: Connection;
  readonly #followers = new Map<string, Follower>();
  /** Requests sent and not confirmed, by id: the symbols they subscribe. */
  readonly #requested = new Map<number, readonly string[]>();
  #socket: Socket | undefined;
  #waiting: string[] = [];
  #isSending = false;
  #lastId = 0;
  #sweptVenueMs = 0;
  #sweptLocalMs = 0;

  constructor(ctx: Context<BinanceConfig>, venue: BinanceVenue, random: () => number) {
    this.#ctx = ctx;
    this.#venue = venue;
    this.#connection = new Connection(ctx, {
      url: `${ctx.config.stream_url}/stream`,
      random,
      onOpen: (socket) => this.#opened(socket),
      onMessage: (text) => this.#received(text),
    });
  }

  get size(): number {
    return this.#followers.size;
  }

  run(): Promise<void> {
    return this.#connection.run();
  }

  close(): void {
    this.#connection.close();
  }

  add(follower: Follower): () => void {
    const { symbol } = follower.series;
    this.#followers.set(symbol, follower);
    this.#waiting.push(symbol);
    this.#send();
    return () => void this.#followers.delete(symbol);
  }

  #opened(socket: Socket): void {
    this.#socket = socket;
    this.#requested.clear();
    this.#waiting = [...this.#followers.keys()];
    this.#send();
  }

  #send(): void {
    if (this.#isSending) return;
    this.#isSending = true;
    this.#sendWaiting()
      .finally(() => {
        this.#isSending = false;
      })
      .catch(() => this.#connection.reconnect()); // The socket closed under it, or we stop.
  }

  async #sendWaiting(): Promise<void> {
    // Not in the same turn as the first `add`: many pairs then share a message.
    await Promise.resolve();
    for (let socket = this.#socket; socket !== undefined; socket = this.#socket) {
      const symbols = this.#waiting.splice(0, STREAMS_PER_MESSAGE);
      if (symbols.length === 0) return;
      const interval = INTERVALS[this.#ctx.config.base_timeframe.name];
      const params = symbols.map((symbol) => `${symbol.toLowerCase()}@kline_${interval}`);
      const id = ++this.#lastId;
      this.#requested.set(id, symbols);
      socket.send(JSON.stringify({ method: 'SUBSCRIBE', params, id }));
      await this.#ctx.clock.sleep(MESSAGE_GAP_MS, this.#ctx.signal);
    }
  }

  #received(text: string): void {
    const message: unknown = JSON.parse(text);
    const event = parseKlineEvent(message);
    if (event !== undefined) {
      this.#deliver(event);
      return;
    }
    const id = fieldOf(message, 'id');
    if (typeof id === 'number') this.#confirmed(id, message);
    else if (fieldOf(fieldOf(message, 'data') ?? message, 'e') === 'serverShutdown')
      this.#connection.reconnect();
  }

  #confirmed(id: number, message: unknown): void {
    const error = fieldOf(message, 'error') ?? fieldOf(message, 'msg');
    if (error !== undefined)
      this.#ctx.log.warn('the stream refuses a subscription', { error: JSON.stringify(error) });
    for (const symbol of this.#requested.get(id) ?? []) this.#followers.get(symbol)?.inbox.seam();
    this.#requested.delete(id);
  }

  #deliver({ symbol, eventMs, isClosed, bar }: KlineEvent): void {
    if (Number.isFinite(eventMs)) {
      this.#venue.http.clock.observe(eventMs);
      this.#sweep(eventMs);
    }
    if (!isClosed) return;
    if (isWhole(bar)) this.#followers.get(symbol)?.inbox.push(bar);
    // The bar after it will show the hole, and REST fills it.
    else this.#ctx.metrics.count('dropped_rows', { reason: 'not_a_number' });
  }

  /** A pair that has no bar while others go on may be quiet, or its messages lost: REST knows. */
  #sweep(venueMs: number): void {
    const localMs = this.#ctx.clock.now();
    const stepMs = this.#ctx.config.base_timeframe.seconds * 1000;
    if (venueMs - this.#sweptVenueMs < Math.max(stepMs, SWEEP_VENUE_MS)) return;
    if (localMs - this.#sweptLocalMs < SWEEP_LOCAL_MS) return;
    this.#sweptVenueMs = venueMs;
    this.#sweptLocalMs = localMs;
    const overdueMs = 2 * stepMs + this.#ctx.config.settle * 1000;
    for (const { series, inbox } of this.#followers.values())
      if (series.next * 1000 + overdueMs <= venueMs) inbox.seam();
  }
}
