/**
 * Recorded market data of test/fixtures/market, typed. Numbers stay the recorded text: the local
 * exchange answers with it, and a test that compares decimals compares what was recorded.
 */

import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';

const FOLDER = new URL('../fixtures/market/', import.meta.url);

/** A bar of one minute. */
export interface RecordedBar {
  /** Start, in milliseconds since 1970. */
  readonly openMs: number;
  readonly open: string;
  readonly high: string;
  readonly low: string;
  readonly close: string;
  readonly volume: string;
}

/** One market's recorded minutes, ascending, each at most once; a minute may be absent. */
export interface RecordedSeries {
  readonly base: string;
  readonly quote: string;
  readonly bars: readonly RecordedBar[];
}

/** [epoch seconds, open, high, low, close, volume]. */
export type ExpectedBar = readonly [number, number, number, number, number, number];

/** Facts of one file, computed elsewhere; see ORIGIN.md. */
export interface ExpectedFacts {
  readonly rows: number;
  readonly first_epoch: number;
  readonly last_epoch: number;
  readonly sum_volume: string;
  readonly max_high: { readonly value: number; readonly epoch: number };
  readonly min_low: { readonly value: number; readonly epoch: number };
  readonly first_bar: ExpectedBar;
  readonly last_bar: ExpectedBar;
  /** By UTC date: bars of one day. */
  readonly aggregates_utc_day: Readonly<
    Record<
      string,
      {
        readonly rows: number;
        readonly '5Min': readonly ExpectedBar[];
        readonly '1H': readonly ExpectedBar[];
        readonly '1D': readonly ExpectedBar[];
      }
    >
  >;
  readonly all_1D_utc: readonly ExpectedBar[];
}

const FILES = {
  /** Binance Spot BTCUSDT, 2021-02-19 to 2021-02-25. */
  binance: 'binance_spot_BTCUSDT_1m_2021-02-19_7d.json.gz',
  /** Coinbase BTC-USD, 2020-02-10 to 2020-02-16. */
  coinbase: 'coinbase_BTC-USD_1m_2020-02-10_7d.json.gz',
} as const;

export type RecordedVenue = keyof typeof FILES;

/** One bar as the files have it, with every number as its text. */
interface FileBar {
  readonly base: string;
  readonly counter: string;
  readonly openTimeInMillis: string;
  readonly open: string;
  readonly high: string;
  readonly low: string;
  readonly close: string;
  readonly volume: string;
}

const loaded = new Map<RecordedVenue, RecordedSeries>();

/** The recorded week of a venue; read once a process. */
export function recordedWeek(venue: RecordedVenue): RecordedSeries {
  const known = loaded.get(venue);
  if (known !== undefined) return known;
  const text = gunzipSync(readFileSync(new URL(FILES[venue], FOLDER))).toString('utf8');
  const file = JSON.parse(text, keepNumberText) as readonly FileBar[];
  const bars = file.map(({ openTimeInMillis, open, high, low, close, volume }) => ({
    openMs: Number(openTimeInMillis),
    open,
    high,
    low,
    close,
    volume,
  }));
  const [first] = file;
  if (first === undefined) throw new Error(`${FILES[venue]} holds no bars`);
  const series = { base: first.base, quote: first.counter, bars };
  loaded.set(venue, series);
  return series;
}

/** What is known of a venue's recorded week. */
export function expectedFacts(venue: RecordedVenue): ExpectedFacts {
  const text = readFileSync(new URL('expected.json', FOLDER), 'utf8');
  const { files } = JSON.parse(text) as { files: Record<string, ExpectedFacts> };
  const facts = files[FILES[venue]];
  if (facts === undefined) throw new Error(`expected.json knows nothing of ${FILES[venue]}`);
  return facts;
}

/** A number becomes the text it was written with: 10199.00 and 10199 are different recordings. */
function keepNumberText(_key: string, value: unknown, context?: { source?: string }): unknown {
  return typeof value === 'number' ? context?.source : value;
}
