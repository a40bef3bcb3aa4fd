/**
 * Backups of real servers: while feeders and clients write, by the command line and over HTTP, restored
 * and started again, and held against what was acknowledged before.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { isDeepStrictEqual } from 'node:util';
import { describe, expect, onTestFinished, test } from 'vitest';
import { parseManifest } from '../../kernel/backup/manifest.ts';
import { restoreBackup } from '../../kernel/backup/restore.ts';
import { type AnsweredBucket, callServer, queryServer } from '../../kernel/cli/rpc-client.ts';
import { realFilesystem } from '../../kernel/storage/filesystem.ts';
import { expectIntegrity } from '../support/integrity.ts';
import { writeRows } from '../support/rpc-write.ts';
import { type LogLine, ServerProcess } from '../support/server-process.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';
import { startTestServer, type TestServer } from '../support/test-server.ts';

const MAIN = resolve(import.meta.dirname, '../../kernel/main.ts');
const FEEDERS = resolve(import.meta.dirname, '../crash');
const BASE = Date.UTC(2021, 0, 1) / 1000;

interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function mkts(cwd: string, ...args: readonly string[]): Promise<Ran> {
  const child = spawn(process.execPath, [MAIN, ...args], {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const closed = once(child, 'close') as Promise<[number | null]>;
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    closed,
  ]);
  return { code, stdout, stderr };
}

/** Writes `count` rows with the numbers from `first` on. */
async function writeNumbers(url: string, key: string, first: number, count = 1): Promise<void> {
  const numbers = Array.from({ length: count }, (_, at) => first + at);
  const seconds = key.includes('/1D/') ? 86_400 : key.includes('/1Min/') ? 60 : 1;
  const isTicks = key.endsWith('TICK');
  // The format has no place for zeros on Jan 1 of a daily bucket.
  const base = seconds === 86_400 ? BASE + seconds : BASE;
  await writeRows(
    url,
    key,
    [
      {
        name: 'Epoch',
        type: 'i8',
        data: BigInt64Array.from(numbers, (n) => BigInt(base + n * seconds)),
      },
      { name: 'Value', type: 'i8', data: BigInt64Array.from(numbers, BigInt) },
      ...(isTicks
        ? [{ name: 'Nanoseconds', type: 'i4', data: Int32Array.from(numbers, () => 1000) }]
        : []),
    ],
    { variable: isTicks },
  );
}

function valuesOf(buckets: readonly AnsweredBucket[]): number[] {
  const [bucket] = buckets;
  return Array.from(bucket?.columns.find(({ name }) => name === 'Value')?.data ?? [], Number);
}

const numbersTo = (end: number): number[] => Array.from({ length: end }, (_, n) => n);

/** A server on a restored directory, stopped with the test. */
async function serve(root: string): Promise<TestServer> {
  const server = await startTestServer({ root_directory: root });
  onTestFinished(() => server.remove());
  return server;
}

async function restored(tar: Response): Promise<string> {
  const root = join(temporaryDirectory(), 'restored');
  if (tar.body === null) throw new Error('a backup has a body');
  await restoreBackup(tar.body, root, realFilesystem);
  return root;
}

const query = (url: string, destination: string): Promise<AnsweredBucket[]> =>
  queryServer(url, { destination });

describe('while feeders and clients write', () => {
  test('a backup is everything acknowledged before it, as of one sequence', async () => {
    const directory = temporaryDirectory();
    const server = await ServerProcess.start(directory, {
      root_directory: join(directory, 'data'),
      listen_host: '127.0.0.1',
      listen_port: 0,
      checkpoint_interval: '100ms',
      bgworkers: [
        {
          module: join(FEEDERS, 'cursor-feeder.ts'),
          name: 'cursor',
          config: { keys: ['CUR/1Sec/TICK', 'SOR/1Sec/TICK'], batch: 7 },
        },
        {
          module: join(FEEDERS, 'counting-feeder.ts'),
          name: 'bars',
          config: { key: 'FEED/1Min/COUNT', variable: false },
        },
      ],
    });
    onTestFinished(() => server.kill());
    // One client writes each number to one bucket after the other: at no moment are they two apart.
    const keys = ['A/1Min/COUNT', 'B/1Sec/TICK', 'C/1Sec/COUNT', 'D/1D/COUNT'];
    const acknowledged = keys.map(() => 0);
    const over = new AbortController();
    const writing = (async () => {
      for (let next = 0; !over.signal.aborted; next++)
        for (const [at, key] of keys.entries()) {
          await writeNumbers(server.url, key, next);
          acknowledged[at] = next + 1;
        }
    })();
    const committed = (key: string): number =>
      Math.max(
        0,
        ...server.lines
          .filter((line: LogLine) => line.msg === 'committed' && line.key === key)
          .map(({ rows }) => Number(rows)),
      );
    const isUnderWay = (): true | undefined =>
      (acknowledged.at(-1) ?? 0) > 20 &&
      committed('CUR/1Sec/TICK') > 200 &&
      committed('FEED/1Min/COUNT') > 40
        ? true
        : undefined;
    await server.until(isUnderWay);
    const before = {
      client: [...acknowledged],
      cursor: committed('CUR/1Sec/TICK'),
      bars: committed('FEED/1Min/COUNT'),
    };

    const made = await mkts(directory, 'backup', 'copy', '--url', server.url);
    expect(made, made.stderr).toMatchObject({ code: 0, stdout: '' });
    const again = await mkts(directory, 'backup', 'copy', '--url', server.url);
    expect(again.code).toBe(1);
    expect(again.stderr).toContain('it is not empty (MKTS_BACKUP_TARGET)');
    over.abort();
    await writing;
    expect(await server.stop(), server.stderr).toBe(0);

    const done = await mkts(directory, 'restore', 'copy', 'back');
    expect(done, done.stderr).toMatchObject({ code: 0 });
    const root = join(directory, 'back');
    expectIntegrity(root);
    const states = readFileSync(join(root, 'mkts-state.json'), 'utf8');
    const manifest = parseManifest(readFileSync(join(directory, 'copy/mkts-backup.json')));
    expect(manifest.files.map(({ path }) => path)).toContain('mkts-state.json');

    const copy = await serve(root);
    const counts: number[] = [];
    for (const [at, key] of keys.entries()) {
      const values = valuesOf(await query(copy.url, key));
      expect(values, key).toEqual(numbersTo(values.length));
      expect(values.length, key).toBeGreaterThanOrEqual(before.client[at] ?? 0);
      counts.push(values.length);
    }
    // At one sequence: what the client wrote later is not there without what it wrote before.
    expect([...counts].sort((a, b) => b - a)).toEqual(counts);
    expect((counts[0] ?? 0) - (counts.at(-1) ?? 0)).toBeLessThanOrEqual(1);
    const bars = valuesOf(await query(copy.url, 'FEED/1Min/COUNT'));
    expect(bars).toEqual(numbersTo(bars.length));
    expect(bars.length).toBeGreaterThanOrEqual(before.bars);
    // The state of a plugin ends where its rows end.
    const ticks = valuesOf(await query(copy.url, 'CUR/1Sec/TICK'));
    expect(ticks.sort((a, b) => a - b)).toEqual(numbersTo(ticks.length));
    expect(ticks.length).toBeGreaterThanOrEqual(before.cursor);
    expect(valuesOf(await query(copy.url, 'SOR/1Sec/TICK'))).toHaveLength(ticks.length);
    expect(states).toContain(`["cursor","cursor","${ticks.length}"]`);
    expect(copy.errors).toEqual([]);
  });
});

describe('of a server in this process', () => {
  /** Enough that a client that does not read is waited for. */
  const LARGE = 'LARGE/1Sec/BARS';

  async function writeLarge(url: string): Promise<void> {
    const rows = 150_000;
    const noise = Float64Array.from({ length: rows }, (_, n) => Math.sin(n) + 2);
    await writeRows(url, LARGE, [
      {
        name: 'Epoch',
        type: 'i8',
        data: BigInt64Array.from({ length: rows }, (_, n) => BigInt(BASE + n)),
      },
      ...Array.from({ length: 12 }, (_, at) => ({ name: `V${at}`, type: 'f8', data: noise })),
    ]);
  }

  const KEYS = ['A/1Min/COUNT', 'B/1Sec/TICK', 'C/1Sec/COUNT', 'D/1D/COUNT', LARGE];

  test('it answers every query as the original did, whatever was written and destroyed meanwhile', async () => {
    const server = await startTestServer({});
    onTestFinished(() => server.remove());
    await writeLarge(server.url);
    for (const key of KEYS.slice(0, -1)) await writeNumbers(server.url, key, 0, 40);
    const answers = await Promise.all(KEYS.map((key) => query(server.url, key)));

    const tar = await fetch(`${server.url}/api/v1/backup`);
    expect(tar.status).toBe(200);
    // From here its files are held: nobody has read them yet.
    await callServer(server.url, 'Destroy', {
      requests: [{ key: 'B/1Sec/TICK:Symbol/Timeframe/AttributeGroup' }],
    });
    await writeNumbers(server.url, 'A/1Min/COUNT', 40, 100);
    await writeNumbers(server.url, 'B/1Sec/TICK', 7, 3);
    await writeNumbers(server.url, 'NEW/1Min/COUNT', 0, 3);
    expect(valuesOf(await query(server.url, 'B/1Sec/TICK'))).toEqual([7, 8, 9]);
    const second = await fetch(`${server.url}/api/v1/backup`);
    expect(second.status).toBe(503);
    expect(await second.json()).toMatchObject({ code: 'MKTS_OVERLOADED' });
    const root = await restored(tar);

    const copy = await serve(root);
    const copied = await Promise.all(KEYS.map((key) => query(copy.url, key)));
    for (const [at, key] of KEYS.entries())
      expect(isDeepStrictEqual(copied[at], answers[at]), key).toBe(true);
    await expect(query(copy.url, 'NEW/1Min/COUNT')).rejects.toThrow(/no files returned/);
    expect(copy.errors).toEqual([]);

    // The original goes on where it was, and what was held is done now.
    await server.stop();
    expectIntegrity(server.root);
    const after = await serve(server.root);
    expect(valuesOf(await query(after.url, 'A/1Min/COUNT'))).toHaveLength(140);
    expect(valuesOf(await query(after.url, 'B/1Sec/TICK'))).toEqual([7, 8, 9]);
    expect(server.errors).toEqual([]);
  });

  test('a client that goes away, and a server that stops meanwhile, cost the backup alone', async () => {
    const server = await startTestServer({});
    onTestFinished(() => server.remove());
    await writeLarge(server.url);
    for (let turn = 0; turn < 2; turn++) {
      const gone = new AbortController();
      const cut = await fetch(`${server.url}/api/v1/backup`, { signal: gone.signal });
      expect(cut.status).toBe(200);
      gone.abort();
      await writeNumbers(server.url, 'A/1Min/COUNT', turn * 10, 10);
      // It is noticed before long, and the next one may begin.
      const deadline = performance.now() + 20_000;
      let next = await fetch(`${server.url}/api/v1/backup`);
      while (next.status === 503 && performance.now() < deadline) {
        await next.body?.cancel();
        next = await fetch(`${server.url}/api/v1/backup`);
      }
      const copy = await serve(await restored(next));
      expect(valuesOf(await query(copy.url, 'A/1Min/COUNT'))).toEqual(numbersTo(turn * 10 + 10));
    }
    const last = await fetch(`${server.url}/api/v1/backup`);
    await server.stop();
    await expect(restored(last)).rejects.toThrow();
    const again = await serve(server.root);
    expect(valuesOf(await query(again.url, 'A/1Min/COUNT'))).toEqual(numbersTo(20));
  });

  test('who may not use the admin API gets no backup', async () => {
    const server = await startTestServer({ admin_token: 'a-token-of-this-test' });
    onTestFinished(() => server.remove());
    expect((await fetch(`${server.url}/api/v1/backup`)).status).toBe(401);
    const headers = { authorization: 'Bearer a-token-of-this-test' };
    const answer = await fetch(`${server.url}/api/v1/backup`, { headers });
    expect(answer.headers.get('content-type')).toBe('application/x-tar');
    // An empty database, too.
    const copy = await serve(await restored(answer));
    expect(copy.errors).toEqual([]);
  });

  test('a tar by way of stdout, and damage of a directory, on the command line', async () => {
    const server = await startTestServer({});
    onTestFinished(() => server.remove());
    await writeNumbers(server.url, 'A/1Min/COUNT', 0, 10);
    const directory = temporaryDirectory();
    const shell = spawn(
      'sh',
      [
        '-c',
        '"$0" "$1" backup - --url "$2" | "$0" "$1" restore - piped',
        process.execPath,
        MAIN,
      ].concat(server.url),
      { cwd: directory, stdio: 'ignore' },
    );
    expect(await once(shell, 'close')).toEqual([0, null]);
    const copy = await serve(join(directory, 'piped'));
    expect(valuesOf(await query(copy.url, 'A/1Min/COUNT'))).toEqual(numbersTo(10));

    expect((await mkts(directory, 'backup', 'copy', '--url', server.url)).code).toBe(0);
    const year = join(directory, 'copy/data/A/1Min/COUNT/2021.bin');
    const bytes = readFileSync(year);
    const refused = async (): Promise<void> => {
      const { code, stderr } = await mkts(directory, 'restore', 'copy', 'back');
      expect(code).toBe(1);
      expect(stderr).toContain(
        'A/1Min/COUNT/2021.bin is not what its checksum says (MKTS_BACKUP_INVALID)',
      );
    };
    bytes[37_100] = (bytes[37_100] ?? 0) ^ 4;
    writeFileSync(year, bytes);
    await refused();
    bytes[37_100] = (bytes[37_100] ?? 0) ^ 4;
    writeFileSync(year, bytes);
    truncateSync(year, bytes.length - 1);
    await refused();
    writeFileSync(year, bytes);
    expect((await mkts(directory, 'restore', 'copy', 'back')).code).toBe(0);
  });
});
