/**
 * New versions run beside the old on a real server: their rows are compared and reach nothing else,
 * and what comes of it (promoted by command or by rule, discarded, failed) costs what serves no row.
 */

import { spawn } from 'node:child_process';
import { renameSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { PluginDetail, ShadowReport } from '../../kernel/base/plugin-report.ts';
import { queryServer } from '../../kernel/cli/rpc-client.ts';
import { ServerProcess } from '../support/server-process.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const MAIN = resolve(import.meta.dirname, '../../kernel/main.ts');
const DEADLINE_MS = 20_000;
const KEY = 'FED/1Min/COUNT';
const BASE = Date.UTC(2021, 0, 1) / 1000;

/** Writes n at minute n, its cursor in its state; `row` may change what it writes as n, and half a minute on. */
const FEEDER = (version: string, row = '[n]', more = '', asks = ''): string => `
import { defineBgWorker, z } from 'mkts/sdk';
export default defineBgWorker({
  name: 'fed', version: '${version}', api: 1, ${asks}
  config: z.object({ add: z.number().default(0) }),
  async start(ctx) {
    let next = Number(ctx.state.get('next') ?? 0);
    ctx.log.info('begins', { next });
    while (!ctx.signal.aborted) {
      const Epoch = [];
      const Value = [];
      for (let n = next; n < next + 5; n++) {
        ${more}
        for (const [at, value] of (${row}).entries()) {
          Epoch.push(${BASE} + 60 * n + 30 * at);
          Value.push(value);
        }
      }
      next += 5;
      await ctx.write('${KEY}', { Epoch, Value: Float64Array.from(Value) }, { state: { next } });
      await ctx.clock.sleep(10, ctx.signal);
    }
  },
});`;

/** Writes ten times the newest value of the key it is told of, once for each value. */
const TRIGGER = (version: string, factor: number): string => `
import { defineTrigger, z } from 'mkts/sdk';
export default defineTrigger({
  name: 'told', version: '${version}', api: 1, config: z.object({}),
  start() {},
  async fire(ctx, batch) {
    const [{ from }] = batch.ranges;
    await ctx.write('TOLD/1Min/COUNT', { Epoch: [from], Value: Float64Array.of(from * ${factor}) });
  },
});`;

interface Setup {
  readonly reload?: Readonly<Record<string, unknown>>;
  readonly isolation?: string;
  readonly trigger?: boolean;
}

async function serverOf({ reload = {}, isolation = 'worker', trigger = false }: Setup = {}) {
  const directory = temporaryDirectory();
  const put = (name: string, text: string): void => {
    const path = join(directory, `${name}.ts`);
    writeFileSync(`${path}.new`, text);
    renameSync(`${path}.new`, path);
  };
  put('fed', FEEDER('1.0.0'));
  put('told', TRIGGER('1.0.0', 1));
  const entry = (name: string) => ({
    module: join(directory, `${name}.ts`),
    isolation,
    reload: { watch: false, probation: '200ms', shadow_window: '2s', ...reload },
  });
  const settings = {
    root_directory: 'data',
    listen_host: '127.0.0.1',
    bgworkers: [entry('fed')],
    ...(trigger ? { triggers: [{ ...entry('told'), on: 'FED/*/*' }] } : {}),
  };
  const server = await ServerProcess.start(directory, settings);
  onTestFinished(() => server.kill());
  await server.line(({ plugin, msg }) => plugin === 'fed' && msg === 'plugin is running');
  const http = async (method: string, path: string): Promise<{ status: number; body: unknown }> => {
    const response = await fetch(`${server.url}/api/v1/plugins/${path}`, { method });
    return { status: response.status, body: await response.json() };
  };
  return {
    directory,
    server,
    put,
    http,
    /** Writes mkts.yml anew, with another `config` of the feeder. */
    configure(config: Readonly<Record<string, unknown>>): void {
      const path = join(directory, 'mkts.yml');
      const bgworkers = [{ ...entry('fed'), config }];
      const text = { listen_port: 0, log_format: 'json', ...settings, bgworkers };
      writeFileSync(`${path}.new`, JSON.stringify(text));
      renameSync(`${path}.new`, path);
    },
    async ask(method: string, path: string): Promise<unknown> {
      const { status, body } = await http(method, path);
      expect(status, JSON.stringify(body)).toBe(200);
      return body;
    },
    /** Asks for the diff until it will do. */
    async shadow(name: string, willDo: (report: ShadowReport) => boolean): Promise<ShadowReport> {
      let last: unknown;
      const deadline = performance.now() + DEADLINE_MS;
      while (performance.now() < deadline) {
        last = (await http('GET', `${name}/shadow`)).body;
        if ('counts' in (last as object) && willDo(last as ShadowReport))
          return last as ShadowReport;
        await new Promise((later) => setTimeout(later, 50));
      }
      throw new Error(`it did not come to be in time: ${JSON.stringify(last)}`);
    },
    detail: async (name: string): Promise<PluginDetail> =>
      (await http('GET', name)).body as PluginDetail,
  };
}

type Server = Awaited<ReturnType<typeof serverOf>>;

async function valuesOf({ server }: Server, key = KEY): Promise<number[]> {
  const [bucket] = await queryServer(server.url, { destination: key });
  return Array.from(bucket?.columns.find(({ name }) => name === 'Value')?.data ?? [], Number);
}

/** Every row once, none missing, as `row` of its number. */
async function checkRows(subject: Server, row: (n: number) => number = (n) => n): Promise<number> {
  const values = await valuesOf(subject);
  expect(values).toEqual(values.map((_, n) => row(n)));
  return values.length;
}

const countOf = ({ counts }: ShadowReport): number =>
  counts.different + counts.onlyOld + counts.onlyNew;

describe.each(['worker', 'process'])('isolation: %s', (isolation) => {
  test('an equal version shows no difference, writes nothing, and is discarded without a trace', async () => {
    const subject = await serverOf({ isolation });
    const { server, put, ask, http, shadow } = subject;
    expect((await http('GET', 'fed/shadow')).status).toBe(404);
    expect((await http('POST', 'fed/promote')).body).toMatchObject({ code: 'MKTS_SHADOW_NONE' });

    put('fed', FEEDER('2.0.0'));
    const { message } = (await ask('POST', 'fed/reload?shadow=1')) as { message: string };
    expect(message).toContain('as a shadow');
    const report = await shadow('fed', ({ counts }) => counts.equal >= 300);
    expect(countOf(report)).toBe(0);
    expect(report.counts).toMatchObject({ atStart: 0, uncompared: 0 });
    expect(report).toMatchObject({ state: 'running', generation: 2, version: '2.0.0' });
    expect(report.lagMs).toBeDefined();
    expect(await subject.detail('fed')).toMatchObject({
      generation: 1,
      version: '1.0.0',
      shadow: { state: 'running' },
    });
    // It was given what the old one remembered, and says what it is.
    const begins = await server.line(({ msg, shadow: is }) => msg === 'begins' && is === true);
    expect(Number(begins.next)).toBeGreaterThan(0);

    await ask('POST', 'fed/discard');
    expect((await http('GET', 'fed/shadow')).status).toBe(404);
    const before = (await valuesOf(subject)).length;
    await expect.poll(async () => (await valuesOf(subject)).length).toBeGreaterThan(before + 20);
    await checkRows(subject);
    expect(server.lines.filter(({ msg }) => msg === 'plugin is running')).toHaveLength(1);
  });

  test('one that fails is reported, not started again, and costs what serves nothing', async () => {
    const subject = await serverOf({ isolation });
    const { server, put, ask, http, shadow } = subject;
    put('fed', FEEDER('2.0.0', '[n]', "if (n > next + 3 && next > 200) throw new Error('boom');"));
    await ask('POST', 'fed/reload?shadow=1');
    const report = await shadow('fed', ({ state }) => state === 'failed');
    expect(report.reason).toContain('boom');
    const line = await server.line(({ msg }) => String(msg).startsWith('the shadow failed'));
    expect(line).toMatchObject({ level: 'error', shadow: true, plugin: 'fed', generation: 2 });
    expect((await http('POST', 'fed/promote')).body).toMatchObject({ code: 'MKTS_SHADOW' });
    const rows = await checkRows(subject);
    await expect.poll(async () => (await valuesOf(subject)).length).toBeGreaterThan(rows + 100);
    expect(await subject.detail('fed')).toMatchObject({
      state: 'running',
      generation: 1,
      restarts: 0,
      shadow: { state: 'failed', generation: 2 },
    });
  });
});

test('another version shows what it would write, and takes over when promoted', async () => {
  const subject = await serverOf();
  const { server, put, ask, shadow } = subject;
  // Every tenth is another value, every tenth is left out, and every tenth has one more after it.
  put(
    'fed',
    FEEDER('2.0.0', 'n % 10 === 3 ? [n + 0.5] : n % 10 === 6 ? [] : n % 10 === 8 ? [n, n] : [n]'),
  );
  await ask('POST', 'fed/reload?shadow=1');
  const report = await shadow(
    'fed',
    ({ counts }) => counts.different > 5 && counts.onlyOld > 5 && counts.onlyNew > 5,
  );
  expect(report.counts.equal).toBeGreaterThan(20);
  for (const { what, epoch, old, new: fresh } of report.samples) {
    const n = (epoch - BASE) / 60;
    if (what === 'different')
      expect([n % 10, old, fresh]).toEqual([3, { Value: n }, { Value: n + 0.5 }]);
    else if (what === 'only old') expect([n % 10, old]).toEqual([6, { Value: n }]);
    else if (what === 'only new') expect([n % 10, fresh]).toEqual([8.5, { Value: n - 0.5 }]);
    else expect([what, n % 10]).toEqual(['disputed', 3]);
  }
  await server.line(({ msg }) => msg === 'the shadow writes other rows');
  const metrics = await (await fetch(`${server.url}/metrics`)).text();
  expect(metrics).toMatch(
    /^mkts_plugin_shadow_rows\{plugin="fed",generation="2",result="only_new"\} [1-9]/m,
  );
  // Nothing of it is stored.
  await checkRows(subject);

  // What is promoted is what was shown, whatever the files say by now.
  put('fed', FEEDER('3.0.0', '[-1]'));
  const { message } = (await ask('POST', 'fed/promote')) as { message: string };
  expect(message).toContain('runs');
  // Of the old one at most: it was parked before.
  const rowsBefore = (await valuesOf(subject)).length;
  expect(await subject.detail('fed')).toMatchObject({ version: '2.0.0' });
  await expect.poll(async () => (await valuesOf(subject)).length).toBeGreaterThan(rowsBefore + 50);
  const [bucket] = await queryServer(server.url, { destination: KEY });
  const columnOf = (name: string): number[] =>
    Array.from(bucket?.columns.find((column) => column.name === name)?.data ?? [], Number);
  const epochs = columnOf('Epoch');
  const values = columnOf('Value');
  const found = new Map(epochs.map((epoch, at) => [(epoch - BASE) / 60, values[at] ?? Number.NaN]));
  const first = [...found.keys()].find((n) => found.get(n) !== n) ?? Number.POSITIVE_INFINITY;
  for (let n = 0; n < Math.max(...found.keys()); n++) {
    const isOld = found.get(n) === n;
    if (n % 10 === 3) expect(found.get(n)).toBe(n < first ? n : n + 0.5);
    // A minute it leaves out is the old one's, or of nobody: the next is there.
    else if (n % 10 !== 6) expect(isOld, `minute ${n}`).toBe(true);
  }
  expect(first).toBeLessThan(Number.POSITIVE_INFINITY);
  expect(server.lines.filter(({ msg }) => msg === 'plugin is swapped')).toHaveLength(1);
});

test('by rule a changed file runs as a shadow, and takes over after so many equal rows', async () => {
  const subject = await serverOf({ reload: { watch: true, shadow: true, promote_after: 200 } });
  const { server, put, detail } = subject;
  put('fed', FEEDER('2.0.0'));
  const promoted = await server.line(({ msg }) => String(msg).includes('it is promoted'));
  expect(promoted).toMatchObject({ different: 0, onlyOld: 0, onlyNew: 0, uncompared: 0 });
  expect(Number(promoted.equal)).toBeGreaterThanOrEqual(200);
  await server.line(({ msg }) => msg === 'plugin is swapped');
  await expect.poll(() => detail('fed')).toMatchObject({ version: '2.0.0' });
  expect((await detail('fed')).shadow).toBeUndefined();
  const rows = (await valuesOf(subject)).length;
  await expect.poll(async () => (await valuesOf(subject)).length).toBeGreaterThan(rows + 50);
  await checkRows(subject);
});

test('by rule one difference keeps the old version, and is told', async () => {
  const subject = await serverOf({ reload: { watch: true, shadow: true, promote_after: 50 } });
  const { server, put, shadow } = subject;
  put('fed', FEEDER('2.0.0', 'n % 20 === 7 ? [n + 0.5] : [n]'));
  const told = await server.line(({ msg }) => String(msg).startsWith('the shadow writes other'));
  expect(told).toMatchObject({ level: 'warn', shadow: true });
  expect(String(told.msg)).toContain('the version before goes on');
  await shadow('fed', ({ counts }) => counts.equal > 500 && counts.different > 10);
  expect(await subject.detail('fed')).toMatchObject({ generation: 1, version: '1.0.0' });
  await checkRows(subject);
  expect(server.lines.filter(({ msg }) => msg === 'plugin is swapped')).toEqual([]);

  // A corrected file takes the place of the shadow that differed.
  put('fed', FEEDER('2.1.0'));
  await server.line(({ msg }) => msg === 'plugin is swapped');
  expect(await subject.detail('fed')).toMatchObject({ version: '2.1.0' });
});

test('a changed entry runs as a shadow too, and what is saved or agreed to then is of that entry', async () => {
  const subject = await serverOf({ reload: { watch: true, shadow: true } });
  const { put, shadow, configure, ask } = subject;
  const ROW = '[n + ctx.config.add]';
  put('fed', FEEDER('2.0.0', ROW));
  await shadow('fed', ({ version, counts }) => version === '2.0.0' && counts.equal > 10);
  const adds = async (version: string): Promise<void> => {
    const { samples } = await shadow(
      'fed',
      ({ version: is, counts }) => is === version && counts.disputed > 10,
    );
    for (const { old, new: fresh } of samples)
      expect(Number(fresh?.Value) - Number(old?.Value)).toBe(1000);
  };
  configure({ add: 1000 });
  await adds('2.0.0');
  put('fed', FEEDER('2.1.0', ROW));
  await adds('2.1.0');

  put('fed', FEEDER('2.2.0', ROW, '', "capabilities: { network: ['venue.example'] },"));
  await shadow('fed', ({ state }) => state === 'waiting');
  expect(await subject.detail('fed')).toMatchObject({ version: '1.0.0', state: 'running' });
  const { message } = (await ask('POST', 'fed/approve')) as { message: string };
  expect(message).toContain('as a shadow');
  await adds('2.2.0');
  await checkRows(subject);

  await ask('POST', 'fed/promote');
  await expect
    .poll(async () => (await valuesOf(subject)).at(-1), { timeout: DEADLINE_MS })
    .toBeGreaterThan(1000 + 10);
  expect(await subject.detail('fed')).toMatchObject({ version: '2.2.0', config: { add: 1000 } });
});

test('a trigger’s shadow is told of the same batches, and only its writes count', async () => {
  const subject = await serverOf({ trigger: true });
  const { put, ask, shadow } = subject;
  put('told', TRIGGER('2.0.0', 1));
  await ask('POST', 'told/reload?shadow=1');
  const equal = await shadow('told', ({ counts }) => counts.equal > 20);
  expect(countOf(equal)).toBe(0);
  expect(equal.batches?.fired).toBeGreaterThan(20);
  expect(equal.batches).toMatchObject({ failed: 0, missed: 0 });

  put('told', TRIGGER('3.0.0', 2));
  await ask('POST', 'told/reload?shadow=1');
  const other = await shadow('told', ({ counts }) => counts.disputed > 20);
  expect(other.counts.equal).toBe(0);
  expect(other.version).toBe('3.0.0');
  await ask('POST', 'told/promote');
  const after = await subject.detail('told');
  expect([after.version, after.shadow]).toEqual(['3.0.0', undefined]);
});

test('a build that fails, a plugin that does not run, and a reload that was overtaken say why there is no shadow', async () => {
  const subject = await serverOf();
  const { put, http, ask } = subject;
  put('fed', 'this is no module');
  expect((await http('POST', 'fed/reload?shadow=1')).body).toMatchObject({
    code: 'MKTS_PLUGIN_BUILD',
  });
  put('fed', FEEDER('1.0.0'));
  const { message } = (await ask('POST', 'fed/reload?shadow=1')) as { message: string };
  expect(message).toContain('nothing changed');

  // Of reloads that overtake each other one runs: no worker is left behind that nobody knows.
  put('fed', FEEDER('2.0.0'));
  await ask('POST', 'fed/reload?shadow=1');
  put('fed', FEEDER('2.1.0'));
  const reloads = Array.from({ length: 5 }, () => http('POST', 'fed/reload?shadow=1'));
  const answers = (await Promise.all(reloads)).map(({ body }) => body as { code?: string });
  expect(answers.filter(({ code }) => code === undefined)).toHaveLength(1);
  expect(answers.filter(({ code }) => code === 'MKTS_PLUGIN_SUPERSEDED')).toHaveLength(4);
  await ask('POST', 'fed/stop');
  expect((await http('GET', 'fed/shadow')).status).toBe(404);
  expect((await http('POST', 'fed/reload?shadow=1')).body).toMatchObject({ code: 'MKTS_SHADOW' });
  expect((await subject.detail('fed')).state).toBe('stopped');
});

test('the command line starts, shows and discards one', async () => {
  const subject = await serverOf();
  const { put, shadow, server } = subject;
  const mkts = async (...args: readonly string[]): Promise<string> => {
    const child = spawn(process.execPath, [MAIN, 'plugin', ...args, '--url', server.url], {
      cwd: subject.directory,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    child.stdout.on('data', (data: Buffer) => {
      text += data.toString();
    });
    const code = await new Promise((closed) => child.once('close', closed));
    expect(code).toBe(0);
    return text;
  };
  put('fed', FEEDER('2.0.0'));
  expect(await mkts('reload', 'fed', '--shadow')).toContain('as a shadow');
  await shadow('fed', ({ counts }) => counts.equal > 10);
  expect(JSON.parse(await mkts('shadow', 'fed'))).toMatchObject({
    state: 'running',
    counts: { different: 0 },
  });
  expect(await mkts('discard', 'fed')).toContain('over');
});
