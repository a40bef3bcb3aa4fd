/** The command line as a user meets it: a process, its two outputs, and how it ended. */

import { execFile } from 'node:child_process';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { ServerProcess } from '../support/server-process.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const PROJECT = resolve(import.meta.dirname, '../..');

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function mkts(args: readonly string[], directory: string = temporaryDirectory()): Promise<Ended> {
  const main = join(PROJECT, 'kernel/main.ts');
  return new Promise((done) => {
    execFile(
      process.execPath,
      [main, ...args],
      { cwd: directory, timeout: 30_000 },
      (error, stdout, stderr) => {
        done({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr });
      },
    );
  });
}

function withSettings(text: string): string {
  const directory = temporaryDirectory();
  writeFileSync(join(directory, 'mkts.yml'), text);
  return directory;
}

test('--version and --help go to stdout and succeed', async () => {
  const { version } = JSON.parse(readFileSync(join(PROJECT, 'package.json'), 'utf8')) as {
    version: string;
  };
  expect(await mkts(['--version'])).toEqual({ code: 0, stdout: `mkts ${version}\n`, stderr: '' });
  const help = await mkts(['--help']);
  expect(help.code).toBe(0);
  for (const command of ['init', 'start', 'query', 'plugin', 'tool'])
    expect(help.stdout).toContain(command);
});

test.each([
  [[], 'Usage: mkts'],
  [['strat'], "Error: unknown command 'strat'"],
  [['start', '--cofnig', 'x'], "Error: unknown option '--cofnig'"],
  [['plugin', 'run'], "Error: missing required argument 'name'"],
  [['query', 'A/1Min/X', '--limit', 'all'], 'expected a number'],
])('a command line that makes no sense is answered on stderr, with 2: %j', async (args, text) => {
  const { code, stdout, stderr } = await mkts(args);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toContain(text);
});

test('init writes the sample for its owner only, and never over another', async () => {
  const directory = temporaryDirectory();
  const first = await mkts(['init'], directory);
  const path = join(directory, 'mkts.yml');
  expect(first.code).toBe(0);
  expect(readFileSync(path, 'utf8')).toBe(readFileSync(join(PROJECT, 'config/mkts.yml'), 'utf8'));
  expect(statSync(path).mode & 0o777).toBe(0o600);

  writeFileSync(path, 'mine: true\n');
  const second = await mkts(['init'], directory);
  expect(second.code).toBe(0);
  expect(second.stdout).toContain('is there already');
  expect(readFileSync(path, 'utf8')).toBe('mine: true\n');
});

test('a file that is not there fails the start, in one line with a code', async () => {
  const { code, stderr } = await mkts(['start', '--config', 'nowhere.yml']);
  expect(code).toBe(1);
  expect(stderr).toMatch(
    /^Error: failed to read configuration file error: nowhere\.yml: .* \(MKTS_CONFIG_UNREADABLE\)\n$/,
  );
});

test('bad settings fail the start, a line for each, with file, line and column', async () => {
  const directory = withSettings('root_directory: data\nlisten_port: x\nlog_level: loud\n');
  const { code, stdout, stderr } = await mkts(['s'], directory);
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr.trim().split('\n')).toEqual([
    "Error: mkts.yml:2:14 listen_port: expected a port, 0 to 65535; got 'x'",
    expect.stringMatching(/^Error: mkts\.yml:3:12 log_level: .* \(MKTS_CONFIG_INVALID\)$/),
  ]);
});

test('a pattern without quotes is answered with the line as it should be', async () => {
  const directory = withSettings('triggers:\n  - module: x\n    on: */1Min/OHLCV\n');
  const { code, stderr } = await mkts(['start'], directory);
  expect(code).toBe(1);
  expect(stderr).toContain('mkts.yml:3:9: ');
  expect(stderr).toContain('write: on: "*/1Min/OHLCV"');
});

test('a data directory that cannot be names what is in the way', async () => {
  const directory = withSettings('root_directory: taken/data\nlisten_port: 0\n');
  writeFileSync(join(directory, 'taken'), '');
  const { code, stderr } = await mkts(['start'], directory);
  expect(code).toBe(1);
  expect(stderr).toContain(`${join(directory, 'taken')} is a file, not a directory`);
  expect(stderr).toContain('(MKTS_ROOT_DIRECTORY)');
  expect(stderr.trim().split('\n')).toHaveLength(1);
});

test('a server starts, reports on SIGUSR1, and at SIGTERM leaves nothing but the data', async () => {
  const directory = temporaryDirectory();
  const root = join(directory, 'deep/data');
  const server = await ServerProcess.start(directory, {
    root_directory: root,
    listen_host: '127.0.0.1',
  });
  process.kill(server.pid, 'SIGUSR1');
  await server.line(({ report }) => report !== undefined);
  expect(await server.stop()).toBe(0);
  expect(server.stderr).toBe('');
  const messages = server.lines.map(({ msg }) => msg);
  expect(messages).toContain(`using ${join(directory, 'mkts.yml')} for configuration`);
  expect(messages).toContain("initiating graceful shutdown due to 'terminated' request");
  expect(messages.at(-1)).toBe('exiting...');
  expect(readdirSync(root)).toEqual([]);
});

test('a second server on the same data fails, and says who holds it', async () => {
  const directory = temporaryDirectory();
  const settings = { root_directory: join(directory, 'data'), listen_host: '127.0.0.1' };
  const server = await ServerProcess.start(directory, settings);
  const second = await mkts(['start'], directory);
  expect(second.code).toBe(1);
  expect(second.stderr).toMatch(
    new RegExp(
      `^Error: .* in use by another server \\(pid ${server.pid}, .*\\(MKTS_ROOT_LOCKED\\)\n$`,
    ),
  );
  expect(await server.stop()).toBe(0);
});

test('tool integrity: 0 clean, 1 damaged, 2 where it cannot run', async () => {
  const directory = temporaryDirectory();
  const root = join(directory, 'data');
  const server = await ServerProcess.start(directory, { root_directory: root });
  const held = await mkts(['tool', 'integrity', root]);
  expect(held).toMatchObject({ code: 2, stdout: '' });
  expect(held.stderr).toContain('(MKTS_ROOT_LOCKED)');
  expect(await server.stop(), server.stderr).toBe(0);

  const clean = await mkts(['tool', 'integrity', root, '--json']);
  expect(clean).toMatchObject({ code: 0, stderr: '' });
  expect(JSON.parse(clean.stdout)).toMatchObject({ isClean: true, findings: [] });

  writeFileSync(join(root, 'x.walfile'), '');
  const report = join(directory, 'found.json');
  const damaged = await mkts(['tool', 'integrity', root, '--json', '--report', report]);
  expect(damaged.code).toBe(1);
  const [finding] = (JSON.parse(damaged.stdout) as { findings: unknown[] }).findings;
  expect(finding).toMatchObject({ severity: 'damage', code: 'MKTS_STRAY_FILE', path: 'x.walfile' });
  expect(readFileSync(report, 'utf8').length).toBeGreaterThan(10);
  const repaired = await mkts(['tool', 'integrity', root, '--repair']);
  expect(repaired.code, 'what cannot be repaired stays damage').toBe(1);

  const nowhere = await mkts(['tool', 'integrity', join(directory, 'nowhere')]);
  expect(nowhere.code).toBe(2);
  expect(nowhere.stderr).toContain('(MKTS_ROOT_DIRECTORY)');
});

test('tool wal: what a log says; 2 for what is none', async () => {
  const directory = temporaryDirectory();
  const root = join(directory, 'data');
  const server = await ServerProcess.start(directory, { root_directory: root });
  await server.kill();
  const told = await mkts(['tool', 'wal', root, '--json']);
  expect(told).toMatchObject({ code: 0, stderr: '' });
  const types = told.stdout
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { type: string }).type);
  expect([types[0], types.at(-1)]).toEqual(['file', 'end']);
  const none = await mkts(['tool', 'wal', join(directory, 'mkts.yml')]);
  expect(none).toMatchObject({ code: 2, stdout: '' });
  expect(none.stderr).toContain('(MKTS_LOG_UNKNOWN)');
});
