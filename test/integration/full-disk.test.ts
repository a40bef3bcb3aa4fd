/**
 * A real server on a real disk that stops taking writes: a small file system that is full, and a
 * process that may not make files longer. Both need a machine that lets a test arrange that; one that
 * does not skips them and says so.
 */

import { spawnSync } from 'node:child_process';
import { appendFileSync, rmSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import { queryServer } from '../../kernel/cli/rpc-client.ts';
import { writeRows } from '../support/rpc-write.ts';
import { ServerProcess } from '../support/server-process.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const MIB = 1024 * 1024;
const BASE = Date.UTC(2021, 0, 1) / 1000;
const FEEDER = join(import.meta.dirname, '../crash/counting-feeder.ts');
const FED = 'FEED/1Sec/TICK';
const KEY = 'W/1Sec/COUNT';
const TURN_MS = 20;
const TURNS_MAX = 1000;

/** A server with a feeder, and a client that writes 0, 1, 2 … */
class Scene {
  readonly server: ServerProcess;
  readonly #rowsPerWrite: number;
  acknowledged = 0;

  constructor(server: ServerProcess, rowsPerWrite: number) {
    this.server = server;
    this.#rowsPerWrite = rowsPerWrite;
  }

  static async start(root: string, rowsPerWrite: number): Promise<Scene> {
    const server = await ServerProcess.start(temporaryDirectory(), {
      root_directory: root,
      checkpoint_interval: '500ms',
      bgworkers: [{ module: FEEDER, name: 'ticks', config: { key: FED, variable: true } }],
    });
    onTestFinished(() => server.kill());
    const scene = new Scene(server, rowsPerWrite);
    await scene.write();
    await server.line(({ msg }) => msg === 'committed');
    return scene;
  }

  /** Undefined, or why it was refused. */
  async write(): Promise<string | undefined> {
    const numbers = Array.from({ length: this.#rowsPerWrite }, (_, at) => this.acknowledged + at);
    const columns = [
      { name: 'Epoch', type: 'i8', data: BigInt64Array.from(numbers, (n) => BigInt(BASE + n)) },
      { name: 'Value', type: 'i8', data: BigInt64Array.from(numbers, BigInt) },
    ];
    try {
      await writeRows(this.server.url, KEY, columns);
    } catch (error) {
      return String(error);
    }
    this.acknowledged += this.#rowsPerWrite;
    return undefined;
  }

  /** Writes until the server refuses, or until it does not. */
  async until(isRefused: boolean): Promise<string | undefined> {
    for (let turn = 0; turn < TURNS_MAX; turn++) {
      const refused = await this.write();
      if ((refused !== undefined) === isRefused) return refused;
      if (refused !== undefined) await sleep(TURN_MS);
    }
    throw new Error(`the server ${isRefused ? 'refuses' : 'takes'} no writes`);
  }

  async values(key: string): Promise<number[]> {
    const [bucket] = await queryServer(this.server.url, { destination: key });
    const column = bucket?.columns.find(({ name }) => name === 'Value');
    return Array.from(column?.data ?? [], Number);
  }

  async text(path: string): Promise<string> {
    return (await fetch(`${this.server.url}${path}`)).text();
  }

  /** The disk refuses: clients are told, reads go on, the feeder waits. `mend`: it takes writes again. */
  async check(mend: () => void): Promise<void> {
    const { server } = this;
    const refused = await this.until(true);
    expect(refused).toMatch(/writes are paused until the disk takes them again \(E\w+: /);
    expect(JSON.parse(await this.text('/heartbeat'))).toMatchObject({
      status: 'queryable',
      writes_paused: expect.stringMatching(/^E/),
    });
    expect(await this.text('/metrics')).toMatch(/^mkts_writes_paused 1$/m);
    expect(await this.values(KEY)).toEqual(upTo(this.acknowledged));
    const fed = await this.values(FED);
    expect(fed).toEqual(upTo(fed.length));

    mend();
    await this.until(false);
    await server.line(({ msg }) => msg === 'the disk takes writes again');
    expect(await this.values(KEY)).toEqual(upTo(this.acknowledged));
    const before = server.lines.length;
    await server.until(() =>
      server.lines.slice(before).find(({ msg }) => msg === 'committed') ? true : undefined,
    );
    const more = await this.values(FED);
    expect(more).toEqual(upTo(more.length));
    expect(more.length).toBeGreaterThan(fed.length);
    expect(await this.text('/metrics')).toMatch(/^mkts_writes_paused 0$/m);
    expect(JSON.parse(await this.text('/heartbeat'))).not.toHaveProperty('writes_paused');

    const said = server.lines.filter(({ msg }) =>
      /^writes are paused|takes writes again/.test(msg),
    );
    expect(said.map(({ level }) => level)).toEqual(['error', 'info']);
    const code = await server.stop();
    expect(code, JSON.stringify(server.lines.slice(-5))).toBe(0);
  }
}

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, value) => value);
}

/** Takes all that is left of a file system. */
function fill(path: string): void {
  const piece = new Uint8Array(MIB);
  try {
    for (;;) appendFileSync(path, piece);
  } catch (error) {
    expect(error).toMatchObject({ code: 'ENOSPC' });
  }
}

function succeeds(program: string, ...args: readonly string[]): boolean {
  return spawnSync(program, args, { stdio: 'ignore' }).status === 0;
}

const mayLimit = succeeds('prlimit', `--pid=${process.pid}`);

/** A tmpfs of its own; undefined if that is not allowed here. */
async function smallFilesystem(bytes: number): Promise<string | undefined> {
  const place = join(temporaryDirectory(), 'disk');
  await mkdir(place);
  if (!succeeds('mount', '-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', place)) return undefined;
  onTestFinished(() => void spawnSync('umount', ['-l', place]));
  return place;
}

describe('a disk that takes no writes for a while', () => {
  test.skipIf(!mayLimit)(
    'a limit on the length of files (skipped without prlimit)',
    { timeout: 60_000 },
    async () => {
      const scene = await Scene.start(join(temporaryDirectory(), 'data'), 100);
      const limit = (bytes: string): void => {
        const isSet = succeeds('prlimit', `--pid=${scene.server.pid}`, `--fsize=${bytes}:`);
        expect(isSet, 'the limit is set').toBe(true);
      };
      limit('4096');
      await scene.check(() => limit('unlimited'));
    },
  );

  test('a file system that is full (skipped where mount is not allowed)', async ({ skip }) => {
    const place = await smallFilesystem(128 * MIB);
    if (place === undefined) return skip('mount is not allowed');
    const scene = await Scene.start(join(place, 'data'), 100_000);
    // The log goes on in the space it has, and then needs more.
    const filler = join(place, 'filler');
    fill(filler);
    await scene.check(() => rmSync(filler));
  }, 60_000);
});
