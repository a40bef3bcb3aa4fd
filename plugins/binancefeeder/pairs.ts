/**
 * Which pairs the configuration means. The venue's own list decides: it says what exists, and where
 * BTCUSDT divides into base and quote.
 */

import { VenueRefusal } from '../feeder/failure.ts';
import { bucketSymbol } from '../feeder/settings.ts';
import { fieldOf } from '../feeder/venue-http.ts';
import type { BinanceConfig } from './config.ts';
import type { BinanceVenue } from './venue.ts';

const EXCHANGE_INFO_WEIGHT = 20;
/** Symbols asked for by name; with more of them the whole list is no larger. */
const NAMED_MAX = 100;

export interface Pair {
  /** 'BTCUSDT' */
  readonly symbol: string;
  readonly base: string;
  readonly quote: string;
  readonly isTrading: boolean;
}

export interface Resolved {
  readonly pairs: readonly Pair[];
  /** Names the venue does not have. */
  readonly unknown: readonly string[];
}

/** The pairs to keep, by the venue's present list. */
export async function resolvePairs(venue: BinanceVenue, config: BinanceConfig): Promise<Resolved> {
  const names = namedPairs(config);
  if (names.length > 0) return pick(names, await listed(venue, names));
  const trading = (await listed(venue, [])).filter(
    ({ isTrading, base, quote }) =>
      isTrading &&
      config.base_currencies.includes(quote) &&
      bucketSymbol(`${base}-${quote}`) !== undefined,
  );
  return { pairs: trading, unknown: [] };
}

/** The venue's names of what the configuration lists; empty: it lists nothing. */
export function namedPairs(config: BinanceConfig): readonly string[] {
  const crossed = config.symbols.flatMap((base) =>
    config.base_currencies.map((quote) => `${base}${quote}`),
  );
  const whole = config.pairs.map((pair) => pair.replace(/[-/]/, ''));
  return [...new Set([...crossed, ...whole].map((name) => name.toUpperCase()))];
}

/** Splits `names` into pairs of the list and unknown ones. */
export function pick(names: readonly string[], list: readonly Pair[]): Resolved {
  const bySymbol = new Map(list.map((pair) => [pair.symbol, pair]));
  return {
    pairs: names.flatMap((name) => bySymbol.get(name) ?? []),
    unknown: names.filter((name) => !bySymbol.has(name)),
  };
}

async function listed(venue: BinanceVenue, names: readonly string[]): Promise<readonly Pair[]> {
  const path = '/api/v3/exchangeInfo';
  const isShort = names.length > 0 && names.length <= NAMED_MAX;
  try {
    const query = isShort ? `?symbols=${encodeURIComponent(JSON.stringify(names))}` : '';
    return parsePairs((await venue.http.get(path + query, EXCHANGE_INFO_WEIGHT)).body);
  } catch (failure) {
    // One name it does not know, and the venue answers for none of them: then the whole list.
    if (!isShort || !(failure instanceof VenueRefusal)) throw failure;
    return parsePairs((await venue.http.get(path, EXCHANGE_INFO_WEIGHT)).body);
  }
}

function parsePairs(answer: unknown): readonly Pair[] {
  const symbols = fieldOf(answer, 'symbols');
  if (!Array.isArray(symbols)) throw new Error('exchangeInfo holds no list of symbols');
  return symbols.map((given: unknown) => ({
    symbol: String(fieldOf(given, 'symbol')),
    base: String(fieldOf(given, 'baseAsset')),
    quote: String(fieldOf(given, 'quoteAsset')),
    isTrading: fieldOf(given, 'status') === 'TRADING',
  }));
}
