/**
 * The watchdog on the real machine: this process, its signals, and the kernel as its child.
 *
 * The number of the C library's arenas is bounded, which only whoever starts a process can do: every
 * worker that comes and goes leaves its free memory in one of them.
 */

import { spawn } from 'node:child_process';
import { reportError } from './report-error.ts';
import { runWatchdog } from './watchdog.ts';
import { WATCHED_OPTION } from './watchdog-protocol.ts';

const ARENAS_MAX = '2';

/** Runs `mkts start` with `configPath` in a process of its own, for as long as it is to run. */
export function runWatched(configPath: string): Promise<number> {
  const [, script = ''] = process.argv;
  const command = [...process.execArgv, script, 'start', WATCHED_OPTION, '--config', configPath];
  const env = { MALLOC_ARENA_MAX: ARENAS_MAX, ...process.env };
  return runWatchdog({
    // Its output is ours, byte for byte: nothing is copied.
    spawn: () =>
      spawn(process.execPath, command, { env, stdio: ['inherit', 'inherit', 'inherit', 'ipc'] }),
    signals: process,
    report: reportError,
  });
}
