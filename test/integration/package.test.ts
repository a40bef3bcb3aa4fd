/**
 * The package as a user gets it: packed, installed into an empty directory, and run from there. All
 * of it is compiled JavaScript below node_modules, where Node strips no types: threads, the bundle
 * of the workers, built-in plugins and the SDK must be found as such.
 */

import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { nodeProblem } from '../../kernel/cli/node-version.ts';
import { startExchange } from '../support/exchange/exchange.ts';
import { runningClock } from '../support/exchange/venue-clock.ts';
import { recordedWeek } from '../support/fixture.ts';
import { ServerProcess } from '../support/server-process.ts';

const PROJECT = resolve(import.meta.dirname, '../..');
const INSTALL_TIMEOUT_MS = 240_000;
const LIVE_FROM = '2021-02-25T20:00:00Z';

/** A user's plugin, with types that have to be stripped. It lies in no package. */
const PLUGIN = `
import { type BgWorker, type Context, defineBgWorker, z } from 'mkts/sdk';

const config = z.object({ key: z.string(), bars: z.number().int() });
type Config = z.infer<typeof config>;

async function write(ctx: Context<Config>): Promise<void> {
  const Epoch: number[] = Array.from({ length: ctx.config.bars }, (_, at) => 1_600_000_200 + 60 * at);
  const prices = (add: number): Float32Array => Float32Array.from(Epoch, (_, at) => at + add);
  await ctx.write(ctx.config.key, {
    Epoch,
    Open: prices(0),
    High: prices(2),
    Low: prices(-1),
    Close: prices(1),
    Volume: Int32Array.from(Epoch, () => 10),
  });
  await ctx.flush();
  ctx.log.info('bars written', { bars: Epoch.length });
}

const plugin: BgWorker<typeof config> = defineBgWorker({
  name: 'a-few-bars',
  version: '1.0.0',
  api: 1,
  config,
  start: write,
});
export default plugin;
`;

const scratch = mkdtempSync(join(tmpdir(), 'mkts-package-'));
/** Where a user works: the package is installed here. */
const home = join(scratch, 'home');
const bin = join(home, 'node_modules/.bin/mkts');
// Whoever looks for `node` on the path, as the installed command does, finds the one of this test.
const environment = {
  ...process.env,
  PATH: [dirname(process.execPath), process.env.PATH].join(delimiter),
};

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function run(program: string, args: readonly string[], directory = home): Promise<Ended> {
  return new Promise((done) => {
    const options = { cwd: directory, env: environment, timeout: INSTALL_TIMEOUT_MS };
    execFile(program, args, options, (error, stdout, stderr) => {
      done({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr });
    });
  });
}

async function succeed(...given: Parameters<typeof run>): Promise<string> {
  const { code, stdout, stderr } = await run(...given);
  expect(code, `${given.flat().join(' ')}\n${stderr}${stdout}`).toBe(0);
  return stdout;
}

beforeAll(async () => {
  mkdirSync(home);
  await succeed('npm', ['pack', '--pack-destination', scratch], PROJECT);
  const [tarball = ''] = readdirSync(scratch).filter((name) => name.endsWith('.tgz'));
  writeFileSync(join(home, 'package.json'), '{ "private": true, "type": "module" }\n');
  const quiet = ['--prefer-offline', '--no-audit', '--no-fund'];
  await succeed('npm', ['install', ...quiet, join(scratch, tarball)]);
}, INSTALL_TIMEOUT_MS);

afterAll(() => rmSync(scratch, { recursive: true, force: true }));

test('the package holds what it needs and nothing else', () => {
  const root = join(home, 'node_modules/mkts');
  expect(readdirSync(root).sort()).toEqual([
    'ARCHITECTURE.md',
    'CHANGELOG.md',
    'LICENSE',
    'README.md',
    'config',
    'dist',
    'package.json',
    'plugins',
  ]);
  expect(readdirSync(join(root, 'dist')).sort()).toEqual([
    'config',
    'kernel',
    'plugins',
    'workers',
  ]);
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' });
  // What `mkts plugin new` copies stays TypeScript.
  const sources = files.filter((file) => /(?<!\.d)\.ts$/.test(file));
  expect(sources.filter((file) => !file.startsWith(join('plugins', 'scaffold')))).toEqual([]);
  expect(files).toContain('config/mkts.yml');
});

test('the installed command says its version, and writes the sample once', async () => {
  const { version } = JSON.parse(readFileSync(join(PROJECT, 'package.json'), 'utf8')) as {
    version: string;
  };
  expect(await succeed('npx', ['mkts', '--version'])).toBe(`mkts ${version}\n`);
  await succeed('npx', ['mkts', 'init']);
  const sample = readFileSync(join(PROJECT, 'config/mkts.yml'), 'utf8');
  expect(readFileSync(join(home, 'mkts.yml'), 'utf8')).toBe(sample);
});

test('the types of mkts/sdk are found by a compiler', async () => {
  writeFileSync(join(home, 'typed-plugin.ts'), PLUGIN);
  const options = ['--noEmit', '--strict', '--module', 'node20', '--target', 'es2023'];
  const compiler = join(PROJECT, 'node_modules/.bin/tsc');
  await succeed(compiler, [...options, '--types', '', 'typed-plugin.ts']);
});

test('a server runs a plugin of the user and built-in ones, is queried, and stops', async () => {
  const plugins = join(scratch, 'elsewhere');
  mkdirSync(plugins);
  writeFileSync(join(plugins, 'a-few-bars.ts'), PLUGIN);
  const exchange = await startExchange({
    binance: { series: [recordedWeek('binance')] },
    clock: runningClock({ startMs: Date.parse(LIVE_FROM), speed: 60 }),
  });
  onTestFinished(() => exchange.stop());
  const settings = readFileSync(join(home, 'mkts.yml'), 'utf8')
    .replace(/^listen_port: .*$/m, 'listen_port: 0')
    .concat(`
plugin_dir: ${JSON.stringify(plugins)}
triggers:
  - module: ondiskagg.so
    on: "*/1Min/OHLCV"
    config: { destinations: [5Min] }
bgworkers:
  - module: a-few-bars
    config: { key: MINE/1Min/OHLCV, bars: 10 }
  - module: binancefeeder.so
    config:
      symbols: [BTC]
      base_currencies: [USDT]
      query_start: "2021-02-25"
      base_url: ${exchange.binanceUrl}
      stream_url: ${exchange.binanceStreamUrl}
`);
  writeFileSync(join(home, 'mkts.yml'), settings);

  const server = await ServerProcess.run(home, [bin, 'start'], { PATH: environment.PATH });
  onTestFinished(() => server.kill());
  await server.line(({ msg }) => msg.includes('bars written'));
  const query = (...args: string[]): Promise<Ended> =>
    run('npx', ['mkts', 'query', '--url', server.url, ...args]);
  const mine = await query('MINE/1Min/OHLCV', '--limit', '2');
  expect(
    mine.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown),
  ).toEqual(
    [8, 9].map((at) => ({
      key: 'MINE/1Min/OHLCV',
      Epoch: 1_600_000_200 + 60 * at,
      Open: at,
      High: at + 2,
      Low: at - 1,
      Close: at + 1,
      Volume: 10,
    })),
  );
  const aggregated = async (): Promise<unknown> => (await query('MINE/5Min/OHLCV')).stdout;
  await expect.poll(aggregated, { timeout: 30_000 }).toMatch(/"Volume":50}\n.*"Volume":50}\n$/);
  // Through the broker thread, from the exchange.
  const fed = async (): Promise<unknown> => (await query('binance_BTC-USDT/1Min/OHLCV')).stdout;
  await expect.poll(fed, { timeout: 30_000 }).toMatch(/"key":"binance_BTC-USDT\/1Min\/OHLCV"/);

  expect(await server.stop(), server.stderr).toBe(0);
  expect(server.lines.filter(({ level }) => level === 'error' || level === 'fatal')).toEqual([]);
  expect(readdirSync(join(home, 'data')).sort()).toEqual([
    'MINE',
    'binance_BTC-USDT',
    'category_name',
    'mkts-consent.json',
  ]);
});

/** A Node on the path that is too old, if there is one. */
const oldNode = (process.env.PATH ?? '')
  .split(delimiter)
  .filter((directory) => !directory.includes('node_modules'))
  .map((directory) => join(directory, 'node'))
  .find((path) => {
    try {
      const version = execFileSync(path, ['--version'], { encoding: 'utf8' });
      return nodeProblem(version.trim().replace('v', ''), path) !== undefined;
    } catch {
      return false;
    }
  });

test.skipIf(oldNode === undefined)(
  'a Node that is too old is told so in one line (skipped where none is on the path)',
  async () => {
    const main = join(home, 'node_modules/mkts/dist/kernel/main.js');
    for (const args of [['start'], ['--version']]) {
      const { code, stdout, stderr } = await run(oldNode ?? '', [main, ...args]);
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      expect(stderr).toMatch(
        /^Error: mkts needs Node 22\.18 or newer; .* \(MKTS_NODE_TOO_OLD\)\n$/,
      );
    }
  },
);
