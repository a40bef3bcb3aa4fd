/**
 * The text every plugin's worker starts from: workers/host.ts and all it imports, bundled once when
 * the kernel starts. A worker that is handed its code needs no right to read a file, neither in the
 * sources nor in the built package. Main thread.
 */

import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { assert } from '../base/assert.ts';

/** `.ts` in the sources, `.js` in the built package: the host lies beside us in both. */
const SUFFIX: string = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
const HOST_FILE: string = fileURLToPath(new URL(`../../workers/host${SUFFIX}`, import.meta.url));

/** Globals of our own files; Atomics is not there any more when a plugin runs. */
const CAPTURED =
  'Atomics, Buffer, process, performance, setTimeout, clearTimeout, setInterval, queueMicrotask, ' +
  'AbortController, DOMException, TextDecoder';

/** CommonJS, self-contained but for Node's builtins. Rejects if our own sources do not build. */
export async function bundleHost(): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [HOST_FILE],
    bundle: true,
    write: false,
    format: 'cjs',
    platform: 'node',
    target: 'node22',
    legalComments: 'none',
    // The worker has an empty environment; assert.ts asks it when it is loaded.
    define: { 'process.env.MKTS_VERIFY': JSON.stringify(process.env.MKTS_VERIFY ?? '') },
  });
  const [bundle] = outputFiles;
  assert(bundle !== undefined, 'a build of one entry has one output');
  // A worker's text runs as a script: without a function around it every name of ours would be a
  // global, the ring and the ports among them, for the plugin to use.
  // What the host goes on using it takes before the realm is stripped and a plugin can replace it.
  return `(function () {\nconst { ${CAPTURED} } = globalThis;\n${bundle.text}\n})();`;
}
