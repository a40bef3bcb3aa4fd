/**
 * The recorded conversations of the reference server's `/rpc`, held with ours over real sockets: 242
 * requests in order on one keep-alive connection, from an empty server in UTC; the whole kernel, with
 * log and sync thread.
 *
 * Each pair says how answers compare; where ours differs on purpose, `DIFFERENCES` says how. Calls
 * with functions or SQL are answered by a coded error so far; what an INSERT would have written is
 * missing from one later answer.
 */

import { existsSync, readFileSync } from 'node:fs';
import { Agent } from 'node:http';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VERSION } from '../../kernel/package-root.ts';
import { logsIn, startTestServer, type TestServer } from '../support/test-server.ts';
import {
  datasetOf,
  decode,
  errorOf,
  type RawAnswer,
  responsesOf,
  rowsOf,
  send,
} from '../support/wire-client.ts';

interface Pair {
  readonly n: number;
  readonly name: string;
  readonly compare: string;
  readonly ours?: string;
  readonly request: {
    readonly method: string;
    readonly path: string;
    readonly headers: Readonly<Record<string, string>>;
    readonly body: string;
  };
  readonly response: {
    readonly status: number;
    readonly headers: Readonly<Record<string, string>>;
    readonly body: string;
  };
}

const GOLDEN = fileURLToPath(new URL('../../../shared/golden/wire/rpc.jsonl', import.meta.url));
const REFERENCE_HASH = '007586568aa92a1c83189b3c06843dc27a23e5b3';
const E0 = 1_483_228_800;

const pairs: readonly Pair[] = existsSync(GOLDEN)
  ? readFileSync(GOLDEN, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Pair)
  : [];

describe.skipIf(pairs.length === 0)(
  'the wire conversations of the reference server (skipped if ../shared/golden is absent)',
  () => {
    let server: TestServer;
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    beforeAll(async () => {
      server = await startTestServer();
    });
    afterAll(async () => {
      agent.destroy();
      await server.stop();
      expect(server.errors).toEqual([]);
      expect(logsIn(server.root)).toEqual([]);
      await server.remove();
    });

    test('there are 242 of them', () => {
      expect(pairs.length).toBe(242);
    });

    for (const pair of pairs)
      test(`${pair.n} ${pair.name} (${isUnsupported(pair) ? 'not supported yet' : pair.compare})`, async () => {
        compare(pair, await send(server.port, requestOf(pair), agent));
      });
  },
);

function requestOf({ request }: Pair): Parameters<typeof send>[1] {
  return { ...request, body: Buffer.from(request.body, 'base64') };
}

function compare(pair: Pair, answer: RawAnswer): void {
  const { status, headers, body } = pair.response;
  expect(answer.status).toBe(status);
  expect(answer.headers['marketstore-version']).toBe(
    headers['Marketstore-Version'] === undefined ? undefined : VERSION,
  );
  if (pair.name === 'read the target') {
    // Filled by an INSERT, which is not supported yet: the bucket is there and empty.
    expect(rowsOf(answer)).toEqual([]);
    return;
  }
  if (isUnsupported(pair)) {
    expect(errorOf(answer)).toMatchObject({ code: -32_000, data: null });
    expect(errorOf(answer).message).toMatch(/^(functions are|SQL is) not supported$/);
    expect(answer.headers['mkts-error']).toBe('MKTS_QUERY_UNSUPPORTED');
    return;
  }
  const recorded = { status, headers: lowerCased(headers), body: Buffer.from(body, 'base64') };
  switch (pair.compare) {
    case 'exact':
      for (const name of ['content-type', 'x-content-type-options'])
        expect(answer.headers[name], name).toBe(recorded.headers[name]);
      expect(answer.body.toString('latin1')).toBe(withOurVersion(recorded.body));
      // An answer to HEAD has a length and no body.
      expect(answer.headers['content-length']).toBe(
        recorded.body.length === 0 || recorded.headers['content-length'] === undefined
          ? recorded.headers['content-length']
          : String(answer.body.length),
      );
      break;
    case 'semantic':
    case 'volatile-epoch':
    case 'volatile-year':
      expect(answer.headers['x-content-type-options']).toBe(
        recorded.headers['x-content-type-options'],
      );
      expect(canonical(answer)).toEqual(canonical(recorded));
      break;
    case 'code':
      expect(errorOf(answer).code).toBe(errorOf(recorded).code);
      break;
    case 'error-text':
      expect(errorText(answer), pair.ours).toMatch(ERROR_TEXTS[pair.name] ?? /./);
      break;
    default:
      differs(pair, answer);
  }
}

/** What `ours` of an error-text pair asks for. */
const ERROR_TEXTS: Readonly<Record<string, RegExp>> = {
  'create again': /Can not overwrite file/,
  'info missing': /^unable to get info about key NOPE\/1Min\/OHLCV/,
  'query different columns': /^symbols in a query must have the same data type or be filtered/,
  'query wildcard timeframe': /^timeframe not found in TimeBucketKey=/,
  'unknown category name': /category name does not match on-disk name/,
};

const SHAPES_ERROR = /^symbols in a query must have the same data type or be filtered/;

/** Pairs where ours answers otherwise, by name: what it answers. */
const DIFFERENCES: Readonly<Record<string, (answer: RawAnswer) => void>> = {
  batch: isParseError,
  'broken json': isParseError,
  'broken msgpack': isParseError,
  'truncated msgpack': isParseError,
  'empty body': isParseError,
  'info of it': (answer) =>
    expect(responsesOf(answer)).toMatchObject([{ RecordType: 1, ServerResp: { error: '' } }]),
  'create bad type then good': (answer) =>
    expect(responsesOf(answer)).toMatchObject([
      { error: 'unexpected data type:zz' },
      { error: '' },
    ]),
  'create json with snake case names': (answer) =>
    expect(responsesOf(answer)).toMatchObject([{ Error: '' }]),
  'query column twice': (answer) => expect(datasetOf(answer).names).toEqual(['Epoch', 'A']),
  'query Epoch by name': (answer) => expect(datasetOf(answer).names).toEqual(['Epoch', 'A']),
  'query wildcard': (answer) => expect(errorOf(answer).message).toMatch(SHAPES_ERROR),
  'query same names, other types': (answer) =>
    expect(errorOf(answer).message).toMatch(SHAPES_ERROR),
  'query same symbol twice': (answer) =>
    expect(rowsOf(answer)).toEqual([{ Epoch: E0 + 540, A: 9, B: 109 }]),
  'query json epoch_start': (answer) =>
    expect(rowsOf(answer)).toEqual([{ Epoch: E0 + 120, A: 52, B: 2 }]),
  'ticks end leak': (answer) => expect(rowsOf(answer)).toEqual([]),
  'read the permuted row': (answer) => expect(rowsOf(answer)).toMatchObject([{ A: 8.5, B: 7 }]),
  'read ticks': (answer) =>
    expect(rowsOf(answer).at(-1)).toMatchObject({ Epoch: E0 + 1, Nanoseconds: 999_999_999 }),
  'read them': (answer) =>
    expect(rowsOf(answer)).toEqual([
      { Epoch: E0, Bid: 1.5, Nanoseconds: 0 },
      { Epoch: E0 + 70, Bid: 2.5, Nanoseconds: 0 },
    ]),
  'read i1': (answer) => {
    expect(datasetOf(answer).types).toEqual(['i8', 'i1']);
    expect(rowsOf(answer).map(({ S }) => S)).toEqual([-1, 127]);
  },
  'read Jan 1': (answer) =>
    expect(rowsOf(answer)).toEqual([
      { Epoch: E0, A: 1 },
      { Epoch: E0 + 86_400, A: 2 },
    ]),
  'read 4H': (answer) =>
    expect(rowsOf(answer).map(({ Epoch }) => Epoch)).toEqual([E0, E0 + 14_400, E0 + 28_800]),
  'empty startindex': (answer) =>
    expect(responsesOf(answer)).toMatchObject([
      { error: expect.stringContaining('startindex names no bucket') },
    ]),
};

function differs(pair: Pair, answer: RawAnswer): void {
  const check = DIFFERENCES[pair.name];
  if (check === undefined) throw new Error(`nothing says how ours differs: ${pair.ours}`);
  check(answer);
}

function isParseError(answer: RawAnswer): void {
  expect(decode(answer)).toMatchObject({ error: { code: -32_700 }, id: null });
}

/** Functions and SQL are not built yet. */
function isUnsupported({ request, name }: Pair): boolean {
  const body = Buffer.from(request.body, 'base64').toString('latin1');
  return (
    name !== 'nulls for optional fields' &&
    (body.includes('functions') || body.includes('is_sqlstatement\xc3'))
  );
}

/** The reference's hash is a text of 40 bytes, in MessagePack with its length before it. */
function withOurVersion(body: Buffer): string {
  const packed = String.fromCharCode(0xa0 + VERSION.length) + VERSION;
  return body
    .toString('latin1')
    .replaceAll(`\xd9\x28${REFERENCE_HASH}`, packed)
    .replaceAll(REFERENCE_HASH, VERSION);
}

// ---- comparing --------------------------------------------------------------------------------

/** An answer with everything made equal that may differ: hash, widths, orders, the year. */
function canonical(answer: Pick<RawAnswer, 'headers' | 'body'>): unknown {
  return sortBuckets(unversioned(decode(answer)));
}

/** The reference's hash is ours, and its year of recording this one. */
function unversioned(value: unknown): unknown {
  if (typeof value === 'string') return value.replaceAll(REFERENCE_HASH, VERSION);
  if (Array.isArray(value)) return value.map(unversioned);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [
      key,
      key === 'LatestYear' && Number(item) > 2020 ? 'this year' : unversioned(item),
    ]),
  );
}

/** Puts lists of names, and the rows of several buckets in a dataset, into one order. */
function sortBuckets(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortBuckets);
  if (typeof value !== 'object' || value === null) return value;
  const record = value as Record<string, unknown>;
  if (Array.isArray(record.Results)) return { ...record, Results: [...record.Results].sort() };
  const starts = record.startindex as Record<string, number> | undefined;
  if (starts !== undefined && Array.isArray(record.data)) return sortedDataset(record, starts);
  return Object.fromEntries(Object.entries(record).map(([key, item]) => [key, sortBuckets(item)]));
}

const BYTES: Readonly<Record<string, number>> = {
  i1: 1,
  u1: 1,
  i2: 2,
  u2: 2,
  i4: 4,
  u4: 4,
  f4: 4,
  i8: 8,
  u8: 8,
  f8: 8,
  U16: 64,
};

function sortedDataset(set: Record<string, unknown>, starts: Record<string, number>): unknown {
  const lengths = set.lengths as Record<string, number>;
  const types = set.types as string[];
  const data = (set.data as string[]).map((text) => Buffer.from(text, 'base64'));
  const byKey = Object.keys(starts)
    .sort()
    .map((key) => ({
      key,
      columns: data.map((bytes, at) => {
        const width = BYTES[types[at] ?? ''] ?? 1;
        const from = (starts[key] ?? 0) * width;
        return bytes.subarray(from, from + (lengths[key] ?? 0) * width).toString('hex');
      }),
    }));
  return { names: set.names, types, length: set.length, byKey };
}

/** The text of the call's error, or of its first response's. */
function errorText(answer: RawAnswer): string {
  const decoded = decode(answer) as { error?: { message: string } };
  if (decoded.error !== undefined) return decoded.error.message;
  const [first] = responsesOf(answer) as { error?: string; ServerResp?: { error: string } }[];
  return first?.error ?? first?.ServerResp?.error ?? '';
}

function lowerCased(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]),
  );
}
