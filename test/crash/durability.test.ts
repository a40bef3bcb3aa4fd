/**
 * What an answered write survives, by its level: each row of README's table, on a disk that forgets
 * what was not synced. Also that what one wants costs no other what it was promised.
 */

import { describe, expect, test } from 'vitest';
import type { Durability } from '../../kernel/base/durability.ts';
import { FLOAT64, INT64 } from '../../kernel/base/element-type.ts';
import type { BucketSchema } from '../../kernel/base/schema.ts';
import { parseTimeBucketKey } from '../../kernel/base/time-bucket-key.ts';
import { CrashFilesystem } from '../support/crash-filesystem.ts';
import { ROOT, type SimulatedServer, startSimulated } from '../support/simulated-server.ts';

const KEY = parseTimeBucketKey('A/1Min/BAR');
const SCHEMA: BucketSchema = { recordType: 'fixed', columns: [{ name: 'Value', type: FLOAT64 }] };
const YEAR = Date.UTC(2021, 0, 1) / 1000;
/** Ways a power cut may go. */
const SEEDS = 40;
const ROWS_PER_WRITE = 5;

async function start(): Promise<{ server: SimulatedServer; filesystem: CrashFilesystem }> {
  const filesystem = new CrashFilesystem();
  filesystem.makeDirectory(ROOT);
  const server = await startSimulated(filesystem);
  // The bucket is there, so that all that follows is a matter of rows.
  await write(server, 0, 'fsync');
  await server.checkpointer.run();
  filesystem.settle();
  return { server, filesystem };
}

/** Rows number 5n … 5n+4. */
async function write(server: SimulatedServer, n: number, durability: Durability): Promise<void> {
  const rows = Array.from({ length: ROWS_PER_WRITE }, (_, at) => ROWS_PER_WRITE * n + at);
  const columns = [
    { name: 'Epoch', type: INT64, data: BigInt64Array.from(rows, (row) => epochOf(row)) },
    { name: 'Value', type: FLOAT64, data: Float64Array.from(rows) },
  ];
  const batch = { key: KEY, schema: SCHEMA, columns, rowCount: rows.length };
  await server.ingest.write([batch], { durability });
}

function epochOf(row: number): bigint {
  return BigInt(YEAR + 60 * row);
}

/**
 * How many writes are there after a start: all before them, and none by half, or it throws. The start
 * writes to `filesystem`, and so to the one it was made of if that was `killed`: cuts come first.
 */
async function writesAfter(filesystem: CrashFilesystem): Promise<number> {
  const server = await startSimulated(filesystem);
  const series = await server.catalog.bucket(KEY.path)?.scan({ fromEnd: false });
  const values = Array.from(
    series?.columns.find(({ name }) => name === 'Value')?.data ?? [],
    Number,
  );
  server.abandon();
  expect(values).toEqual(Array.from({ length: values.length }, (_, row) => row));
  expect(values.length % ROWS_PER_WRITE).toBe(0);
  return values.length / ROWS_PER_WRITE;
}

/** Of each way in which a power cut may go. */
async function writesAfterCuts(filesystem: CrashFilesystem): Promise<number[]> {
  const found: number[] = [];
  for (let seed = 0; seed < SEEDS; seed++) found.push(await writesAfter(filesystem.restart(seed)));
  return found;
}

describe('what an answered write survives', () => {
  test('fsync: a power cut', async () => {
    const { server, filesystem } = await start();
    for (const n of [1, 2, 3]) await write(server, n, 'fsync');
    server.abandon();
    expect(new Set(await writesAfterCuts(filesystem))).toEqual(new Set([4]));
  });

  test('wal: the end of the process, not a power cut', async () => {
    const { server, filesystem } = await start();
    for (const n of [1, 2, 3]) await write(server, n, 'wal');
    server.abandon();
    const found = await writesAfterCuts(filesystem);
    expect(Math.min(...found), 'a cut takes what was not synced').toBeLessThan(4);
    expect(Math.min(...found), 'and nothing that was').toBeGreaterThanOrEqual(1);
    expect(await writesAfter(filesystem.killed())).toBe(4);
  });

  test('wal: a later fsync carries it along', async () => {
    const { server, filesystem } = await start();
    await write(server, 1, 'wal');
    await write(server, 2, 'wal');
    await write(server, 3, 'fsync');
    server.abandon();
    expect(new Set(await writesAfterCuts(filesystem))).toEqual(new Set([4]));
  });

  test('in one group the most that is wanted counts', async () => {
    const { server, filesystem } = await start();
    // All go into the group that fills while the first is on its way.
    await Promise.all([
      write(server, 1, 'wal'),
      write(server, 2, 'memory'),
      write(server, 3, 'fsync'),
      write(server, 4, 'wal'),
    ]);
    server.abandon();
    for (const writes of await writesAfterCuts(filesystem))
      expect(writes).toBeGreaterThanOrEqual(4);
  });

  test('memory: it is answered before it is written, and goes the way of all others', async () => {
    const { server, filesystem } = await start();
    const changesBefore = filesystem.changeCount;
    let isRefused = false;
    filesystem.fail(({ operation }) => {
      if (operation !== 'write') return undefined;
      isRefused = true;
      return 'ENOSPC';
    });
    await write(server, 1, 'memory');
    await expect.poll(() => server.forgotten).toBe(1);
    expect(isRefused).toBe(true);
    await expect(write(server, 1, 'wal')).rejects.toThrow(/paused/);
    await expect(write(server, 1, 'memory'), 'while nothing goes it is refused').rejects.toThrow(
      /paused/,
    );
    filesystem.fail(undefined);
    await expect.poll(() => server.committer.paused).toBeUndefined();
    await write(server, 1, 'memory');
    await server.committer.idle();
    expect(filesystem.changeCount).toBeGreaterThan(changesBefore);
    server.abandon();
    expect(await writesAfter(filesystem.killed())).toBe(2);
    expect(server.reports).toEqual([]);
  });

  test('memory: what is wrong with a request is said all the same', async () => {
    const { server } = await start();
    const column = { name: 'Other', type: FLOAT64, data: Float64Array.of(1) };
    const epoch = { name: 'Epoch', type: INT64, data: BigInt64Array.of(epochOf(0)) };
    const batch = { key: KEY, schema: SCHEMA, columns: [epoch, column], rowCount: 1 };
    await expect(server.ingest.write([batch], { durability: 'memory' })).rejects.toMatchObject({
      code: 'MKTS_COLUMN_MISMATCH',
    });
    server.abandon();
  });

  test.each([
    ['fsync', 4],
    ['wal', 0],
  ] as const)('a plugin with durability %s', async (durability, promised) => {
    const { server, filesystem } = await start();
    const { writer } = server.plugin('fed', durability);
    for (const n of [1, 2, 3]) {
      const rows = Array.from({ length: ROWS_PER_WRITE }, (_, at) => ROWS_PER_WRITE * n + at);
      await writer.write(KEY.path, {
        Epoch: rows.map((row) => Number(epochOf(row))),
        Value: rows,
      });
    }
    await writer.flush();
    server.abandon();
    const found = await writesAfterCuts(filesystem);
    if (promised === 4) expect(new Set(found)).toEqual(new Set([4]));
    else expect(Math.min(...found)).toBeLessThan(4);
    expect(await writesAfter(filesystem.killed()), 'kill -9').toBe(4);
  });
});
