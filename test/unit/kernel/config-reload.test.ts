import { expect, test } from 'vitest';
import { loadConfig, type MktsConfig } from '../../../config/load.ts';
import type { PluginEntry } from '../../../config/plugin-entries.ts';
import { ConfigReload } from '../../../kernel/config-reload.ts';
import { createLog } from '../../../kernel/log.ts';
import type { PluginEntry as GivenEntry } from '../../../kernel/supervisor/plugin-entry.ts';
import { Dispatcher } from '../../../kernel/triggers/dispatcher.ts';
import { temporaryFile } from '../../support/temporary-directory.ts';

const BASE = 'root_directory: data\nlisten_port: 0\nlisten_host: 127.0.0.1\n';

function load(text: string, environment: Record<string, string> = {}): MktsConfig {
  return loadConfig(temporaryFile('mkts.yml', BASE + text), environment);
}

/** A reload over a supervisor that writes down what it is asked, and fails where it is told to. */
function reloadOf(text: string) {
  const done: string[] = [];
  const lines: { level: string; msg: string; [field: string]: unknown }[] = [];
  const failing = new Set<string>();
  const holds = new Map<string, Promise<void>>();
  const inForce = new Map<string, GivenEntry>();
  const dispatcher = new Dispatcher({
    triggers: [],
    log: { info() {}, warn() {}, error() {} },
    yearOf: () => 1970,
  });
  let config = load(text);
  let problem: Error | undefined;
  const log = createLog({
    level: 'info',
    format: 'json',
    stream: 'stdout',
    write: (line) => lines.push(JSON.parse(line)),
  });
  const act = async (what: string, entry: GivenEntry): Promise<void> => {
    await holds.get(entry.name);
    done.push(`${what} ${entry.name}`);
    if (failing.has(entry.name)) throw new Error('it will not');
    inForce.set(entry.name, entry);
  };
  const reload = new ConfigReload({
    config,
    load: () => {
      if (problem !== undefined) throw problem;
      return config;
    },
    log,
    supervisor: () => ({
      add: (entry) => act('add', entry),
      async change(entry) {
        await act('change', entry);
        return { outcome: 'swapped', generation: 2 };
      },
      async remove(name) {
        await holds.get(name);
        done.push(`remove ${name}`);
        inForce.delete(name);
      },
      entry(name) {
        const entry = inForce.get(name);
        if (entry === undefined) throw new Error(`no ${name}`);
        return entry;
      },
    }),
    dispatcher,
    fire: async () => undefined,
    setFreshness: (plugin, bound) => done.push(`freshness ${plugin} ${bound?.maxAgeMs ?? 'none'}`),
    onRemoved: (plugin) => done.push(`forget ${plugin}`),
    setLogLevel: (plugin, level) => done.push(`level ${plugin} ${level ?? 'default'}`),
    onPattern: ({ name, on }) => done.push(`pattern ${name} ${on.join(' ')}`),
  });
  for (const entry of reload.entries) inForce.set(entry.name, entry);
  return {
    reload,
    dispatcher,
    log,
    lines,
    failing,
    holds,
    inForce,
    /** What was done by reading this file. */
    async read(next: string | MktsConfig | Error) {
      problem = next instanceof Error ? next : undefined;
      if (!(next instanceof Error)) config = typeof next === 'string' ? load(next) : next;
      const report = await reload.reload();
      return { report, done: done.splice(0) };
    },
  };
}

const entry = (name: string, config = '{}'): string =>
  `  - {module: m, name: ${name}, config: ${config}}\n`;

test('entries are added, removed and changed; the same file does nothing', async () => {
  const { read, reload } = reloadOf(`bgworkers:\n${entry('a')}${entry('b')}`);
  expect((await read(`bgworkers:\n${entry('a')}${entry('b')}`)).done).toEqual([]);
  const { done, report } = await read(`bgworkers:\n${entry('b', '{x: 1}')}${entry('c')}`);
  expect(done).toEqual([
    ...['freshness a none', 'freshness c none', 'level c default'],
    ...['remove a', 'add c', 'change b', 'forget a'],
  ]);
  expect(report).toEqual({
    added: ['c'],
    removed: ['a'],
    changed: ['b'],
    failed: [],
    later: [],
    message: 'added c; removed a; changed b (config)',
  });
  expect(reload.config.plugins.map(({ name }) => name)).toEqual(['b', 'c']);
  expect((await read(`bgworkers:\n${entry('b', '{x: 1}')}${entry('c')}`)).report.message).toBe(
    'mkts.yml is what it was',
  );
});

test('what a worker need not know takes effect without one', async () => {
  const of = (more: string): string => `triggers:\n  - {module: m, name: t${more}}\n`;
  const { read, dispatcher } = reloadOf('');
  await read(of(', on: "*/1D/*"'));
  expect(dispatcher.has('t')).toBe(true);
  const bound = ', on: "*/1H/*", freshness: {max_age: 90s}, log_level: debug';
  expect((await read(of(bound))).done).toEqual([
    'pattern t */1H/*',
    'freshness t 90000',
    'level t debug',
  ]);
  expect((await read('')).done).toEqual(['freshness t none', 'remove t', 'forget t']);
  expect(dispatcher.has('t')).toBe(false);
});

test('another kind under the same name: the one goes before the other comes', async () => {
  const { read, dispatcher } = reloadOf(`bgworkers:\n${entry('a')}`);
  const { done } = await read('triggers:\n  - {module: m, name: a, on: "*/1D/*"}\n');
  expect(done.filter((what) => / a$/.test(what))).toEqual(['remove a', 'forget a', 'add a']);
  expect(dispatcher.has('a')).toBe(true);
  expect((await read(`bgworkers:\n${entry('a')}`)).done).toContain('add a');
  expect(dispatcher.has('a')).toBe(false);
});

test('who does not follow is told, holds up nobody, and is tried again when an operator asks', async () => {
  const { read, failing } = reloadOf(`bgworkers:\n${entry('a')}${entry('b')}`);
  failing.add('a');
  const text = `bgworkers:\n${entry('a', '{x: 1}')}${entry('b', '{x: 1}')}`;
  const { report } = await read(text);
  expect(report.failed).toEqual([{ plugin: 'a', reason: 'it will not' }]);
  expect(report.message).toContain('a does not follow: it will not');
  failing.clear();
  expect((await read(text)).done).toEqual(['change a']);
  expect((await read(text)).done).toEqual([]);
});

test('changes of one plugin are made in turn; others do not wait', async () => {
  const { read, holds, inForce } = reloadOf(`bgworkers:\n${entry('a')}`);
  const hold = Promise.withResolvers<void>();
  holds.set('slow', hold.promise);
  const first = read(`bgworkers:\n${entry('a')}${entry('slow')}`);
  const second = read(`bgworkers:\n${entry('a', '{x: 1}')}${entry('slow', '{x: 1}')}`);
  await expect.poll(() => inForce.get('a')?.config).toEqual({ x: 1 });
  expect(inForce.has('slow')).toBe(false);
  hold.resolve();
  await Promise.all([first, second]);
  expect(inForce.get('slow')?.config).toEqual({ x: 1 });
});

test('a file that is not valid changes nothing', async () => {
  const { read, reload, lines } = reloadOf(`bgworkers:\n${entry('a')}`);
  const before = reload.config;
  await expect(read(new Error('mkts.yml:3:1: it is bad'))).rejects.toThrow('it is bad');
  await expect(read('triggers:\n  - {module: m, name: t, on: "A/[/B"}\n')).rejects.toThrow(
    /mkts\.yml:5:\d+ on of 't': pattern "A\/\[\/B"/,
  );
  expect(reload.config).toBe(before);
  expect(lines.map(({ level, msg }) => [level, msg.slice(0, 60)])).toEqual([
    ['error', 'mkts.yml is not taken over, nothing changes: mkts.yml:3:1: i'],
    ['error', expect.stringContaining('mkts.yml is not taken over')],
  ]);
});

test('other keys: one warning for each value, none when it is taken back', async () => {
  const { read, lines } = reloadOf('');
  const warnings = (): unknown[] =>
    lines
      .splice(0)
      .filter(({ level }) => level === 'warn')
      .map(({ keys }) => keys);
  expect((await read('timezone: Asia/Tokyo\n')).report.later).toEqual(['timezone']);
  expect(warnings()).toEqual([['timezone']]);
  expect((await read('timezone: Asia/Tokyo\nplugin_dir: p\n')).report.later).toEqual([
    'timezone',
    'plugin_dir',
  ]);
  expect(warnings()).toEqual([['plugin_dir']]);
  expect((await read('')).report).toMatchObject({ later: [], message: 'mkts.yml is what it was' });
  expect(warnings()).toEqual([]);
});

test('the level of the log changes at once', async () => {
  const { read, log } = reloadOf('');
  expect((await read('log_level: error\n')).report.later).toEqual([]);
  expect(log.level).toBe('error');
  await read('');
  expect(log.level).toBe('info');
});

test('secrets that come with the new file are hidden, those of the old one too', async () => {
  const { read, log, lines } = reloadOf(`bgworkers:\n${entry('a', '{token: old-secret}')}`);
  await read(`bgworkers:\n${entry('a', '{token: new-secret}')}`);
  log.info('old-secret and new-secret');
  expect(lines.at(-1)?.msg).toBe('*** and ***');
});

test('a place in the settings is that in the file as it is now', async () => {
  const { read, inForce } = reloadOf(`bgworkers:\n${entry('a', '{x: 1}')}`);
  const line = (): string | undefined => inForce.get('a')?.locate(['x']).split(':').at(-2);
  expect(line()).toBe('5');
  await read(`bgworkers:\n${entry('b')}${entry('a', '{x: 1}')}`);
  expect(line()).toBe('6');
  expect(inForce.get('a')?.pathOf?.(['x'])).toBe('bgworkers[1].config.x');
});

test('after the close nothing is read', async () => {
  const { read, reload } = reloadOf('');
  reload.close();
  await expect(read(`bgworkers:\n${entry('a')}`)).rejects.toMatchObject({
    code: 'MKTS_SHUTTING_DOWN',
  });
  expect(reload.config.plugins).toEqual([] satisfies PluginEntry[]);
});
