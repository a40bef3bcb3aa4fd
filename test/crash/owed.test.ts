/**
 * A trigger that was not told of what a checkpoint covers, or did not come to its end: after
 * `kill -9` or a stop it is told at the next start, although nothing is replayed any more.
 */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { callServer, queryServer } from '../../kernel/cli/rpc-client.ts';
import { realFilesystem } from '../../kernel/storage/filesystem.ts';
import { readLog } from '../../kernel/wal/reader.ts';
import { expectIntegrity } from '../support/integrity.ts';
import { writeRows } from '../support/rpc-write.ts';
import { ServerProcess } from '../support/server-process.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const STUCK = join(import.meta.dirname, 'stuck-trigger.ts');
const BASE = Date.UTC(2021, 0, 1) / 1000;
const KEYS = Array.from({ length: 8 }, (_, at) => `S${at}`);
const MINUTES = 30;
const WORKING = { module: 'ondiskagg.so', config: { destinations: ['5Min'] } };

class Directory {
  readonly #directory = temporaryDirectory();

  get root(): string {
    return join(this.#directory, 'data');
  }

  async start(trigger: Record<string, unknown> = { module: STUCK }): Promise<ServerProcess> {
    const server = await ServerProcess.start(this.#directory, {
      root_directory: this.root,
      checkpoint_interval: '50ms',
      triggers: [{ name: 'agg', on: '*/1Min/OHLCV', ...trigger }],
    });
    onTestFinished(() => server.kill());
    return server;
  }

  /** Waits until a checkpoint covers all groups, so that nothing of them is replayed. */
  async checkpointed(): Promise<void> {
    await expect.poll(() => this.#isCovered(), { timeout: 20_000, interval: 100 }).toBe(true);
  }

  #isCovered(): boolean {
    const { groups, groupCount, checkpointed } = readLog(this.root, realFilesystem);
    if (groupCount === 0) return false;
    return [...groups].every(({ sequence }) => sequence <= checkpointed);
  }

  owedKeys(): string[] {
    return readLog(this.root, realFilesystem)
      .owed.map(({ key }) => key)
      .sort();
  }
}

async function writeMinutes(url: string): Promise<void> {
  const minutes = Array.from({ length: MINUTES }, (_, at) => at);
  const prices = Float32Array.from(minutes, (at) => 100 + at);
  for (const symbol of KEYS)
    await writeRows(url, `${symbol}/1Min/OHLCV`, [
      {
        name: 'Epoch',
        type: 'i8',
        data: BigInt64Array.from(minutes, (at) => BigInt(BASE + 60 * at)),
      },
      ...['Open', 'High', 'Low', 'Close'].map((name) => ({ name, type: 'f4', data: prices })),
      { name: 'Volume', type: 'i4', data: Int32Array.from(minutes, () => 1) },
    ]);
}

async function aggregates(url: string, symbol: string): Promise<unknown> {
  const key = `${symbol}/5Min/OHLCV`;
  const { Results } = (await callServer(url, 'ListSymbols', { format: 'tbk' })) as {
    Results: string[];
  };
  if (!Results.includes(key)) return [];
  const [bucket] = await queryServer(url, { destination: key });
  const volume = bucket?.columns.find(({ name }) => name === 'Volume')?.data;
  return Array.from(volume ?? [], Number);
}

async function expectAggregated(server: ServerProcess): Promise<void> {
  for (const symbol of KEYS)
    await expect
      .poll(() => aggregates(server.url, symbol), { timeout: 20_000, interval: 100 })
      .toEqual(Array.from({ length: MINUTES / 5 }, () => 5));
}

const ALL = KEYS.map((symbol) => `${symbol}/1Min/OHLCV`).sort();

test('after kill -9 a trigger is told of what a checkpoint covers, however often it crashes', async () => {
  const directory = new Directory();
  const first = await directory.start();
  await writeMinutes(first.url);
  await first.line(({ msg }) => msg === 'told');
  await directory.checkpointed();
  await first.kill();
  expectIntegrity(directory.root);
  expect(directory.owedKeys()).toEqual(ALL);

  // Its own checkpoint, before anything is fired, must say it again.
  const second = await directory.start();
  await second.kill();
  expectIntegrity(directory.root);
  expect(directory.owedKeys()).toEqual(ALL);

  const third = await directory.start(WORKING);
  await expectAggregated(third);
  expect(await third.stop(), third.stderr).toBe(0);
  expectIntegrity(directory.root);
  expect(readdirSync(directory.root).filter((name) => name.endsWith('.wal'))).toEqual([]);
});

test('a stop its trigger is too slow for keeps the log, and the next start tells the trigger', async () => {
  const directory = new Directory();
  const first = await directory.start();
  await writeMinutes(first.url);
  await first.line(({ msg }) => msg === 'told');
  expect(await first.stop(), first.stderr).toBe(0);
  expectIntegrity(directory.root);
  expect(first.lines.some(({ msg, keys }) => msg.startsWith('the log stays') && keys === 8)).toBe(
    true,
  );
  expect(directory.owedKeys()).toEqual(ALL);

  const second = await directory.start(WORKING);
  await expectAggregated(second);
  expect(await second.stop(), second.stderr).toBe(0);
  expectIntegrity(directory.root);
  expect(readdirSync(directory.root).filter((name) => name.endsWith('.wal'))).toEqual([]);
});

test('what is owed to a trigger that is gone is dropped, with a line', async () => {
  const directory = new Directory();
  const first = await directory.start();
  await writeMinutes(first.url);
  await first.line(({ msg }) => msg === 'told');
  await directory.checkpointed();
  await first.kill();
  expectIntegrity(directory.root);
  const second = await directory.start({ ...WORKING, name: 'renamed' });
  const line = second.lines.find(({ msg }) => msg.startsWith('the log owes keys'));
  expect(line).toMatchObject({ plugin: 'agg', keys: 8 });
  expect(await second.stop(), second.stderr).toBe(0);
  expectIntegrity(directory.root);
});
