/**
 * The server's copy of zod as one text, which every plugin's worker gets beside the plugin's own code.
 * Built once in a process.
 *
 * Why apart: zod is a hundred times larger than most plugins. Bundled into each of them it made a
 * build take a tenth of a second of two cores, which is felt when a plugin is changed while rows flow.
 */

import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { assert } from '../base/assert.ts';

let text: Promise<string> | undefined;

/** CommonJS, self-contained. Rejects if it does not build, which is our own mistake. */
export function zodLibrary(): Promise<string> {
  text ??= bundleZod();
  return text;
}

async function bundleZod(): Promise<string> {
  const { outputFiles } = await build({
    stdin: {
      contents: `export * from 'zod'; export { default } from 'zod';`,
      resolveDir: dirname(fileURLToPath(import.meta.url)),
    },
    bundle: true,
    write: false,
    format: 'cjs',
    platform: 'neutral',
    mainFields: ['module', 'main'],
    target: 'node22',
    // Names stay: they are in the stacks of plugins' errors.
    minifyWhitespace: true,
    legalComments: 'none',
  });
  const [bundle] = outputFiles;
  assert(bundle !== undefined, 'a build of one entry has one output');
  return bundle.text;
}
