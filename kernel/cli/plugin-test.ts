/**
 * `mkts plugin test`: runs a plugin's own tests with Node's runner, and before them what every plugin
 * owes (plugin-checks.ts). Nothing has to be installed: plugin-imports.ts says how `mkts/*` is found.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { globSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ConfigError } from '../base/errors.ts';
import { workerEntry } from '../base/worker-entry.ts';

export interface PluginTest {
  /** The plugin's folder. */
  readonly directory: string;
  /** Write the table of settings into README.md where it is not what the schema says. */
  readonly update: boolean;
  /** Run again at every change. */
  readonly watch: boolean;
}

/** Variables by which plugin-checks.ts is told what to check. */
export const DIRECTORY_VARIABLE = 'MKTS_PLUGIN_DIRECTORY';
export const UPDATE_VARIABLE = 'MKTS_PLUGIN_UPDATE';

/** Returns the exit code of the tests. Throws MKTS_PLUGIN_UNTESTED. */
export async function testPlugin({ directory, update, watch }: PluginTest): Promise<number> {
  const folder = resolve(directory);
  const untested = (reason: string): ConfigError =>
    new ConfigError('MKTS_PLUGIN_UNTESTED', { directory: folder, reason });
  if (pluginFile(folder) === undefined) throw untested('no plugin.ts or plugin.js is here');
  const tests = globSync('**/*.test.{ts,js,mjs}', {
    cwd: folder,
    exclude: (name) => name === 'node_modules',
  }).sort();
  if (tests.length === 0) throw untested('no test is here: *.test.ts or *.test.js');
  const child = spawn(
    process.execPath,
    [
      // A folder without a package.json is fine.
      '--disable-warning=MODULE_TYPELESS_PACKAGE_JSON',
      `--import=${ownModule('./plugin-imports.ts').href}`,
      '--test',
      ...(watch ? ['--watch'] : []),
      fileURLToPath(ownModule('./plugin-checks.ts')),
      ...tests.map((test) => join(folder, test)),
    ],
    {
      cwd: folder,
      stdio: 'inherit',
      env: {
        ...process.env,
        // Else Node's runner would take itself for a test of another.
        NODE_TEST_CONTEXT: undefined,
        [DIRECTORY_VARIABLE]: folder,
        [UPDATE_VARIABLE]: update ? '1' : '',
      },
    },
  );
  return exitCodeOf(child);
}

/** The plugin's entry in its folder. */
export function pluginFile(folder: string): string | undefined {
  return ['plugin.ts', 'plugin.js', 'plugin.mjs']
    .map((name) => join(folder, name))
    .find((path) => statSync(path, { throwIfNoEntry: false })?.isFile());
}

function ownModule(path: string): URL {
  return workerEntry(new URL(path, import.meta.url), import.meta.url);
}

async function exitCodeOf(child: ChildProcess): Promise<number> {
  // The terminal sends a Ctrl-C to both of us: the tests end, and we say how.
  const ignore = (): void => undefined;
  process.on('SIGINT', ignore);
  try {
    const [code] = (await once(child, 'exit')) as [number | null];
    return code ?? 1;
  } finally {
    process.off('SIGINT', ignore);
  }
}
