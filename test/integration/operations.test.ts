/**
 * A real server handled as an operator does: every command by the command line, every route by HTTP,
 * and a flight recording that is read after a quarantine. One server for all tests but the last ones;
 * each test leaves the plugins running as it found them.
 */

import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type {
  ActionAnswer,
  FlightRecording,
  JournalLine,
  PluginDetail,
  PluginReport,
  RecordingInfo,
} from '../../kernel/base/plugin-report.ts';
import { ServerProcess } from '../support/server-process.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';
import { startTestServer } from '../support/test-server.ts';

const MAIN = resolve(import.meta.dirname, '../../kernel/main.ts');
const SECRET = 'hunter2-and-more';
const DEADLINE_MS = 20_000;

const STEADY = (version: string): string => `
import { defineBgWorker, z } from 'mkts/sdk';
function busyWork(): void {
  const until = Date.now() + 3;
  while (Date.now() < until);
}
export default defineBgWorker({
  name: 'steady', version: '${version}', api: 1,
  config: z.object({ api_key: z.string().describe('of the venue'), every_ms: z.number().default(10) }),
  capabilities: { network: ['api.example.com'], writes: ['STEADY/1Min/COUNT'] },
  async start(ctx) {
    let next = 0;
    while (!ctx.signal.aborted) {
      busyWork();
      await ctx.write('STEADY/1Min/COUNT', { Epoch: [1_600_000_000 + 60 * next], Value: [next] });
      next++;
      ctx.log.debug('a detail', { next });
      if (next % 5 === 0) ctx.log.info('wrote with ' + ctx.config.api_key, { rows: next, version: '${version}' });
      await ctx.clock.sleep(ctx.config.every_ms, ctx.signal);
    }
  },
});`;
const BROKEN = `
import { defineBgWorker, z } from 'mkts/sdk';
export default defineBgWorker({
  name: 'broken', version: '1.0.0', api: 1, config: z.object({ password: z.string() }),
  start(ctx) { throw new Error('cannot log in with ' + ctx.config.password); },
});`;

interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** `mkts plugin …` in a process of its own, without a terminal: answers are JSON. */
async function mkts(
  args: readonly string[],
  { cwd, env = {} }: { readonly cwd: string; readonly env?: Readonly<Record<string, string>> },
): Promise<Ran> {
  const child = spawn(process.execPath, [MAIN, 'plugin', ...args], {
    cwd,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (data: Buffer) => {
    stdout += data.toString();
  });
  child.stderr.on('data', (data: Buffer) => {
    stderr += data.toString();
  });
  const code = await new Promise<number | null>((closed) => child.once('close', closed));
  return { code, stdout, stderr };
}

/** Asks until the answer will do. */
async function until<T>(ask: () => Promise<T | undefined>): Promise<T> {
  const deadline = performance.now() + DEADLINE_MS;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() > deadline) throw new Error('it did not come to be in time');
    await new Promise((later) => setTimeout(later, 50));
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const { port } = server.address() as { port: number };
  await new Promise((closed) => server.close(closed));
  return port;
}

let directory: string;
let server: ServerProcess;
/** Everything a client was ever told: no secret may be in it. */
let told = '';

async function cli(...args: readonly string[]): Promise<Ran> {
  const ran = await mkts(args, { cwd: directory });
  told += ran.stdout + ran.stderr;
  return ran;
}

async function cliJson<T>(...args: readonly string[]): Promise<T> {
  const { code, stdout, stderr } = await cli(...args);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  return JSON.parse(stdout) as T;
}

async function http(
  path: string,
  options: RequestInit = {},
): Promise<{ readonly status: number; readonly text: string }> {
  const response = await fetch(`${server.url}/api/v1/${path}`, options);
  const text = await response.text();
  told += text;
  return { status: response.status, text };
}

async function httpJson<T>(path: string, options?: RequestInit): Promise<T> {
  const { status, text } = await http(path, options);
  expect(status, text).toBe(200);
  return JSON.parse(text) as T;
}

async function reportOf(name: string): Promise<PluginReport | undefined> {
  const { plugins } = await httpJson<{ plugins: PluginReport[] }>('plugins');
  return plugins.find((plugin) => plugin.name === name);
}

/** What a browser or a stranger sends, which `fetch` does not let one send. */
function raw(path: string, headers: Readonly<Record<string, string>>): Promise<number> {
  const { hostname, port } = new URL(server.url);
  return new Promise((answered, failed) => {
    request({ hostname, port, path: `/api/v1/${path}`, headers }, (response) => {
      response.resume();
      answered(response.statusCode ?? 0);
    })
      .once('error', failed)
      .end();
  });
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'mkts-operations-'));
  mkdirSync(join(directory, 'plugins'));
  writeFileSync(join(directory, 'plugins/steady.ts'), STEADY('1.0.0'));
  writeFileSync(join(directory, 'plugins/broken.ts'), BROKEN);
  server = await ServerProcess.start(directory, {
    root_directory: join(directory, 'data'),
    // The command line finds it there.
    listen_port: await freePort(),
    listen_host: '127.0.0.1',
    plugin_dir: 'plugins',
    bgworkers: [
      {
        module: 'steady.ts',
        config: { api_key: SECRET },
        secrets: { other: SECRET },
        reload: { watch: false, probation: '100ms' },
        resources: { memory_mb: 200 },
      },
      { module: 'broken.ts', config: { password: SECRET }, on_start_error: 'quarantine' },
    ],
  });
  await until(async () => ((await reportOf('broken'))?.state === 'quarantined' ? true : undefined));
  await until(async () => ((await reportOf('steady'))?.rowsPerSecond ? true : undefined));
});

afterAll(async () => {
  await server.stop();
  rmSync(directory, { recursive: true, force: true });
  expect(told).not.toContain(SECRET);
  expect(server.lines.map((line) => JSON.stringify(line)).join('\n')).not.toContain(SECRET);
});

describe('what is wrong is seen at once', () => {
  test('list: states, since when, and why', async () => {
    const plugins = await cliJson<PluginReport[]>('list');
    expect(plugins.map(({ name }) => name)).toEqual(['steady', 'broken']);
    const [steady, broken] = plugins;
    expect(steady).toMatchObject({
      kind: 'bgworker',
      state: 'running',
      isHealthy: true,
      version: '1.0.0',
      generation: 1,
      isolation: 'worker',
    });
    expect(steady?.rowsAccepted).toBeGreaterThan(0);
    expect(steady?.rowsPerSecond).toBeGreaterThan(0);
    expect(steady?.memoryMb).toBeGreaterThan(0);
    expect(Date.now() - Date.parse(steady?.lastRowAt ?? '')).toBeLessThan(DEADLINE_MS);
    expect(broken).toMatchObject({ state: 'quarantined', isHealthy: false });
    expect(broken?.reason).toContain('cannot log in with ***');
    expect(Date.now() - Date.parse(broken?.since ?? '')).toBeLessThan(10 * DEADLINE_MS);
  });

  test('status: an exit code for scripts, and one plugin in full', async () => {
    const all = await cli('status');
    expect(all.code).toBe(1);
    expect(JSON.parse(all.stdout)).toMatchObject({ isHealthy: false, sick: [{ name: 'broken' }] });
    const detail = await cliJson<PluginDetail>('status', 'steady');
    expect(detail.history.map(({ state }) => state)).toEqual(['starting', 'running']);
    expect(detail.budgets).toContainEqual(
      expect.objectContaining({ budget: 'memory', limit: 200, unit: 'MB' }),
    );
  });

  test('inspect: what it asks for, may do and uses; settings without secrets; the last error', async () => {
    const steady = await cliJson<PluginDetail>('inspect', 'steady');
    expect(steady.asks).toEqual(['network api.example.com', 'write STEADY/1Min/COUNT']);
    expect(steady.may).toMatchObject({
      network: ['api.example.com'],
      writes: ['STEADY/1Min/COUNT'],
      secrets: ['other'],
    });
    expect(steady.config).toEqual({ api_key: '***' });
    expect(steady.configSchema).toMatchObject({
      properties: { api_key: { description: 'of the venue' } },
    });
    const broken = await httpJson<PluginDetail>('plugins/broken');
    expect(broken.lastError).toMatchObject({
      message: expect.stringContaining('cannot log in with ***'),
      stack: expect.stringContaining('broken.ts'),
    });
  });

  test('metrics carry plugin and generation', async () => {
    const text = await (await fetch(`${server.url}/metrics`)).text();
    expect(text).toMatch(
      /^mkts_plugin_state\{plugin="broken",generation="\d+",state="quarantined"\} 1$/m,
    );
    expect(text).toMatch(
      /^mkts_plugin_rows_accepted_total\{plugin="steady",generation="1"\} \d+$/m,
    );
    expect(text).toMatch(/^mkts_plugin_memory_bytes\{plugin="steady",generation="1"\} \d+/m);
    expect(text).toMatch(
      /^mkts_plugin_budget_used_ratio\{plugin="steady",budget="memory"\} 0\.\d+/m,
    );
  });
});

describe('lines of one plugin', () => {
  test('logs: the last ones, masked; debug lines are kept though the log does not have them', async () => {
    const { stdout } = await cli('logs', 'steady', '--lines', '3');
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as JournalLine);
    expect(lines).toHaveLength(3);
    expect(lines.map(({ level }) => level)).toEqual(['info', 'info', 'info']);
    expect(lines[0]?.message).toBe('wrote with ***');
    const debug = await http('plugins/steady/logs?level=debug&lines=20');
    expect(debug.text).toContain('"a detail"');
    expect(server.lines.some(({ msg }) => msg === 'a detail')).toBe(false);
  });

  test('logs --follow: lines as they come', async () => {
    const response = await fetch(`${server.url}/api/v1/plugins/steady/logs?follow=1&lines=1`);
    const reader = response.body?.getReader();
    const sequences: number[] = [];
    let rest = '';
    while (sequences.length < 4) {
      const piece = await reader?.read();
      if (piece === undefined || piece.done) throw new Error('the stream ended');
      rest += new TextDecoder().decode(piece.value);
      const lines = rest.split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines)
        if (line !== '') sequences.push((JSON.parse(line) as JournalLine).sequence);
    }
    await reader?.cancel();
    expect(sequences).toEqual([...sequences].sort((a, b) => a - b));
    expect(new Set(sequences).size).toBe(sequences.length);
  });

  test('log-level: changes what the log has, at once and back', async () => {
    expect(await cliJson<PluginReport>('log-level', 'steady', 'debug')).toMatchObject({
      logLevel: 'debug',
    });
    await server.line(({ msg, level }) => msg === 'a detail' && level === 'debug');
    const back = await httpJson<PluginReport>('plugins/steady/log-level', { method: 'PUT' });
    expect(back.logLevel).toBe('info');
    const wrong = await cli('log-level', 'steady', 'debgu');
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toContain("did you mean 'debug'?");
  });
});

test('profile: where a plugin spends its time', async () => {
  const file = join(directory, 'steady.cpuprofile');
  await cliJson('profile', 'steady', '--seconds', '1', '--out', file);
  const { nodes } = JSON.parse(readFileSync(file, 'utf8')) as {
    nodes: { callFrame: { functionName: string; url: string } }[];
  };
  // Whether `busyWork` or the `start` it was inlined into, V8 decides.
  const own = nodes.filter(({ callFrame }) => callFrame.url.includes('steady.ts'));
  expect(own.map(({ callFrame }) => callFrame.functionName)).toContain('start');
  const stopped = await http('plugins/broken/profile?seconds=1', { method: 'POST' });
  expect(stopped.status).toBe(409);
  expect(JSON.parse(stopped.text)).toMatchObject({ code: 'MKTS_PROFILE' });
  const long = await http('plugins/steady/profile?seconds=999', { method: 'POST' });
  expect(long.status).toBe(400);
});

describe('what an operator does to a plugin', () => {
  test('stop, start, restart', async () => {
    const stopped = await cliJson<ActionAnswer>('stop', 'steady');
    expect(stopped.plugin).toMatchObject({ state: 'stopped', isHealthy: true });
    const started = await cliJson<ActionAnswer>('start', 'steady');
    expect(started.plugin.state).toBe('running');
    const restarted = await httpJson<ActionAnswer>('plugins/steady/restart', { method: 'POST' });
    expect(restarted.plugin.state).toBe('running');
    expect(restarted.plugin.generation).toBe(started.plugin.generation + 1);
  });

  test('reload: nothing for the same files, the new version for new ones, the old one for bad ones', async () => {
    const { plugin: before, message } = await cliJson<ActionAnswer>('reload', 'steady');
    expect(message).toContain('nothing changed');
    writeFileSync(join(directory, 'plugins/steady.ts'), STEADY('2.0.0'));
    const swapped = await cliJson<ActionAnswer>('reload', 'steady');
    expect(swapped.plugin).toMatchObject({ state: 'running', version: '2.0.0' });
    expect(swapped.plugin.generation).toBeGreaterThan(before.generation);

    writeFileSync(join(directory, 'plugins/steady.ts'), 'export default {');
    const failed = await cli('reload', 'steady');
    expect(failed.code).toBe(1);
    expect(failed.stderr).toContain('MKTS_PLUGIN_BUILD');
    const after = await reportOf('steady');
    expect(after).toMatchObject({ state: 'running', version: '2.0.0', isHealthy: false });
    expect(after?.reason).toContain('does not build');

    writeFileSync(join(directory, 'plugins/steady.ts'), STEADY('2.0.0'));
    await cliJson<ActionAnswer>('reload', 'steady');
    expect(await reportOf('steady')).toMatchObject({ state: 'running', isHealthy: true });
  });

  test('reload without a name: mkts.yml', async () => {
    const { message } = await cliJson<{ message: string }>('reload');
    expect(message).not.toBe('');
  });

  test('quarantine writes a flight recording; release ends it', async () => {
    const before = await reportOf('steady');
    const { plugin } = await cliJson<ActionAnswer>('quarantine', 'steady', '-r', 'it looks odd');
    expect(plugin).toMatchObject({ state: 'quarantined', isHealthy: false });
    expect(plugin.reason).toContain('it looks odd');
    const recordings = await until(async () => {
      const found = await cliJson<RecordingInfo[]>('recordings', 'steady');
      return found.length > 0 ? found : undefined;
    });
    const file = recordings.at(-1)?.file ?? '';
    expect(file).toMatch(/^mkts-flight-steady-\d{8}T\d{9}Z\.json$/);
    const { stdout } = await cli('recordings', 'steady', file);
    const flight = JSON.parse(stdout) as FlightRecording;
    expect(flight.plugin).toBe('steady');
    expect(flight.why).toContain('it looks odd');
    expect(flight.code).toBe('MKTS_PLUGIN_QUARANTINED');
    expect(flight.states.map(({ state }) => state)).toContain('running');
    expect(flight.states.at(-1)?.state).toBe('quarantined');
    expect(flight.samples.length).toBeGreaterThan(0);
    expect(flight.samples.some(({ rowsPerSecond }) => rowsPerSecond > 0)).toBe(true);
    expect(flight.samples.some(({ memoryMb }) => memoryMb > 0)).toBe(true);
    expect(flight.samples.some(({ ringHighWaterBytes }) => ringHighWaterBytes > 0)).toBe(true);
    expect(flight.lines.some(({ level }) => level === 'debug')).toBe(true);
    expect(readFileSync(join(directory, 'data', file), 'utf8')).not.toContain(SECRET);

    const released = await cliJson<ActionAnswer>('release', 'steady');
    expect(released.plugin.state).toBe('running');
    expect(released.plugin.generation).toBeGreaterThan(before?.generation ?? 0);
    const again = await httpJson<ActionAnswer>('plugins/steady/release', { method: 'POST' });
    expect(again.message).toContain('not in quarantine');
  });

  test('a recording on demand, and the one of a plugin that could not start', async () => {
    const info = await cliJson<RecordingInfo>('recordings', 'steady', '--now');
    expect(info.bytes).toBeGreaterThan(0);
    const { recordings } = await httpJson<{ recordings: RecordingInfo[] }>(
      'plugins/broken/recordings',
    );
    expect(recordings).toHaveLength(1);
    const missing = await http('plugins/broken/recordings/..%2Fmkts.yml');
    expect(missing.status).toBe(404);
  });

  test('approve: says that nothing waits', async () => {
    const { message } = await cliJson<ActionAnswer>('approve', 'steady');
    expect(message).toContain('nothing waits');
  });
});

describe('who asks wrongly is told how to ask', () => {
  test('a wrong name suggests the nearest', async () => {
    const ran = await cli('restart', 'staedy');
    expect(ran.code).toBe(1);
    expect(ran.stderr).toContain(
      "there is no plugin staedy, did you mean 'steady'? (MKTS_PLUGIN_UNKNOWN)",
    );
    const far = await cli('inspect', 'zzz');
    expect(far.stderr).toContain('there are steady, broken');
    expect((await http('plugins/staedy/logs')).status).toBe(404);
  });

  test('a wrong verb, level or count', async () => {
    const verb = await http('plugins/steady/relaod', { method: 'POST' });
    expect(verb.status).toBe(404);
    expect(verb.text).toContain("did you mean 'reload'?");
    expect((await http('plugins/steady/logs?level=loud')).status).toBe(400);
    expect((await http('plugins/steady/logs?lines=-1')).status).toBe(400);
  });

  test('web pages, proxies and other names of this machine are refused', async () => {
    expect(await raw('plugins', {})).toBe(200);
    expect(await raw('plugins', { origin: 'https://evil.example' })).toBe(403);
    expect(await raw('plugins', { 'sec-fetch-site': 'cross-site' })).toBe(403);
    expect(await raw('plugins', { host: 'evil.example' })).toBe(403);
    expect(await raw('plugins', { 'x-forwarded-for': '10.0.0.1' })).toBe(403);
  });

  test('a server that does not run is told plainly', async () => {
    const ran = await cli('list', '--url', `http://127.0.0.1:${await freePort()}`);
    expect(ran.code).toBe(1);
    expect(ran.stderr).toMatch(
      /no server runs at http:\/\/127\.0\.0\.1:\d+: nothing listens there/,
    );
  });
});

test('with admin_token only who shows it is answered', async () => {
  const token = 'a-token-of-some-length';
  const guarded = await startTestServer({ admin_token: token });
  onTestFinished(() => guarded.remove());
  const ask = (headers: Record<string, string>): Promise<Response> =>
    fetch(`${guarded.url}/api/v1/plugins`, { headers });
  expect((await ask({})).status).toBe(401);
  expect((await ask({ authorization: 'Bearer something-else-here' })).status).toBe(401);
  expect((await ask({ authorization: `Bearer ${token}` })).status).toBe(200);
  const cwd = temporaryDirectory();
  const without = await mkts(['list', '--url', guarded.url], { cwd });
  expect(without.code).toBe(1);
  expect(without.stderr).toContain('MKTS_ADMIN_TOKEN');
  const env = { MKTS_ADMIN_TOKEN: token };
  const shown = await mkts(['list', '--url', guarded.url], { cwd, env });
  expect(shown).toMatchObject({ code: 0, stdout: '[]\n' });
});
