/**
 * What the compiler and the linter cannot say: which way imports point, one door for each package,
 * no dead files, names, lengths, and that documents and code agree.
 *
 * Each test collects what offends and compares with nothing, so that a failure is the list.
 */

import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { loadConfig } from '../config/load.ts';
import { moduleName } from '../config/plugin-entries.ts';
import { ERROR_TEXTS } from '../kernel/base/errors.ts';
import { LONG } from './support/longest-first.ts';
import {
  PROJECT,
  packageOf,
  projectPaths,
  readProjectFile,
  readSources,
  type SourceFile,
} from './support/source-tree.ts';
import { temporaryDirectory } from './support/temporary-directory.ts';

/** What `mkts plugin new` copies is a user's code: it has imports of its own. */
const isScaffold = ({ path }: SourceFile): boolean => path.startsWith('plugins/scaffold/');
const sources = readSources('{kernel,workers,plugins,config}/**/*.ts').filter(
  (file) => !isScaffold(file),
);
const tests = readSources('test/**/*.ts');
const PLUGINS = projectPaths('plugins/*/plugin.ts').map((path) => path.split('/')[1] ?? '');

// ---- imports ----------------------------------------------------------------------------------

/** What each part may import, besides itself. Sideways and upwards is not in it. */
const STORE = ['kernel/base', 'kernel/storage', 'kernel/wal'];
const AROUND = ['kernel/log.ts', 'kernel/package-root.ts', 'config', 'workers', 'plugins/sdk.ts'];
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  'kernel/base': [],
  'kernel/log.ts': ['kernel/base'],
  'kernel/package-root.ts': ['kernel/base'],
  config: ['kernel/base'],
  'plugins/sdk.ts': [],
  'plugins/testing.ts': ['kernel/base', 'plugins/testing'],
  'plugins/testing': ['kernel/base', 'workers', 'plugins/sdk.ts'],
  'plugins/feeder': ['plugins/sdk.ts'],
  'plugins/<name>': ['plugins/sdk.ts', 'plugins/feeder'],
  workers: ['kernel/base', 'plugins/sdk.ts'],
  'kernel/storage': ['kernel/base'],
  'kernel/wal': ['kernel/base', 'kernel/storage'],
  'kernel/ingest': [...STORE, 'workers'],
  'kernel/query': STORE,
  'kernel/backup': ['kernel/base', 'kernel/storage'],
  'kernel/triggers': [...STORE, ...AROUND, 'kernel/ingest', 'kernel/query'],
  'kernel/supervisor': [...STORE, ...AROUND, 'kernel/ingest', 'kernel/query'],
  'kernel/frontend': [...STORE, ...AROUND, 'kernel/ingest', 'kernel/query'],
  // The composition root: kernel.ts and the files beside it, which join the parts.
  'kernel/*.ts': [
    ...STORE,
    ...AROUND,
    'kernel/ingest',
    'kernel/query',
    'kernel/backup',
    'kernel/triggers',
    'kernel/supervisor',
    'kernel/frontend',
  ],
  // Look into a data directory without a server: read with the readers of all who write there.
  'kernel/tools': [...STORE, 'kernel/ingest', 'kernel/supervisor'],
  // Commands. `plugin run` uses the supervisor without a kernel, `tool` and `restore` the store.
  'kernel/cli': [
    'kernel/base',
    ...AROUND,
    'kernel/*.ts',
    'kernel/backup',
    'kernel/storage',
    'kernel/supervisor',
    'kernel/tools',
  ],
  'kernel/main.ts': ['kernel/cli'],
};

function partOf(path: string): string {
  const [top = '', second = '', ...below] = path.split('/');
  const folder = `${top}/${second}`;
  if (folder in MAY_IMPORT) return folder;
  if (top === 'plugins') return 'plugins/<name>';
  if (top === 'kernel' && below.length === 0) return 'kernel/*.ts';
  return top === 'kernel' ? folder : top;
}

test('imports point down: never up, never sideways between parts', () => {
  const offences = sources.flatMap(({ path, imports }) =>
    imports
      .filter(({ isOurs }) => isOurs)
      .filter(({ target }) => {
        const [from, to] = [partOf(path), partOf(target)];
        if (from !== to) return MAY_IMPORT[from]?.includes(to) !== true;
        // Two plugins are two parts.
        return from === 'plugins/<name>' && path.split('/')[1] !== target.split('/')[1];
      })
      .map(({ target }) => `${path} → ${target}`),
  );
  expect(offences).toEqual([]);
});

/** Where a package may be imported; a text ending in / stands for all below. */
const DOORS: Readonly<Record<string, readonly string[]>> = {
  comlink: ['workers/', 'kernel/supervisor/'],
  commander: [
    'kernel/cli/program.ts',
    'kernel/cli/authoring-commands.ts',
    'kernel/cli/backup-commands.ts',
    'kernel/cli/operations-commands.ts',
    'kernel/cli/letter-commands.ts',
    'kernel/cli/server-flags.ts',
    'kernel/cli/tool-commands.ts',
  ],
  esbuild: ['kernel/supervisor/'],
  msgpackr: ['kernel/cli/rpc-client.ts'],
  pino: ['kernel/log.ts'],
  'pino-pretty': ['kernel/log.ts'],
  'prom-client': ['kernel/frontend/metrics.ts'],
  snappy: ['kernel/storage/'],
  yaml: ['config/document.ts'],
  zod: [
    'config/schema.ts',
    'config/entry-settings.ts',
    'config/values.ts',
    'config/check.ts',
    'plugins/sdk.ts',
  ],
};

test('a package has one door', () => {
  const offences = sources.flatMap(({ path, imports }) =>
    imports
      .filter(({ isOurs }) => !isOurs)
      .map(({ target }) => packageOf(target))
      .filter((name) => name !== undefined)
      .filter((name) => DOORS[name]?.some((door) => isBehind(path, door)) !== true)
      .map((name) => `${path} → ${name}`),
  );
  expect(offences).toEqual([]);
});

function isBehind(path: string, door: string): boolean {
  return door.endsWith('/') ? path.startsWith(door) : path === door;
}

test('the lock names the optional packages of every platform, and no registry', () => {
  const text = readProjectFile('package-lock.json');
  const { packages } = JSON.parse(text) as {
    packages: Record<string, { readonly optionalDependencies?: Record<string, string> }>;
  };
  // npm leaves out what the machine that wrote the lock could not see, and `npm ci` then refuses.
  const missing = Object.entries(packages)
    .filter(([path]) => path !== '')
    .flatMap(([, { optionalDependencies = {} }]) => Object.keys(optionalDependencies))
    .filter((name) => packages[`node_modules/${name}`] === undefined);
  expect(missing).toEqual([]);
  expect(text).not.toContain('"resolved"');
});

test('every dependency of the published package is used, and every used one is declared', () => {
  const { dependencies } = JSON.parse(readProjectFile('package.json')) as {
    dependencies: Record<string, string>;
  };
  const used = sources.flatMap(({ imports }) => imports.map(({ target }) => packageOf(target)));
  const unused = Object.keys(dependencies).filter((name) => !used.includes(name));
  expect(unused).toEqual([]);
  expect(
    Object.keys(DOORS).filter((name) => used.includes(name) && !(name in dependencies)),
  ).toEqual([]);
});

test('an old Node gets as far as the check of its version', () => {
  const main = sources.find(({ path }) => path === 'kernel/main.ts');
  const first = main?.imports.filter(({ isStatic }) => isStatic).map(({ target }) => target);
  expect(first).toEqual(['kernel/cli/node-version.ts']);
  const check = sources.find(({ path }) => path === 'kernel/cli/node-version.ts');
  expect(check?.imports).toEqual([]);
});

test('no file is dead: each is an entry point, or named by another', () => {
  const mentioned = new Set(sources.flatMap(({ mentions }) => mentions));
  const isEntry = (path: string): boolean =>
    ['kernel/main.ts', 'plugins/testing.ts'].includes(path) ||
    /^plugins\/[^/]+\/plugin\.ts$/.test(path);
  const dead = sources.filter(({ path }) => !mentioned.has(path) && !isEntry(path));
  expect(dead.map(({ path }) => path)).toEqual([]);

  const naming = [...tests, ...readSources('vitest.config.ts')];
  const byTests = new Set(naming.flatMap(({ mentions }) => mentions));
  const deadSupport = tests.filter(
    ({ path }) => path.startsWith('test/support/') && !byTests.has(path),
  );
  expect(deadSupport.map(({ path }) => path)).toEqual([]);
});

test('atomics stay in the files that are about them', () => {
  const ATOMIC = ['ring', 'ring-mirror', 'doorbell', 'word-watch'].map(
    (name) => `workers/${name}.ts`,
  );
  const offences = sources
    .filter(({ path }) => !ATOMIC.includes(path))
    .filter(({ text }) => /\bAtomics\.[a-z]/.test(withoutComments(text)));
  expect(offences.map(({ path }) => path)).toEqual([]);
});

// ---- files ------------------------------------------------------------------------------------

test('names are in kebab-case and say something', () => {
  const VAGUE = ['util', 'utils', 'helper', 'helpers', 'common', 'manager', 'misc', 'index'];
  const offences = [...sources, ...tests]
    .map(({ path }) => path)
    .filter((path) => {
      const name = basename(path).replace(/(\.(property|bench|test|d))*\.ts$/, '');
      const isKebab = /^[a-z\d]+(-[a-z\d]+)*$/.test(name);
      return !isKebab || name.split('-').some((word) => VAGUE.includes(word));
    });
  expect(offences).toEqual([]);
});

test('no file is longer than 500 lines', () => {
  const long = [...sources, ...tests]
    .map(({ path, text }) => ({ path, lines: text.split('\n').length - 1 }))
    .filter(({ lines }) => lines > 500);
  expect(long).toEqual([]);
});

test('every source file opens by saying what it is', () => {
  const silent = sources.filter(({ text }) => !/^(#!.*\n)?\/\*\*/.test(text));
  expect(silent.map(({ path }) => path)).toEqual([]);
});

test('the root holds what tools and readers look for there, and no more', () => {
  const KNOWN = [
    ...['kernel', 'workers', 'plugins', 'config', 'test'],
    ...['package.json', 'package-lock.json', 'tsconfig.json', 'tsconfig.build.json'],
    ...['biome.json', 'vitest.config.ts'],
    ...['README.md', 'ARCHITECTURE.md', 'CHANGELOG.md', 'LICENSE'],
  ];
  // What a run leaves behind, see .gitignore.
  const LEFT = ['node_modules', 'dist', 'coverage', 'data', 'mkts.yml'];
  const others = readdirSync(PROJECT).filter(
    (name) => ![...KNOWN, ...LEFT].includes(name) && !/^\.|\.tgz$/.test(name),
  );
  expect(others).toEqual([]);
});

test('no path of somebody’s machine is in a file', () => {
  const MACHINE = /(^|[^\w.])\/(work|root|home|Users|farm)\/[A-Za-z]/;
  const texts = projectPaths('*.{md,json,ts}')
    .concat(projectPaths('{config,plugins}/**/*.{md,yml}'), projectPaths('kernel/**/*.md'))
    .map((path) => ({ path, text: readProjectFile(path) }));
  const offences = [...texts, ...sources, ...tests].filter(({ text }) => MACHINE.test(text));
  expect(offences.map(({ path }) => path)).toEqual([]);
});

// ---- documents --------------------------------------------------------------------------------

test('every error code is used', () => {
  const used = sources.filter(({ path }) => path !== 'kernel/base/errors.ts');
  const unused = Object.keys(ERROR_TEXTS).filter((code) => !mentions(used, code));
  expect(unused).toEqual([]);
});

test('every error code is in the README, and the README has no other', () => {
  const listed = new Set(readProjectFile('README.md').match(/\bMKTS_[A-Z_]+\b/g));
  // Variables of the environment.
  for (const variable of ['MKTS_VERIFY', 'MKTS_ADMIN_TOKEN']) listed.delete(variable);
  const codes = Object.keys(ERROR_TEXTS);
  expect(codes.filter((code) => !listed.has(code))).toEqual([]);
  expect([...listed].filter((code) => !codes.includes(code))).toEqual([]);
});

function mentions(files: readonly SourceFile[], code: string): boolean {
  const word = new RegExp(`\\b${code}\\b`);
  return files.some(({ text }) => word.test(text));
}

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/\/\/.*$/gm, '');
}

// ---- plugins ----------------------------------------------------------------------------------

test.each(PLUGINS)('plugin %s has the four files of a plugin', (name) => {
  const missing = ['plugin.ts', 'config.ts', 'README.md', 'sample.yml'].filter(
    (file) => !existsSync(join(PROJECT, 'plugins', name, file)),
  );
  expect(missing).toEqual([]);
});

interface Loaded {
  readonly default: {
    readonly name: string;
    readonly kind: string;
    readonly config: { safeParse(value: unknown): { success: boolean; error?: unknown } };
  };
}

test.each(PLUGINS)('the sample of plugin %s loads, and its settings are valid', async (name) => {
  const sample = readProjectFile(`plugins/${name}/sample.yml`);
  const path = join(temporaryDirectory(), 'mkts.yml');
  const server = 'root_directory: data\nlisten_port: 0\nlisten_host: 127.0.0.1\n';
  // A sample with a data directory is a whole mkts.yml, and must do as it is.
  const own = /^root_directory:/m.test(sample) ? '' : server;
  writeFileSync(path, own + sample);
  const variables = [...sample.matchAll(/\$\{(\w+)\}/g)].map(([, variable]) => [variable, 'given']);
  const { plugins, warnings } = loadConfig(path, Object.fromEntries(variables));
  // That only this machine can connect is told of every file that does not say it itself.
  expect(warnings.filter((warning) => warning.path !== 'listen_host')).toEqual([]);

  const url = pathToFileURL(join(PROJECT, 'plugins', name, 'plugin.ts')).href;
  const { default: definition } = (await import(url)) as Loaded;
  expect(definition.name).toBe(name);
  const entries = plugins.filter(({ module }) => moduleName(module) === name);
  expect(entries.length).toBeGreaterThan(0);
  for (const { kind, config } of entries) {
    expect(kind).toBe(definition.kind);
    expect(definition.config.safeParse(config)).toMatchObject({ success: true });
  }
});

test('every test file that is known to take long is there', () => {
  const paths = tests.map(({ path }) => path);
  expect(LONG.filter((name) => !paths.includes(`test/${name}.test.ts`))).toEqual([]);
});
