/** Where the kernel stands, and that a worker cannot read from there. */

import { existsSync, mkdirSync, readdirSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { enterEmptyDirectory } from '../../../../kernel/cli/empty-directory.ts';
import { createLog } from '../../../../kernel/log.ts';
import { readableByWorkers } from '../../../../kernel/supervisor/permission-probe.ts';
import { temporaryDirectory } from '../../../support/temporary-directory.ts';

const BEFORE = process.cwd();
afterEach(() => {
  process.chdir(BEFORE);
  vi.unstubAllEnvs();
});

function collectingLog() {
  const lines: string[] = [];
  const log = createLog({
    level: 'info',
    format: 'json',
    stream: 'stdout',
    write: (line) => void lines.push(line),
  });
  return { log, lines };
}

test('a worker reads nothing, neither there nor where the process was started', async () => {
  const started = temporaryDirectory();
  const file = join(started, 'mkts.yml');
  writeFileSync(file, 'secret: 1\n');
  process.chdir(started);
  const { log, lines } = collectingLog();
  const leave = enterEmptyDirectory(log);
  const here = process.cwd();
  expect(here).not.toBe(started);
  expect(readdirSync(here)).toEqual([]);
  expect(statSync(here).mode & 0o777).toBe(0o500);
  expect(await readableByWorkers([started, file])).toEqual([]);
  leave();
  expect(process.cwd()).toBe(started);
  expect(existsSync(here)).toBe(false);
  expect(lines).toEqual([]);
});

test('where none can be made, that is told, and the process goes on where it is', () => {
  const directory = temporaryDirectory();
  process.chdir(directory);
  vi.stubEnv('TMPDIR', join(directory, 'nowhere'));
  const { log, lines } = collectingLog();
  enterEmptyDirectory(log)();
  expect(process.cwd()).toBe(directory);
  expect(lines.join()).toContain('no empty directory to run in');
});

test('the directory it came from may be gone when it leaves', () => {
  const gone = join(temporaryDirectory(), 'gone');
  mkdirSync(gone);
  process.chdir(gone);
  const leave = enterEmptyDirectory(collectingLog().log);
  const here = process.cwd();
  rmdirSync(gone);
  leave();
  expect(existsSync(here)).toBe(false);
});
