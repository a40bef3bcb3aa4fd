/**
 * Two venues in a few lines each, for tests of feeders on a virtual clock: Binance's klines and
 * Coinbase's candles, by REST and by stream, of bars made up from their time. Their clock may run
 * faster than the world's.
 */

import type { FakeAnswer, FakeKernel } from '../../plugins/testing/fake-kernel.ts';
import type { FakeSocket } from '../../plugins/testing/fake-socket.ts';

export interface VenueOptions {
  /** Venue time when the world began, Unix seconds. */
  readonly nowSeconds: number;
  /** Venue seconds in a second of the world. */
  readonly pace: number;
  /** Open of the first bar there is. */
  readonly listedSeconds: number;
  /** Minutes for which there is no bar: nobody traded. */
  readonly isEmpty?: (epoch: number) => boolean;
}

export interface VenueBar {
  readonly epoch: number;
  readonly open: number;
  readonly high: number;
  readonly low: number;
  readonly close: number;
  readonly volume: number;
}

/** The bar of a minute: what a test compares with. */
export function barAt(epoch: number): VenueBar {
  const base = 100 + (Math.floor(epoch / 60) % 97);
  return {
    epoch,
    open: base + 0.25,
    high: base + 2.5,
    low: base - 1.5,
    close: base + 0.75,
    volume: (epoch % 600) / 8 + 1,
  };
}

/** What both have in common: time, bars, and failures to be told of. */
export class FakeVenue {
  readonly world: FakeKernel;
  readonly options: VenueOptions;
  /** Answers in place of the venue, as long as it returns something. */
  interfere: (url: URL) => FakeAnswer | Error | undefined = () => undefined;
  /** Messages of the stream are lost while this holds. */
  isStreamDeaf = false;
  readonly #beganMs: number;

  constructor(world: FakeKernel, options: VenueOptions) {
    this.world = world;
    this.options = options;
    this.#beganMs = world.clock.now();
    world.onFetch = (url) => this.interfere(url) ?? this.#dated(this.answer(url));
    world.onSocket = (socket) => this.connected(socket);
  }

  get nowSeconds(): number {
    const { nowSeconds, pace } = this.options;
    return nowSeconds + ((this.world.clock.now() - this.#beganMs) / 1000) * pace;
  }

  /** The world's time at a venue time. */
  worldMs(venueSeconds: number): number {
    const { nowSeconds, pace } = this.options;
    return this.#beganMs + ((venueSeconds - nowSeconds) / pace) * 1000;
  }

  get dateHeader(): string {
    return new Date(Math.floor(this.nowSeconds) * 1000).toUTCString();
  }

  has(epoch: number): boolean {
    const { listedSeconds, isEmpty = () => false } = this.options;
    return epoch >= listedSeconds && epoch <= this.nowSeconds && !isEmpty(epoch);
  }

  /** Opens of bars in [from, to] a request would find, oldest first. */
  opens(from: number, to: number): readonly number[] {
    const opens: number[] = [];
    const first = Math.max(Math.ceil(from / 60) * 60, this.options.listedSeconds);
    for (let epoch = first; epoch <= Math.min(to, this.nowSeconds); epoch += 60)
      if (this.has(epoch)) opens.push(epoch);
    return opens;
  }

  answer(_url: URL): FakeAnswer {
    return { status: 404 };
  }

  connected(_socket: FakeSocket): void {}

  /** Calls `tick` at the end of each minute while the socket is open. */
  everyMinute(socket: FakeSocket, tick: (ended: number) => void): void {
    const plan = (end: number): void => {
      this.world.clock.at(this.worldMs(end), () => {
        if (!socket.isOpen) return;
        if (!this.isStreamDeaf) tick(end - 60);
        plan(end + 60);
      });
    };
    plan((Math.floor(this.nowSeconds / 60) + 1) * 60);
  }

  #dated(answer: FakeAnswer): FakeAnswer {
    return { ...answer, headers: { date: this.dateHeader, ...answer.headers } };
  }
}

export class FakeBinance extends FakeVenue {
  readonly symbols: readonly string[] = ['BTCUSDT', 'ETHUSDT', 'BNBUSDT'];

  override answer(url: URL): FakeAnswer {
    if (url.pathname === '/api/v3/exchangeInfo') return this.#info(url);
    if (url.pathname === '/api/v3/time')
      return { body: { serverTime: Math.floor(this.nowSeconds * 1000) } };
    if (url.pathname !== '/api/v3/klines') return { status: 404 };
    if (!this.symbols.includes(url.searchParams.get('symbol') ?? '')) return INVALID_SYMBOL;
    const from = Number(url.searchParams.get('startTime')) / 1000;
    const limit = Number(url.searchParams.get('limit'));
    return { body: this.opens(from, this.nowSeconds).slice(0, limit).map(klineRow) };
  }

  override connected(socket: FakeSocket): void {
    const subscribed = new Set<string>();
    socket.onSent = (text) => {
      const { params, id } = JSON.parse(text) as { params: string[]; id: number };
      for (const stream of params) subscribed.add(stream);
      socket.receive({ result: null, id });
    };
    this.everyMinute(socket, (epoch) => {
      for (const stream of subscribed)
        if (this.has(epoch))
          for (const isClosed of [false, true])
            socket.receive({ stream, data: klineEvent(stream, epoch, isClosed) });
    });
  }

  #info(url: URL): FakeAnswer {
    const given = url.searchParams.get('symbols');
    const asked = given === null ? this.symbols : (JSON.parse(given) as string[]);
    if (asked.some((symbol) => !this.symbols.includes(symbol))) return INVALID_SYMBOL;
    const symbols = asked.map((symbol) => ({
      symbol,
      status: 'TRADING',
      baseAsset: symbol.slice(0, -4),
      quoteAsset: symbol.slice(-4),
    }));
    return { body: { symbols } };
  }
}

const INVALID_SYMBOL: FakeAnswer = { status: 400, body: { code: -1121, msg: 'Invalid symbol.' } };

function klineRow(epoch: number): readonly unknown[] {
  const { open, high, low, close, volume } = barAt(epoch);
  const texts = [open, high, low, close, volume].map(String);
  return [epoch * 1000, ...texts, epoch * 1000 + 59_999, '0', 1, '0', '0', '0'];
}

function klineEvent(stream: string, epoch: number, isClosed: boolean): unknown {
  const { open, high, low, close, volume } = barAt(epoch);
  const symbol = (stream.split('@')[0] ?? '').toUpperCase();
  const [o, h, l, c, v] = [open, high, low, close, volume].map(String);
  const k = { t: epoch * 1000, T: epoch * 1000 + 59_999, s: symbol, i: '1m', o, h, l, c, v };
  return { e: 'kline', E: (epoch + 60) * 1000 + 13, s: symbol, k: { ...k, x: isClosed } };
}

export class FakeCoinbase extends FakeVenue {
  readonly products: readonly string[] = ['BTC-USD', 'ETH-USD'];

  override answer(url: URL): FakeAnswer {
    if (url.pathname === '/time') return { body: { epoch: this.nowSeconds } };
    const product = /^\/products\/([\w-]+)\/candles$/.exec(url.pathname)?.[1] ?? '';
    if (!this.products.includes(product)) return { status: 404, body: { message: 'NotFound' } };
    const at = (name: string): number => Date.parse(url.searchParams.get(name) ?? '') / 1000;
    const granularity = Number(url.searchParams.get('granularity'));
    const count = (at('end') - at('start')) / granularity + 1;
    if (count > 300) return { status: 400, body: { message: `${count} exceeds 300` } };
    if (granularity !== 60) return { body: this.#coarse(at('start'), at('end'), granularity) };
    return { body: this.opens(at('start'), at('end')).toReversed().map(candleRow) };
  }

  override connected(socket: FakeSocket): void {
    socket.onSent = (text) => {
      const { product_ids: products } = JSON.parse(text) as { product_ids: string[] };
      this.#beat(socket, products, this.nowSeconds);
      this.everyMinute(socket, (epoch) => {
        for (const product of products) if (this.has(epoch)) this.#trade(socket, product, epoch);
        this.world.clock.at(this.worldMs(epoch + 66), () =>
          this.#beat(socket, products, epoch + 66),
        );
      });
    };
  }

  /** Four trades that make the bar of a minute, told at its end. */
  #trade(socket: FakeSocket, product: string, epoch: number): void {
    const { open, high, low, close, volume } = barAt(epoch);
    for (const [index, price] of [open, high, low, close].entries())
      socket.receive({
        type: 'match',
        product_id: product,
        trade_id: tradeIdOf(epoch) + index,
        time: new Date((epoch + 10 * index + 1) * 1000).toISOString(),
        price: String(price),
        size: String(volume / 4),
      });
  }

  #beat(socket: FakeSocket, products: readonly string[], seconds: number): void {
    for (const product of products)
      socket.receive({
        type: 'heartbeat',
        product_id: product,
        last_trade_id: tradeIdOf(Math.floor(seconds / 60) * 60) - 1,
        time: new Date(seconds * 1000).toISOString(),
      });
  }

  #coarse(from: number, to: number, granularity: number): readonly unknown[] {
    const first = Math.floor(this.options.listedSeconds / granularity) * granularity;
    const rows: unknown[] = [];
    for (
      let epoch = Math.max(from, first);
      epoch <= Math.min(to, this.nowSeconds);
      epoch += granularity
    )
      rows.unshift(candleRow(epoch));
    return rows;
  }
}

function candleRow(epoch: number): readonly number[] {
  const { open, high, low, close, volume } = barAt(epoch);
  return [epoch, low, high, open, close, volume];
}

/** Each minute has four trades, whether anybody listens or not. */
function tradeIdOf(epoch: number): number {
  return (epoch / 60) * 4;
}
