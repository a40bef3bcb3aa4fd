/**
 * A client of a running server's `/rpc`, for the command line: MessagePack, whose columns are the
 * bytes of typed arrays. Throws Errors with the server's own words.
 */

import { Packr, Unpackr } from 'msgpackr';
import type { Column } from '../base/column-series.ts';
import { elementTypeOfWire } from '../base/element-type.ts';
import { reasonOf } from '../base/errors.ts';

const TIMEOUT_MS = 30_000;

// Plain MessagePack: no records, no extensions; the reference's clients speak nothing else.
const packr = new Packr({ useRecords: false, variableMapSize: true });
const unpackr = new Unpackr({ useRecords: false, int64AsType: 'number' });

/** Rows of one bucket, as a server answered them. */
export interface AnsweredBucket {
  /** Without the categories behind the colon. */
  readonly key: string;
  readonly rowCount: number;
  readonly columns: readonly Column[];
}

export interface QueryOptions {
  readonly destination: string;
  readonly limit?: number | undefined;
  readonly fromSeconds?: number | undefined;
  readonly toSeconds?: number | undefined;
  readonly oldest?: boolean | undefined;
}

/** Rows of one or several buckets, one after the other, by column. */
export interface WireDataset {
  readonly types: readonly string[];
  readonly names: readonly string[];
  readonly data: readonly Uint8Array[];
  readonly length: number;
  readonly startindex: Readonly<Record<string, number>>;
  readonly lengths: Readonly<Record<string, number>>;
}

/** Calls `DataService.<method>` of the server at `url` ('http://127.0.0.1:5993'). */
export async function callServer(url: string, method: string, params: unknown): Promise<unknown> {
  const body = packr.pack({ jsonrpc: '2.0', method: `DataService.${method}`, id: '1', params });
  let bytes: Uint8Array;
  try {
    const response = await fetch(`${url}/rpc`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-msgpack' },
      body: new Uint8Array(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    bytes = new Uint8Array(await response.arrayBuffer());
    if (!response.ok) throw new Error(`status ${response.status}: ${Buffer.from(bytes)}`);
  } catch (cause) {
    const reason = cause instanceof Error && cause.cause ? reasonOf(cause.cause) : reasonOf(cause);
    throw new Error(`no answer from the server at ${url}: ${reason}`, { cause });
  }
  const answer = unpackr.unpack(bytes) as { result?: unknown; error?: { message: string } };
  if (answer.error !== undefined) throw new Error(answer.error.message);
  return answer.result;
}

/** Queries one destination; a bucket each, in the order of the answer. */
export async function queryServer(url: string, options: QueryOptions): Promise<AnsweredBucket[]> {
  const { destination, limit, fromSeconds, toSeconds, oldest } = options;
  const request = {
    destination,
    ...(limit === undefined ? {} : { limit_record_count: limit }),
    ...timesOf(fromSeconds, toSeconds),
    ...(oldest === true ? { limit_from_start: true } : {}),
  };
  const result = (await callServer(url, 'Query', { requests: [request] })) as {
    responses: readonly { result: WireDataset }[];
  };
  return result.responses.flatMap(({ result: dataset }) => bucketsOf(dataset));
}

export interface DeleteOptions {
  /** A key or a pattern of keys. */
  readonly key: string;
  /** As of a query: both ends included. */
  readonly fromSeconds?: number | undefined;
  readonly toSeconds?: number | undefined;
  readonly isDryRun: boolean;
}

/** Rows of one bucket that are deleted, or would be; times are those of the first and the last. */
export interface DeletedBucket {
  readonly key: string;
  readonly rows: number;
  readonly first: number;
  readonly last: number;
}

/** Deletes the rows of a range, or says which they are. */
export async function deleteRows(
  url: string,
  { key, fromSeconds, toSeconds, isDryRun }: DeleteOptions,
): Promise<readonly DeletedBucket[]> {
  const request = { key, ...timesOf(fromSeconds, toSeconds), dry_run: isDryRun };
  const { responses } = (await callServer(url, 'Delete', { requests: [request] })) as {
    responses: readonly { deleted: readonly DeletedBucket[]; error: string }[];
  };
  const error = responses.find((response) => response.error !== '')?.error;
  if (error !== undefined) throw new Error(error);
  return responses.flatMap(({ deleted }) => deleted);
}

/** As bigint: past 2^32 a number would be packed as a float, which is no time. */
function timesOf(from: number | undefined, to: number | undefined): Record<string, bigint> {
  return {
    ...(from === undefined ? {} : { epoch_start: BigInt(from) }),
    ...(to === undefined ? {} : { epoch_end: BigInt(to) }),
  };
}

function bucketsOf({ names, types, data, startindex, lengths }: WireDataset): AnsweredBucket[] {
  const columns = names.map((name, at): Column => {
    const type = elementTypeOfWire(types[at] ?? '');
    if (type === undefined) throw new Error(`column ${name} has the unknown type ${types[at]}`);
    // A copy of its own, since a column of an answer may begin at any byte.
    const { buffer } = new Uint8Array(data[at] ?? []);
    return { name, type, data: type.view(buffer, 0, buffer.byteLength / type.bytes) };
  });
  return Object.keys(lengths).map((longKey) => {
    const from = startindex[longKey] ?? 0;
    const rowCount = lengths[longKey] ?? 0;
    return {
      key: longKey.split(':')[0] ?? longKey,
      rowCount,
      columns: columns.map(({ name, type, data: values }) => ({
        name,
        type,
        data: values.subarray(from * type.lanes, (from + rowCount) * type.lanes),
      })),
    };
  });
}
