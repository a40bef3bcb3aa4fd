/** The second wall of the sandbox: the real `process` and the loader, should a plugin reach them. */

import { Worker } from 'node:worker_threads';
import { build } from 'esbuild';
import { expect, test } from 'vitest';

const PROBE = `
import process from 'node:process';
import Module from 'node:module';
import { parentPort } from 'node:worker_threads';
import { sealRealm } from './workers/sandbox.ts';

sealRealm({ plugin: 'probe', onConsole: () => {}, builtins: new Map(), onDenied: () => {} });
const attempts = {
  kill: () => process.kill(process.pid, 0),
  _kill: () => process._kill(process.pid, 0),
  binding: () => process.binding('fs'),
  linked: () => process._linkedBinding('fs'),
  dlopen: () => process.dlopen({ exports: {} }, 'x.node'),
  builtin: () => process.getBuiltinModule('fs'),
  chdir: () => process.chdir('/'),
  report: () => process.report.getReport(),
  rawDebug: () => process._rawDebug('x'),
  load: () => Module._load('fs'),
  createRequire: () => Module.createRequire('/x.js')('fs'),
  require: () => new Module('x').require('fs'),
};
const worked = Object.keys(attempts).filter((name) => {
  try { attempts[name](); return true; } catch { return false; }
});
parentPort.postMessage({ worked, env: Object.keys(process.env).length });
`;

test('the real process object leads nowhere once the realm is sealed', async () => {
  const { outputFiles } = await build({
    stdin: {
      contents: PROBE,
      resolveDir: new URL('../..', import.meta.url).pathname,
      loader: 'ts',
    },
    bundle: true,
    write: false,
    format: 'cjs',
    platform: 'node',
  });
  const text = `(function () {\n${outputFiles[0]?.text}\n})();`;
  const worker = new Worker(text, { eval: true, stdout: true, stderr: true });
  const answer = await new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  await worker.terminate();
  expect(answer).toEqual({ worked: [], env: 0 });
});
