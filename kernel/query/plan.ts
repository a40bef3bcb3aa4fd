/**
 * From a query as asked to what must be read: which buckets, which columns, which times, how many
 * rows. Pure: it looks names up and reads schemas, no rows. Main thread.
 *
 *   'A,B/2Min/OHLCV'  →  buckets A/1Min/OHLCV, B/1Min/OHLCV   (in this order, each once)
 *                        shapes  Epoch, Open, …               (the same for all of them)
 *                        range   both ends inclusive, limit × 2
 *
 * Nothing of a destination reaches a path: a key is found in the catalog or it is not.
 */

import { RequestError } from '../base/errors.ts';
import {
  type BucketSchema,
  type ColumnShape,
  EPOCH_SHAPE,
  NANOSECONDS_SHAPE,
  rowShapesOf,
} from '../base/schema.ts';
import { DEFAULT_CATEGORIES, longKey } from '../base/time-bucket-key.ts';
import { parseQueryTimeframe } from '../base/timeframe.ts';
import type { Bucket, ScanRange } from '../storage/bucket.ts';

/** An integer as a message carries it: a number when that is exact, else a bigint. */
export type Integer = number | bigint;

/** A query as a client states it. Absent and null are the same. */
export interface QueryRequest {
  readonly destination: string;
  /** Categories of the destination's parts, when not given after its colon. */
  readonly keyCategory?: string | undefined;
  /** Unix seconds, inclusive; the nanoseconds count only beside them and may have any size. */
  readonly epochStart?: Integer | undefined;
  readonly epochStartNanos?: Integer | undefined;
  readonly epochEnd?: Integer | undefined;
  readonly epochEndNanos?: Integer | undefined;
  /** Rows per bucket; 0 is no limit. */
  readonly limit?: Integer | undefined;
  readonly limitFromStart?: boolean | undefined;
  /** Names in the order wanted; none: all columns. */
  readonly columns?: readonly string[] | undefined;
}

/** What a plan needs of a bucket. */
export type PlannedBucket = Pick<Bucket, 'key' | 'schema' | 'scan'>;

/** What a plan needs of the catalog. */
export interface BucketIndex {
  bucket(path: string): PlannedBucket | undefined;
  symbols(): readonly string[];
}

export interface QueryPlan {
  /** At least one, in the order of the destination. */
  readonly buckets: readonly PlannedBucket[];
  /** Columns of the answer; names and types are those of every bucket. */
  readonly shapes: readonly ColumnShape[];
  readonly range: ScanRange;
}

const SECOND_NANOS = 1_000_000_000;
/** First and last second of the years 1 to 9999, beyond which no row can lie. */
const FIRST_SECOND = -62_135_596_800;
const LAST_SECOND = 253_402_300_799;

/**
 * The stored timeframes a query may be redirected to: all of them divide a year. A query reads one
 * of these, or a bucket of exactly the name it asks for.
 */
const STORED_TIMEFRAMES: ReadonlySet<string> = new Set(
  parseQueryTimeframe('365D')
    ?.candidates.map(({ timeframe }) => timeframe)
    .filter((timeframe) => timeframe !== '365D'),
);

/**
 * Plans one query. Throws MKTS_DESTINATION_INVALID, MKTS_QUERY_TIMEFRAME, MKTS_QUERY_NO_BUCKET,
 * MKTS_QUERY_SHAPES, MKTS_QUERY_LIMIT.
 */
export function planQuery(index: BucketIndex, request: QueryRequest): QueryPlan {
  const limit = limitOf(request.limit);
  const destination = parseDestination(request);
  const { buckets, limitFactor } = findBuckets(index, destination);
  const columns = request.columns ?? [];
  const shapes = commonShapes(buckets, columns);
  const range: ScanRange = {
    ...timesOf(request),
    ...(limit === undefined ? {} : { limit: limit * limitFactor }),
    fromEnd: request.limitFromStart !== true,
    ...(columns.length === 0 ? {} : { columns: shapes.map(({ name }) => name) }),
  };
  return { buckets, shapes, range };
}

interface Destination {
  /** As error texts name it: with its categories. */
  readonly text: string;
  readonly symbols: string;
  readonly timeframe: string;
  readonly groups: string;
}

function parseDestination({ destination, keyCategory }: QueryRequest): Destination {
  const colon = destination.indexOf(':');
  const itemPath = colon < 0 ? destination : destination.slice(0, colon);
  // What the destination itself says counts; the field beside it is the older way.
  const given = colon < 0 ? (keyCategory ?? '') : destination.slice(colon + 1);
  const categories = given === '' ? DEFAULT_CATEGORIES : given;
  const text = `${itemPath}:${categories}`;
  const items = itemPath.split('/');
  const names = categories.split('/');
  const itemOf = (category: string): string => items[names.indexOf(category)] ?? '';
  const parsed = {
    text,
    symbols: itemOf('Symbol'),
    timeframe: itemOf('Timeframe'),
    groups: itemOf('AttributeGroup'),
  };
  if (parsed.symbols === '' || parsed.timeframe === '' || parsed.groups === '')
    throw new RequestError('MKTS_DESTINATION_INVALID', { destination: text });
  // The reference glues a fourth part to the group, and then finds no such bucket.
  return items.length > 3 ? { ...parsed, groups: items.slice(2).join('/') } : parsed;
}

function findBuckets(
  index: BucketIndex,
  { text, symbols, timeframe, groups }: Destination,
): { readonly buckets: readonly PlannedBucket[]; readonly limitFactor: number } {
  const symbolNames = symbols === '*' ? index.symbols() : uniqueItems(symbols);
  const groupNames = uniqueItems(groups);
  const bucketsAt = (stored: string): readonly PlannedBucket[] => {
    const buckets: PlannedBucket[] = [];
    for (const symbol of symbolNames)
      for (const group of groupNames) {
        const bucket = index.bucket(`${symbol}/${stored}/${group}`);
        if (bucket !== undefined) buckets.push(bucket);
      }
    return buckets;
  };
  // The name as it stands comes first: it is the common case, and some timeframes that can be
  // written ('1T') are none in the grammar of queries.
  const exact = bucketsAt(timeframe);
  if (exact.length > 0) return { buckets: exact, limitFactor: 1 };
  for (const candidate of redirections(text, timeframe)) {
    // All buckets of an answer have one timeframe: the first that any of them has.
    const buckets = bucketsAt(candidate.timeframe);
    if (buckets.length > 0) return { buckets, limitFactor: candidate.limitFactor };
  }
  throw new RequestError('MKTS_QUERY_NO_BUCKET');
}

/** A list of names as a destination writes it; a name given twice is read once. */
function uniqueItems(list: string): readonly string[] {
  return list.includes(',') ? [...new Set(list.split(','))] : [list];
}

interface StoredTimeframe {
  readonly timeframe: string;
  readonly limitFactor: number;
}

/**
 * Where to look when no bucket has just this timeframe: at the largest stored one that divides it. At
 * no smaller one: who asks for days of a symbol that has minutes only is told so, and does not get
 * minutes. The exception is 2H behind 4H, where the reference looks.
 */
function redirections(text: string, timeframe: string): readonly StoredTimeframe[] {
  const parsed = parseQueryTimeframe(timeframe);
  if (parsed === undefined)
    throw new RequestError('MKTS_QUERY_TIMEFRAME', { key: text, timeframe });
  const others = parsed.candidates.filter((candidate) => candidate.timeframe !== timeframe);
  if (STORED_TIMEFRAMES.has(timeframe)) return timeframe === '4H' ? others.slice(0, 1) : [];
  return others.slice(0, others[0]?.timeframe === '4H' ? 2 : 1);
}

/** The columns of the answer, if they are the same for every bucket. */
function commonShapes(
  buckets: readonly PlannedBucket[],
  columns: readonly string[],
): readonly ColumnShape[] {
  const [first, ...others] = buckets;
  const shapes = first === undefined ? [] : projectedShapes(first.schema, columns);
  for (const { schema } of others)
    if (!sameShapes(shapes, projectedShapes(schema, columns)))
      throw new RequestError('MKTS_QUERY_SHAPES', {
        symbols: buckets.map(({ key }) => `{${longKey(key)}}`).join(' '),
      });
  return shapes;
}

/**
 * Epoch, the columns asked for in the order asked, Nanoseconds if the bucket has it. A name that is
 * not known is dropped, one given twice counts once.
 */
function projectedShapes(schema: BucketSchema, columns: readonly string[]): readonly ColumnShape[] {
  const stored = rowShapesOf(schema);
  if (columns.length === 0) return stored;
  const wanted = new Set(columns);
  wanted.delete(EPOCH_SHAPE.name);
  wanted.delete(NANOSECONDS_SHAPE.name);
  const shapes = [EPOCH_SHAPE];
  for (const name of [...wanted, NANOSECONDS_SHAPE.name]) {
    const shape = stored.find((column) => column.name === name);
    if (shape !== undefined) shapes.push(shape);
  }
  return shapes;
}

/** Types count too: bytes of f4 and f8 under one name would be garbage. */
function sameShapes(a: readonly ColumnShape[], b: readonly ColumnShape[]): boolean {
  return (
    a.length === b.length &&
    a.every(({ name, type }, at) => name === b[at]?.name && type === b[at]?.type)
  );
}

/** Rows per bucket, undefined for no limit. */
function limitOf(limit: Integer | undefined): number | undefined {
  if (limit === undefined || limit === 0) return undefined;
  if (limit < 0) throw new RequestError('MKTS_QUERY_LIMIT', { limit: String(limit) });
  return Number(limit);
}

/** The times of a request, as a scan takes them. */
export function timesOf(
  request: Pick<QueryRequest, 'epochStart' | 'epochStartNanos' | 'epochEnd' | 'epochEndNanos'>,
): Pick<ScanRange, 'fromSeconds' | 'fromNanos' | 'toSeconds' | 'toNanos'> {
  const { epochStart, epochStartNanos, epochEnd, epochEndNanos } = request;
  // Rows before 1970 show up for an explicit negative start only.
  const from = instant(epochStart ?? 0, epochStart === undefined ? 0 : epochStartNanos);
  if (epochEnd === undefined) return { fromSeconds: from.seconds, fromNanos: from.nanos };
  const to = instant(epochEnd, epochEndNanos);
  return {
    fromSeconds: from.seconds,
    fromNanos: from.nanos,
    toSeconds: to.seconds,
    toNanos: to.nanos,
  };
}

interface Instant {
  readonly seconds: number;
  readonly nanos: number;
}

/** Whole seconds and nanoseconds in [0, 1e9), inside the years 1 to 9999. */
function instant(seconds: Integer, nanos: Integer = 0): Instant {
  // 64-bit values add up past 2^53; they occur in "no end", not in ordinary queries.
  const whole =
    typeof seconds === 'number' && typeof nanos === 'number'
      ? seconds + Math.floor(nanos / SECOND_NANOS)
      : Number(BigInt(seconds) + floorDivide(BigInt(nanos), BigInt(SECOND_NANOS)));
  if (whole < FIRST_SECOND) return { seconds: FIRST_SECOND, nanos: 0 };
  if (whole > LAST_SECOND) return { seconds: LAST_SECOND, nanos: SECOND_NANOS - 1 };
  const rest = Number(BigInt.asIntN(64, BigInt(nanos)) % BigInt(SECOND_NANOS));
  return { seconds: whole, nanos: rest < 0 ? rest + SECOND_NANOS : rest };
}

function floorDivide(value: bigint, by: bigint): bigint {
  const quotient = value / by;
  return value % by < 0n ? quotient - 1n : quotient;
}
