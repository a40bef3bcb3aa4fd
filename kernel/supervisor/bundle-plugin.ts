/**
 * Makes one CommonJS text of a plugin and everything it imports, for a worker that has no module
 * loader. Main thread; esbuild works in its own process.
 *
 * What a plugin may import: its own files and npm dependencies, `mkts/sdk` (or our sdk.ts by its
 * path) and `zod`, which is always the server's own copy, so that a plugin needs nothing installed;
 * it is not in the bundle but beside it (zod-library.ts).
 * A URL, a builtin of Node, or anything else that would be left to load at run time is refused here,
 * before any of the plugin's code runs; save for the few builtins its entry may grant (GRANTABLE),
 * of which the sandbox hands it a part (workers/granted-builtins.ts).
 */

import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire, isBuiltin } from 'node:module';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { BuildFailure, Metafile, OnResolveArgs, Plugin } from 'esbuild';
import { build } from 'esbuild';
import { PLUGIN_GRANTS } from '../../config/entry-settings.ts';
import { PluginError, reasonOf } from '../base/errors.ts';
import { BUNDLE_ERRORS_MAX, BUNDLES_KEPT_MAX } from '../base/limits.ts';
import { zodLibrary } from './zod-library.ts';

export interface Bundle {
  /** CommonJS: `module.exports.default` is the plugin. Ends in an inline source map. */
  readonly code: string;
  /** Under this name the code is compiled: the map's sources are relative to it. No such file. */
  readonly filename: string;
  /** Of the code. */
  readonly hash: string;
  /** The plugin's own files, absolute: when one changes, the bundle is out of date. */
  readonly inputs: readonly string[];
  /** Granted builtins of Node it imports, without `node:`. */
  readonly builtins: readonly string[];
  /** What the code requires besides, as CommonJS texts: zod, or nothing. */
  readonly libraries: Readonly<Record<string, string>>;
}

export interface BundleRequest {
  /** Of the entry of mkts.yml: errors name it. */
  readonly name: string;
  /** Absolute path of the plugin's entry. */
  readonly file: string;
  /** Builtins of Node its entry grants it. */
  readonly grants?: readonly string[];
}

/** `.ts` in the sources, `.js` in the built package. */
const OWN_SUFFIX: string = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
/** The directory of kernel, workers and plugins. */
const OWN_DIRECTORY: string = fileURLToPath(new URL('../..', import.meta.url));
const SDK_FILE: string = join(OWN_DIRECTORY, 'plugins', `sdk${OWN_SUFFIX}`);
/** Parts of the server no plugin may carry a copy of. */
const PRIVATE_DIRECTORIES: readonly string[] = ['kernel', 'workers', 'config'].map(
  (part) => join(OWN_DIRECTORY, part) + sep,
);

/** The server's copy, wherever npm put it. */
const ZOD_DIRECTORY: string =
  dirname(createRequire(import.meta.url).resolve('zod/package.json')) + sep;
/** As it is imported. Its other entries (`zod/mini`) are bundled with the plugin. */
const ZOD = 'zod';
/** Builtins that are granted by `grants` of an entry; all others are refused to everybody. */
const GRANTABLE: readonly string[] = PLUGIN_GRANTS;
/** More than a tick of any file system's clock. */
export const FILE_CLOCK_MS = 100;

interface KeptBundle {
  readonly bundle: Bundle;
  /** Of all inputs' names and contents. */
  readonly digest: string;
  readonly wanted: readonly RefusedImport[];
}

/** By entry file; the oldest goes first. Several entries of one module, and restarts, share one. */
const kept = new Map<string, KeptBundle>();

/**
 * Throws MKTS_PLUGIN_BUILD (with file:line:column) and MKTS_PLUGIN_IMPORT. The same files give the
 * same bundle without being built again.
 */
export async function bundlePlugin({ name, file, grants = [] }: BundleRequest): Promise<Bundle> {
  const known = kept.get(file);
  if (known !== undefined && (await digestOf(known.bundle.inputs)) === known.digest) {
    checkGrants(name, known.wanted, grants);
    return known.bundle;
  }
  kept.delete(file);
  const startedMs = Date.now();
  const wanted: RefusedImport[] = [];
  const bundle = await buildBundle(name, file, wanted);
  const digest = await settledDigestOf(bundle.inputs, startedMs);
  if (digest !== undefined) kept.set(file, { bundle, digest, wanted });
  for (const oldest of kept.keys()) {
    if (kept.size <= BUNDLES_KEPT_MAX) break;
    kept.delete(oldest);
  }
  checkGrants(name, wanted, grants);
  return bundle;
}

/** Entries of one module share a bundle, but not their grants. Throws MKTS_PLUGIN_IMPORT. */
function checkGrants(
  plugin: string,
  wanted: readonly RefusedImport[],
  grants: readonly string[],
): void {
  const missing = wanted.find(({ path }) => !grants.includes(bareName(path)));
  if (missing === undefined) return;
  throw new PluginError('MKTS_PLUGIN_IMPORT', {
    plugin,
    import: missing.path,
    file: missing.importer,
    grant: `\`grants: [${bareName(missing.path)}]\` in its entry of mkts.yml allows it`,
  });
}

function bareName(builtin: string): string {
  return builtin.replace(/^node:/, '');
}

async function buildBundle(name: string, file: string, wanted: RefusedImport[]): Promise<Bundle> {
  const directory = dirname(file);
  const filename = join(directory, `${basename(file)}.bundle.cjs`);
  const refused: RefusedImport[] = [];
  const shared = new Set<string>();
  const result = await build({
    absWorkingDir: directory,
    entryPoints: [file],
    outfile: filename,
    write: false,
    bundle: true,
    format: 'cjs',
    platform: 'neutral',
    mainFields: ['module', 'main'],
    target: 'node22',
    sourcemap: 'inline',
    // Stack traces need names and lines, not texts: zod's sources are larger than any plugin.
    sourcesContent: false,
    metafile: true,
    logLevel: 'silent',
    // A tsconfig.json near the plugin is for its author's editor; it shall not change what runs.
    tsconfigRaw: {},
    plugins: [importRules(refused, wanted, shared)],
  }).catch((cause: unknown) => {
    throw new PluginError(
      'MKTS_PLUGIN_BUILD',
      { plugin: name, reason: buildReason(cause) },
      {
        cause,
      },
    );
  });
  const { metafile } = result;
  const inputs = inputFiles(metafile, directory);
  const [first, ...others] = [
    ...refused,
    ...privateInputs(inputs),
    ...leftToLoad(metafile, shared),
  ];
  if (first !== undefined)
    throw new PluginError('MKTS_PLUGIN_IMPORT', {
      plugin: name,
      import: first.path,
      file: first.importer ?? importerOf(metafile, directory, first.path) ?? file,
      others: others.length > 0 ? others.map(({ path }) => path).join(', ') : undefined,
    });
  const code = result.outputFiles[0]?.text ?? '';
  return {
    code,
    filename,
    hash: createHash('sha256').update(code).digest('hex'),
    inputs: inputs.filter((input) => !isOwn(input)),
    builtins: [...new Set(wanted.map(({ path }) => bareName(path)))].sort(),
    libraries: shared.size === 0 ? {} : { [ZOD]: await zodLibrary() },
  };
}

interface RefusedImport {
  readonly path: string;
  /** Undefined: not known at that point. */
  readonly importer: string | undefined;
}

/** Parts of the server among a plugin's files: it would run a copy of them, beside the real ones. */
function privateInputs(inputs: readonly string[]): readonly RefusedImport[] {
  return inputs
    .filter((input) => PRIVATE_DIRECTORIES.some((part) => input.startsWith(part)))
    .map((path) => ({ path, importer: undefined }));
}

/** Imports esbuild leaves for the run time by itself: URLs, `require.resolve`. */
function leftToLoad(metafile: Metafile, shared: ReadonlySet<string>): readonly RefusedImport[] {
  return Object.values(metafile.outputs)
    .flatMap(({ imports }) => imports)
    .filter(({ path, external }) => external === true && !isBuiltin(path) && !shared.has(path))
    .map(({ path }) => ({ path, importer: undefined }));
}

/** Marks what `importRules` asks esbuild itself, so that it does not ask again. */
const ASKED = Symbol('asked by importRules');

/**
 * Resolves the SDK and zod to ours, and notes builtins of Node instead of failing to find them. An
 * npm dependency may bring a zod of another version, and packages named like builtins (`events`).
 */
function importRules(
  refused: RefusedImport[],
  wanted: RefusedImport[],
  shared: Set<string>,
): Plugin {
  return {
    name: 'mkts-imports',
    setup({ onResolve, resolve: ask }) {
      const installed = async ({ path, kind, resolveDir, importer }: OnResolveArgs) => {
        const found = await ask(path, { kind, resolveDir, importer, pluginData: ASKED });
        return found.errors.length === 0 && !found.external ? found : undefined;
      };
      onResolve({ filter: /^mkts\/sdk$/ }, () => ({ path: SDK_FILE }));
      // For tests: it would bring half a kernel of its own.
      onResolve({ filter: /^mkts\/testing$/ }, ({ path, importer }) => {
        refused.push({ path, importer });
        return { path, external: true };
      });
      onResolve({ filter: /^zod(\/|$)/ }, async (args) => {
        if (args.pluginData === ASKED) return undefined;
        const theirs = /[\\/]node_modules[\\/]/.test(args.importer)
          ? await installed(args)
          : undefined;
        if (theirs !== undefined) return theirs;
        if (args.path !== ZOD) return installed({ ...args, resolveDir: dirname(SDK_FILE) });
        shared.add(ZOD);
        return { path: ZOD, external: true };
      });
      onResolve({ filter: /^[a-z]/ }, async (args) => {
        if (args.pluginData === ASKED || args.kind === 'entry-point' || !isBuiltin(args.path))
          return undefined;
        const theirs = args.path.startsWith('node:') ? undefined : await installed(args);
        if (theirs !== undefined) return theirs;
        (GRANTABLE.includes(bareName(args.path)) ? wanted : refused).push({
          path: args.path,
          importer: args.importer,
        });
        return { path: args.path, external: true };
      });
    },
  };
}

function inputFiles(metafile: Metafile, directory: string): readonly string[] {
  // A namespace ('disabled:…') is not a file.
  return Object.keys(metafile.inputs)
    .filter((input) => !/^[a-z-]{2,}:/.test(input))
    .map((input) => resolve(directory, input));
}

function importerOf(metafile: Metafile, directory: string, path: string): string | undefined {
  for (const [input, { imports }] of Object.entries(metafile.inputs))
    if (imports.some((each) => each.path === path || resolve(directory, each.path) === path))
      return resolve(directory, input);
  return undefined;
}

/** Ours never changes while the server runs; nobody needs to watch it. */
function isOwn(input: string): boolean {
  return input === SDK_FILE || input.startsWith(ZOD_DIRECTORY);
}

/** Undefined if a file is gone or cannot be read: the build that follows says so, with its line. */
async function digestOf(files: readonly string[]): Promise<string | undefined> {
  const hash = createHash('sha256');
  try {
    for (const file of files)
      hash
        .update(file)
        .update('\0')
        .update(await readFile(file));
  } catch {
    return undefined;
  }
  return hash.digest('hex');
}

/**
 * The digest to keep a bundle under: undefined if a file is so new that it may have changed while
 * it was built, unseen by the clock of the file system. Looked at after it was read, or what takes a
 * file's place in between would be taken for what was built; and by ctime, since a file that is
 * moved into its place brings an old mtime.
 */
async function settledDigestOf(
  files: readonly string[],
  startedMs: number,
): Promise<string | undefined> {
  const digest = await digestOf(files);
  for (const file of files) {
    const changedMs = statSync(file, { throwIfNoEntry: false })?.ctimeMs;
    if (changedMs === undefined || changedMs > startedMs - FILE_CLOCK_MS) return undefined;
  }
  return digest;
}

function buildReason(cause: unknown): string {
  const errors = (cause as Partial<BuildFailure>).errors;
  if (errors === undefined) return reasonOf(cause);
  const texts = errors
    .slice(0, BUNDLE_ERRORS_MAX)
    .map(({ text, location }) =>
      location === null
        ? text
        : `${location.file}:${location.line}:${location.column + 1}: ${text}`,
    );
  if (errors.length > texts.length) texts.push(`and ${errors.length - texts.length} more`);
  return texts.join('; ');
}
