// biome-ignore-all lint/suspicious/noTemplateCurlyInString: it is the notation under test

import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { loadConfig, type MktsConfig } from '../../../config/load.ts';
import { moduleName } from '../../../config/plugin-entries.ts';
import { temporaryFile } from '../../support/temporary-directory.ts';

const BASE = 'root_directory: data\nlisten_port: 5993\nlisten_host: 127.0.0.1\n';

function load(text: string, environment: Record<string, string> = {}): MktsConfig {
  return loadConfig(temporaryFile('mkts.yml', BASE + text), environment);
}

test('the name of a module is its file without a suffix of old or new', () => {
  const names = ['x.so', 'x', '/opt/plugins/x.ts', './x.mjs', 'x.js'].map(moduleName);
  expect(new Set(names)).toEqual(new Set(['x']));
});

test('entries without a name take their module, numbered on repeats and around given names', () => {
  const config = load(`
triggers:
  - { module: ondiskagg.so, on: "*/1Min/OHLCV" }
  - { module: ondiskagg.so, on: "*/1Sec/OHLCV" }
bgworkers:
  - { module: x.so, name: ondiskagg-2 }
  - { module: ondiskagg }
`);
  expect(config.plugins.map(({ kind, name }) => [kind, name])).toEqual([
    ['trigger', 'ondiskagg'],
    ['trigger', 'ondiskagg-3'],
    ['bgworker', 'ondiskagg-2'],
    ['bgworker', 'ondiskagg-4'],
  ]);
});

test('a name given twice is refused, and the first holder named', () => {
  const text = 'bgworkers:\n  - { module: x, name: feed }\n  - { module: y, name: feed }\n';
  expect(() => load(text)).toThrow(
    /mkts\.yml:6:24 bgworkers\[1\]\.name: the name 'feed' is taken by bgworkers\[0\] \(.*mkts\.yml:5:5\)/,
  );
});

test('a pattern may be one or a list; none fires on everything, with a warning', () => {
  const config = load(`
triggers:
  - { module: a, on: "*/1Min/OHLCV" }
  - { module: b, on: ["A/1Min/OHLCV", "B/1Min/OHLCV"] }
  - { module: c }
`);
  expect(config.plugins.map(({ on }) => on)).toEqual([
    ['*/1Min/OHLCV'],
    ['A/1Min/OHLCV', 'B/1Min/OHLCV'],
    ['*/*/*'],
  ]);
  expect(config.warnings.map(({ path }) => path)).toEqual(['triggers[2].on']);
});

test('`on` of a bgworker has no effect, and that is said', () => {
  const config = load('bgworkers: [{ module: a, on: "*/*/*" }]\n');
  expect(config.plugins[0]?.on).toEqual([]);
  expect(config.warnings.map(({ path }) => path)).toEqual(['bgworkers[0].on']);
});

test('a place inside the settings of a plugin is found in the file', () => {
  const config = load('triggers:\n  - module: x\n    on: a\n    config:\n      filter: nasdaqq\n');
  const plugin = config.plugins[0];
  expect(plugin?.locate(['filter'])).toMatch(/mkts\.yml:8:15$/);
  expect(plugin?.locate(['absent'])).toMatch(/mkts\.yml:8:7$/);
  expect(plugin?.pathOf(['filter'])).toBe('triggers[0].config.filter');
});

test('references are resolved: variables inside a text, files beside mkts.yml', () => {
  const text = `bgworkers:
  - module: x
    env: [KEY]
    config:
      api_key: \${KEY}
      url: https://x/?k=\${KEY}&v=$\${KEY}
      password: file:secret.txt
      list: ["\${KEY}"]
      number: 5
`;
  const path = temporaryFile('mkts.yml', BASE + text);
  writeFileSync(join(dirname(path), 'secret.txt'), 'from-a-file\n');
  const config = loadConfig(path, { KEY: 'from-the-environment' });
  expect(config.plugins[0]?.config).toEqual({
    api_key: 'from-the-environment',
    url: 'https://x/?k=from-the-environment&v=${KEY}',
    password: 'from-a-file',
    list: ['from-the-environment'],
    number: 5,
  });
  expect(config.secrets).toContain('from-the-environment');
  expect(config.secrets).toContain('from-a-file');
});

test('what a variable brings in is not looked at again', () => {
  const config = load('bgworkers: [{ module: x, config: { a: "${A}" } }]\n', {
    A: '${B}',
    B: 'no',
  });
  expect(config.plugins[0]?.config).toEqual({ a: '${B}' });
});

test.each([
  ['"${NOT_SET}"', 'environment variable NOT_SET is not set'],
  ['"${a b}"', 'does not name a variable'],
  ['file:missing.key', 'missing.key cannot be read: ENOENT'],
])('a reference to nothing is refused with its place: %s', (written, expected) => {
  expect(() => load(`bgworkers:\n  - module: x\n    config: { api_key: ${written} }\n`)).toThrow(
    new RegExp(`mkts\\.yml:6:24 bgworkers\\[0\\]\\.config\\.api_key: .*${expected}`),
  );
});

test('an entry with an `env` list may refer to no other variable', () => {
  const text = 'bgworkers: [{ module: x, env: [A], config: { a: "${B}" } }]\n';
  expect(() => load(text, { A: '1', B: '2' })).toThrow(/B is not in this entry's `env` list/);
});
