/**
 * Binance's kline streams: /ws/<name>, /stream?streams=<names>, and live SUBSCRIBE, UNSUBSCRIBE and
 * LIST_SUBSCRIPTIONS. One heartbeat of two seconds of venue time drives all connections, and only
 * while there are any; a candle is sent when a trade changed it and, with `x` true, when it closed.
 */

import type { WebSocket } from 'ws';
import { binanceInterval, klineEvent, zoneOffsetMs } from './binance-candles.ts';
import type { Faults } from './faults.ts';
import type { Interval, Market } from './market.ts';
import type { VenueClock } from './venue-clock.ts';

const UPDATE_MS = 2_000;
const PING_MS = 20_000;
/** A pong must come within a minute of venue time … */
const PONG_MS = 60_000;
/** … but a clock that is turned fast must leave the network time to carry it. */
const PONG_REAL_MS = 1_000;
const CONNECTION_MS = 24 * 3_600_000;
/** How long before a planned end it is announced. */
const SHUTDOWN_NOTICE_MS = 10_000;
const STREAMS_MAX = 1024;
const COMMANDS_PER_SECOND_MAX = 5;

export interface BinanceStreamOptions {
  /** By symbol in lower case. */
  readonly markets: ReadonlyMap<string, Market>;
  readonly clock: VenueClock;
  readonly faults: Faults;
}

interface KlineStream {
  readonly market: Market;
  readonly symbol: string;
  readonly intervalName: string;
  readonly interval: Interval;
}

/** What one connection follows, and what it was last told. */
interface Subscription {
  /** Undefined for a name nothing is known of: Binance accepts it and stays silent. */
  readonly stream: KlineStream | undefined;
  startMs: number;
  lastTradeId: number;
}

interface Connection {
  readonly socket: WebSocket;
  readonly combined: boolean;
  readonly subscriptions: Map<string, Subscription>;
  readonly endMs: number;
  nextPingMs: number;
  unanswered: { readonly atMs: number; readonly atRealMs: number } | undefined;
  announced: boolean;
  commandSecond: number;
  commandCount: number;
}

export class BinanceStream {
  readonly #options: BinanceStreamOptions;
  readonly #connections = new Set<Connection>();
  #cancelTick: (() => void) | undefined;
  #shutdownMs = Number.POSITIVE_INFINITY;

  constructor(options: BinanceStreamOptions) {
    this.#options = options;
  }

  /** A status when the URL is none of the two forms. */
  refuseHandshake(url: URL): number | undefined {
    return /^\/(ws(\/.*)?|stream)$/.test(url.pathname) ? undefined : 404;
  }

  accept(socket: WebSocket, url: URL): void {
    const nowMs = this.#options.clock.now();
    const combined = url.pathname === '/stream';
    const names = combined
      ? (url.searchParams.get('streams') ?? '')
      : url.pathname.replace(/^\/ws\/?/, '');
    const connection: Connection = {
      socket,
      combined,
      subscriptions: new Map(),
      endMs: nowMs + CONNECTION_MS,
      nextPingMs: nowMs + PING_MS,
      unanswered: undefined,
      announced: false,
      commandSecond: -1,
      commandCount: 0,
    };
    this.#subscribe(
      connection,
      names.split('/').filter((name) => name !== ''),
    );
    this.#connections.add(connection);
    socket.on('pong', () => {
      connection.unanswered = undefined;
    });
    socket.on('message', (data) => this.#onCommand(connection, String(data)));
    socket.on('close', () => {
      this.#connections.delete(connection);
      if (this.#connections.size === 0) this.stop();
    });
    if (this.#cancelTick === undefined) this.#planTick();
  }

  /** Announces the end of all connections, which comes ten seconds of venue time later. */
  announceShutdown(): void {
    this.#shutdownMs = this.#options.clock.now() + SHUTDOWN_NOTICE_MS;
    for (const connection of this.#connections) this.#announce(connection);
  }

  /** Ends the heartbeat; connections are the server's. */
  stop(): void {
    this.#cancelTick?.();
    this.#cancelTick = undefined;
  }

  #planTick(): void {
    const { clock } = this.#options;
    const atMs = (Math.floor(clock.now() / UPDATE_MS) + 1) * UPDATE_MS;
    this.#cancelTick = clock.at(atMs, () => {
      this.#planTick();
      this.#tick(clock.now());
    });
  }

  #tick(nowMs: number): void {
    for (const connection of this.#connections) {
      this.#keepAlive(connection, nowMs);
      for (const [name, subscription] of connection.subscriptions) {
        this.#update(connection, name, subscription, nowMs);
      }
    }
    if (nowMs >= this.#shutdownMs) this.#shutdownMs = Number.POSITIVE_INFINITY;
  }

  #keepAlive(connection: Connection, nowMs: number): void {
    const { socket, unanswered } = connection;
    if (nowMs >= Math.min(connection.endMs, this.#shutdownMs)) {
      socket.close(1001, 'planned end');
      return;
    }
    if (!connection.announced && nowMs >= connection.endMs - SHUTDOWN_NOTICE_MS) {
      this.#announce(connection);
    }
    const isLate =
      unanswered !== undefined &&
      nowMs - unanswered.atMs > PONG_MS &&
      performance.now() - unanswered.atRealMs > PONG_REAL_MS;
    if (isLate) {
      socket.close(1008, 'Pong timeout');
      return;
    }
    if (nowMs < connection.nextPingMs) return;
    connection.nextPingMs = nowMs + PING_MS;
    connection.unanswered ??= { atMs: nowMs, atRealMs: performance.now() };
    socket.ping(String(nowMs));
  }

  #announce(connection: Connection): void {
    connection.announced = true;
    connection.socket.send(JSON.stringify({ e: 'serverShutdown', E: this.#options.clock.now() }));
  }

  #update(connection: Connection, name: string, subscription: Subscription, nowMs: number): void {
    const { stream } = subscription;
    if (stream === undefined) return;
    const { interval, market } = stream;
    const startMs = interval.start(nowMs);
    // Order: the end of a candle before the beginning of the next. Several may have ended if the
    // clock runs so fast that a tick came late.
    while (subscription.startMs < startMs) {
      const closed = market.candleAt(interval, subscription.startMs, nowMs);
      if (closed !== undefined) this.#sendKline(connection, name, stream, closed, nowMs);
      subscription.startMs = interval.next(subscription.startMs);
    }
    const candle = market.candleAt(interval, startMs, nowMs);
    if (candle === undefined || candle.lastTradeId === subscription.lastTradeId) return;
    subscription.lastTradeId = candle.lastTradeId;
    this.#sendKline(connection, name, stream, candle, nowMs);
  }

  #sendKline(
    connection: Connection,
    name: string,
    stream: KlineStream,
    candle: Parameters<typeof klineEvent>[0],
    atMs: number,
  ): void {
    if (this.#options.faults.dropStreamMessages) return;
    const { symbol, intervalName } = stream;
    const data = klineEvent(candle, { symbol, interval: intervalName, atMs });
    connection.socket.send(JSON.stringify(connection.combined ? { stream: name, data } : data));
  }

  #onCommand(connection: Connection, text: string): void {
    const second = Math.floor(this.#options.clock.now() / 1000);
    if (second !== connection.commandSecond) connection.commandCount = 0;
    connection.commandSecond = second;
    connection.commandCount++;
    if (connection.commandCount > COMMANDS_PER_SECOND_MAX) {
      connection.socket.close(1008, 'Too many requests');
      return;
    }
    connection.socket.send(JSON.stringify(this.#answer(connection, text)));
  }

  #answer(connection: Connection, text: string): object {
    let command: { method?: unknown; params?: unknown; id?: unknown };
    try {
      command = JSON.parse(text) as typeof command;
    } catch {
      return { code: 3, msg: 'Invalid JSON: expected value at line 1 column 1' };
    }
    const { method, params = [], id = null } = command;
    const invalid = (msg: string): object => ({ error: { code: 2, msg }, id });
    if (method === 'LIST_SUBSCRIPTIONS') {
      return { result: [...connection.subscriptions.keys()], id };
    }
    if (method !== 'SUBSCRIBE' && method !== 'UNSUBSCRIBE') {
      return invalid(
        'Invalid request: unknown variant, expected SUBSCRIBE, UNSUBSCRIBE or LIST_SUBSCRIPTIONS',
      );
    }
    if (!Array.isArray(params) || !params.every((name) => typeof name === 'string')) {
      return invalid(
        'Invalid request: request ID must be an unsigned integer or params an array of strings',
      );
    }
    if (method === 'UNSUBSCRIBE') {
      for (const name of params) connection.subscriptions.delete(name);
    } else if (!this.#subscribe(connection, params)) {
      return invalid(`Invalid request: more than ${STREAMS_MAX} streams`);
    }
    return { result: null, id };
  }

  /** False if the connection would follow too many. */
  #subscribe(connection: Connection, names: readonly string[]): boolean {
    const { subscriptions } = connection;
    if (new Set([...subscriptions.keys(), ...names]).size > STREAMS_MAX) return false;
    const nowMs = this.#options.clock.now();
    for (const name of names) {
      if (subscriptions.has(name)) continue;
      const stream = this.#parse(name);
      const startMs = stream?.interval.start(nowMs) ?? 0;
      subscriptions.set(name, { stream, startMs, lastTradeId: -1 });
    }
    return true;
  }

  /** `<symbol>@kline_<interval>` with an optional `@+08:00`. */
  #parse(name: string): KlineStream | undefined {
    const match = /^([a-z0-9]+)@kline_([0-9]+[a-zA-Z])(?:@([+-]\d{2}:\d{2}))?$/.exec(name);
    if (match === null) return undefined;
    const [, symbol = '', intervalName = '', zone = '0'] = match;
    const market = this.#options.markets.get(symbol);
    const interval = binanceInterval(intervalName, zoneOffsetMs(zone) ?? 0);
    if (market === undefined || interval === undefined) return undefined;
    return { market, symbol: symbol.toUpperCase(), intervalName, interval };
  }
}
