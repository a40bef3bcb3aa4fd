/**
 * A server over a directory in which something is wrong. Each thing is named, with a code and its
 * place; everything beside it is answered and takes rows as if nothing were the matter. What keeps
 * the server from starting at all is one line on stderr, and exit code 1.
 */

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { queryServer } from '../../kernel/cli/rpc-client.ts';
import { writeRows } from '../support/rpc-write.ts';
import { type LogLine, ServerProcess } from '../support/server-process.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const MAIN = resolve(import.meta.dirname, '../../kernel/main.ts');
const BASE = Date.UTC(2021, 0, 1) / 1000;
const VICTIM = 'VICTIM/1Min/COUNT';
const OTHER = 'OTHER/1Min/COUNT';
const YEAR_FILE = `${VICTIM}/2021.bin`;
const LOG_NAME = /^mkts-\d{16}\.wal$/;

interface Scene {
  readonly directory: string;
  readonly root: string;
}

async function write(url: string, key: string, from: number, count: number): Promise<void> {
  const numbers = Array.from({ length: count }, (_, at) => from + at);
  await writeRows(url, key, [
    { name: 'Epoch', type: 'i8', data: BigInt64Array.from(numbers, (n) => BigInt(BASE + n * 60)) },
    { name: 'Value', type: 'i8', data: BigInt64Array.from(numbers, BigInt) },
  ]);
}

async function values(url: string, key: string): Promise<number[]> {
  const [bucket] = await queryServer(url, { destination: key });
  return Array.from(bucket?.columns.find(({ name }) => name === 'Value')?.data ?? [], Number);
}

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, value) => value);
}

async function start({ directory, root }: Scene): Promise<ServerProcess> {
  const server = await ServerProcess.start(directory, {
    root_directory: root,
    listen_host: '127.0.0.1',
  });
  onTestFinished(() => server.kill());
  return server;
}

/** A directory with two buckets of 100 rows each, left by a server that stopped in good order. */
async function stoppedServer(): Promise<Scene> {
  const directory = temporaryDirectory();
  const scene = { directory, root: join(directory, 'data') };
  const server = await start(scene);
  await write(server.url, VICTIM, 0, 100);
  await write(server.url, OTHER, 0, 100);
  expect(await server.stop()).toBe(0);
  return scene;
}

/** Every code in the log, with all the line says. */
function coded(server: ServerProcess): readonly { readonly code: string; readonly text: string }[] {
  return server.lines.flatMap((line: LogLine) => {
    const { code } = (line.error ?? line) as { readonly code?: unknown };
    return typeof code === 'string' ? [{ code, text: JSON.stringify(line) }] : [];
  });
}

/** The other bucket is whole and takes rows; so does a new one. */
async function expectUnharmed(server: ServerProcess, rows = 100): Promise<void> {
  expect(await values(server.url, OTHER)).toEqual(upTo(rows));
  await write(server.url, OTHER, rows, 10);
  expect(await values(server.url, OTHER)).toEqual(upTo(rows + 10));
  await write(server.url, 'NEW/1Min/COUNT', 0, 10);
  expect(await values(server.url, 'NEW/1Min/COUNT')).toEqual(upTo(10));
}

async function withServer(
  scene: Scene,
  check: (server: ServerProcess) => Promise<void>,
): Promise<void> {
  const server = await start(scene);
  await check(server);
  expect(await server.stop(), server.stderr).toBe(0);
  expect(server.stderr).toBe('');
}

function overwrite(path: string, offset: number, bytes: Uint8Array): void {
  const file = openSync(path, 'r+');
  writeSync(file, bytes, 0, bytes.length, offset);
  closeSync(file);
}

function noise(length: number): Uint8Array {
  let state = 0x2545f491;
  return Uint8Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 24;
  });
}

interface Ended {
  readonly code: number;
  readonly stderr: string;
}

/** A start that is expected to fail. */
function failedStart(directory: string, settings: Record<string, unknown>): Promise<Ended> {
  writeFileSync(
    join(directory, 'mkts.yml'),
    JSON.stringify({ listen_port: 0, listen_host: '127.0.0.1', log_format: 'json', ...settings }),
  );
  return new Promise((done) => {
    execFile(
      process.execPath,
      [MAIN, 'start'],
      { cwd: directory, timeout: 30_000 },
      (error, _stdout, stderr) => {
        done({ code: error === null ? 0 : Number(error.code ?? -1), stderr });
      },
    );
  });
}

function expectOneLine({ code, stderr }: Ended, ...parts: readonly string[]): void {
  expect(code).toBe(1);
  expect(stderr.trim().split('\n')).toHaveLength(1);
  for (const part of parts) expect(stderr).toContain(part);
}

// ---- year files -------------------------------------------------------------------------------

test.each([
  ['a header of noise', (path: string) => overwrite(path, 0, noise(37_024))],
  ['a header of zeros', (path: string) => overwrite(path, 0, new Uint8Array(37_024))],
  ['an impossible number of columns', (path: string) => overwrite(path, 288, noise(8))],
  ['no slots', (path: string) => truncateSync(path, 40_000)],
  ['half a header', (path: string) => truncateSync(path, 100)],
  ['no bytes', (path: string) => truncateSync(path, 0)],
])('a year file with %s is set aside, and its bucket takes no rows', async (_name, damage) => {
  const scene = await stoppedServer();
  damage(join(scene.root, YEAR_FILE));
  const before = readFileSync(join(scene.root, YEAR_FILE));
  await withServer(scene, async (server) => {
    expect(coded(server)).toEqual([
      { code: 'MKTS_YEAR_FILE_CORRUPT', text: expect.stringContaining(YEAR_FILE) },
    ]);
    await expect(write(server.url, VICTIM, 100, 1)).rejects.toThrow(/read-only/);
    await expectUnharmed(server);
  });
  expect(readFileSync(join(scene.root, YEAR_FILE)).equals(before), 'kept for repair').toBe(true);
});

test('a slot that is not its own is reported, with its offset, and skipped', async () => {
  const scene = await stoppedServer();
  // The 8th slot of 16 bytes now has the index of another place.
  const offset = 37_024 + 7 * 16;
  overwrite(join(scene.root, YEAR_FILE), offset, Uint8Array.of(77));
  await withServer(scene, async (server) => {
    expect(await values(server.url, VICTIM)).toEqual(upTo(100).filter((value) => value !== 7));
    const [damage, ...others] = coded(server);
    expect(others).toEqual([]);
    expect(damage?.code).toBe('MKTS_CELL_CORRUPT');
    expect(damage?.text).toContain('2021.bin');
    expect(damage?.text).toContain(String(offset));
    await expectUnharmed(server);
  });
});

test('a stray file that calls itself a year is named and let be', async () => {
  const scene = await stoppedServer();
  const stray = join(scene.root, VICTIM, 'foo.bin');
  writeFileSync(stray, noise(1000));
  await withServer(scene, async (server) => {
    expect(coded(server)).toEqual([
      { code: 'MKTS_CATALOG_CORRUPT', text: expect.stringContaining(`${VICTIM}/foo.bin`) },
    ]);
    expect(await values(server.url, VICTIM)).toEqual(upTo(100));
    await write(server.url, VICTIM, 100, 10);
    expect(await values(server.url, VICTIM)).toEqual(upTo(110));
    await expectUnharmed(server);
  });
  expect(existsSync(stray)).toBe(true);
});

// ---- the log ----------------------------------------------------------------------------------

test('a log of noise is reported, kept under another name, and replaced', async () => {
  const scene = await stoppedServer();
  const name = 'mkts-0000000000000001.wal';
  writeFileSync(join(scene.root, name), noise(100_000));
  await withServer(scene, async (server) => {
    expect(coded(server)).toEqual([
      { code: 'MKTS_WAL_CORRUPT', text: expect.stringContaining(name) },
    ]);
    expect(await values(server.url, VICTIM)).toEqual(upTo(100));
    await expectUnharmed(server);
  });
  expect(readdirSync(scene.root)).toContain(`${name}.damaged`);
});

/** Rows acknowledged, then SIGKILL; the segment they are in. */
async function killedServer(): Promise<Scene & { readonly segment: string }> {
  const scene = await stoppedServer();
  const server = await start(scene);
  for (let batch = 0; batch < 10; batch++) {
    await write(server.url, OTHER, 100 + 10 * batch, 10);
    await write(server.url, VICTIM, 100 + 10 * batch, 10);
  }
  await server.kill();
  const [segment] = readdirSync(scene.root)
    .filter((name) => LOG_NAME.test(name))
    .map((name) => join(scene.root, name))
    .sort((a, b) => usedBytes(b) - usedBytes(a));
  if (segment === undefined) throw new Error('a killed server leaves a log');
  return { ...scene, segment };
}

/** Where the zeros of a prepared segment begin. */
function usedBytes(path: string): number {
  return readFileSync(path).findLastIndex((byte) => byte !== 0) + 1;
}

test.each([
  ['a little', 20],
  ['most of the last record', 100],
])('a log cut short by %s loses its torn end only, without a complaint', async (_name, bytes) => {
  const { segment, ...scene } = await killedServer();
  truncateSync(segment, usedBytes(segment) - bytes);
  await withServer(scene, async (server) => {
    expect(coded(server)).toEqual([]);
    expect(
      Number(server.lines.find(({ msg }) => msg.startsWith('replayed'))?.tornBytes),
    ).toBeGreaterThan(0);
    expect(await values(server.url, VICTIM)).toEqual(upTo(190));
    await expectUnharmed(server, 200);
  });
});

test('noise in the middle of a log is reported with its offset; what lies behind is replayed', async () => {
  const { segment, ...scene } = await killedServer();
  const middle = Math.floor(usedBytes(segment) / 2);
  overwrite(segment, middle, noise(16));
  await withServer(scene, async (server) => {
    const damage = coded(server);
    expect(damage.length).toBeGreaterThan(0);
    for (const { code, text } of damage) {
      expect(code).toBe('MKTS_WAL_CORRUPT');
      expect(text).toContain(segment);
      expect(text).toMatch(/"offset":\d+/);
    }
    const [victim, other] = [await values(server.url, VICTIM), await values(server.url, OTHER)];
    expect([victim.at(-1), other.at(-1)]).toEqual([199, 199]);
    // One group of ten rows, of one of them.
    expect(victim.length + other.length).toBe(390);
    await write(server.url, VICTIM, 200, 10);
  });
  expect(existsSync(`${segment}.damaged`)).toBe(true);
});

// ---- the lock ---------------------------------------------------------------------------------

/** A process id nobody has. */
async function deadPid(): Promise<number> {
  const child: ChildProcess = spawn(process.execPath, ['--version'], { stdio: 'ignore' });
  await once(child, 'exit');
  return child.pid ?? 0;
}

test.each([
  [
    'of a dead process',
    async () => {
      const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
      const since = new Date(0).toISOString();
      return JSON.stringify({ pid: await deadPid(), bootId, startTime: '1', since });
    },
  ],
  [
    'whose process id is another process’s by now',
    async () => JSON.stringify({ pid: 1, bootId: '', startTime: '987654321', since: '' }),
  ],
  [
    'of before a reboot',
    async () => JSON.stringify({ pid: process.pid, bootId: 'another', startTime: '', since: '' }),
  ],
  ['of noise', async () => noise(200)],
  ['cut short', async () => '{"pid":1'],
  ['that is empty', async () => ''],
])('a lock %s is replaced', async (_name, content) => {
  const scene = await stoppedServer();
  const lock = join(scene.root, 'mkts.lock');
  writeFileSync(lock, await content());
  await withServer(scene, async (server) => {
    expect(JSON.parse(readFileSync(lock, 'utf8'))).toMatchObject({ pid: server.pid });
    expect(await values(server.url, VICTIM)).toEqual(upTo(100));
    await expectUnharmed(server);
    expect(coded(server)).toEqual([]);
  });
  expect(readdirSync(scene.root).filter((name) => name.startsWith('mkts'))).toEqual([]);
});

test('a second server on the same directory says who holds it, and disturbs nobody', async () => {
  const scene = await stoppedServer();
  await withServer(scene, async (server) => {
    const second = await failedStart(scene.directory, { root_directory: scene.root });
    expectOneLine(second, 'MKTS_ROOT_LOCKED', scene.root, `pid ${server.pid}`);
    await expectUnharmed(server);
  });
});

// ---- what keeps a server from starting ----------------------------------------------------------

test('a data directory below a file', async () => {
  const directory = temporaryDirectory();
  writeFileSync(join(directory, 'file'), '');
  const ended = await failedStart(directory, { root_directory: 'file/data' });
  expectOneLine(ended, 'MKTS_ROOT_DIRECTORY', `${join(directory, 'file')} is a file`);
});

test('a data directory that is a file', async () => {
  const directory = temporaryDirectory();
  writeFileSync(join(directory, 'data'), 'mine');
  const ended = await failedStart(directory, { root_directory: 'data' });
  expectOneLine(ended, 'MKTS_ROOT_DIRECTORY', `${join(directory, 'data')} is a file`);
  expect(readFileSync(join(directory, 'data'), 'utf8')).toBe('mine');
});

test('a data directory whose parents do not exist is made', async () => {
  const directory = temporaryDirectory();
  const scene = { directory, root: join(directory, 'a/b/c') };
  await withServer(scene, async (server) => {
    await write(server.url, VICTIM, 0, 10);
    expect(statSync(scene.root).isDirectory()).toBe(true);
  });
});

test.skipIf(process.geteuid?.() === 0)(
  'a data directory one may not write (skipped as root, who may)',
  async () => {
    const directory = temporaryDirectory();
    const root = join(directory, 'data');
    await withServer({ directory, root }, async () => undefined);
    chmodSync(root, 0o500);
    onTestFinished(() => chmodSync(root, 0o700));
    const ended = await failedStart(directory, { root_directory: root });
    expectOneLine(ended, 'MKTS_ROOT_DIRECTORY', root, 'not writable');
  },
);

test('a data directory on a filesystem nobody can write', async () => {
  const directory = temporaryDirectory();
  const ended = await failedStart(directory, { root_directory: '/proc/mkts' });
  expectOneLine(ended, 'MKTS_ROOT_DIRECTORY', '/proc/mkts');
});

test('a port in use; the directory is free again', async () => {
  const scene = await stoppedServer();
  const taken = createServer().listen(0, '127.0.0.1');
  onTestFinished(() => void taken.close());
  await once(taken, 'listening');
  const address = taken.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const ended = await failedStart(scene.directory, {
    root_directory: scene.root,
    listen_port: port,
  });
  expectOneLine(ended, 'MKTS_LISTEN', `127.0.0.1:${port}`, 'another process listens there');
  expect(existsSync(join(scene.root, 'mkts.lock'))).toBe(false);
  rmSync(join(scene.directory, 'mkts.yml'));
  await withServer(scene, async (server) => {
    expect(await values(server.url, VICTIM)).toEqual(upTo(100));
    await expectUnharmed(server);
  });
});

// ---- files a plugin could read ------------------------------------------------------------------

test('started beside its data, no worker can read them, and there is nothing to warn of', async () => {
  const directory = temporaryDirectory();
  const server = await ServerProcess.start(directory, {
    root_directory: 'data',
    listen_host: '127.0.0.1',
    log_level: 'debug',
    bgworkers: [
      {
        module: resolve(import.meta.dirname, '../crash/counting-feeder.ts'),
        config: { key: VICTIM, variable: false },
      },
    ],
  });
  onTestFinished(() => server.kill());
  const probed = await server.line(({ msg }) => msg === 'no worker can read files');
  expect(probed.paths).toEqual([join(directory, 'data'), join(directory, 'mkts.yml')]);
  await server.line(({ msg }) => msg === 'committed');
  expect(server.lines.filter(({ level }) => level === 'warn')).toEqual([]);
  expect(await server.stop()).toBe(0);
  expect(readdirSync(directory).sort()).toEqual(['data', 'mkts.yml']);
  expect(readdirSync(join(directory, 'data'))).toContain('VICTIM');
});
