import { writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { compareConfigs } from '../../../config/change.ts';
import { loadConfig, type MktsConfig } from '../../../config/load.ts';
import { temporaryFile } from '../../support/temporary-directory.ts';

const BASE = 'root_directory: data\nlisten_port: 5993\nlisten_host: 127.0.0.1\n';

function load(text: string, environment: Record<string, string> = {}): MktsConfig {
  return loadConfig(temporaryFile('mkts.yml', BASE + text), environment);
}

function change(before: string, after: string) {
  const { added, removed, changed, keys } = compareConfigs(load(before), load(after));
  return {
    added: added.map(({ name }) => name),
    removed: removed.map(({ name }) => name),
    changed: changed.map(({ after: { name }, keys: changedKeys }) => [name, ...changedKeys]),
    keys,
  };
}

const NOTHING = { added: [], removed: [], changed: [], keys: [] };
const TWO = 'bgworkers:\n  - module: a\n    config: {x: [1, {y: 2}]}\n  - module: b\n';

test('the same file, another order, other places and comments are no change', () => {
  expect(change(TWO, TWO)).toEqual(NOTHING);
  expect(
    change(
      TWO,
      'bgworkers:\n  - module: b\n\n  # moved\n  - {module: a, config: {x: [1, {y: 2}]}}\n',
    ),
  ).toEqual(NOTHING);
  expect(
    change(`timezone: America/New_York\n${TWO}`, `timezone: America/New_York\n${TWO}`),
  ).toEqual(NOTHING);
});

test('entries that come, go and change, by name', () => {
  expect(
    change(TWO, 'bgworkers:\n  - module: a\n    config: {x: [1, {y: 3}]}\n  - module: c\n'),
  ).toEqual({ ...NOTHING, added: ['c'], removed: ['b'], changed: [['a', 'config']] });
});

test('each key of an entry is noticed', () => {
  const keys = {
    module: 'other.ts',
    network: '[venue.test]',
    required: 'true',
    isolation: 'process',
    on_start_error: 'quarantine',
    durability: 'wal',
    log_level: 'debug',
    writes: '["*/1Min/OHLCV"]',
    secrets: '{token: one}',
    grants: '[zlib]',
    resources: '{memory_mb: 64}',
    reload: '{watch: false}',
    freshness: '{max_age: 1m}',
  };
  for (const [key, value] of Object.entries(keys)) {
    const entry = (line: string): string => `bgworkers:\n  - name: a\n    module: m\n${line}`;
    const line = key === 'module' ? '' : `    ${key}: ${value}\n`;
    const after = key === 'module' ? entry('').replace('module: m', 'module: n') : entry(line);
    const { changed } = change(entry(''), after);
    expect(changed[0]?.slice(0, 2), key).toEqual(['a', key]);
  }
});

test('a trigger under the name of a bgworker is another kind; another `on` is one key', () => {
  expect(
    change('bgworkers:\n  - module: a\n', 'triggers:\n  - {module: a, on: "*/1D/*"}\n').changed,
  ).toEqual([['a', 'kind', 'on']]);
  expect(
    change(
      'triggers:\n  - {module: a, on: "*/1D/*"}\n',
      'triggers:\n  - {module: a, on: ["*/1D/*", "*/1H/*"]}\n',
    ).changed,
  ).toEqual([['a', 'on']]);
});

test('another value behind a reference is a change', () => {
  const text = `${BASE}bgworkers:\n  - module: a\n    config: {key: "\${KEY}"}\n`;
  const path = temporaryFile('mkts.yml', text);
  const before = loadConfig(path, { KEY: 'one' });
  expect(compareConfigs(before, loadConfig(path, { KEY: 'two' })).changed[0]?.keys).toEqual([
    'config',
  ]);
  expect(compareConfigs(before, loadConfig(path, { KEY: 'one' })).changed).toEqual([]);
});

test('keys of the server are named as they are written', () => {
  expect(
    change('', 'timezone: Asia/Tokyo\nlog_level: debug\ncheckpoint_interval: 5s\nplugin_dir: p\n')
      .keys,
  ).toEqual(['timezone', 'log_level', 'checkpoint_interval', 'plugin_dir']);
});

test('the data directory is compared as it is written, wherever the process is by now', () => {
  const path = temporaryFile('mkts.yml', BASE);
  const before = loadConfig(path, {}, '/somewhere');
  expect(before.rootDirectory).toBe('/somewhere/data');
  const after = loadConfig(before.path, {}, before.workingDirectory);
  expect(after.rootDirectory).toBe('/somewhere/data');
  expect(compareConfigs(before, after).keys).toEqual([]);
});

test('another calendar, or other days in the same file, are a change', () => {
  const entry = 'bgworkers:\n  - {module: a, freshness: {max_age: 1m, calendar: ';
  expect(change(`${entry}always}}\n`, `${entry}nasdaq}}\n`).changed).toEqual([['a', 'freshness']]);
  const file = temporaryFile('days.json', '{"extends": "nasdaq"}');
  const before = load(`${entry}${file}}}\n`);
  writeFileSync(file, '{"extends": "nasdaq", "early_closes": ["2026-08-13"]}');
  const after = load(`${entry}${file}}}\n`);
  expect(compareConfigs(before, after).changed[0]?.keys).toEqual(['freshness']);
  expect(compareConfigs(after, load(`${entry}${file}}}\n`)).changed).toEqual([]);
});

test('a calendar that is not there, or is not one, is told with its place', () => {
  const entry = (calendar: string): string =>
    `bgworkers:\n  - module: a\n    freshness:\n      max_age: 1m\n      calendar: ${calendar}\n`;
  expect(() => load(entry('nasdak'))).toThrow(
    /mkts.yml:8:17 bgworkers\[0\]\.freshness\.calendar: .*there is no .*nasdak, did you mean 'nasdaq'/,
  );
  const file = temporaryFile('tokyo.json', '{"open_time": "9"}');
  expect(() => load(entry(file))).toThrow(/freshness\.calendar: calendar .*open_time: expected/);
});
