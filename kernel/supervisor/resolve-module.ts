/**
 * Finds the file behind `module:` of an entry of mkts.yml. Main thread, at load.
 *
 *   binancefeeder.so, binancefeeder   the plugin of that name that comes with the server
 *   /opt/feeds/mine.ts                as it stands
 *   mine.js, feeds/mine               under `plugin_dir`, then beside mkts.yml
 *
 * A trailing .so, .js, .mjs or .ts may be left out or wrong, so that the mkts.yml of a Go server
 * works; what is found is a module, or a directory with a plugin.ts or plugin.js in it.
 */

import { statSync } from 'node:fs';
import { basename, isAbsolute, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PluginError } from '../base/errors.ts';

export interface ResolvedModule {
  /** Absolute path of the plugin's entry. */
  readonly file: string;
  /** Comes with the server. */
  readonly isBuiltIn: boolean;
  /** What the plugin is called unless its entry names it: the module without path and suffix. */
  readonly defaultName: string;
}

export interface ModulePlaces {
  /** Absolute; undefined: not set. */
  readonly pluginDirectory: string | undefined;
  /** Absolute: where mkts.yml lies. */
  readonly configDirectory: string;
  /** Where the server's own plugins lie; tests give another. */
  readonly builtInDirectory?: string;
}

/** In the sources /plugins, in the package /dist/plugins: beside the kernel in both. */
const BUILT_IN_DIRECTORY: string = fileURLToPath(new URL('../../plugins', import.meta.url));

/** Plugins a Go server has: those this version has too are folders of `plugins`. */
const REFERENCE_NAMES: ReadonlySet<string> = new Set([
  'alpaca',
  'alpacabkfeeder',
  'binancefeeder',
  'bitmexfeeder',
  'gdaxfeeder',
  'iex',
  'ondiskagg',
  'polygon',
  'polyiex',
  'stream',
  'xignitefeeder',
]);

/** Venues that were renamed. */
const ALIASES: ReadonlyMap<string, string> = new Map([
  ['coinbasefeeder', 'gdaxfeeder'],
  ['massive', 'polygon'],
  ['minkabufeeder', 'xignitefeeder'],
]);

/** Node strips types of a `.ts` outside node_modules only, but plugins are bundled, so both work. */
const SUFFIXES = ['.ts', '.js', '.mjs'] as const;

/** Throws MKTS_PLUGIN_NOT_FOUND, which lists every place looked in. */
export function resolveModule(module: string, places: ModulePlaces): ResolvedModule {
  const stripped = module.replace(/\.(so|js|mjs|ts)$/, '');
  const defaultName = basename(stripped);
  const looked: string[] = [];
  const builtInDirectory = places.builtInDirectory ?? BUILT_IN_DIRECTORY;

  const builtIn = ALIASES.get(stripped) ?? stripped;
  if (REFERENCE_NAMES.has(builtIn)) {
    const file = fileIn(join(builtInDirectory, builtIn), looked);
    if (file !== undefined) return { file, isBuiltIn: true, defaultName };
  }
  for (const directory of isAbsolute(module)
    ? ['/']
    : [places.pluginDirectory, places.configDirectory]) {
    if (directory === undefined) continue;
    const file = fileAt(resolve(directory, module), looked);
    if (file !== undefined) return { file, isBuiltIn: false, defaultName };
  }
  throw new PluginError('MKTS_PLUGIN_NOT_FOUND', {
    module,
    looked: looked.join(', '),
    note: REFERENCE_NAMES.has(builtIn) ? `${builtIn} is not part of this version` : undefined,
  });
}

/** Whether this name is found among the plugins that come with the server, before any other. */
export function isOwnName(name: string): boolean {
  const builtIn = ALIASES.get(name) ?? name;
  if (!REFERENCE_NAMES.has(builtIn)) return false;
  return fileIn(join(BUILT_IN_DIRECTORY, builtIn), []) !== undefined;
}

/** The file a path names: itself, with another suffix, or as a directory. */
function fileAt(path: string, looked: string[]): string | undefined {
  const stripped = path.replace(/\.(so|js|mjs|ts)$/, '');
  const candidates = SUFFIXES.map((suffix) => stripped + suffix);
  // What was asked for comes first; a `.so` is a Go plugin, which cannot be loaded.
  const asWritten = candidates.includes(path) ? [path] : [];
  for (const candidate of new Set([...asWritten, ...candidates])) {
    looked.push(candidate);
    if (isFile(candidate)) return candidate;
  }
  return fileIn(stripped, looked);
}

function fileIn(directory: string, looked: string[]): string | undefined {
  for (const suffix of SUFFIXES) {
    const candidate = join(directory, `plugin${suffix}`);
    looked.push(candidate);
    if (isFile(candidate)) return candidate;
  }
  return undefined;
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}
