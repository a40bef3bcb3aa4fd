/**
 * Tests what the permission flags of a worker really hold on this Node. Main thread, once at start.
 *
 * Since Node 22 a worker started from text may read the process's current directory, whatever its
 * flags say. A plugin has no `fs` to read with, so this is about the second wall: the kernel should
 * run in a directory that holds neither data nor configuration, and say so if it does not.
 */

import { Worker } from 'node:worker_threads';
import { WORKER_EXEC_ARGV } from './plugin-worker.ts';

const PROBE = `
const { parentPort, workerData } = require('node:worker_threads');
const { accessSync, constants } = require('node:fs');
parentPort.postMessage(workerData.filter((path) => {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch (error) {
    return error.code !== 'ERR_ACCESS_DENIED' && error.code !== 'ENOENT';
  }
}));
`;

/** Which of `paths` a worker could read. A probe that cannot run counts as all of them. */
export function readableByWorkers(paths: readonly string[]): Promise<readonly string[]> {
  return new Promise((resolve) => {
    const worker = new Worker(PROBE, {
      eval: true,
      env: {},
      argv: [],
      execArgv: [...WORKER_EXEC_ARGV],
      workerData: paths,
    });
    worker.once('message', (readable: readonly string[]) => resolve(readable));
    // A worker that ends without an answer; after an answer this changes nothing.
    worker.once('error', () => resolve(paths));
    worker.once('exit', () => resolve(paths));
  });
}
