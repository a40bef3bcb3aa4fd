/**
 * What somebody goes through who writes a plugin, from the packed package and without a network: a
 * new folder, its types, its tests, a server that runs it, and rows queried from that server. For
 * each kind; how long it took is printed.
 */

import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { installPackage } from '../support/packed-package.ts';
import { writeRows } from '../support/rpc-write.ts';
import { ServerProcess } from '../support/server-process.ts';
import { PROJECT } from '../support/source-tree.ts';

/** From `mkts plugin new` to rows; what the issue allows is a minute. */
const TIME_MS_MAX = 60_000;
const TIMEOUT_MS = 240_000;

const home = mkdtempSync(join(tmpdir(), 'mkts-authoring-'));
let main = '';

interface Ended {
  readonly code: number;
  readonly output: string;
}

function run(program: string, args: readonly string[]): Promise<Ended> {
  // As at a terminal: neither this test's runner nor a project's settings shine through.
  const { NODE_TEST_CONTEXT: _, NODE_OPTIONS: __, VITEST: ___, ...env } = process.env;
  return new Promise((done) => {
    execFile(program, args, { cwd: home, env, timeout: TIMEOUT_MS }, (error, stdout, stderr) => {
      done({ code: error === null ? 0 : Number(error.code ?? -1), output: stdout + stderr });
    });
  });
}

const mkts = (...args: string[]): Promise<Ended> => run(process.execPath, [main, ...args]);

async function succeed(ended: Promise<Ended>): Promise<string> {
  const { code, output } = await ended;
  expect(code, output).toBe(0);
  return output;
}

/** A venue that has a candle of every minute it is asked for. Returns its base URL. */
async function startVenue(): Promise<string> {
  const server = createServer(({ url = '' }, response) => {
    const { searchParams } = new URL(url, 'http://venue');
    const seconds = (name: string): number => Date.parse(searchParams.get(name) ?? '') / 1000;
    const candles: number[][] = [];
    for (let time = seconds('end'); time >= seconds('start'); time -= 60)
      candles.push([time, 1, 4, 2, 3, 0.5]);
    response.setHeader('content-type', 'application/json').end(JSON.stringify(candles));
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  onTestFinished(() => void server.close());
  const address = server.address();
  return `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
}

/** Rows of a bucket, as the command line prints them; none while there is no bucket. */
async function query(url: string, key: string): Promise<readonly Record<string, unknown>[]> {
  const { code, output } = await mkts('query', key, '--url', url, '--json');
  if (code !== 0) return [];
  const lines = output.trim().split('\n');
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line));
}

/** What each kind needs of the test, and what must be in the server at the end. */
const KINDS = {
  feeder: {
    settings: async (): Promise<string> => `      base_url: ${await startVenue()}\n`,
    act: async (): Promise<void> => undefined,
    key: 'ETH-USD/1Min/OHLCV',
    rows: 60,
    row: { Open: 2, High: 4, Low: 1, Close: 3, Volume: 0.5 },
  },
  trigger: {
    settings: async (): Promise<string> => '',
    act: (url: string): Promise<void> =>
      writeRows(url, 'AAPL/1Min/OHLCV', [
        { name: 'Epoch', type: 'i8', data: BigInt64Array.of(1_600_000_200n, 1_600_000_260n) },
        { name: 'High', type: 'f8', data: Float64Array.of(12, 15) },
        { name: 'Low', type: 'f8', data: Float64Array.of(10, 11) },
      ]),
    key: 'AAPL/1Min/RANGE',
    rows: 2,
    row: { Epoch: 1_600_000_260, Range: 4 },
  },
  bgworker: {
    settings: async (): Promise<string> => '      every: 0.5\n',
    act: async (): Promise<void> => undefined,
    key: 'HEARTBEAT/1Min/STATUS',
    rows: 1,
    row: {},
  },
} as const;

beforeAll(async () => {
  main = await installPackage(home);
}, TIMEOUT_MS);
afterAll(() => rmSync(home, { recursive: true, force: true }));

test.each(Object.keys(KINDS) as (keyof typeof KINDS)[])(
  'a new %s passes its tests, runs in a server, and its rows are queried, within a minute',
  async (kind) => {
    const { settings, act, key, rows, row } = KINDS[kind];
    const startedMs = performance.now();
    await succeed(mkts('plugin', 'new', `my-${kind}`, '--kind', kind));
    expect(await succeed(mkts('plugin', 'test', `my-${kind}`))).toMatch(/\bfail 0\b/);
    const testedMs = performance.now();

    const sample = join(home, `my-${kind}`, 'sample.yml');
    const text = readFileSync(sample, 'utf8')
      .replace('listen_port: 5993', 'listen_port: 0\nlog_format: json')
      .replace('root_directory: data', `root_directory: data-${kind}`);
    writeFileSync(sample, text + (await settings()));
    const command = [process.execPath, main, 'start', '--config', sample];
    const server = await ServerProcess.run(home, command);
    onTestFinished(() => server.kill());
    await act(server.url);
    const found = (): Promise<unknown> => query(server.url, key).then(({ length }) => length);
    await expect
      .poll(found, { timeout: TIMEOUT_MS / 2, interval: 100 })
      .toBeGreaterThanOrEqual(rows);
    const tookMs = performance.now() - startedMs;
    expect((await query(server.url, key)).at(-1)).toMatchObject({ key, ...row });
    process.stdout.write(
      `${kind}: new and tested in ${seconds(testedMs - startedMs)}, rows queried after ${seconds(tookMs)}\n`,
    );
    expect(tookMs).toBeLessThan(TIME_MS_MAX);
    expect(await server.stop(), server.stderr).toBe(0);
    const bad = server.lines.filter(({ level }) => level === 'warn' || level === 'error');
    expect(bad.filter(({ plugin }) => plugin !== undefined)).toEqual([]);
  },
  TIMEOUT_MS,
);

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

/** A new plugin, with one of its files changed. */
async function changed(name: string, file: string, change: (text: string) => string) {
  await succeed(mkts('plugin', 'new', name));
  const path = join(home, name, file);
  const before = readFileSync(path, 'utf8');
  const after = change(before);
  expect(after).not.toBe(before);
  writeFileSync(path, after);
  return mkts('plugin', 'test', name);
}

test(
  'types resolve in every new folder, with mkts alone installed',
  async () => {
    for (const kind of Object.keys(KINDS)) {
      await succeed(mkts('plugin', 'new', `typed-${kind}`, '--kind', kind));
      const options = JSON.parse(readFileSync(join(home, `typed-${kind}/tsconfig.json`), 'utf8'));
      expect(options.compilerOptions.paths).toBeUndefined();
      const compiler = join(PROJECT, 'node_modules/.bin/tsc');
      await succeed(run(compiler, ['--noEmit', '--skipLibCheck', 'false', '-p', `typed-${kind}`]));
      // And not because everything is any.
      const plugin = join(home, `typed-${kind}/plugin.ts`);
      writeFileSync(plugin, readFileSync(plugin, 'utf8').replace('api: 1', "api: 'one'"));
      const { code, output } = await run(compiler, ['--noEmit', '-p', `typed-${kind}`]);
      expect(code, output).not.toBe(0);
      expect(output).toMatch(/plugin\.ts.*'string' is not assignable to type 'number'/);
    }
  },
  TIMEOUT_MS,
);

test(
  'types resolve where mkts is not installed above, as after a global installation',
  async () => {
    const elsewhere = mkdtempSync(join(tmpdir(), 'mkts-elsewhere-'));
    onTestFinished(() => rmSync(elsewhere, { recursive: true, force: true }));
    const folder = join(elsewhere, 'far-away');
    await succeed(mkts('plugin', 'new', folder));
    await succeed(run(join(PROJECT, 'node_modules/.bin/tsc'), ['-p', folder]));
    await succeed(mkts('plugin', 'test', folder));
  },
  TIMEOUT_MS,
);

test(
  'a plugin that does the wrong thing fails its test',
  async () => {
    const swapped = await changed('wrong-columns', 'plugin.ts', (text) =>
      text.replace('High: bars.map((bar) => bar[2])', 'High: bars.map((bar) => bar[1])'),
    );
    expect(swapped.output).toMatch(/✖ bars are stored as they close/);
    expect(swapped.code).toBe(1);
    const openBar = await changed('open-bar', 'plugin.ts', (text) =>
      text.replace('time >= from && time < to', 'time >= from'),
    );
    expect(openBar.code).toBe(1);
  },
  TIMEOUT_MS,
);

test(
  'what only a server would find is found by the checks',
  async () => {
    const imports = await changed('imports', 'plugin.ts', (text) =>
      text.replace('import {', "import { hostname } from 'node:os';\nvoid hostname();\nimport {"),
    );
    expect(imports.output).toMatch(/MKTS_PLUGIN_IMPORT|may not import node:os/);
    expect(imports.code).toBe(1);
    const sample = await changed('sample', 'sample.yml', (text) =>
      text.replace('history: 60', 'history: 0'),
    );
    expect(sample.output).toMatch(/✖ sample: sample\.yml is a valid mkts\.yml/);
    // Node has it, and so has the process of the tests; a worker's realm has not.
    const realm = await changed('realm', 'plugin.ts', (text) => `${text}\nprocess.cwd();\n`);
    expect(realm.output).toMatch(/✖ realm builds and loads as in a server/);
    expect(realm.output).toMatch(/✔ bars are stored as they close/);
    const readme = await changed('readme', 'plugin.ts', (text) =>
      text.replace('Products to follow.', 'What to follow.'),
    );
    expect(readme.output).toMatch(/--update/);
    await succeed(mkts('plugin', 'test', 'readme', '--update'));
    expect(readFileSync(join(home, 'readme/README.md'), 'utf8')).toContain('What to follow.');
  },
  TIMEOUT_MS,
);

test('a folder that is there, a name that is none, and a folder without tests are refused', async () => {
  mkdirSync(join(home, 'taken'));
  for (const [name, reason] of [
    ['taken', /EEXIST.*MKTS_SCAFFOLD/],
    ['My_Plugin', /small letters.*MKTS_SCAFFOLD/],
    ['binancefeeder', /comes with the server.*MKTS_SCAFFOLD/],
    ['no/such/parent', /ENOENT.*MKTS_SCAFFOLD/],
  ] as const) {
    const { code, output } = await mkts('plugin', 'new', name);
    expect({ code, output }).toEqual({ code: 1, output: expect.stringMatching(reason) });
  }
  const { code, output } = await mkts('plugin', 'test', 'taken');
  expect({ code, output }).toEqual({
    code: 1,
    output: expect.stringMatching(/no plugin\.ts.*MKTS_PLUGIN_UNTESTED/),
  });
});
