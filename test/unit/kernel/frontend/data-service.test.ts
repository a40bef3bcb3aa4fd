import { afterEach, describe, expect, test } from 'vitest';
import { StorageError } from '../../../../kernel/base/errors.ts';
import { Zone } from '../../../../kernel/base/zone.ts';
import {
  type FrontendOptions,
  type FrontendServer,
  startFrontend,
  TEST_HASH,
} from '../../../support/frontend-server.ts';
import {
  callMsgpack,
  decode,
  errorOf,
  postJson,
  postMsgpack,
  responsesOf,
  rowsOf,
} from '../../../support/wire-client.ts';

const E0 = 1_483_228_800;
let server: FrontendServer | undefined;

afterEach(async () => {
  await server?.close();
  server = undefined;
});

async function start(options: FrontendOptions = {}): Promise<FrontendServer> {
  server = await startFrontend(options);
  return server;
}

function rows(key: string, values: readonly number[], epoch = E0) {
  const epochs = BigInt64Array.from(values, (_value, at) => BigInt(epoch + 60 * at));
  return {
    dataset: {
      types: ['i8', 'f4'],
      names: ['Epoch', 'A'],
      data: [Buffer.from(epochs.buffer), Buffer.from(Float32Array.from(values).buffer)],
      length: values.length,
      startindex: { [key]: 0 },
      lengths: { [key]: values.length },
    },
    is_variable_length: false,
  };
}

async function written(...keys: string[]): Promise<FrontendServer> {
  const started = await start();
  const requests = keys.map((key) => rows(key, [1, 2]));
  await callMsgpack(started.address.port, 'Write', { requests });
  return started;
}

describe('ListSymbols', () => {
  test('answers names in order, and keys for tbk', async () => {
    const { address } = await written('B/1Min/X', 'A/5Min/X', 'A/1Min/X');
    const symbols = await callMsgpack(address.port, 'ListSymbols', { format: 'symbol' });
    expect(decode(symbols)).toMatchObject({ result: { Results: ['A', 'B'] } });
    const keys = await callMsgpack(address.port, 'ListSymbols', { format: 'tbk' });
    expect(decode(keys)).toMatchObject({
      result: { Results: ['A/1Min/X', 'A/5Min/X', 'B/1Min/X'] },
    });
  });

  test('is refused when the server is not queryable, and queries are not', async () => {
    const { address, readiness } = await written('A/1Min/X');
    readiness.queryable = false;
    const answer = await callMsgpack(address.port, 'ListSymbols', {});
    expect(errorOf(answer)).toMatchObject({ code: -32_000, message: 'server is not queryable' });
    const query = { requests: [{ destination: 'A/1Min/X' }] };
    expect(rowsOf(await callMsgpack(address.port, 'Query', query))).toHaveLength(2);
  });
});

describe('Query', () => {
  test('of several buckets gives rows in the order of the destination', async () => {
    const { address } = await written('A/1Min/X', 'B/1Min/X');
    const requests = [{ destination: 'B,A/1Min/X', limit_record_count: 1 }];
    const [response] = responsesOf(await callMsgpack(address.port, 'Query', { requests }));
    expect(response).toMatchObject({
      result: {
        length: 2,
        startindex: {
          'B/1Min/X:Symbol/Timeframe/AttributeGroup': 0,
          'A/1Min/X:Symbol/Timeframe/AttributeGroup': 1,
        },
        lengths: {
          'B/1Min/X:Symbol/Timeframe/AttributeGroup': 1,
          'A/1Min/X:Symbol/Timeframe/AttributeGroup': 1,
        },
      },
    });
  });

  test('names the timezone of the server', async () => {
    const { address } = await start({ zone: new Zone('America/New_York') });
    const answer = await callMsgpack(address.port, 'Query', {});
    expect(decode(answer)).toMatchObject({
      result: { responses: null, version: TEST_HASH, timezone: 'America/New_York' },
    });
  });

  test('in JSON takes both spellings of every field', async () => {
    const { address } = await written('A/1Min/X');
    for (const params of [
      '{"requests":[{"destination":"A/1Min/X","epoch_start":1483228860}]}',
      '{"Requests":[{"Destination":"A/1Min/X","EpochStart":1483228860}]}',
      '[{"REQUESTS":[{"dEsTiNaTiOn":"A/1Min/X","EPOCHSTART":1483228860}]}]',
    ]) {
      const text = `{"jsonrpc":"2.0","method":"DataService.Query","id":"x","params":${params}}`;
      expect(rowsOf(await postJson(address.port, text))).toEqual([{ Epoch: E0 + 60, A: 2 }]);
    }
  });
});

describe('Write', () => {
  test('of 50,000 rows comes back whole', async () => {
    const { address } = await start();
    const values = Array.from({ length: 50_000 }, (_value, at) => at);
    await callMsgpack(address.port, 'Write', { requests: [rows('BIG/1Min/X', values)] });
    const requests = [{ destination: 'BIG/1Min/X' }];
    const read = rowsOf(await callMsgpack(address.port, 'Query', { requests }));
    expect(read.map(({ A }) => A)).toEqual(values);
    expect(read.at(-1)?.Epoch).toBe(E0 + 60 * 49_999);
  });

  test('says what it survives, each request for itself', async () => {
    const { address } = await start();
    const requests = [
      { ...rows('A/1Min/X', [1]), durability: 'wal' },
      { ...rows('B/1Min/X', [2]), durability: 'disk' },
      { ...rows('C/1Min/X', [3]), durability: 'memory' },
      { ...rows('D/1Min/X', [4]), durability: 'fsync' },
    ];
    const answer = await callMsgpack(address.port, 'Write', { requests });
    expect(responsesOf(answer)).toMatchObject([
      { error: 'durability "disk" is not known: it is one of fsync, wal, memory' },
    ]);
    for (const [key, value] of [
      ['A', 1],
      ['C', 3],
      ['D', 4],
    ]) {
      const query = { requests: [{ destination: `${key}/1Min/X` }] };
      await expect
        .poll(async () => rowsOf(await callMsgpack(address.port, 'Query', query)))
        .toMatchObject([{ A: value }]);
    }
  });

  test('without an id is done and answered with nothing', async () => {
    const { address } = await start();
    const request = {
      jsonrpc: '2.0',
      method: 'DataService.Write',
      params: { requests: [rows('N/1Min/X', [7])] },
    };
    const { pack } = await import('msgpackr');
    const answer = await postMsgpack(address.port, pack(request));
    expect([answer.status, answer.body.length, answer.headers['content-type']]).toEqual([
      200,
      0,
      undefined,
    ]);
    const requests = [{ destination: 'N/1Min/X' }];
    expect(rowsOf(await callMsgpack(address.port, 'Query', { requests }))).toEqual([
      { Epoch: E0, A: 7 },
    ]);
  });

  test('that the disk refuses says so without naming a path', async () => {
    const failing = new StorageError('MKTS_WAL_WRITE', {
      path: '/secret/root/mkts-1.wal',
      reason: 'EIO',
    });
    const { address, internalErrors } = await start({
      ingestion: (plain) => ({ ...plain, write: () => Promise.reject(failing) }),
    });
    const answer = await callMsgpack(address.port, 'Write', { requests: [rows('A/1Min/X', [1])] });
    const [entry] = responsesOf(answer) as { error: string }[];
    expect(entry?.error).toMatch(/^the database does not take writes \(MKTS_WAL_WRITE\)/);
    expect(answer.body.toString('latin1')).not.toContain('secret');
    expect(internalErrors).toEqual([failing]);
  });

  test('requests of a call go on side by side unless they name one bucket', async () => {
    const log: string[] = [];
    const gates: (() => void)[] = [];
    const { address } = await start({
      ingestion: (plain) => ({
        ...plain,
        write: (batches) => {
          log.push(batches.map(({ key }) => key.symbol).join());
          return new Promise((resolve) => gates.push(resolve));
        },
      }),
    });
    const keys = ['A/1Min/X', 'B/1Min/X', 'A/1Min/X', 'C/1Min/X'];
    const answer = callMsgpack(address.port, 'Write', {
      requests: keys.map((key) => rows(key, [1])),
    });
    await expect.poll(() => log).toEqual(['A', 'B']);
    for (const open of gates.splice(0)) open();
    await expect.poll(() => log).toEqual(['A', 'B', 'A', 'C']);
    for (const open of gates.splice(0)) open();
    expect(decode(await answer)).toMatchObject({ result: { responses: null } });
  });
});

describe('Create and GetInfo', () => {
  const longKey = (key: string) => `${key}:Symbol/Timeframe/AttributeGroup`;

  test('make a bucket of this year in the timezone of the server', async () => {
    // Half past four in the morning of Jan 1 in London is still last year in New York.
    const now = () => Date.UTC(2021, 0, 1, 4, 30);
    const { address } = await start({ zone: new Zone('America/New_York'), now });
    const requests = [{ key: longKey('A/1Min/X'), column_names: ['V'], column_types: ['i4'] }];
    await callMsgpack(address.port, 'Create', { requests });
    const info = await callMsgpack(address.port, 'GetInfo', { requests: [{ key: 'A/1Min/X' }] });
    expect(responsesOf(info)).toMatchObject([{ LatestYear: 2020, TimeFrame: 60_000_000_000 }]);
  });

  test('is_variable_length counts before row_type', async () => {
    const { address } = await start();
    const requests = [
      { key: longKey('A/1Sec/T'), row_type: 'variable' },
      { key: longKey('B/1Sec/T'), row_type: 'variable', is_variable_length: false },
      { key: longKey('C/1Sec/T'), row_type: 'fixed', is_variable_length: true },
    ];
    await callMsgpack(address.port, 'Create', { requests });
    const keys = { requests: ['A/1Sec/T', 'B/1Sec/T', 'C/1Sec/T'].map((key) => ({ key })) };
    const info = responsesOf(await callMsgpack(address.port, 'GetInfo', keys));
    expect(info).toMatchObject([{ RecordType: 1 }, { RecordType: 0 }, { RecordType: 1 }]);
  });

  test('a request with fewer types than names is refused, those beside it are not', async () => {
    const { address } = await start();
    const requests = [
      { key: longKey('A/1Min/X'), column_names: ['a', 'b'], column_types: ['f4'] },
      { key: longKey('B/1Min/X'), column_names: ['a'], column_types: ['f4'] },
    ];
    const answer = await callMsgpack(address.port, 'Create', { requests });
    expect(responsesOf(answer)).toMatchObject([
      { error: 'dataset is malformed: 2 column names and 1 column types' },
      { error: '' },
    ]);
  });
});

describe('Destroy', () => {
  test('of a part of a key takes all below it, and warns', async () => {
    const { address, catalog, warnings } = await written('A/1Min/X', 'A/5Min/Y', 'AB/1Min/X');
    const answer = await callMsgpack(address.port, 'Destroy', { requests: [{ key: 'A' }] });
    expect(responsesOf(answer)).toMatchObject([{ error: '' }]);
    expect(catalog.buckets().map(({ key }) => key.path)).toEqual(['AB/1Min/X']);
    expect(warnings).toEqual(['a partial key destroys all buckets below it']);
  });

  test.each([
    ['C/1Min/X', 'C'],
    ['A/9Min/X', '9Min'],
    ['A/1Min/Z', 'Z'],
    ['', ''],
    ['A/', ''],
  ])('of %j names %j as missing', async (key, item) => {
    const { address } = await written('A/1Min/X');
    const answer = await callMsgpack(address.port, 'Destroy', { requests: [{ key }] });
    expect(responsesOf(answer)).toMatchObject([
      { error: `removal of catalog entry failed: Unable to find level item: ${item} in directory` },
    ]);
  });
});
