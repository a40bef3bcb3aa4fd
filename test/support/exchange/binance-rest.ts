/**
 * Binance Spot's market data over REST: /api/v3/ping, time, exchangeInfo, klines. Answers, errors
 * and limits as its documents describe them; time is the venue clock's.
 */

import type { Listing } from './binance.ts';
import { binanceInterval, klineRow, zoneOffsetMs } from './binance-candles.ts';
import type { Market } from './market.ts';
import type { VenueClock } from './venue-clock.ts';
import type { VenueAnswer, VenueRequest } from './venue-server.ts';
import type { WeightLimit } from './weight-limit.ts';

const KLINES_DEFAULT = 500;
const KLINES_MAX = 1000;
/** Times of 2286 in milliseconds, of 1970 in microseconds: above it a time is in microseconds. */
const MICROSECONDS_FROM = 10 ** 13;

/** A request Binance refuses, with its own number for the reason. */
class BinanceError extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

export interface BinanceRestOptions {
  readonly markets: ReadonlyMap<string, Market>;
  readonly listings: readonly Listing[];
  readonly clock: VenueClock;
  readonly limit: WeightLimit;
}

type Parameters = Readonly<Record<string, string>>;

interface Endpoint {
  readonly weight: number;
  readonly parameters: readonly string[];
  readonly answer: (parameters: Parameters) => string;
}

export class BinanceRest {
  readonly #options: BinanceRestOptions;
  readonly #endpoints: ReadonlyMap<string, Endpoint>;

  constructor(options: BinanceRestOptions) {
    this.#options = options;
    const { clock } = options;
    this.#endpoints = new Map<string, Endpoint>([
      ['/api/v3/ping', { weight: 1, parameters: [], answer: () => '{}' }],
      [
        '/api/v3/time',
        {
          weight: 1,
          parameters: [],
          answer: () => JSON.stringify({ serverTime: clock.now() }),
        },
      ],
      [
        '/api/v3/exchangeInfo',
        {
          weight: 20,
          parameters: ['symbol', 'symbols', 'permissions', 'symbolStatus', 'showPermissionSets'],
          answer: (parameters) => this.#exchangeInfo(parameters),
        },
      ],
      [
        '/api/v3/klines',
        {
          weight: 2,
          parameters: ['symbol', 'interval', 'startTime', 'endTime', 'timeZone', 'limit'],
          answer: (parameters) => this.#klines(parameters),
        },
      ],
    ]);
  }

  answer({ method, path, query }: VenueRequest): VenueAnswer {
    const endpoint = method === 'GET' ? this.#endpoints.get(path) : undefined;
    if (endpoint === undefined) return { status: 404, body: '' };
    const spent = this.#options.limit.spend(endpoint.weight);
    const headers: Record<string, string> = {
      'x-mbx-used-weight': String(spent.used),
      'x-mbx-used-weight-1m': String(spent.used),
    };
    if (spent.refused !== undefined) {
      const { status, retryAfter } = spent.refused;
      const message =
        status === 418
          ? `Way too much request weight used; IP banned until ${this.#options.clock.now() + retryAfter * 1000}.`
          : 'Too much request weight used; please use WebSocket Streams for live updates to avoid polling the API.';
      headers['retry-after'] = String(retryAfter);
      return { status, headers, body: errorBody(-1003, message) };
    }
    try {
      const parameters = Object.fromEntries(query);
      const unread = Object.keys(parameters).some((name) => !endpoint.parameters.includes(name));
      if (unread) throw new BinanceError(-1101, 'Too many parameters; expected fewer.');
      return { status: 200, headers, body: endpoint.answer(parameters) };
    } catch (error) {
      if (!(error instanceof BinanceError)) throw error;
      return { status: 400, headers, body: errorBody(error.code, error.message) };
    }
  }

  #klines(parameters: Parameters): string {
    const { clock } = this.#options;
    const market = this.#market(symbolOf(mandatory(parameters, 'symbol')));
    const zoneMs = zoneOffsetMs(parameters.timeZone ?? '0');
    if (zoneMs === undefined) throw new BinanceError(-1130, invalidData('timeZone'));
    const interval = binanceInterval(mandatory(parameters, 'interval'), zoneMs);
    if (interval === undefined) throw new BinanceError(-1120, 'Invalid interval.');
    const startMs = timeOf(parameters, 'startTime');
    const endMs = timeOf(parameters, 'endTime');
    const limit = wholeNumber(parameters, 'limit') ?? KLINES_DEFAULT;
    if (limit < 1) throw new BinanceError(-1130, invalidData('limit'));
    // With a start the oldest from there; without one the newest.
    const candles = market?.candles({
      interval,
      fromMs: startMs ?? 0,
      toMs: endMs ?? clock.now(),
      nowMs: clock.now(),
      limit: Math.min(limit, KLINES_MAX),
      newest: startMs === undefined,
    });
    return `[${(candles ?? []).map(klineRow).join(',')}]`;
  }

  /** Undefined for a listed symbol of which nothing was recorded. */
  #market(symbol: string): Market | undefined {
    if (!this.#options.listings.some((listing) => listing.symbol === symbol)) {
      throw new BinanceError(-1121, 'Invalid symbol.');
    }
    return this.#options.markets.get(symbol);
  }

  #exchangeInfo(parameters: Parameters): string {
    const { symbol, symbols, permissions, symbolStatus } = parameters;
    if (symbol !== undefined && symbols !== undefined) {
      throw new BinanceError(-1128, 'Combination of optional parameters invalid.');
    }
    const asked =
      symbol !== undefined
        ? [symbolOf(symbol)]
        : symbols !== undefined
          ? list('symbols', symbols)
          : undefined;
    if (asked !== undefined && (permissions ?? symbolStatus) !== undefined) {
      throw new BinanceError(-1128, 'Combination of optional parameters invalid.');
    }
    for (const name of asked ?? []) this.#market(symbolOf(name));
    const wanted =
      permissions?.startsWith('[') === true ? list('permissions', permissions) : undefined;
    const permission = wanted ?? [permissions ?? 'SPOT'];
    const found = this.#options.listings.filter((listing) => {
      if (asked !== undefined) return asked.includes(listing.symbol);
      if (symbolStatus !== undefined && symbolStatus !== listing.status) return false;
      return permission.includes('SPOT');
    });
    return JSON.stringify({
      timezone: 'UTC',
      serverTime: this.#options.clock.now(),
      rateLimits: [
        {
          rateLimitType: 'REQUEST_WEIGHT',
          interval: 'MINUTE',
          intervalNum: 1,
          limit: this.#options.limit.perMinute,
        },
        { rateLimitType: 'RAW_REQUESTS', interval: 'MINUTE', intervalNum: 5, limit: 61_000 },
      ],
      exchangeFilters: [],
      symbols: found.map(symbolEntry),
    });
  }
}

function symbolEntry({ symbol, status, base, quote }: Listing): object {
  return {
    symbol,
    status,
    baseAsset: base,
    baseAssetPrecision: 8,
    quoteAsset: quote,
    quotePrecision: 8,
    quoteAssetPrecision: 8,
    orderTypes: ['LIMIT', 'LIMIT_MAKER', 'MARKET'],
    isSpotTradingAllowed: true,
    isMarginTradingAllowed: false,
    filters: [],
    permissions: [],
    permissionSets: [['SPOT']],
  };
}

function mandatory(parameters: Parameters, name: string): string {
  const value = parameters[name];
  if (value !== undefined && value !== '') return value;
  throw new BinanceError(
    -1102,
    `Mandatory parameter '${name}' was not sent, was empty/null, or malformed.`,
  );
}

function symbolOf(text: string): string {
  if (/^[A-Z0-9-_.]{1,20}$/.test(text)) return text;
  throw illegal('symbol', '^[A-Z0-9-_.]{1,20}$');
}

function wholeNumber(parameters: Parameters, name: string): number | undefined {
  const text = parameters[name];
  if (text === undefined) return undefined;
  if (/^[0-9]{1,20}$/.test(text)) return Number(text);
  throw illegal(name, '^[0-9]{1,20}$');
}

function timeOf(parameters: Parameters, name: string): number | undefined {
  const time = wholeNumber(parameters, name);
  return time !== undefined && time >= MICROSECONDS_FROM ? Math.floor(time / 1000) : time;
}

function list(name: string, text: string): readonly string[] {
  if (/^\["[A-Z0-9-_.]+"(,"[A-Z0-9-_.]+")*\]$/.test(text)) return JSON.parse(text) as string[];
  throw illegal(name, '^\\[("[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}){0,1}\\]$');
}

function illegal(name: string, range: string): BinanceError {
  return new BinanceError(
    -1100,
    `Illegal characters found in parameter '${name}'; legal range is '${range}'.`,
  );
}

function invalidData(name: string): string {
  return `Data sent for parameter '${name}' is not valid.`;
}

function errorBody(code: number, message: string): string {
  return JSON.stringify({ code, msg: message });
}
