/**
 * Timeframe texts ('1Min', '4H', '1D') and what they mean: for a bucket's name, and for a query.
 * The two grammars differ in the reference, and clients rely on both (spec storage.md 6).
 */

const DAY_SECONDS = 86_400;

/** Units in the order in which the reference looks for them in a bucket's timeframe. */
const BUCKET_UNITS: readonly (readonly [string, number])[] = [
  ['S', 1],
  ['Sec', 1],
  ['T', 60],
  ['Min', 60],
  ['H', 3600],
  ['D', DAY_SECONDS],
  ['W', 7 * DAY_SECONDS],
  ['Y', 365 * DAY_SECONDS],
];

const QUERY_UNITS: Readonly<Record<string, number>> = {
  Sec: 1,
  Min: 60,
  H: 3600,
  D: DAY_SECONDS,
  W: 7 * DAY_SECONDS,
  M: 0,
  Y: 365 * DAY_SECONDS,
};

/** Stored timeframes a query may be redirected to, in the order tried; ours asks 4H before 2H. */
const QUERYABLE: readonly (readonly [string, number])[] = [
  ['1D', DAY_SECONDS],
  ['4H', 14_400],
  ['2H', 7_200],
  ['1H', 3_600],
  ['30Min', 1_800],
  ['15Min', 900],
  ['5Min', 300],
  ['1Min', 60],
  ['30Sec', 30],
  ['10Sec', 10],
  ['1Sec', 1],
];

/** Seconds of a bucket's timeframe text, or undefined if it is none. */
export function parseBucketTimeframe(text: string): number | undefined {
  for (const [unit, unitSeconds] of BUCKET_UNITS) {
    const at = text.indexOf(unit);
    if (at < 0) continue;
    const count = text.slice(0, at);
    if (!/^\+?\d{1,10}$/.test(count)) return undefined;
    const multiple = Number(count);
    return multiple >= 1 && multiple <= 2_147_483_647 ? multiple * unitSeconds : undefined;
  }
  return undefined;
}

/** True for a timeframe a new bucket may have: it divides a day, so that slots divide every year. */
export function isStorable(timeframeSeconds: number): boolean {
  return timeframeSeconds >= 1 && DAY_SECONDS % timeframeSeconds === 0;
}

export interface QueryTimeframe {
  /** Stored timeframes to look in, best first; `limitFactor` is what a row limit is multiplied by. */
  readonly candidates: readonly { readonly timeframe: string; readonly limitFactor: number }[];
}

/**
 * What a query that names `text` reads: the bucket of exactly that name if there is one, else the
 * largest stored timeframe that divides it (spec storage.md 6.3). Undefined if `text` is none.
 */
export function parseQueryTimeframe(text: string): QueryTimeframe | undefined {
  const exact =
    parseBucketTimeframe(text) === undefined ? [] : [{ timeframe: text, limitFactor: 1 }];
  const match = /(\d+)(Sec|Min|H|D|W|M|Y)/.exec(text);
  if (match === null) return undefined;
  const [, digits = '', unit = ''] = match;
  const seconds = Number(digits) * (QUERY_UNITS[unit] ?? 0);
  if (unit === 'M') return { candidates: [...exact, { timeframe: '1D', limitFactor: 31 }] };
  if (seconds <= 0) return undefined;
  const redirected = QUERYABLE.filter(([, stored]) => seconds % stored === 0).map(
    ([timeframe, stored]) => ({ timeframe, limitFactor: seconds / stored }),
  );
  return {
    candidates: [...exact, ...redirected.filter(({ timeframe }) => timeframe !== text)],
  };
}

/** Whole intervals in 24 hours; 0 for a longer timeframe. */
export function intervalsPerDay(timeframeSeconds: number): number {
  return Math.floor(DAY_SECONDS / timeframeSeconds);
}
