/**
 * Rows deleted by key and time on a real server: said first, then done, over the command line, RPC and
 * HTTP; what triggers made of them; and that they stay away over `kill -9`.
 */

import { execFile } from 'node:child_process';
import { join, resolve } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { queryServer } from '../../kernel/cli/rpc-client.ts';
import { writeRows } from '../support/rpc-write.ts';
import { ServerProcess } from '../support/server-process.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const MAIN = resolve(import.meta.dirname, '../../kernel/main.ts');
const T = Date.UTC(2021, 0, 4, 10) / 1000;

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function mktsDelete(...args: readonly string[]): Promise<Ended> {
  return new Promise((done) => {
    execFile(process.execPath, [MAIN, 'delete', ...args], (error, stdout, stderr) => {
      done({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr });
    });
  });
}

async function start(directory: string): Promise<ServerProcess> {
  const server = await ServerProcess.start(directory, {
    root_directory: join(directory, 'data'),
    triggers: [{ module: 'ondiskagg.so', on: '*/1Min/OHLCV', config: { destinations: ['1H'] } }],
  });
  onTestFinished(() => server.kill());
  return server;
}

/** A bar a minute from T on; its Close is its number. */
async function writeBars(server: ServerProcess, key: string, from: number, to: number) {
  const numbers = Array.from({ length: to - from }, (_, at) => from + at);
  const values = Float64Array.from(numbers);
  await writeRows(server.url, key, [
    { name: 'Epoch', type: 'i8', data: BigInt64Array.from(numbers, (n) => BigInt(T + 60 * n)) },
    ...['Open', 'High', 'Low', 'Close', 'Volume'].map((name) => ({
      name,
      type: 'f8',
      data: values,
    })),
  ]);
}

async function rowsOf(server: ServerProcess, key: string): Promise<[number, number][]> {
  const [bucket] = await queryServer(server.url, { destination: key });
  const column = (name: string): number[] =>
    Array.from(bucket?.columns.find((each) => each.name === name)?.data ?? [], Number);
  const closes = column('Close');
  return column('Epoch').map((epoch, at) => [(epoch - T) / 60, closes[at] ?? 0]);
}

function upTo(from: number, to: number): [number, number][] {
  return Array.from({ length: to - from }, (_, at) => [from + at, from + at]);
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 10));
}

test('rows are shown, then deleted, with what triggers made of them, and stay away', async () => {
  const directory = temporaryDirectory();
  let server = await start(directory);
  const { url } = server;
  await writeBars(server, 'A/1Min/OHLCV', 0, 180);
  await writeBars(server, 'B/1Min/OHLCV', 0, 10);
  // Until the trigger has made it there is no such bucket.
  const hours = (): Promise<string> =>
    rowsOf(server, 'A/1H/OHLCV').then(JSON.stringify, () => 'none');
  await until(async () => (await hours()) === '[[0,59],[60,119],[120,179]]');

  const range = ['--from', '2021-01-04T10:50', '--to', '2021-01-04T11:09:59', '-u', url];
  const said = await mktsDelete('*/1Min/OHLCV', ...range, '--json');
  expect(said).toMatchObject({ code: 0, stderr: '' });
  const buckets = [{ key: 'A/1Min/OHLCV', rows: 20, first: T + 3000, last: T + 60 * 69 }];
  expect(JSON.parse(said.stdout)).toEqual({ deleted: false, buckets });
  expect(await rowsOf(server, 'A/1Min/OHLCV')).toEqual(upTo(0, 180));

  const done = await mktsDelete('*/1Min/OHLCV', ...range, '--yes', '--json');
  expect(JSON.parse(done.stdout)).toEqual({ deleted: true, buckets });
  const left = [...upTo(0, 50), ...upTo(70, 180)];
  expect(await rowsOf(server, 'A/1Min/OHLCV')).toEqual(left);
  expect(await rowsOf(server, 'B/1Min/OHLCV')).toEqual(upTo(0, 10));
  await server.line(({ msg, rows }) => msg === 'rows were deleted' && rows === 20);
  await until(async () => (await hours()) === '[[0,49],[60,119],[120,179]]');

  await server.kill();
  server = await start(directory);
  expect(await rowsOf(server, 'A/1Min/OHLCV')).toEqual(left);
});

test('HTTP deletes of [from, to), RPC to the end; what is not clear is refused and deletes nothing', async () => {
  const server = await start(temporaryDirectory());
  await writeBars(server, 'A/1Min/OHLCV', 0, 10);
  const ask = async (query: string, method = 'DELETE') => {
    const response = await fetch(`${server.url}/api/v1/rows?${query}`, { method });
    return { status: response.status, ...((await response.json()) as object) };
  };
  for (const [query, status, code] of [
    [`from=${T}`, 400, 'MKTS_ADMIN_ARGUMENT'],
    ['key=A/1Min/OHLCV', 400, 'MKTS_DELETE_RANGE'],
    ['key=A/1Min/OHLCV&from=yesterday', 400, 'MKTS_ADMIN_ARGUMENT'],
    [`key=A/1Min/OHLCV&from=${T}&to=${T}`, 400, 'MKTS_DELETE_RANGE'],
    [`key=C/1Min/OHLCV&from=${T}`, 404, 'MKTS_DELETE_NO_BUCKET'],
    [`key=*/1Min/OHLCV/2021&from=${T}`, 400, 'MKTS_DELETE_RANGE'],
    [`key=*&from=${T}`, 400, 'MKTS_TRIGGER_PATTERN'],
    [`key=../../etc&from=${T}`, 404, 'MKTS_DELETE_NO_BUCKET'],
  ] as const)
    expect(await ask(query), query).toMatchObject({ status, code });
  expect(await ask(`key=A/1Min/OHLCV&from=${T}`, 'GET')).toMatchObject({ status: 404 });
  expect(await rowsOf(server, 'A/1Min/OHLCV')).toEqual(upTo(0, 10));

  const deleted = [{ key: 'A/1Min/OHLCV', rows: 2, first: T + 180, last: T + 240 }];
  const range = `key=A/1Min/OHLCV&from=${T + 180}&to=${T + 300}`;
  expect(await ask(`${range}&dry_run=1`)).toEqual({ status: 200, dry_run: true, deleted });
  expect(await ask(range)).toEqual({ status: 200, dry_run: false, deleted });
  expect(await ask(range)).toEqual({ status: 200, dry_run: false, deleted: [] });
  expect(await rowsOf(server, 'A/1Min/OHLCV')).toEqual([...upTo(0, 3), ...upTo(5, 10)]);

  const rpc = async (request: object) => {
    const response = await fetch(`${server.url}/rpc`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        jsonrpc: '2.0',
        method: 'DataService.Delete',
        id: 1,
        params: { requests: [request] },
      }),
    });
    return ((await response.json()) as { result: { Responses: unknown[] } }).result.Responses;
  };
  expect(await rpc({ Key: 'A/1Min/OHLCV' })).toMatchObject([
    { Deleted: [], Error: expect.stringContaining('say from, to, or both') },
  ]);
  expect(await rpc({ key: 'A/1Min/OHLCV', epoch_end: T + 300 })).toMatchObject([
    { Deleted: [{ Key: 'A/1Min/OHLCV', Rows: 4, First: T, Last: T + 300 }], Error: '' },
  ]);
  expect(await rowsOf(server, 'A/1Min/OHLCV')).toEqual(upTo(6, 10));

  const { code, stderr } = await mktsDelete('A/1Min/OHLCV', '-u', server.url);
  expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining('--from') });
});
