import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { resolveModule } from '../../../../kernel/supervisor/resolve-module.ts';

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'mkts-resolve-'));
});
afterEach(() => rmSync(root, { recursive: true }));

const places = () => ({
  pluginDirectory: join(root, 'plugins'),
  configDirectory: join(root, 'etc'),
  builtInDirectory: join(root, 'builtin'),
});

function make(...files: readonly string[]): void {
  for (const file of files) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), '');
  }
}

const resolved = (module: string): string =>
  resolveModule(module, places()).file.slice(root.length + 1);

test.each(['ondiskagg.so', 'ondiskagg', 'ondiskagg.js', 'ondiskagg.mjs', 'ondiskagg.ts'])(
  '%s is the plugin that comes with the server',
  (module) => {
    make('builtin/ondiskagg/plugin.ts', 'plugins/ondiskagg.ts');
    expect(resolveModule(module, places())).toEqual({
      file: join(root, 'builtin/ondiskagg/plugin.ts'),
      isBuiltIn: true,
      defaultName: 'ondiskagg',
    });
  },
);

test('in the built package the plugin is JavaScript', () => {
  make('builtin/gdaxfeeder/plugin.js');
  expect(resolved('gdaxfeeder.so')).toBe('builtin/gdaxfeeder/plugin.js');
});

test('a venue by its new name is the same plugin, called as it was written', () => {
  make('builtin/gdaxfeeder/plugin.ts');
  expect(resolveModule('coinbasefeeder.so', places())).toMatchObject({
    file: join(root, 'builtin/gdaxfeeder/plugin.ts'),
    defaultName: 'coinbasefeeder',
  });
});

test('the plugins of this checkout are found without being told where', () => {
  const { isBuiltIn } = resolveModule('ondiskagg.so', {
    pluginDirectory: undefined,
    configDirectory: root,
  });
  expect(isBuiltIn).toBe(true);
});

test('plugin_dir comes before the directory of mkts.yml', () => {
  make('etc/mine.ts');
  expect(resolved('mine.so')).toBe('etc/mine.ts');
  make('plugins/mine.js');
  expect(resolved('mine')).toBe('plugins/mine.js');
});

test('a module is a file or a directory with a plugin in it', () => {
  make('plugins/feeds/one/plugin.js', 'plugins/two.mjs');
  expect(resolved('feeds/one')).toBe('plugins/feeds/one/plugin.js');
  expect(resolved('two')).toBe('plugins/two.mjs');
});

test('a suffix that was written is tried first', () => {
  make('plugins/mine.ts', 'plugins/mine.js');
  expect(resolved('mine.js')).toBe('plugins/mine.js');
  expect(resolved('mine')).toBe('plugins/mine.ts');
});

test('an absolute path stands for itself', () => {
  make('elsewhere/mine.ts');
  expect(resolved(join(root, 'elsewhere/mine.so'))).toBe('elsewhere/mine.ts');
});

test('a path that ends in the name of a plugin of ours is not ours', () => {
  make('builtin/ondiskagg/plugin.ts', 'etc/ondiskagg.ts');
  expect(resolved('./ondiskagg')).toBe('etc/ondiskagg.ts');
});

test('what is not found lists every place looked in', () => {
  const looked = ['plugins', 'etc'].flatMap((directory) =>
    ['mine.ts', 'mine.js', 'mine.mjs', 'mine/plugin.ts', 'mine/plugin.js', 'mine/plugin.mjs'].map(
      (name) => join(root, directory, name),
    ),
  );
  expect(() => resolveModule('mine.so', places())).toThrow(
    expect.objectContaining({
      code: 'MKTS_PLUGIN_NOT_FOUND',
      fields: expect.objectContaining({ module: 'mine.so', looked: looked.join(', ') }),
    }),
  );
});

test('a plugin of the Go server that we do not have is named as such', () => {
  for (const module of ['stream.so', 'alpaca', 'massive', 'minkabufeeder.so'])
    expect(() => resolveModule(module, places())).toThrow(/is not part of this version/);
  expect(() => resolveModule('mine', places())).toThrow(/etc\/mine\/plugin.mjs$/);
});

test('a plugin of that name in plugin_dir is used instead', () => {
  make('plugins/stream.ts');
  expect(resolveModule('stream.so', places())).toMatchObject({ isBuiltIn: false });
});
