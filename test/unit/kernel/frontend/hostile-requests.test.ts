/**
 * What kills, hangs or silences the reference, and must not disturb ours: each request is answered
 * with an error that says what is wrong, and the same connection answers the next one.
 */

import { Agent } from 'node:http';
import { pack } from 'msgpackr';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { logsIn, startTestServer, type TestServer } from '../../../support/test-server.ts';
import {
  callMsgpack,
  decode,
  errorOf,
  postJson,
  postMsgpack,
  type RawAnswer,
  responsesOf,
  rowsOf,
} from '../../../support/wire-client.ts';

const E0 = 1_483_228_800;
const i8 = (...values: number[]): Buffer =>
  Buffer.from(BigInt64Array.from(values.map(BigInt)).buffer);
const f4 = (...values: number[]): Buffer => Buffer.from(Float32Array.from(values).buffer);
const f8 = (...values: number[]): Buffer => Buffer.from(Float64Array.from(values).buffer);
const i4 = (...values: number[]): Buffer => Buffer.from(Int32Array.from(values).buffer);

let server: TestServer;
const agent = new Agent({ keepAlive: true, maxSockets: 1 });

beforeAll(async () => {
  server = await startTestServer();
  const answer = await call('Write', {
    requests: [
      {
        dataset: dataset('Q1/1Min/OHLCV', {
          Epoch: ['i8', i8(E0, E0 + 60)],
          A: ['f4', f4(1, 2)],
          B: ['i4', i4(10, 20)],
        }),
      },
    ],
  });
  expect(decode(answer)).toMatchObject({ result: { responses: null } });
});

afterAll(async () => {
  agent.destroy();
  await server.stop();
  expect(server.errors).toEqual([]);
  expect(logsIn(server.root)).toEqual([]);
  await server.remove();
});

// The connection and the rows are as they were, whatever a test sent.
afterEach(async () => {
  expect(Object.values(agent.sockets).flat().length).toBeLessThanOrEqual(1);
  const answer = await query({ destination: 'Q1/1Min/OHLCV', limit_record_count: 1 });
  expect(rowsOf(answer)).toEqual([{ Epoch: E0 + 60, A: 2, B: 20 }]);
});

const call = (method: string, params: unknown) => callMsgpack(server.port, method, params, agent);
const query = (...requests: unknown[]) => call('Query', { requests });

function dataset(key: string, columns: Record<string, readonly [string, Uint8Array]>, rows = 2) {
  return {
    types: Object.values(columns).map(([type]) => type),
    names: Object.keys(columns),
    data: Object.values(columns).map(([, data]) => data),
    length: rows,
    startindex: { [key]: 0 },
    lengths: { [key]: rows },
  };
}

async function writeError(set: unknown): Promise<string> {
  const answer = await call('Write', { requests: [set === undefined ? {} : { dataset: set }] });
  const [entry, ...others] = responsesOf(answer) as { error: string }[];
  expect(others).toEqual([]);
  return entry?.error ?? 'no error';
}

describe('datasets that contradict themselves', () => {
  const epoch = ['i8', i8(E0, E0 + 60)] as const;
  const good = dataset('NEW/1Min/X', { Epoch: epoch, A: ['f4', f4(1, 2)] });

  test.each([
    ['no dataset', undefined, /^dataset is malformed: there is none/],
    ['nil for the dataset', null, /^dataset is malformed: there is none/],
    ['fewer types than names', { ...good, types: ['i8'] }, /2 names, 1 types/],
    ['fewer columns of data than names', { ...good, data: [i8(E0, E0)] }, /1 columns of data/],
    ['more data than names', { ...good, names: ['Epoch'] }, /1 names/],
    [
      'a column shorter than lengths',
      { ...good, data: [i8(E0, E0 + 60), f4(1)] },
      /column A has 1 values, NEW\/1Min\/X needs 2/,
    ],
    [
      'a column with half a value',
      { ...good, data: [i8(E0, E0 + 60), Buffer.alloc(7)] },
      /column A has 7 bytes, not a multiple of 4/,
    ],
    ['lengths past the data', { ...good, lengths: { 'NEW/1Min/X': 3 } }, /needs 3/],
    ['startindex past the data', { ...good, startindex: { 'NEW/1Min/X': 1 } }, /needs 3/],
    ['a negative startindex', { ...good, startindex: { 'NEW/1Min/X': -1 } }, /rows -1 to 1/],
    ['a negative length', { ...good, lengths: { 'NEW/1Min/X': -2 } }, /rows 0 to -2/],
    [
      'a huge length',
      { ...good, lengths: { 'NEW/1Min/X': 2n ** 63n - 1n } },
      /needs 9223372036854776000/,
    ],
    ['an empty startindex', { ...good, startindex: {}, lengths: {} }, /startindex names no bucket/],
    [
      'lengths of a key without startindex',
      { ...good, lengths: { 'NEW/1Min/X': 2, 'Z/1Min/X': 1 } },
      /lengths names Z\/1Min\/X/,
    ],
    [
      'a column twice',
      {
        ...good,
        names: ['Epoch', 'A', 'A'],
        types: ['i8', 'f4', 'f4'],
        data: [i8(E0, E0), f4(1, 2), f4(1, 2)],
      },
      /column A is given twice/,
    ],
    [
      'Epoch as i4',
      dataset('NEW/1Min/X', { Epoch: ['i4', i4(1, 2)] }),
      /^unexpected data type for Epoch column$/,
    ],
    ['no Epoch', dataset('NEW/1Min/X', { epoch }), /^unexpected data type for Epoch column$/],
    [
      'Nanoseconds as i8',
      dataset('NEW/1Min/X', { Epoch: epoch, Nanoseconds: epoch }),
      /^unexpected data type for Nanoseconds column$/,
    ],
    [
      'a type that is none',
      dataset('NEW/1Min/X', { Epoch: epoch, A: ['q9', i4(1, 2)] }),
      /^unsupported type string q9$/,
    ],
    [
      'a type with a byte order',
      dataset('NEW/1Min/X', { Epoch: ['<i8', i8(1, 2)] }),
      /^unsupported type string <i8$/,
    ],
  ])('%s', async (_what, set, message) => {
    expect(await writeError(set)).toMatch(message);
    const listed = decode(await call('ListSymbols', { format: 'tbk' }));
    expect(listed).toMatchObject({
      result: { Results: expect.not.arrayContaining(['NEW/1Min/X']) },
    });
  });

  test('columns that do not fit the bucket', async () => {
    const key = 'Q1/1Min/OHLCV';
    const A = ['f4', f4(1, 2)] as const;
    expect(await writeError(dataset(key, { Epoch: epoch, A }))).toBe(
      'unable to match data columns ([{Epoch INT64} {A FLOAT32}]) to bucket columns ([{Epoch INT64} {A FLOAT32} {B INT32}])',
    );
    const text = ['U16', Buffer.alloc(128)] as const;
    expect(await writeError(dataset(key, { Epoch: epoch, A, B: text }))).toMatch(
      /^can not cast to boolean or string/,
    );
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY, 1e300])(
    '%f into an integer column',
    async (value) => {
      const set = dataset('Q1/1Min/OHLCV', {
        Epoch: epoch,
        A: ['f4', f4(1, 2)],
        B: ['f8', f8(1, value)],
      });
      expect(await writeError(set)).toMatch(/^column B: value .* does not fit type INT32$/);
    },
  );

  test.each([2 ** 40, -(2 ** 40)])('the epoch %i, whose year no file can have', async (value) => {
    const set = dataset('NEW/1Min/X', { Epoch: ['i8', i8(E0, value)], A: ['f4', f4(1, 2)] });
    expect(await writeError(set)).toMatch(/is outside the years/);
  });

  test('a name of a column that the header has no room for', async () => {
    const set = dataset('NEW/1Min/X', { Epoch: epoch, ['x'.repeat(33)]: ['f4', f4(1, 2)] });
    expect(await writeError(set)).toMatch(/is longer than 32 bytes/);
  });

  test('a bad request undoes no good one beside it, and says which only in the log', async () => {
    const rows = { Epoch: ['i8', i8(E0)], A: ['f4', f4(5)] } as const;
    const answer = await call('Write', {
      requests: [
        { dataset: { ...good, types: [] } },
        { dataset: dataset('GOOD/1Min/X', rows, 1) },
        {},
      ],
    });
    expect(responsesOf(answer)).toHaveLength(2);
    expect(rowsOf(await query({ destination: 'GOOD/1Min/X' }))).toEqual([{ Epoch: E0, A: 5 }]);
    expect(server.warnings).toContain('Write 2 of a call is refused');
  });

  test('two requests of a call for one bucket are written in their order', async () => {
    const requests = [1, 2, 3].map((value) => ({
      dataset: dataset('SAME/1Min/X', { Epoch: ['i8', i8(E0)], A: ['f4', f4(value)] }, 1),
    }));
    await call('Write', { requests });
    expect(rowsOf(await query({ destination: 'SAME/1Min/X' }))).toEqual([{ Epoch: E0, A: 3 }]);
  });
});

describe('keys that are none', () => {
  const KEYS = [
    '',
    'X',
    'X/1Min',
    'X/1Min/A/B',
    '../1Min/X',
    'X/1Min/..',
    './1Min/X',
    '/1Min/X',
    'a\\b/1Min/X',
    'X/1Min/a,b',
    'X/1Min/*',
    'X\0/1Min/X',
    'WALFile.1/1Min/X',
    'category_name/1Min/X',
    `${'x'.repeat(256)}/1Min/X`,
    'X/1Min/Y:Foo/Timeframe/AttributeGroup',
  ];

  test.each(KEYS)('Write of %j', async (key) => {
    const set = dataset(key, { Epoch: ['i8', i8(E0)], A: ['f4', f4(1)] }, 1);
    expect(await writeError(set)).toMatch(
      /^key ".*" is not in proper format, should be like: TSLA\/1Min\/OHLCV/s,
    );
  });

  test.each(KEYS)('Create, GetInfo, Destroy and Query of %j', async (key) => {
    const longKey = key.includes(':') ? key : `${key}:Symbol/Timeframe/AttributeGroup`;
    const created = await call('Create', { requests: [{ key: longKey }] });
    expect(responsesOf(created)).toMatchObject([
      { error: expect.stringMatching(/not in proper format|category name does not match/) },
    ]);
    const info = await call('GetInfo', { requests: [{ key }] });
    expect(responsesOf(info)).toMatchObject([
      {
        LatestYear: 0,
        DSV: null,
        ServerResp: { error: expect.stringContaining('unable to get info about key') },
      },
    ]);
    const destroyed = await call('Destroy', { requests: [{ key }] });
    expect(responsesOf(destroyed)).toMatchObject([
      {
        error: expect.stringMatching(/^removal of catalog entry failed: Unable to find level item/),
      },
    ]);
    expect(errorOf(await query({ destination: key }))).toMatchObject({ code: -32_000, data: null });
  });

  test.each(['0Min', '1M', 'XX', ''])('the timeframe %j', async (timeframe) => {
    const set = dataset(`X/${timeframe}/Y`, { Epoch: ['i8', i8(E0)] }, 1);
    expect(await writeError(set)).toMatch(/^error: Unable to get timeframe|not in proper format/);
  });

  test('a timeframe that does not divide a day', async () => {
    const set = dataset('X/7Min/Y', { Epoch: ['i8', i8(E0)] }, 1);
    expect(await writeError(set)).toMatch(/^timeframe 7Min cannot be stored/);
  });
});

describe('queries', () => {
  test.each([
    [{ destination: '' }, 'destinations must have a Symbol, Timeframe and AttributeGroup'],
    [{ destination: 'Q1' }, 'destinations must have a Symbol, Timeframe and AttributeGroup'],
    [{}, 'destinations must have a Symbol, Timeframe and AttributeGroup'],
    [
      { destination: 'Q1/1Min/OHLCV', limit_record_count: -1 },
      'limit_record_count must not be negative',
    ],
    [{ destination: 'Q1/1Min/OHLCV', functions: ['nope()'] }, 'functions are not supported'],
    [{ is_sqlstatement: true, sql_statement: 'select' }, 'SQL is not supported'],
  ])('%j', async (request, message) => {
    const error = errorOf(await query(request));
    expect(error).toMatchObject({ code: -32_000, data: null });
    expect(error.message).toContain(message);
  });

  test.each([
    { limit_record_count: 2 ** 31 },
    { limit_record_count: 2 ** 31 - 1 },
    { limit_record_count: 2n ** 32n + 1n },
    { limit_record_count: 2n ** 64n - 1n },
    { limit_record_count: 2n ** 63n - 1n, limit_from_start: true },
    { epoch_end: 2n ** 64n - 1n },
    { epoch_start: -(2n ** 63n), epoch_start_nanos: -(2n ** 63n) },
    {
      epoch_start: 0,
      epoch_start_nanos: 2n ** 60n,
      epoch_end: 2n ** 62n,
      epoch_end_nanos: 2n ** 63n - 1n,
    },
  ])('absurd numbers bound nothing: %o', async (bounds) => {
    expect(rowsOf(await query({ destination: 'Q1/1Min/OHLCV', ...bounds }))).toHaveLength(2);
  });

  test('a start after all time finds nothing', async () => {
    expect(rowsOf(await query({ destination: 'Q1/1Min/OHLCV', epoch_start: 2n ** 62n }))).toEqual(
      [],
    );
  });

  test('the first query that fails fails the call', async () => {
    const good = { destination: 'Q1/1Min/OHLCV' };
    expect(errorOf(await query(good, { destination: 'NOPE/1Min/X' })).message).toBe(
      'no files returned from query parse',
    );
  });
});

describe('parameters of a wrong type are -32600 and repeat what came', () => {
  test.each([
    [{ requests: 5 }],
    [{ requests: [5] }],
    [{ requests: [['x']] }],
    [{ requests: [{ destination: 5 }] }],
    [{ requests: [{ destination: 'Q1/1Min/OHLCV', limit_record_count: '1' }] }],
    [{ requests: [{ destination: 'Q1/1Min/OHLCV', limit_record_count: 1.5 }] }],
    [{ requests: [{ destination: 'Q1/1Min/OHLCV', limit_from_start: 1 }] }],
    [{ requests: [{ destination: 'Q1/1Min/OHLCV', columns: 'A' }] }],
    [{ requests: [{ destination: 'Q1/1Min/OHLCV', columns: [1] }] }],
    ['abc'],
    [[{}, {}]],
    [[]],
  ])('%j', async (params) => {
    const error = errorOf(await call('Query', params));
    expect(error.code).toBe(-32_600);
    expect(error.data).toEqual(params);
    const text = JSON.stringify({ jsonrpc: '2.0', method: 'DataService.Query', id: 1, params });
    const answer = await postJson(server.port, text, agent);
    expect(errorOf(answer)).toMatchObject({ code: -32_600, data: params });
    expect(answer.headers['x-content-type-options']).toBeUndefined();
  });

  test('JSON columns that are no base64', async () => {
    const Data = { ColumnTypes: ['i8'], ColumnNames: ['Epoch'], ColumnData: ['%%%'] };
    const text = JSON.stringify({
      jsonrpc: '2.0',
      method: 'DataService.Write',
      id: 1,
      params: { requests: [{ Data }] },
    });
    const error = errorOf(await postJson(server.port, text, agent));
    expect(error.message).toContain('ColumnData: expected base64');
  });

  test('a long request is not repeated', async () => {
    const error = errorOf(await call('Query', { requests: 5, filler: 'x'.repeat(100_000) }));
    expect(error).toMatchObject({ code: -32_600, data: null });
  });
});

describe('bodies that are none', () => {
  const isParseError = (answer: RawAnswer) => {
    expect(answer.status).toBe(200);
    expect(decode(answer)).toMatchObject({ jsonrpc: '2.0', error: { code: -32_700 }, id: null });
    expect(answer.headers['mkts-error']).toBe('MKTS_RPC_PARSE');
  };

  test.each(['', '{', '[', '"x"', '{"jsonrpc":"2.0"', '\0', `${'['.repeat(100_000)}`])(
    'the JSON %j',
    async (text) => {
      isParseError(await postJson(server.port, text.slice(0, 100_000), agent));
    },
  );

  test.each(['', 'c1', '90', '84', 'dfffffffff', 'd4aa00', '81a26964'])(
    'the MessagePack %s',
    async (hex) => {
      isParseError(await postMsgpack(server.port, Buffer.from(hex, 'hex'), agent));
    },
  );

  test('an id that is no JSON does not reach the answer', async () => {
    isParseError(await postJson(server.port, '{"jsonrpc":"2.0","id":nope}', agent));
    const text = '{"jsonrpc":"1.0","method":"DataService.Query","params":{nope},"id":1}';
    isParseError(await postJson(server.port, text, agent));
  });

  test('a method that is no string, or nothing', async () => {
    for (const method of [
      5,
      null,
      '',
      '.',
      'DataService.',
      'DataService.__proto__',
      'DataService.constructor',
    ]) {
      const body = pack({ jsonrpc: '2.0', method, id: 1 });
      const { message } = errorOf(await postMsgpack(server.port, body, agent));
      expect(message).toMatch(
        /^rpc: (service\/method request ill-formed|can't find (service|method))/,
      );
    }
  });
});
