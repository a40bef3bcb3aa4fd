/**
 * The text every plugin's worker starts from: workers/host.ts and all it imports, bundled once when
 * the kernel starts; and that of a plugin's own process, workers/process-host.ts. A worker that is handed its code needs no right to read a file, neither in the
 * sources nor in the built package. Main thread.
 */

import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { assert } from '../base/assert.ts';
import { workerEntry } from '../base/worker-entry.ts';

/** Globals of our own files; Atomics is not there any more when a plugin runs. */
const CAPTURED =
  'Atomics, Buffer, process, performance, setTimeout, clearTimeout, setInterval, queueMicrotask, ' +
  'AbortController, DOMException, TextDecoder';

/** Of a worker. CommonJS, self-contained but for Node's builtins. Rejects if our sources do not build. */
export async function bundleHost(): Promise<string> {
  const text = await bundleText(new URL('../../workers/host.ts', import.meta.url));
  // A worker's text runs as a script: without a function around it every name of ours would be a
  // global, the ring and the ports among them, for the plugin to use.
  // What the host goes on using it takes before the realm is stripped and a plugin can replace it.
  return `(function () {\nconst { ${CAPTURED} } = globalThis;\n${text}\n})();`;
}

let processHost: Promise<string> | undefined;

/** Of the main thread of a plugin's own process: built when the first such plugin starts. */
export function bundleProcessHost(): Promise<string> {
  processHost ??= bundleText(new URL('../../workers/process-host.ts', import.meta.url));
  return processHost;
}

async function bundleText(entry: URL): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(workerEntry(entry, import.meta.url))],
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
  return bundle.text;
}
