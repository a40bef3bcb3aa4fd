/** `mkts start` with its watchdog, two processes in a group of their own, as a terminal starts them. */

import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { ServerProcess } from './server-process.ts';
import { temporaryDirectory } from './temporary-directory.ts';

export interface WatchedServer {
  readonly server: ServerProcess;
  readonly root: string;
  readonly url: string;
}

/** Ends with the test. */
export async function startWatched(settings: Record<string, unknown> = {}): Promise<WatchedServer> {
  const directory = temporaryDirectory();
  const root = join(directory, 'data');
  const port = await freePort();
  const server = await ServerProcess.start(
    directory,
    { root_directory: root, listen_host: '127.0.0.1', listen_port: port, ...settings },
    { watchdog: true, group: true },
  );
  onTestFinished(() => server.kill());
  return { server, root, url: `http://127.0.0.1:${port}` };
}

/** A kernel that is started again listens where clients expect it. */
async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => probe.once('listening', resolve));
  const address = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  if (typeof address !== 'object' || address === null) throw new Error('it listened');
  return address.port;
}

/** Of the kernel, which holds the directory; undefined while nobody does. */
export function kernelPid(root: string): number | undefined {
  try {
    return (JSON.parse(readFileSync(join(root, 'mkts.lock'), 'utf8')) as { pid: number }).pid;
  } catch {
    return undefined;
  }
}
