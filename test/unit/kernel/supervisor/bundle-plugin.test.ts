import {
  mkdirSync,
  mkdtempSync,
  realpathSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { compileFunction } from 'node:vm';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Bundle } from '../../../../kernel/supervisor/bundle-plugin.ts';
import { bundlePlugin, FILE_CLOCK_MS } from '../../../../kernel/supervisor/bundle-plugin.ts';
import { resolveModule } from '../../../../kernel/supervisor/resolve-module.ts';
import type { BgWorker } from '../../../../plugins/sdk.ts';

/** A directory that is no part of this package, as a user's is. */
let root: string;

beforeEach(() => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'mkts-bundle-')));
});
afterEach(() => rmSync(root, { recursive: true }));

function make(files: Readonly<Record<string, string>>): string {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  return join(root, 'mine.ts');
}

const bundle = (file: string): Promise<Bundle> => bundlePlugin({ name: 'mine', file });

/** Runs a bundle as a worker does: without any loader but for the libraries beside it. */
function evaluate({ code, filename, libraries }: Bundle): BgWorker {
  const loaded = new Map<string, unknown>();
  const require = (path: string): unknown => {
    const text = libraries[path];
    if (text === undefined) throw new Error(`required ${path}`);
    if (!loaded.has(path)) loaded.set(path, runText(text, `${path}.cjs`, require));
    return loaded.get(path);
  };
  const { default: plugin } = runText(code, filename, require) as { readonly default?: BgWorker };
  if (plugin === undefined) throw new Error('no default export');
  return plugin;
}

function runText(code: string, filename: string, require: (path: string) => unknown): unknown {
  const module = { exports: {} };
  compileFunction(code, ['require', 'module', 'exports'], { filename })(
    require,
    module,
    module.exports,
  );
  return module.exports;
}

const PLUGIN = `
import { defineBgWorker, KERNEL_API, z, type Context } from 'mkts/sdk';
import { answer } from './lib/answer.ts';
const config = z.strictObject({ symbols: z.array(z.string()) });
export default defineBgWorker({
  name: 'mine', version: String(answer), api: KERNEL_API, config,
  async start(ctx: Context<z.output<typeof config>>): Promise<void> { ctx.log.info('hello'); },
});
`;
const ANSWER = 'export const answer: number = 42;';

test('a user plugin with nothing installed bundles with the SDK and zod', async () => {
  const file = make({ 'mine.ts': PLUGIN, 'lib/answer.ts': ANSWER });
  const built = await bundle(file);
  const plugin = evaluate(built);
  expect(plugin).toMatchObject({ kind: 'bgworker', name: 'mine', version: '42', api: 1 });
  expect(plugin.config.safeParse({ symbols: ['A'] }).success).toBe(true);
  expect(plugin.config.safeParse({ symbol: 1 }).success).toBe(false);
  expect([...built.inputs].sort()).toEqual([join(root, 'lib/answer.ts'), file]);
});

test('a plugin in JavaScript that imports zod itself gets the same zod', async () => {
  const file = make({
    'mine.ts': `import * as own from 'zod'; import { z } from 'mkts/sdk';
      export default { kind: 'bgworker', same: own.z.ZodType === z.ZodType };`,
  });
  expect(evaluate(await bundle(file))).toMatchObject({ same: true });
});

test('a dependency of the plugin keeps the zod it brings', async () => {
  const file = make({
    'mine.ts': `import { brand } from 'dep'; export default { brand };`,
    'node_modules/dep/package.json': '{"name":"dep","main":"index.js"}',
    'node_modules/dep/index.js': `export { brand } from 'zod';`,
    'node_modules/zod/package.json': '{"name":"zod","main":"index.js"}',
    'node_modules/zod/index.js': `export const brand = 'old zod';`,
  });
  const built = await bundle(file);
  expect(evaluate(built)).toMatchObject({ brand: 'old zod' });
  expect(built.inputs).toHaveLength(3);
});

test('the plugins that come with the server bundle', async () => {
  const { file } = resolveModule('ondiskagg', {
    pluginDirectory: undefined,
    configDirectory: root,
  });
  expect(evaluate(await bundle(file))).toMatchObject({ kind: 'trigger', name: 'ondiskagg' });
});

test.each([
  ['node:fs', `import { readFileSync } from 'node:fs'; export default readFileSync;`],
  ['fs', `export default require('fs');`],
  ['worker_threads', `export default import('worker_threads');`],
  ['https://example.com/x.js', `import x from 'https://example.com/x.js'; export default x;`],
])('an import of %s is refused, naming the file', async (path, text) => {
  const file = make({
    'mine.ts': `import x from './lib/deep.ts'; export default x;`,
    'lib/deep.ts': text,
  });
  await expect(bundle(file)).rejects.toMatchObject({
    code: 'MKTS_PLUGIN_IMPORT',
    fields: { plugin: 'mine', import: path, file: join(root, 'lib/deep.ts') },
  });
});

test('a type import of a builtin, and an npm package named like one, are no builtin', async () => {
  const file = make({
    'mine.ts': `import type { Stats } from 'node:fs'; import { on } from 'events';
      export default { on, of: (stats: Stats) => stats };`,
    'node_modules/events/package.json': '{"name":"events","main":"index.js"}',
    'node_modules/events/index.js': 'exports.on = 7;',
  });
  expect(evaluate(await bundle(file))).toMatchObject({ on: 7 });
});

test('a part of the server is refused: a plugin would run a copy of it', async () => {
  const inside = join(import.meta.dirname, '../../../../kernel/base/timeframe.ts');
  const file = make({
    'mine.ts': `import { isStorable } from ${JSON.stringify(inside)}; export default isStorable;`,
  });
  await expect(bundle(file)).rejects.toMatchObject({
    code: 'MKTS_PLUGIN_IMPORT',
    fields: { import: inside, file },
  });
});

test('what is for tests is refused in a plugin', async () => {
  const file = make({ 'mine.ts': "export { FakeKernel } from 'mkts/testing';" });
  await expect(bundle(file)).rejects.toMatchObject({
    code: 'MKTS_PLUGIN_IMPORT',
    fields: { import: 'mkts/testing', file },
  });
});

test('a mistake in a plugin is reported with file, line and column', async () => {
  const file = make({ 'mine.ts': 'export default {};\nconst a = ;\n' });
  await expect(bundle(file)).rejects.toMatchObject({
    code: 'MKTS_PLUGIN_BUILD',
    fields: { plugin: 'mine', reason: expect.stringContaining('mine.ts:2:11: ') },
  });
});

test('an import that is not there is reported where it stands', async () => {
  const file = make({ 'mine.ts': `import x from 'left-pad';\nexport default x;` });
  await expect(bundle(file)).rejects.toMatchObject({
    code: 'MKTS_PLUGIN_BUILD',
    message: expect.stringMatching(/mine\.ts:1:15: .*left-pad/),
  });
});

test('a missing plugin file is a build error', async () => {
  await expect(bundle(join(root, 'gone.ts'))).rejects.toMatchObject({ code: 'MKTS_PLUGIN_BUILD' });
});

test('many mistakes are counted past the bound', async () => {
  const file = make({
    'mine.ts': Array.from({ length: 9 }, (_, at) => `import './gone-${at}.ts';`).join('\n'),
  });
  await expect(bundle(file)).rejects.toThrow(/and 4 more/);
});

test('the same contents are the same bundle; a change builds again', async () => {
  const file = make({ 'mine.ts': PLUGIN, 'lib/answer.ts': ANSWER });
  // Files that were changed just now are built again: they may have changed while they were built.
  await sleep(2 * FILE_CLOCK_MS);
  const first = await bundle(file);
  expect(await bundle(file)).toBe(first);
  writeFileSync(join(root, 'lib/answer.ts'), ANSWER.replace('42', '43'));
  expect(evaluate(await bundle(file)).version).toBe('43');
});

test('a file that is replaced by an older one while it is built is built again', async () => {
  const name = join(root, 'lib/answer.ts');
  const anHourAgo = Date.now() / 1000 - 3600;
  // Wherever in the build it is replaced.
  for (let delayMs = 0; delayMs < 30; delayMs += 2) {
    const file = make({ 'mine.ts': PLUGIN, 'lib/answer.ts': ANSWER });
    await sleep(2 * FILE_CLOCK_MS);
    const next = `${name}.next`;
    writeFileSync(next, ANSWER.replace('42', `${100 + delayMs}`));
    utimesSync(next, anHourAgo, anHourAgo);
    const first = bundle(file);
    await sleep(delayMs);
    renameSync(next, name);
    await first;
    expect(evaluate(await bundle(file)).version).toBe(`${100 + delayMs}`);
  }
});

test('a tsconfig.json beside the plugin does not change what runs', async () => {
  const file = make({
    'mine.ts': PLUGIN,
    'lib/answer.ts': ANSWER,
    'tsconfig.json':
      '{"compilerOptions": {"paths": {"./lib/*": ["./no/*"]}, "target": "nonsense"}}',
  });
  expect(evaluate(await bundle(file)).version).toBe('42');
});

test('the source map leads back to the plugin', async () => {
  const file = make({ 'mine.ts': PLUGIN, 'lib/answer.ts': ANSWER });
  const { code, filename } = await bundle(file);
  const encoded = code.slice(code.lastIndexOf('base64,') + 'base64,'.length);
  const map = JSON.parse(Buffer.from(encoded, 'base64').toString()) as { sources: string[] };
  expect(map.sources).toContain('mine.ts');
  expect(dirname(filename)).toBe(root);
});
