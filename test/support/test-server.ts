/**
 * The kernel as users run it, in this process: settings read from a mkts.yml, the log and its sync
 * thread, recovery, the committer, real HTTP on a free loopback port. Only its own log is kept from
 * the console, for tests to look at.
 */

import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadConfig } from '../../config/load.ts';
import { prepareRootDirectory } from '../../config/root-directory.ts';
import { startKernel } from '../../kernel/kernel.ts';
import { createLog } from '../../kernel/log.ts';

export interface TestServer {
  readonly url: string;
  readonly port: number;
  /** Absolute path of the data directory. */
  readonly root: string;
  /** Messages of warnings in the log: refused requests, partial destroys. */
  readonly warnings: string[];
  /** Lines of the log that are worse. A test that expects none checks that it is empty. */
  readonly errors: unknown[];
  /** Stops as SIGTERM does, after which the directory is as it is left to the next start. */
  stop(): Promise<void>;
  /** Stops, if nobody did, and removes what the server was given. */
  remove(): Promise<void>;
}

/** Names of the logs in a data directory: ours, and those of a Go server. */
export function logsIn(root: string): string[] {
  return readdirSync(root).filter((name) => /\.wal$|\.walfile|^mkts/.test(name));
}

/** `settings` as they stand in mkts.yml; without `root_directory` the store is empty and temporary. */
export async function startTestServer(
  settings: Readonly<Record<string, unknown>> = {},
): Promise<TestServer> {
  const directory = mkdtempSync(join(tmpdir(), 'mkts-server-'));
  const path = join(directory, 'mkts.yml');
  const given = { root_directory: join(directory, 'data'), listen_port: 0, ...settings };
  // JSON is YAML.
  writeFileSync(path, JSON.stringify(given, null, 2));
  const config = loadConfig(path);
  prepareRootDirectory(config);
  const warnings: string[] = [];
  const errors: unknown[] = [];
  const log = createLog({
    level: 'warn',
    format: 'json',
    stream: 'stdout',
    write(line) {
      const parsed = JSON.parse(line) as { level: string; msg: string };
      if (parsed.level === 'warn') warnings.push(parsed.msg);
      else errors.push(parsed);
    },
  });
  const kernel = await startKernel({ config, log });
  const stop = (): Promise<void> => kernel.stop('end of the test');
  return {
    url: kernel.address,
    port: Number(new URL(kernel.address).port),
    root: config.rootDirectory,
    warnings,
    errors,
    stop,
    async remove() {
      await stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
