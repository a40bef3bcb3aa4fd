/**
 * mkts.yml is rewritten under a running server, in the ways people and tools rewrite files: entries
 * come, go and change, the file is broken for a while, and one plugin that nobody touched writes on
 * through all of it. A plugin whose rows stay away is degraded, and one that cannot be started is
 * treated as its entry says.
 */

import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { queryServer } from '../../kernel/cli/rpc-client.ts';
import { type LogLine, ServerProcess } from '../support/server-process.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const FEEDER = join(import.meta.dirname, '../crash/counting-feeder.ts');
const TRIGGER = join(import.meta.dirname, 'reloading/telling-trigger.ts');
const SLOW = join(import.meta.dirname, 'reloading/slow-feeder.ts');
const THROWS = join(import.meta.dirname, '../faults/throws-at-import.ts');
/** Far above what a swap of others costs: it catches a plugin that was started anew. */
const PAUSE_MS_MAX = 5_000;

type Settings = Record<string, unknown>;

const feeder = (name: string, more: Settings = {}): Settings => ({
  module: FEEDER,
  name,
  config: { key: `${name.toUpperCase()}/1Min/COUNT`, variable: false },
  ...more,
});
const trigger = (on: string): Settings => ({ module: TRIGGER, name: 'teller', on });

/** A server whose mkts.yml the test rewrites. */
async function serverOf(settings: Settings) {
  const directory = temporaryDirectory();
  const path = join(directory, 'mkts.yml');
  const base = {
    root_directory: 'data',
    listen_port: 0,
    listen_host: '127.0.0.1',
    log_format: 'json',
  };
  const server = await ServerProcess.start(directory, { ...base, ...settings });
  onTestFinished(() => server.kill());
  const textOf = (next: Settings): string => JSON.stringify({ ...base, ...next }, null, 2);
  return {
    server,
    path,
    /** As `echo > mkts.yml` does. */
    rewrite: (next: Settings): void => writeFileSync(path, textOf(next)),
    /** As most editors do. */
    replace(next: Settings): void {
      writeFileSync(`${path}.tmp`, textOf(next));
      renameSync(`${path}.tmp`, path);
    },
  };
}

const isOf =
  (plugin: string, msg: string) =>
  (line: LogLine): boolean =>
    line.plugin === plugin && line.msg === msg;

/** The next line from now on that matches. */
async function next(server: ServerProcess, matches: (line: LogLine) => boolean): Promise<LogLine> {
  const from = server.lines.length;
  return server.until(() => server.lines.slice(from).find(matches));
}

async function change(server: ServerProcess, act: () => void, message: string): Promise<LogLine> {
  const told = next(server, ({ msg }) => msg === `mkts.yml changed: ${message}`);
  act();
  return told;
}

/** State and generation of each plugin. */
async function plugins(server: ServerProcess): Promise<Record<string, string>> {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  const found: Record<string, string> = {};
  for (const [, labels = ''] of text.matchAll(/^mkts_plugin_state\{([^}]*)\} 1$/gm)) {
    const name = /plugin="([^"]+)"/.exec(labels)?.[1] ?? '';
    found[name] = /state="([^"]+)"/.exec(labels)?.[1] ?? '';
  }
  return found;
}

function generationOf(server: ServerProcess, plugin: string): unknown {
  return server.lines.findLast((line) => line.plugin === plugin && line.generation !== undefined)
    ?.generation;
}

async function valuesOf(server: ServerProcess, key: string): Promise<number[]> {
  const [bucket] = await queryServer(server.url, { destination: key });
  return Array.from(bucket?.columns.find(({ name }) => name === 'Value')?.data ?? [], Number);
}

/** The longest time between two of its commits, and that it was never started again. */
async function checkUntouched(server: ServerProcess, plugin: string): Promise<number> {
  const values = await valuesOf(server, `${plugin.toUpperCase()}/1Min/COUNT`);
  expect(values, 'each row once, none missing').toEqual(values.map((_, at) => at));
  expect(values.length).toBeGreaterThan(0);
  expect(server.lines.filter(isOf(plugin, 'plugin is running'))).toHaveLength(1);
  expect(server.lines.filter(isOf(plugin, 'plugin is swapped'))).toEqual([]);
  const timesMs = server.lines
    .filter(isOf(plugin, 'committed'))
    .map(({ timestamp }) => Date.parse(String(timestamp)));
  return Math.max(...timesMs.slice(1).map((ms, at) => ms - (timesMs[at] ?? ms)));
}

test('entries come, go and change while another plugin writes on', async ({ annotate }) => {
  const steady = feeder('steady');
  const { server, rewrite, replace } = await serverOf({ bgworkers: [steady] });
  await server.line(isOf('steady', 'committed'));

  // Added, in place.
  await change(server, () => rewrite({ bgworkers: [steady, feeder('other')] }), 'added other');
  await server.line(isOf('other', 'committed'));

  // Changed, by a file put in its place: a new generation beside the old one.
  const renamed = feeder('other', { config: { key: 'RENAMED/1Min/COUNT', variable: false } });
  await change(server, () => replace({ bgworkers: [renamed, steady] }), 'changed other (config)');
  await server.line(isOf('other', 'plugin is swapped'));
  await next(server, isOf('other', 'committed'));
  expect((await valuesOf(server, 'RENAMED/1Min/COUNT')).length).toBeGreaterThan(0);
  const otherRows = await valuesOf(server, 'OTHER/1Min/COUNT');
  expect(otherRows).toEqual(otherRows.map((_, at) => at));

  // A trigger comes, its pattern changes in the worker it has, and it goes.
  const entries = { bgworkers: [steady, renamed] };
  await change(
    server,
    () => replace({ ...entries, triggers: [trigger('STEADY/*/*')] }),
    'added teller',
  );
  await server.line(isOf('teller', 'told'));
  await change(
    server,
    () => rewrite({ ...entries, triggers: [trigger('RENAMED/*/*')] }),
    'changed teller (on)',
  );
  await next(server, (line) => isOf('teller', 'told')(line) && line.key === 'RENAMED/1Min/COUNT');
  expect(server.lines.filter(isOf('teller', 'plugin is running'))).toHaveLength(1);
  await change(server, () => rewrite({ bgworkers: [steady] }), 'removed teller, other');
  await server.line(isOf('other', 'plugin is stopped'));
  await server.line(isOf('teller', 'plugin is stopped'));
  await expect.poll(() => plugins(server), { timeout: 10_000 }).toEqual({ steady: 'running' });

  // Who comes back begins anew; who moved within the file is not touched.
  const back = { bgworkers: [feeder('other'), steady], triggers: [trigger('*/*/*')] };
  await change(server, () => replace(back), 'added teller, other');
  await next(server, isOf('other', 'committed'));
  await next(server, isOf('teller', 'told'));

  const pauseMs = await checkUntouched(server, 'steady');
  await annotate(`${Math.round(pauseMs)} ms at most between two commits of the untouched plugin`);
  expect(pauseMs).toBeLessThan(PAUSE_MS_MAX);
  expect(server.lines.filter(({ level }) => level === 'error' || level === 'fatal')).toEqual([]);
  expect(await server.stop(), server.stderr).toBe(0);
});

test('a file that is rewritten faster than plugins start ends as its last text says', async () => {
  const steady = feeder('steady');
  const { server, rewrite, replace } = await serverOf({ bgworkers: [steady] });
  await server.line(isOf('steady', 'committed'));
  const DONE = /^mkts\.yml changed: /;
  for (let turn = 0; turn < 12; turn++) {
    const told = next(server, ({ msg }) => DONE.test(msg));
    const more = feeder('other', { config: { key: `K${turn}/1Min/COUNT`, variable: false } });
    (turn % 3 === 0 ? replace : rewrite)({ bgworkers: turn % 4 === 2 ? [steady] : [more, steady] });
    await told; // And no longer: what it began goes on.
  }
  await next(server, (line) => isOf('other', 'committed')(line) && line.key === 'K11/1Min/COUNT');
  await expect
    .poll(() => plugins(server), { timeout: 20_000 })
    .toEqual({ steady: 'running', other: 'running' });
  expect(await checkUntouched(server, 'steady')).toBeLessThan(PAUSE_MS_MAX);
  // Those in between ran or did not; what they wrote is whole.
  for (const key of new Set(server.lines.filter(isOf('other', 'committed')).map((l) => l.key))) {
    const values = await valuesOf(server, String(key));
    expect(values, String(key)).toEqual(values.map((_, at) => at));
  }
  expect(await server.stop(), server.stderr).toBe(0);
});

test('a file that is not valid changes nothing, and says where; the next good one counts', async () => {
  const steady = feeder('steady');
  const { server, path, rewrite, replace } = await serverOf({ bgworkers: [steady] });
  await server.line(isOf('steady', 'committed'));
  const refused = (act: () => void): Promise<LogLine> => {
    const told = next(server, ({ msg }) => msg.startsWith('mkts.yml is not taken over'));
    act();
    return told;
  };
  const broken = await refused(() => writeFileSync(path, 'root_directory: data\nbgworkers: [\n'));
  expect(broken).toMatchObject({ level: 'error', code: 'MKTS_CONFIG_SYNTAX' });
  expect(broken.msg).toMatch(/mkts\.yml:\d+:\d+: /);

  const wrong = await refused(() => replace({ bgworkers: [{ ...steady, isolation: 'none' }] }));
  expect(wrong.msg).toMatch(/mkts\.yml:\d+:\d+ bgworkers\[0\]\.isolation: expected one of worker/);

  const pattern = await refused(() => rewrite({ bgworkers: [], triggers: [trigger('A/[/OHLCV')] }));
  expect(pattern.msg).toMatch(/mkts\.yml:\d+:\d+ on of 'teller': pattern "A\/\[\/OHLCV"/);

  const gone = await refused(() => rmSync(path));
  expect(gone.code).toBe('MKTS_CONFIG_UNREADABLE');
  expect(await plugins(server)).toEqual({ steady: 'running' });

  await change(server, () => rewrite({ bgworkers: [steady, feeder('other')] }), 'added other');
  await server.line(isOf('other', 'committed'));
  expect(await checkUntouched(server, 'steady')).toBeLessThan(PAUSE_MS_MAX);
  expect(await server.stop(), server.stderr).toBe(0);
});

test('a new entry that does not build, or a change that does not hold, stays with its own plugin', async () => {
  const steady = feeder('steady');
  const { server, path, replace } = await serverOf({ bgworkers: [steady, feeder('other')] });
  await server.line(isOf('other', 'committed'));
  const missing = join(path, '../later/late.ts');
  const unfit = feeder('other', { config: { key: 7 } });
  const entries = [steady, unfit, { module: missing, name: 'late' }];
  await change(server, () => replace({ bgworkers: entries }), 'added late; changed other (config)');
  const refused = await server.line(
    isOf('other', 'a new version of the plugin does not take over'),
  );
  expect(refused).toMatchObject({ level: 'error', code: 'MKTS_PLUGIN_CONFIG' });
  expect(refused.reason).toMatch(/mkts\.yml:\d+:\d+ bgworkers\[1\]\.config\.key: /);
  await server.line(isOf('late', 'plugin cannot be started'));
  // It goes on with the entry it had.
  await next(server, isOf('other', 'committed'));
  expect(await plugins(server)).toEqual({ steady: 'running', other: 'running', late: 'failed' });

  mkdirSync(join(path, '../later'));
  writeFileSync(missing, `export { default } from ${JSON.stringify(FEEDER)};\n`);
  const mended = feeder('late', { module: missing });
  await change(
    server,
    () => replace({ bgworkers: [steady, unfit, mended] }),
    'changed late (config)',
  );
  await server.line(isOf('late', 'committed'));
  expect(await checkUntouched(server, 'steady')).toBeLessThan(PAUSE_MS_MAX);
  expect(generationOf(server, 'steady')).toBe(1);
  expect(await server.stop(), server.stderr).toBe(0);
});

test('keys of the server wait for its next start, with one warning; the level of the log does not', async () => {
  const steady = feeder('steady');
  const { server, rewrite } = await serverOf({ bgworkers: [steady] });
  const later = (line: LogLine): boolean =>
    line.level === 'warn' && line.msg.includes('takes effect at the next start');
  const keys = { checkpoint_interval: '1s', timezone: 'Asia/Tokyo' };
  const warned = next(server, later);
  rewrite({ ...keys, bgworkers: [steady] });
  expect(await warned).toMatchObject({ keys: ['timezone', 'checkpoint_interval'] });
  await change(
    server,
    () => rewrite({ ...keys, log_level: 'debug', bgworkers: [steady, feeder('other')] }),
    'added other',
  );
  await server.line(({ level }) => level === 'debug');
  expect(server.lines.filter(later)).toHaveLength(1);
  expect(await server.stop(), server.stderr).toBe(0);
});

describe('freshness', () => {
  test('a plugin whose rows stay away is degraded until they come', async () => {
    const slow = {
      module: SLOW,
      name: 'slow',
      config: { key: 'SLOW/1Min/COUNT', everyMs: 5_000 },
      freshness: { max_age: '1500ms' },
    };
    const { server, rewrite } = await serverOf({ bgworkers: [slow] });
    const degraded = await server.line(isOf('slow', 'plugin is degraded'));
    expect(degraded).toMatchObject({
      level: 'warn',
      reason: 'no row for 1500ms while the market is open',
    });
    await next(server, isOf('slow', 'plugin is running'));
    await next(server, isOf('slow', 'plugin is degraded'));
    // Without the bound, in the worker it has.
    const running = next(server, isOf('slow', 'plugin is running'));
    await change(
      server,
      () => rewrite({ bgworkers: [{ ...slow, freshness: undefined }] }),
      'changed slow (freshness)',
    );
    expect((await running).generation).toBe(1);
    expect(await server.stop(), server.stderr).toBe(0);
  });
});

describe('on_start_error', () => {
  const entry = (policy: string): Settings => ({
    module: THROWS,
    name: 'throws',
    on_start_error: policy,
  });

  test('quarantine: it is tried once, and then waits', async () => {
    const { server } = await serverOf({ bgworkers: [feeder('steady'), entry('quarantine')] });
    const line = await server.line(({ plugin, level }) => plugin === 'throws' && level === 'error');
    expect(line).toMatchObject({
      msg: 'plugin cannot be started and is quarantined',
      reason: expect.stringContaining('boom at import'),
      generation: 1,
    });
    await server.line(isOf('steady', 'committed'));
    expect(await plugins(server)).toEqual({ steady: 'running', throws: 'quarantined' });
    expect(await server.stop(), server.stderr).toBe(0);
  });

  test('exit: the server does not start; but an entry that comes later does not end it', async () => {
    const { server, rewrite } = await serverOf({ bgworkers: [feeder('steady')] });
    await server.line(isOf('steady', 'committed'));
    rewrite({ bgworkers: [feeder('steady'), entry('exit')] });
    await server.line(isOf('throws', 'plugin crashed and will be restarted'));
    await next(server, isOf('steady', 'committed'));
    const code = await server.stop();
    expect(code, server.stderr).toBe(0);

    const started = serverOf({ bgworkers: [entry('exit')] }).then(({ server: second }) =>
      second.line(({ msg }) => msg === 'never said'),
    );
    await expect(started).rejects.toThrow(/server ended .*"code":1/);
  });
});
