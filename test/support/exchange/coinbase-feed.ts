/**
 * Coinbase Exchange's feed: channels `matches` and `heartbeat`. A connection that has not asked for
 * anything five seconds after it opened is closed. Matches go out at their own instant, so one
 * timer, set to the next of them, drives all connections, and only while there are any.
 */

import type { WebSocket } from 'ws';
import { shortDecimal } from './decimal.ts';
import type { Faults } from './faults.ts';
import type { Market } from './market.ts';
import type { VenueTrade } from './minute-trades.ts';
import type { VenueClock } from './venue-clock.ts';

const SUBSCRIBE_WITHIN_MS = 5_000;
const HEARTBEAT_MS = 1_000;
const CHANNELS = ['matches', 'heartbeat'] as const;
/** Other messages of a product that a venue counts between two trades. */
const SEQUENCES_PER_TRADE = 16;

type Channel = (typeof CHANNELS)[number];

export interface CoinbaseFeedOptions {
  /** By product id. */
  readonly markets: ReadonlyMap<string, Market>;
  readonly products: ReadonlySet<string>;
  readonly clock: VenueClock;
  readonly faults: Faults;
}

interface Connection {
  readonly socket: WebSocket;
  /** Product ids by channel. */
  readonly followed: Readonly<Record<Channel, Set<string>>>;
  readonly cancelDeadline: () => void;
}

/** A command nothing can be done with: the reason goes into the answer. */
class FeedError extends Error {}

export class CoinbaseFeed {
  readonly #options: CoinbaseFeedOptions;
  readonly #connections = new Set<Connection>();
  /** Trades up to here were sent. */
  #sentMs = 0;
  #nextHeartbeatMs = 0;
  #cancelTimer: (() => void) | undefined;

  constructor(options: CoinbaseFeedOptions) {
    this.#options = options;
  }

  accept(socket: WebSocket): void {
    const { clock } = this.#options;
    const nowMs = clock.now();
    const connection: Connection = {
      socket,
      followed: { matches: new Set(), heartbeat: new Set() },
      cancelDeadline: clock.at(nowMs + SUBSCRIBE_WITHIN_MS, () => {
        if (!isIdle(connection)) return;
        this.#send(connection, { type: 'error', message: 'Timed out waiting for subscribe' });
        socket.close(1008, 'no subscribe message within 5 seconds');
      }),
    };
    this.#connections.add(connection);
    socket.on('message', (data) => this.#onCommand(connection, String(data)));
    socket.on('close', () => {
      connection.cancelDeadline();
      this.#connections.delete(connection);
      if (this.#connections.size === 0) this.stop();
    });
    if (this.#cancelTimer !== undefined) return;
    this.#sentMs = nowMs;
    this.#nextHeartbeatMs = (Math.floor(nowMs / HEARTBEAT_MS) + 1) * HEARTBEAT_MS;
    this.#planNext();
  }

  /** Ends the timer; connections are the server's. */
  stop(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  #planNext(): void {
    let atMs = this.#nextHeartbeatMs;
    for (const market of this.#options.markets.values()) {
      atMs = Math.min(atMs, market.firstTradeAfter(this.#sentMs)?.timeMs ?? atMs);
    }
    this.#cancelTimer = this.#options.clock.at(atMs, () => {
      this.#sendDue(this.#options.clock.now());
      this.#planNext();
    });
  }

  #sendDue(nowMs: number): void {
    for (const [product, market] of this.#options.markets) {
      let trade = market.firstTradeAfter(this.#sentMs);
      while (trade !== undefined && trade.timeMs <= nowMs) {
        this.#broadcast('matches', product, matchMessage('match', product, trade));
        trade = market.firstTradeAfter(trade.timeMs);
      }
    }
    this.#sentMs = nowMs;
    if (nowMs < this.#nextHeartbeatMs) return;
    this.#nextHeartbeatMs = (Math.floor(nowMs / HEARTBEAT_MS) + 1) * HEARTBEAT_MS;
    for (const [product, market] of this.#options.markets) {
      const lastTradeId = market.lastTrade(nowMs)?.id ?? 0;
      this.#broadcast('heartbeat', product, {
        type: 'heartbeat',
        last_trade_id: lastTradeId,
        product_id: product,
        sequence: lastTradeId * SEQUENCES_PER_TRADE,
        time: timeText(nowMs, 0),
      });
    }
  }

  #broadcast(channel: Channel, product: string, message: object): void {
    if (this.#options.faults.dropStreamMessages) return;
    for (const connection of this.#connections) {
      if (connection.followed[channel].has(product)) this.#send(connection, message);
    }
  }

  #onCommand(connection: Connection, text: string): void {
    try {
      const command = parseCommand(text);
      if (command.type !== 'subscribe' && command.type !== 'unsubscribe') {
        throw new FeedError(`${String(command.type)} is not a valid type`);
      }
      const wanted = this.#wantedOf(command);
      if (command.type === 'subscribe') this.#subscribe(connection, wanted);
      else this.#unsubscribe(connection, wanted);
      this.#send(connection, subscriptionsMessage(connection));
    } catch (error) {
      if (!(error instanceof FeedError)) throw error;
      const reason = error.message;
      this.#send(connection, { type: 'error', message: 'Failed to subscribe', reason });
    }
  }

  /** Product ids by channel, each known; throws FeedError. */
  #wantedOf(command: FeedCommand): ReadonlyMap<Channel, readonly string[]> {
    const everywhere = stringsOf(command.product_ids);
    const wanted = new Map<Channel, readonly string[]>();
    if (!Array.isArray(command.channels)) throw new FeedError('channels must be an array');
    for (const channel of command.channels as readonly unknown[]) {
      const { name, product_ids } =
        typeof channel === 'string'
          ? { name: channel, product_ids: [] }
          : (channel as { name?: unknown; product_ids?: unknown });
      const known = CHANNELS.find((each) => each === name);
      if (known === undefined) throw new FeedError(`${String(name)} is not a valid channel`);
      const products = [...everywhere, ...stringsOf(product_ids)];
      if (products.length === 0 && command.type === 'subscribe') {
        throw new FeedError('no product ids were given');
      }
      wanted.set(known, products);
    }
    for (const product of [...wanted.values()].flat()) {
      if (!this.#options.products.has(product)) {
        throw new FeedError(`${product} is not a valid product`);
      }
    }
    return wanted;
  }

  #subscribe(connection: Connection, wanted: ReadonlyMap<Channel, readonly string[]>): void {
    for (const [channel, products] of wanted) {
      for (const product of products) {
        const isNew = !connection.followed[channel].has(product);
        connection.followed[channel].add(product);
        // The last trade before, so that a follower knows where it comes in.
        const last = this.#options.markets.get(product)?.lastTrade(this.#sentMs);
        if (channel === 'matches' && isNew && last !== undefined) {
          this.#send(connection, matchMessage('last_match', product, last));
        }
      }
    }
  }

  #unsubscribe(connection: Connection, wanted: ReadonlyMap<Channel, readonly string[]>): void {
    for (const [channel, products] of wanted) {
      // Without products the whole channel is meant.
      if (products.length === 0) connection.followed[channel].clear();
      for (const product of products) connection.followed[channel].delete(product);
    }
  }

  #send(connection: Connection, message: object): void {
    connection.socket.send(JSON.stringify(message));
  }
}

interface FeedCommand {
  readonly type?: unknown;
  readonly product_ids?: unknown;
  readonly channels?: unknown;
}

function parseCommand(text: string): FeedCommand {
  try {
    const command: unknown = JSON.parse(text);
    if (typeof command === 'object' && command !== null) return command;
  } catch {
    // Answered like any text that is no command.
  }
  throw new FeedError('Malformed JSON');
}

function stringsOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}

function isIdle({ followed }: Connection): boolean {
  return CHANNELS.every((channel) => followed[channel].size === 0);
}

function subscriptionsMessage({ followed }: Connection): object {
  const channels = CHANNELS.filter((name) => followed[name].size > 0).map((name) => ({
    name,
    product_ids: [...followed[name]],
  }));
  return { type: 'subscriptions', channels };
}

function matchMessage(type: 'match' | 'last_match', product: string, trade: VenueTrade): object {
  return {
    type,
    trade_id: trade.id,
    maker_order_id: orderId(trade.id, 1),
    taker_order_id: orderId(trade.id, 2),
    // The maker's side: a taker who buys meets a maker who sells.
    side: trade.takerBuys ? 'sell' : 'buy',
    size: shortDecimal(trade.size),
    price: shortDecimal(trade.price),
    product_id: product,
    sequence: trade.id * SEQUENCES_PER_TRADE,
    time: timeText(trade.timeMs, trade.micros),
  };
}

function orderId(tradeId: number, role: number): string {
  return `${tradeId.toString(16).padStart(8, '0')}-0000-4000-8000-${String(role).padStart(12, '0')}`;
}

/** RFC 3339 with microseconds. */
function timeText(timeMs: number, micros: number): string {
  return `${new Date(timeMs).toISOString().slice(0, -1)}${String(micros).padStart(3, '0')}Z`;
}
