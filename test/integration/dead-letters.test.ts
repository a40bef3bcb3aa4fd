/**
 * Rows that cannot be taken, on a real server, by a plugin in a thread and the same one in a process:
 * counted, kept over a `kill -9`, listed, and written after all once the cause is gone, each once. One
 * server that is killed and started again; the tests follow each other.
 */

import { execFile } from 'node:child_process';
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { DeadLetter, LetterList, ReplayAnswer } from '../../kernel/base/dead-letter.ts';
import { LETTERS_KEPT_MAX, LETTERS_PER_SECOND_MAX } from '../../kernel/base/limits.ts';
import { callServer, queryServer } from '../../kernel/cli/rpc-client.ts';
import { writeRows } from '../support/rpc-write.ts';
import { type LogLine, ServerProcess } from '../support/server-process.ts';

const MAIN = resolve(import.meta.dirname, '../../kernel/main.ts');
const BASE = Date.UTC(2021, 0, 1) / 1000;
/** The names of the two plugins, and the symbols they write. */
const PLUGINS = ['worker', 'process'] as const;
const FLOOD_ROWS = 200;

/** Row `n` of a minute bar is at minute `n`. In its first life it is refused in every way there is. */
const FEEDER = `
const at = (n) => ${BASE} + 60 * n;
export default {
  kind: 'bgworker', name: 'refused', version: '1', api: 1,
  config: { safeParseAsync: async (data) => ({ success: true, data }) },
  async start(ctx) {
    const key = (group) => ctx.name.toUpperCase() + '/1Min/' + group;
    const codes = [];
    const tried = (write) => write.then(() => codes.push(''), (error) => codes.push(error.code));
    const begins = ctx.state.get('cursor') ?? 0;
    ctx.log.info('begins', { cursor: begins });
    if (begins === 0) {
      await ctx.write(key('PRICES'), { Epoch: [at(0), at(1)], Close: [0, 1] });
      await tried(ctx.write(key('PRICES'), { Epoch: [at(2), at(3)], Other: [2, 3] }));
      await ctx.write(key('COUNTS'), { Epoch: [at(0)], Count: Int32Array.of(0) });
      await tried(ctx.write(key('COUNTS'), { Epoch: [at(1)], Count: [1.5] }));
      await tried(ctx.write('OTHER-' + key('TICKS'),
        { Epoch: [at(0), at(0)], Nanoseconds: [1, 2], Size: [9007199254740993n, 2n] }, { variable: true }));
      await tried(ctx.write(key('SHUT'), { Epoch: [at(0)], Close: [7] }));
      ctx.deadLetter('not understood', '{"type": "tra');
      await ctx.writeAll([{ key: key('MOVED'), rows: { Epoch: [at(1)], Close: [1] } }], { state: { cursor: 1 } });
      await ctx.flush();
      ctx.log.info('ready', { codes: codes.join(' ') });
      while ((await ctx.lastRow(key('GO'))) === undefined) await ctx.clock.sleep(20, ctx.signal);
      // Its bucket has other columns by now, which its worker cannot know.
      await tried(ctx.writeAll([{ key: key('MOVED'), rows: { Epoch: [at(2)], Close: [2] } }], { state: { cursor: 2 } }));
      await tried(ctx.writeAll([{ key: key('FINE'), rows: { Epoch: [at(3)], Close: [3] } }], { state: { cursor: 3 } }));
      await ctx.flush();
    } else if (begins === 1) {
      await tried(ctx.writeAll([{ key: key('MOVED'), rows: { Epoch: [at(2)], Close: [2] } }], { state: { cursor: 2 } }));
      await tried(ctx.writeAll([{ key: key('FINE'), rows: { Epoch: [at(3)], Close: [3] } }], { state: { cursor: 3 } }));
      await ctx.flush();
      ctx.log.info('knows', { codes: codes.join(' '), cursor: ctx.state.get('cursor') });
    }
    await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve));
  },
};`;

/** A flood of refused calls in one turn. */
const FLOODER = `
export default {
  kind: 'bgworker', name: 'flood', version: '1', api: 1,
  config: { safeParseAsync: async (data) => ({ success: true, data }) },
  async start(ctx) {
    if (ctx.state.get('done') === true) return;
    for (let at = 0; at < ${FLOOD_ROWS}; at++)
      ctx.write('NOT A KEY', { Epoch: [60 * at], Value: [at] }).catch(() => undefined);
    await ctx.state.set('done', true);
    ctx.log.info('flooded');
    await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve));
  },
};`;

let directory: string;
let server: ServerProcess;

function dataOf(...parts: readonly string[]): string {
  return join(directory, 'data', ...parts);
}

async function start(writes: (symbol: string) => readonly string[]): Promise<void> {
  server = await ServerProcess.start(directory, {
    root_directory: dataOf(),
    bgworkers: [
      ...PLUGINS.map((isolation) => ({
        ...{ module: join(directory, 'refused.mjs'), name: isolation, isolation },
        writes: writes(isolation.toUpperCase()),
      })),
      { module: join(directory, 'flood.mjs'), name: 'flood' },
    ],
  });
}

function said(name: string, message: string): Promise<LogLine> {
  return server.line(({ plugin, msg }) => plugin === name && msg === message);
}

async function http<T>(path: string, method = 'GET'): Promise<T> {
  const response = await fetch(`${server.url}/api/v1/plugins/${path}`, { method });
  const text = await response.text();
  expect(response.status, text).toBe(200);
  return JSON.parse(text) as T;
}

function lettersOf(name: string, limit = 100): Promise<LetterList> {
  return http(`${name}/dead-letters?limit=${limit}`);
}

/** `mkts plugin …` as a script calls it. */
function mkts(...args: readonly string[]): Promise<{ code: number; stdout: string }> {
  const command = [MAIN, 'plugin', ...args, '--url', server.url];
  return new Promise((ended) => {
    execFile(process.execPath, command, { cwd: directory }, (error, stdout) =>
      ended({ code: error === null ? 0 : Number(error.code), stdout }),
    );
  });
}

async function valuesOf(destination: string, column: string): Promise<readonly number[]> {
  const [bucket] = await queryServer(server.url, { destination });
  return Array.from(bucket?.columns.find(({ name }) => name === column)?.data ?? [], Number);
}

async function destroy(key: string): Promise<void> {
  await callServer(server.url, 'Destroy', { requests: [{ key }] });
}

/** Rows of a plugin by /metrics, over all its generations. */
async function countsOf(name: string): Promise<Readonly<Record<string, number>>> {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  const sum = (metric: string): number =>
    [...text.matchAll(new RegExp(`^${metric}\\{([^}]*)\\} (\\d+)$`, 'gm'))]
      .filter(([, labels = '']) => labels.includes(`plugin="${name}"`))
      .reduce((total, [, , value]) => total + Number(value), 0);
  return {
    sent: sum('mkts_plugin_rows_sent_total'),
    accepted: sum('mkts_plugin_rows_accepted_total'),
    rejected: sum('mkts_plugin_rows_rejected_total'),
    kept: sum('mkts_plugin_dead_letters'),
    dropped: sum('mkts_plugin_dead_letters_dropped_total'),
  };
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'mkts-letters-'));
  writeFileSync(join(directory, 'refused.mjs'), FEEDER);
  writeFileSync(join(directory, 'flood.mjs'), FLOODER);
  for (const isolation of PLUGINS) {
    // A bucket that is read-only, for its year is damaged.
    const levels = [isolation.toUpperCase(), '1Min', 'SHUT'];
    const names = ['Symbol', 'Timeframe', 'AttributeGroup', 'Year'];
    mkdirSync(dataOf(...levels), { recursive: true });
    for (const [depth, name] of names.entries())
      writeFileSync(dataOf(...levels.slice(0, depth), 'category_name'), name);
    writeFileSync(dataOf(...levels, '2021.bin'), 'damaged');
  }
  // What an earlier run left, as many as are kept.
  const old = { time: '2021-01-01T00:00:00.000Z', generation: 1, reason: 'old', rowCount: 0 };
  for (let id = 1; id <= LETTERS_KEPT_MAX; id++)
    appendFileSync(dataOf('mkts-letters-flood.jsonl'), `${JSON.stringify({ id, ...old })}\n`);
  await start((symbol) => [`${symbol}/1Min/*`]);
});

afterAll(async () => {
  expect(await server.stop(), server.stderr).toBe(0);
  rmSync(directory, { recursive: true, force: true });
});

test.each(PLUGINS)('%s: each refusal is told to the plugin, counted and kept', async (name) => {
  expect((await said(name, 'ready')).codes).toBe(
    'MKTS_COLUMN_MISMATCH MKTS_COLUMN_LOSSY MKTS_CAPABILITY_DENIED MKTS_BUCKET_READ_ONLY',
  );
  const { letters } = await lettersOf(name);
  const symbol = name.toUpperCase();
  expect(letters.map(({ code, rowCount, keys }) => [code, rowCount, ...keys])).toEqual([
    ['MKTS_COLUMN_MISMATCH', 2, `${symbol}/1Min/PRICES`],
    ['MKTS_COLUMN_LOSSY', 1, `${symbol}/1Min/COUNTS`],
    ['MKTS_CAPABILITY_DENIED', 2, `OTHER-${symbol}/1Min/TICKS`],
    ['MKTS_BUCKET_READ_ONLY', 1, `${symbol}/1Min/SHUT`],
    [undefined, 0],
  ]);
  expect(letters.at(-1)).toMatchObject({ reason: 'not understood', excerpt: '{"type": "tra' });
  // A process tells its counts now and then.
  await expect
    .poll(() => countsOf(name), { timeout: 10_000 })
    .toEqual({ sent: 10, accepted: 4, rejected: 6, kept: 5, dropped: 0 });
});

test.each(PLUGINS)(
  '%s: state does not pass rows that are refused once accepted: the plugin goes on before them',
  async (name) => {
    const symbol = name.toUpperCase();
    await destroy(`${symbol}/1Min/MOVED`);
    const row = (column: string) => [
      { name: 'Epoch', type: 'i8', data: BigInt64Array.of(BigInt(BASE)) },
      { name: column, type: 'f8', data: Float64Array.of(0) },
    ];
    await writeRows(server.url, `${symbol}/1Min/MOVED`, row('Other'));
    await writeRows(server.url, `${symbol}/1Min/GO`, row('Value'));
    expect(await said(name, 'knows')).toMatchObject({ codes: 'MKTS_COLUMN_MISMATCH ', cursor: 3 });
    const begins = server.lines.filter(({ plugin, msg }) => plugin === name && msg === 'begins');
    expect(begins.map(({ cursor }) => cursor)).toEqual([0, 1]);
    expect(await valuesOf(`${symbol}/1Min/FINE`, 'Close')).toEqual([3]);
    const { letters } = await lettersOf(name);
    const codes = letters.slice(5).map(({ code }) => code);
    // The envelope behind the refused one was in the ring already, or was never sent.
    expect([...new Set(codes)]).toEqual(['MKTS_STATE_REFUSED', 'MKTS_COLUMN_MISMATCH']);
    const { sent = 0, accepted = 0, rejected = 0 } = await countsOf(name);
    expect(accepted).toBe(5);
    expect(sent).toBe(accepted + rejected);
  },
);

test('a flood leaves no more than are kept, the newest, and what was dropped is counted', async () => {
  await said('flood', 'flooded');
  const { letters, count, dropped } = await lettersOf('flood', LETTERS_KEPT_MAX);
  expect(count).toBe(LETTERS_KEPT_MAX);
  // Those of the flood that were not sent, and those that gave way to the others.
  expect(dropped).toBe(FLOOD_ROWS);
  expect(letters[0]?.id).toBe(LETTERS_PER_SECOND_MAX + 1);
  expect(letters.at(-1)?.code).toBe('MKTS_KEY_INVALID');
  expect(await countsOf('flood')).toMatchObject({
    sent: FLOOD_ROWS,
    rejected: FLOOD_ROWS,
    dropped,
  });
  const { stdout } = await mkts('letters', 'flood', '--limit', '1');
  expect(JSON.parse(stdout)).toMatchObject({ count, dropped });
});

test('after kill -9 they are all there; what was mended is written, each once, and gone', async () => {
  const before = await Promise.all(PLUGINS.map((name) => lettersOf(name)));
  await server.kill();
  for (const symbol of ['WORKER', 'PROCESS']) rmSync(dataOf(symbol, '1Min/SHUT/2021.bin'));
  await start((symbol) => [`${symbol}/1Min/*`, `OTHER-${symbol}/1Min/*`]);
  const after = await Promise.all(PLUGINS.map((name) => lettersOf(name)));
  expect(after.map(({ letters }) => letters)).toEqual(before.map(({ letters }) => letters));
  const [list] = after;
  const idOf = (wanted: string): number =>
    list?.letters.find(({ code }) => code === wanted)?.id ?? 0;

  for (const symbol of ['WORKER', 'PROCESS'])
    for (const group of ['PRICES', 'COUNTS']) await destroy(`${symbol}/1Min/${group}`);
  // Two operators at once, and one after them.
  const path = 'worker/dead-letters/replay?all=1';
  const both = await Promise.all([1, 2].map(() => http<ReplayAnswer>(path, 'POST')));
  const written = both.flatMap(({ replayed }) => replayed.map(({ id }) => id)).sort();
  expect(new Set(written).size).toBe(written.length);
  expect(written).toHaveLength(4);
  // The message, what its plugin sent again, and what that has still other columns.
  const left = (await lettersOf('worker')).letters.map(({ code }) => code);
  expect([...new Set(left)]).toEqual([undefined, 'MKTS_STATE_REFUSED', 'MKTS_COLUMN_MISMATCH']);
  const again = await mkts('replay', 'process', '--all');
  expect(again.code).toBe(1);
  const { replayed, refused } = JSON.parse(again.stdout) as ReplayAnswer;
  expect(replayed.map(({ rowCount }) => rowCount)).toEqual([2, 1, 2, 1]);
  expect(refused).toEqual([{ id: expect.any(Number), reason: expect.stringContaining('Other') }]);

  for (const symbol of ['WORKER', 'PROCESS']) {
    expect(await valuesOf(`${symbol}/1Min/PRICES`, 'Other')).toEqual([2, 3]);
    expect(await valuesOf(`${symbol}/1Min/COUNTS`, 'Count')).toEqual([1.5]);
    const [ticks] = await queryServer(server.url, { destination: `OTHER-${symbol}/1Min/TICKS` });
    const sizes = ticks?.columns.find(({ name }) => name === 'Size')?.data;
    expect(sizes).toEqual(BigInt64Array.of(9_007_199_254_740_993n, 2n));
    expect(await valuesOf(`${symbol}/1Min/SHUT`, 'Close')).toEqual([7]);
  }
  // What its plugin sends again is there for who asks for it by number.
  await destroy('WORKER/1Min/MOVED');
  const id = idOf('MKTS_STATE_REFUSED');
  const letter = await http<DeadLetter>(`worker/dead-letters/${id}`);
  expect(letter.series?.[0]?.key).toBe('WORKER/1Min/MOVED');
  await http(`worker/dead-letters/replay?id=${id}`, 'POST');
  expect((await valuesOf('WORKER/1Min/MOVED', 'Close'))[0]).toBe(2);
  const gone = await http<ReplayAnswer>(`worker/dead-letters/replay?id=${id}`, 'POST');
  expect(gone.refused).toEqual([{ id, reason: expect.stringContaining('no dead letter') }]);
});
