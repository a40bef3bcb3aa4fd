/**
 * `mkts plugin new`: a folder to start a plugin from, copied from `plugins/scaffold/<kind>`. Every
 * file there is a real one: `my-plugin` is replaced by the name, and nothing else is.
 *
 * Invariant: nothing is written over; a folder that is there already is refused.
 */

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ConfigError, reasonOf } from '../base/errors.ts';
import { PLUGIN_NAME_BYTES_MAX } from '../base/limits.ts';
import { PACKAGE_ROOT } from '../package-root.ts';
import { isOwnName } from '../supervisor/resolve-module.ts';
import type { PluginKind } from './plugin-kinds.ts';

export interface PluginNew {
  /** Where the folder goes; its last part is the plugin's name. */
  readonly path: string;
  readonly kind: PluginKind;
}

const SCAFFOLD = join(PACKAGE_ROOT, 'plugins', 'scaffold');
const PLACEHOLDER = /\bmy-plugin\b/g;
/** A name is a folder, a part of file names, and a label. */
const NAME = /^[a-z][a-z\d]*(-[a-z\d]+)*$/;

/** Throws MKTS_SCAFFOLD. Returns the exit code. */
export function newPlugin({ path, kind }: PluginNew): number {
  const directory = resolve(path);
  const name = basename(directory);
  const refused = (reason: string, cause?: unknown): ConfigError =>
    new ConfigError('MKTS_SCAFFOLD', { name, reason }, { cause });
  if (!NAME.test(name) || name.length > PLUGIN_NAME_BYTES_MAX)
    throw refused('a name is words of small letters and digits, joined by -');
  if (isOwnName(name)) throw refused('a plugin of this name comes with the server');
  try {
    mkdirSync(directory, { recursive: false });
  } catch (cause) {
    throw refused(reasonOf(cause), cause);
  }
  try {
    for (const file of readdirSync(join(SCAFFOLD, kind)).sort())
      writeFileSync(join(directory, file), textOf(join(SCAFFOLD, kind, file), name));
    writeFileSync(join(directory, 'tsconfig.json'), editorSettings(directory));
  } catch (cause) {
    // Half a plugin would stand in the way of the next try.
    rmSync(directory, { recursive: true, force: true });
    throw refused(reasonOf(cause), cause);
  }
  process.stdout.write(nextSteps(directory, kind));
  return 0;
}

function textOf(path: string, name: string): string {
  return readFileSync(path, 'utf8').replace(PLACEHOLDER, name);
}

/**
 * tsconfig.json of the folder. An editor finds `mkts/sdk` by itself where mkts is installed above;
 * where it is not (a global installation), it is told where this one lies.
 */
function editorSettings(directory: string): string {
  const settings = JSON.parse(readFileSync(join(SCAFFOLD, 'tsconfig.json'), 'utf8')) as {
    compilerOptions: Record<string, unknown>;
  };
  const { paths: _, ...options } = settings.compilerOptions;
  const compilerOptions = isInstalledAbove(directory) ? options : { ...options, paths: ownPaths() };
  return `${JSON.stringify({ compilerOptions }, null, 2)}\n`;
}

function isInstalledAbove(directory: string): boolean {
  try {
    createRequire(join(directory, 'plugin.ts')).resolve('mkts/package.json');
    return true;
  } catch {
    return false;
  }
}

function ownPaths(): Readonly<Record<string, readonly string[]>> {
  const suffix = import.meta.url.endsWith('.ts') ? '.ts' : '.d.ts';
  const own = (name: string): string =>
    fileURLToPath(new URL(`../../plugins/${name}${suffix}`, import.meta.url));
  return { 'mkts/sdk': [own('sdk')], 'mkts/testing': [own('testing')] };
}

function nextSteps(directory: string, kind: PluginKind): string {
  const folder = relative(process.cwd(), directory);
  const files = readdirSync(directory).sort().join(', ');
  const steps = [
    [`mkts plugin test ${folder}`, 'its tests: no network, no waiting'],
    ...(kind === 'trigger'
      ? []
      : [[`mkts plugin run ${folder}/plugin.ts`, 'what it would store, without a database']]),
    [`mkts start --config ${folder}/sample.yml`, 'a server that runs it'],
  ];
  const width = Math.max(...steps.map(([command = '']) => command.length));
  const lines = steps.map(([command = '', what]) => `  ${command.padEnd(width)}  ${what}\n`);
  return `made ${folder}/ (${files})\n\n${lines.join('')}`;
}
