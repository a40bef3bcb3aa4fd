/**
 * The name of a bucket: 'AAPL/1Min/OHLCV'. Parsed once at an edge; inside, only the parsed thing
 * travels. Every part becomes a directory name, so a name that climbs out of the root, or collides
 * with a file of the server, ends here (spec storage.md 1.2).
 */

import { RequestError } from './errors.ts';
import { KEY_BYTES_MAX, KEY_PART_BYTES_MAX } from './limits.ts';
import { isStorable, parseBucketTimeframe } from './timeframe.ts';

export const DEFAULT_CATEGORIES = 'Symbol/Timeframe/AttributeGroup';
const KEY_EXAMPLE = 'TSLA/1Min/OHLCV';

export interface TimeBucketKey {
  readonly symbol: string;
  readonly timeframe: string;
  readonly attributeGroup: string;
  readonly timeframeSeconds: number;
  /** 'AAPL/1Min/OHLCV': map key, relative directory, and name on the wire. */
  readonly path: string;
}

/**
 * Parses `S/T/A` or `S/T/A:Symbol/Timeframe/AttributeGroup` (the categories in any order, the items
 * pairing up with them by position). Throws MKTS_KEY_INVALID, or MKTS_TIMEFRAME_INVALID.
 */
export function parseTimeBucketKey(text: string): TimeBucketKey {
  const items = parseKeyItems(text);
  const [symbol = '', timeframe = '', attributeGroup = ''] = items;
  for (const part of items) {
    const reason = partProblem(part);
    if (reason !== undefined) throw keyError(text, reason);
  }
  const path = items.join('/');
  if (Buffer.byteLength(path) > KEY_BYTES_MAX)
    throw keyError(text, `it is longer than ${KEY_BYTES_MAX} bytes`);
  const timeframeSeconds = parseBucketTimeframe(timeframe);
  if (timeframeSeconds === undefined)
    throw new RequestError('MKTS_TIMEFRAME_INVALID', { key: text, timeframe });
  return { symbol, timeframe, attributeGroup, timeframeSeconds, path };
}

/** As `parseTimeBucketKey`, for a bucket about to be made: throws MKTS_TIMEFRAME_UNSUPPORTED too. */
export function parseNewTimeBucketKey(text: string): TimeBucketKey {
  const key = parseTimeBucketKey(text);
  if (!isStorable(key.timeframeSeconds))
    throw new RequestError('MKTS_TIMEFRAME_UNSUPPORTED', { timeframe: key.timeframe, key: text });
  return key;
}

/** `S/T/A:Symbol/Timeframe/AttributeGroup`, as answers name a bucket. */
export function longKey(key: TimeBucketKey): string {
  return `${key.path}:${DEFAULT_CATEGORIES}`;
}

/**
 * The items of a key in the order Symbol, Timeframe, AttributeGroup, not yet checked as names: an
 * item of a query may still be `*` or a list. Throws MKTS_KEY_INVALID if there are not three.
 */
export function parseKeyItems(text: string): readonly string[] {
  const [itemPath = '', categoryPath = ''] = text.split(':', 2);
  const items = itemPath.split('/');
  const categories = (categoryPath === '' ? DEFAULT_CATEGORIES : categoryPath).split('/');
  if (items.length !== 3)
    throw keyError(text, `it has ${items.length} part${items.length === 1 ? '' : 's'}, not 3`);
  if ([...categories].sort().join('/') !== 'AttributeGroup/Symbol/Timeframe')
    throw keyError(text, `its categories are not ${DEFAULT_CATEGORIES}`);
  return DEFAULT_CATEGORIES.split('/').map((category) => items[categories.indexOf(category)] ?? '');
}

/** Why `part` cannot name a directory of the store, or undefined if it can. */
export function partProblem(part: string): string | undefined {
  if (part === '') return 'a part is empty';
  if (part === '.' || part === '..') return `part "${part}" climbs in the directory tree`;
  if (part === 'category_name' || part === 'metadata.db' || part.startsWith('WALFile.'))
    return `part "${part}" is a file of the server`;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  if (/[/\\:,*\u0000-\u001f\u007f]/.test(part))
    return `part "${part}" holds one of / \\ : , * or a control character`;
  if (Buffer.byteLength(part) > KEY_PART_BYTES_MAX)
    return `part "${part.slice(0, 32)}…" is longer than ${KEY_PART_BYTES_MAX} bytes`;
  return undefined;
}

function keyError(key: string, reason: string): RequestError {
  return new RequestError('MKTS_KEY_INVALID', { key, example: KEY_EXAMPLE, reason });
}
