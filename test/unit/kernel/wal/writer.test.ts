import { existsSync, readdirSync, statSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { StorageError } from '../../../../kernel/base/errors.ts';
import { decodeRowBlock } from '../../../../kernel/base/row-block.ts';
import { type Filesystem, realFilesystem } from '../../../../kernel/storage/filesystem.ts';
import { inProcessLogSync, type LogSync } from '../../../../kernel/wal/log-sync.ts';
import { type LogContents, readLog } from '../../../../kernel/wal/reader.ts';
import { segmentPath } from '../../../../kernel/wal/segments.ts';
import type { WalWriter } from '../../../../kernel/wal/writer.ts';
import { BARS, barGroup, groupOf, openLog, SEGMENT_BYTES } from '../../../support/log.ts';
import { temporaryDirectory } from '../../../support/temporary-directory.ts';

function logFiles(root: string): string[] {
  return readdirSync(root).filter((name) => name.startsWith('mkts-'));
}

/** Opens of the bars in a log, in order. */
function opens(log: LogContents): number[] {
  const values: number[] = [];
  for (const { entries } of log.groups)
    for (const entry of entries)
      if (entry.kind === 'rows') {
        const columns = decodeRowBlock(entry.block.buffer, entry.block.offset, BARS, 1);
        values.push(Number(columns[1]?.data[0]));
      }
  return values;
}

async function appendBars(writer: WalWriter, from: number, to: number): Promise<bigint> {
  let sequence = 0n;
  for (let value = from; value <= to; value++) sequence = await writer.append(barGroup(value));
  return sequence;
}

async function checkpoint(writer: WalWriter, sequence: bigint): Promise<void> {
  await writer.checkpointIntent(sequence, []);
  await writer.checkpointComplete(sequence, []);
}

describe('what was appended is read back', () => {
  test('groups come in order, with bucket, origin and rows', async () => {
    const root = temporaryDirectory();
    const writer = await openLog(root);
    const first = await writer.append(barGroup(1));
    const second = await writer.append(
      groupOf(
        { bucket: 2, origin: 3, rows: [[1_600_000_000, 7, 5]] },
        { bucket: 1, rows: [[60, 2, 2]] },
      ),
    );
    expect(second).toBeGreaterThan(first);
    const log = readLog(root, realFilesystem);
    expect(log.damage).toEqual([]);
    expect(log.tornBytes).toBe(0);
    expect(log.lastSequence).toBe(second);
    const groups = [...log.groups];
    expect(groups.map(({ sequence }) => sequence)).toEqual([first, second]);
    expect(
      groups[1]?.entries.map((entry) =>
        entry.kind === 'rows' ? [entry.bucket.key.path, entry.origin, entry.block.rowCount] : entry,
      ),
    ).toEqual([
      ['B2/1Min/TICK', { kind: 'plugin', name: 'origin 3', generation: 3 }, 1],
      ['B1/1Min/OHLCV', { kind: 'client', name: 'origin 0', generation: 0 }, 1],
    ]);
  });

  test('a log that goes on after another one is read as one', async () => {
    const root = temporaryDirectory();
    const first = await openLog(root);
    const last = await appendBars(first, 1, 3);
    const second = await openLog(root, { nextSequence: last + 1n });
    await appendBars(second, 4, 5);
    const log = readLog(root, realFilesystem);
    expect(log.damage).toEqual([]);
    expect(opens(log)).toEqual([1, 2, 3, 4, 5]);
  });

  test('a group in the page cache only is read back as well', async () => {
    const root = temporaryDirectory();
    const writer = await openLog(root);
    await writer.append({ ...barGroup(1), durability: 'wal' });
    await appendBars(writer, 2, 2);
    expect(opens(readLog(root, realFilesystem))).toEqual([1, 2]);
  });
});

describe('segments', () => {
  test('a segment is preallocated, and a full one is followed by the next', async () => {
    const root = temporaryDirectory();
    const writer = await openLog(root);
    await appendBars(writer, 1, 200);
    const files = logFiles(root);
    expect(files.length).toBeGreaterThan(3);
    for (const name of files) expect(statSync(`${root}/${name}`).size).toBe(SEGMENT_BYTES);
    const log = readLog(root, realFilesystem);
    expect(log.damage).toEqual([]);
    expect(opens(log)).toEqual(Array.from({ length: 200 }, (_, at) => at + 1));
  });

  test('every segment defines what its groups name', async () => {
    const root = temporaryDirectory();
    const writer = await openLog(root);
    await appendBars(writer, 1, 200);
    // The log is read without its first segments, as after a checkpoint.
    realFilesystem.remove(segmentPath(root, 1));
    realFilesystem.remove(segmentPath(root, 2));
    const log = readLog(root, realFilesystem);
    expect(log.damage).toEqual([]);
    expect(opens(log).at(-1)).toBe(200);
    expect(opens(log)[0]).toBeGreaterThan(2);
  });

  test('a group larger than a segment gets one of its own size', async () => {
    const root = temporaryDirectory();
    const writer = await openLog(root);
    await appendBars(writer, 1, 1);
    const rows = Array.from({ length: 1000 }, (_, at) => [60 * at, at, at]);
    await writer.append(groupOf({ bucket: 1, rows }));
    await appendBars(writer, 2, 2);
    const log = readLog(root, realFilesystem);
    expect(log.damage).toEqual([]);
    expect(
      [...log.groups].map(
        ({ entries }) => entries[0]?.kind === 'rows' && entries[0].block.rowCount,
      ),
    ).toEqual([1, 1000, 1]);
  });

  test('a group that names very many buckets gets a segment of its own size', async () => {
    const root = temporaryDirectory();
    const writer = await openLog(root);
    const ids = Array.from({ length: 300 }, (_, at) => 2 * at + 1);
    await writer.append(groupOf(...ids.map((bucket) => ({ bucket, rows: [[60, 1, 1]] }))));
    await appendBars(writer, 2, 60);
    const log = readLog(root, realFilesystem);
    expect(log.damage).toEqual([]);
    expect([...log.groups][0]?.entries.length).toBe(300);
    expect(log.groupCount).toBe(60);
  });

  test('checkpointed segments are used again, and their old records never come back', async () => {
    const root = temporaryDirectory();
    const writer = await openLog(root);
    const numbers = new Set<string>();
    for (let round = 0; round < 12; round++) {
      const sequence = await appendBars(writer, 100 * round, 100 * round + 59);
      for (const name of logFiles(root)) numbers.add(name);
      const before = readLog(root, realFilesystem);
      expect(before.damage).toEqual([]);
      expect(opens(before).at(-1)).toBe(100 * round + 59);
      await checkpoint(writer, sequence);
      const log = readLog(root, realFilesystem);
      expect(log.damage).toEqual([]);
      expect(log.checkpointed).toBe(sequence);
      const left = [...log.groups].filter(({ sequence: of }) => of > log.checkpointed);
      expect(left).toEqual([]);
      expect(logFiles(root).length).toBeLessThanOrEqual(10);
    }
    // A quiet time: the spares of the busy one go.
    await checkpoint(writer, await appendBars(writer, 1, 1));
    expect(logFiles(root).length, 'current and two spares').toBe(3);
    expect(numbers.size).toBeGreaterThan(12);
  });

  test('a checkpoint keeps segments with newer groups', async () => {
    const root = temporaryDirectory();
    const writer = await openLog(root);
    const sequence = await appendBars(writer, 1, 100);
    await writer.checkpointIntent(sequence, []);
    await appendBars(writer, 101, 200);
    await writer.checkpointComplete(sequence, []);
    const log = readLog(root, realFilesystem);
    const newer = [...log.groups].filter((group) => group.sequence > sequence);
    expect(newer.length).toBe(100);
    expect(log.checkpointed).toBe(sequence);
    expect(writer.pendingBytes).toBeGreaterThan(100 * 80);
  });
});

describe('checkpoints', () => {
  const cell = (at: number, fill: number) => ({
    path: 'B2/1Min/TICK/2020.bin',
    offset: 37_024 + 24 * at,
    bytes: new Uint8Array(24).fill(fill),
  });

  test('cells of an intent without completion are returned, many of them too', async () => {
    const root = temporaryDirectory();
    const writer = await openLog(root);
    const sequence = await appendBars(writer, 1, 3);
    const cells = Array.from({ length: 700 }, (_, at) => cell(at, at % 251));
    await writer.checkpointIntent(sequence, cells);
    const log = readLog(root, realFilesystem);
    expect(log.damage).toEqual([]);
    expect(log.checkpointed).toBe(0n);
    expect(log.interruptedCells).toEqual(cells);
    await writer.checkpointComplete(sequence, []);
    expect(readLog(root, realFilesystem).interruptedCells).toEqual([]);
    expect(readLog(root, realFilesystem).checkpointed).toBe(sequence);
  });

  test('of two attempts the cells of the first count', async () => {
    const root = temporaryDirectory();
    const writer = await openLog(root);
    const sequence = await appendBars(writer, 1, 3);
    await writer.checkpointIntent(sequence, [cell(1, 1)]);
    await writer.checkpointIntent(sequence, [cell(1, 9), cell(2, 2)]);
    expect(readLog(root, realFilesystem).interruptedCells).toEqual([cell(1, 1), cell(2, 2)]);
  });

  test('a new log can hold the intent for groups of the log before', async () => {
    const root = temporaryDirectory();
    const last = await appendBars(await openLog(root), 1, 3);
    const second = await openLog(root, { nextSequence: last + 1n });
    await second.checkpointIntent(last, [cell(1, 1)]);
    expect(readLog(root, realFilesystem).interruptedCells).toEqual([cell(1, 1)]);
    await second.checkpointComplete(last, []);
    expect(readLog(root, realFilesystem).checkpointed).toBe(last);
  });
});

describe('the end of a log', () => {
  test('a clean stop after a checkpoint leaves nothing', async () => {
    const root = temporaryDirectory();
    const writer = await openLog(root);
    await checkpoint(writer, await appendBars(writer, 1, 100));
    expect(writer.pendingBytes).toBe(0);
    await writer.close();
    expect(logFiles(root)).toEqual([]);
  });

  test('a stop with groups that are not checkpointed keeps them', async () => {
    const root = temporaryDirectory();
    const writer = await openLog(root);
    await appendBars(writer, 1, 100);
    await writer.close();
    expect(opens(readLog(root, realFilesystem)).length).toBe(100);
  });

  test('a stop in the middle of a checkpoint keeps its cells', async () => {
    const root = temporaryDirectory();
    const last = await appendBars(await openLog(root), 1, 3);
    const writer = await openLog(root, { nextSequence: last + 1n });
    await writer.checkpointIntent(last, []);
    await writer.close();
    expect(existsSync(segmentPath(root, 2))).toBe(true);
  });

  test('a failed write ends the log', async () => {
    const root = temporaryDirectory();
    let isFull = false;
    const disk = inProcessLogSync(realFilesystem);
    const sync: LogSync = {
      ...disk,
      async write(request) {
        if (isFull)
          throw new StorageError('MKTS_DISK', { operation: 'write', path: root, reason: 'ENOSPC' });
        await disk.write(request);
      },
    };
    const writer = await openLog(root, { sync });
    await appendBars(writer, 1, 1);
    isFull = true;
    await expect(writer.append(barGroup(2))).rejects.toMatchObject({ code: 'MKTS_WAL_WRITE' });
    isFull = false;
    await expect(writer.append(barGroup(3))).rejects.toMatchObject({ code: 'MKTS_WAL_WRITE' });
    await expect(writer.checkpointIntent(1n, [])).rejects.toMatchObject({ code: 'MKTS_WAL_WRITE' });
    await writer.close();
    expect(opens(readLog(root, realFilesystem))).toEqual([1]);
  });

  test('a segment that cannot be made ahead is made when it is needed', async () => {
    const root = temporaryDirectory();
    const disk = inProcessLogSync(realFilesystem);
    let failures = 0;
    const sync: LogSync = {
      ...disk,
      async prepare(path, bytes) {
        if (path.endsWith('2.wal') && failures++ === 0)
          throw new StorageError('MKTS_DISK', { operation: 'write', path, reason: 'ENOSPC' });
        await disk.prepare(path, bytes);
      },
    };
    const writer = await openLog(root, { sync });
    await appendBars(writer, 1, 100);
    expect(failures).toBe(2);
    expect(opens(readLog(root, realFilesystem)).length).toBe(100);
  });

  test('a second append while one is under way is our own mistake', async () => {
    const writer = await openLog(temporaryDirectory());
    const first = writer.append(barGroup(1));
    await expect(writer.append(barGroup(2))).rejects.toThrow(/one request/);
    await first;
  });

  test('segments are freed oldest first, so that a crash in between leaves no hole', async () => {
    const root = temporaryDirectory();
    const freed: string[] = [];
    const filesystem: Filesystem = {
      ...realFilesystem,
      remove(path) {
        freed.push(path);
        realFilesystem.remove(path);
      },
      rename(from, to) {
        freed.push(from);
        realFilesystem.rename(from, to);
      },
    };
    const writer = await openLog(root, { filesystem, sync: inProcessLogSync(filesystem) });
    await checkpoint(writer, await appendBars(writer, 1, 700));
    expect(freed.length).toBeGreaterThan(12);
    expect(freed).toEqual([...freed].sort());
    freed.length = 0;
    await writer.close();
    expect(freed).toEqual([...freed].sort());
    expect(logFiles(root)).toEqual([]);
  });
});
