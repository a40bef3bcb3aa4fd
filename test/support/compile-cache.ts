/**
 * What Node makes of our sources (types stripped, code compiled) is kept for one run of the tests: half
 * of what it takes to start a server is that, and the tests start some hundred. Vitest runs this in its
 * main process, before the processes of the tests, which inherit the environment.
 *
 * Invariant: a run begins with an empty cache and leaves none behind, so that no run depends on
 * another.
 */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const PROJECT = resolve(import.meta.dirname, '../..');
/** Most of what `mkts start` loads. */
const LOAD = `await Promise.all([
  import('./kernel/kernel.ts'), import('./kernel/cli/program.ts'), import('./kernel/cli/watchdog.ts'),
]);
process.exit(0);`;

let directory: string | undefined;

/** Called for each project of vitest.config.ts: the first call makes the cache. */
export function setup(): void {
  if (process.env.NODE_COMPILE_CACHE !== undefined) return;
  directory = mkdtempSync(join(tmpdir(), 'mkts-compiled-'));
  process.env.NODE_COMPILE_CACHE = directory;
  // A process writes the cache when it ends in good order, and many a server of the tests is killed.
  execFileSync(process.execPath, ['--input-type=module', '-e', LOAD], { cwd: PROJECT });
}

export function teardown(): void {
  // The last server may still be writing into it.
  if (directory !== undefined)
    rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
}
