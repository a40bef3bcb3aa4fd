import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { realFilesystem } from '../../../../kernel/storage/filesystem.ts';
import {
  type EntryTarget,
  encodeBucket,
  encodeCreateYear,
  encodeDestroy,
  type OwedBatch,
  padded,
} from '../../../../kernel/wal/entries.ts';
import { decodeRecordHeader, SEGMENT_HEADER_BYTES } from '../../../../kernel/wal/format.ts';
import { readLog } from '../../../../kernel/wal/reader.ts';
import { segmentPath } from '../../../../kernel/wal/segments.ts';
import { BARS, barGroup, groupOf, openLog, type RawEntry } from '../../../support/log.ts';
import { temporaryDirectory } from '../../../support/temporary-directory.ts';

/** Offsets of the records of a segment, in order. */
function recordsOf(path: string): number[] {
  const bytes = readFileSync(path);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const offsets: number[] = [];
  let at = SEGMENT_HEADER_BYTES;
  for (
    let header = decodeRecordHeader(view, at);
    header !== undefined;
    header = decodeRecordHeader(view, at)
  ) {
    offsets.push(at);
    at += 40 + header.bodyBytes;
  }
  return offsets;
}

function flip(path: string, offset: number): void {
  const bytes = readFileSync(path);
  bytes[offset] = (bytes[offset] ?? 0) ^ 0x10;
  writeFileSync(path, bytes);
}

/** A log of definitions (record 1) and groups 2 … count + 1. */
async function logOf(count: number): Promise<{ root: string; path: string }> {
  const root = temporaryDirectory();
  const writer = await openLog(root, { segmentBytes: 65_536 });
  for (let value = 1; value <= count; value++) await writer.append(barGroup(value));
  return { root, path: segmentPath(root, 1) };
}

function sequences(root: string): number[] {
  return [...readLog(root, realFilesystem).groups].map(({ sequence }) => Number(sequence));
}

test('no log is no log', () => {
  const log = readLog(temporaryDirectory(), realFilesystem);
  expect(log).toMatchObject({ groupCount: 0, lastSequence: 0n, damage: [], segments: [] });
  expect([...log.groups]).toEqual([]);
});

test('a directory that cannot be read is reported', () => {
  const log = readLog(`${temporaryDirectory()}/missing`, realFilesystem);
  expect(log.damage).toHaveLength(1);
});

describe('a torn tail', () => {
  test('a last record cut off is dropped, and all before it stays', async () => {
    const { root, path } = await logOf(5);
    truncateSync(path, (recordsOf(path).at(-1) ?? 0) + 48);
    const log = readLog(root, realFilesystem);
    expect(log.damage).toEqual([]);
    expect(log.tornBytes).toBe(48);
    expect(sequences(root)).toEqual([2, 3, 4, 5]);
    expect(log.lastSequence).toBe(5n);
  });

  test('a last record with a wrong byte is dropped', async () => {
    const { root, path } = await logOf(5);
    flip(path, (recordsOf(path).at(-1) ?? 0) + 60);
    const log = readLog(root, realFilesystem);
    expect(log.damage).toEqual([]);
    expect(log.tornBytes).toBeGreaterThan(40);
    expect(sequences(root)).toEqual([2, 3, 4, 5]);
  });

  test('a group whose definitions were lost in the same sync ends the log as well', async () => {
    const { root, path } = await logOf(1);
    flip(path, SEGMENT_HEADER_BYTES + 50);
    const log = readLog(root, realFilesystem);
    expect(log.damage).toEqual([]);
    expect(log.groupCount).toBe(0);
    expect(log.lastSequence).toBe(0n);
    expect(log.tornBytes).toBeGreaterThan(0);
  });

  test('the log that follows a torn one goes on with the same sequence', async () => {
    const { root, path } = await logOf(5);
    flip(path, (recordsOf(path).at(-1) ?? 0) + 60);
    const { lastSequence } = readLog(root, realFilesystem);
    const writer = await openLog(root, { nextSequence: lastSequence + 1n });
    await writer.append(barGroup(6));
    const log = readLog(root, realFilesystem);
    expect(log.damage).toEqual([]);
    // 6 is the new log's definitions.
    expect(sequences(root)).toEqual([2, 3, 4, 5, 7]);
  });
});

describe('damage in the middle', () => {
  test('is named with path and offset, and later groups are still there', async () => {
    const { root, path } = await logOf(5);
    const offset = recordsOf(path)[2] ?? 0;
    flip(path, offset + 60);
    const log = readLog(root, realFilesystem);
    expect(log.damage).toMatchObject([{ code: 'MKTS_WAL_CORRUPT', fields: { path, offset } }]);
    expect(sequences(root)).toEqual([2, 4, 5, 6]);
    expect(log.segments).toMatchObject([{ path, isDamaged: true }]);
  });

  test('each byte of a header and each bit of its length count', async () => {
    const { root, path } = await logOf(4);
    const offset = recordsOf(path)[2] ?? 0;
    const whole = readFileSync(path);
    for (let at = 0; at < 40; at++) {
      const bytes = Buffer.from(whole);
      bytes[offset + at] = (bytes[offset + at] ?? 0) ^ 0xff;
      writeFileSync(path, bytes);
      expect(readLog(root, realFilesystem).damage, `byte ${at}`).toHaveLength(1);
      expect(sequences(root), `byte ${at}`).toEqual([2, 4, 5]);
    }
  });

  test('a segment whose header is damaged gives its records all the same', async () => {
    const { root, path } = await logOf(3);
    flip(path, 30);
    const log = readLog(root, realFilesystem);
    expect(log.damage).toMatchObject([{ fields: { path, offset: 0 } }]);
    expect(sequences(root)).toEqual([2, 3, 4]);
  });

  test('a segment that is missing in the middle is damage', async () => {
    const root = temporaryDirectory();
    const writer = await openLog(root);
    for (let value = 1; value <= 150; value++) await writer.append(barGroup(value));
    const before = sequences(root).length;
    realFilesystem.remove(segmentPath(root, 2));
    const log = readLog(root, realFilesystem);
    expect(log.damage).toHaveLength(1);
    expect(sequences(root).length).toBeLessThan(before);
    expect(sequences(root).at(-1)).toBe(Number(log.lastSequence));
  });

  test('a checkpointed segment that a power cut brings back is no damage', async () => {
    const root = temporaryDirectory();
    const writer = await openLog(root);
    let sequence = 0n;
    for (let value = 1; value <= 150; value++) sequence = await writer.append(barGroup(value));
    const first = readFileSync(segmentPath(root, 1));
    await writer.checkpointIntent(sequence, []);
    await writer.checkpointComplete(sequence, []);
    await writer.append(barGroup(151));
    writeFileSync(segmentPath(root, 1), first);
    const log = readLog(root, realFilesystem);
    expect(log.damage).toEqual([]);
    expect(log.checkpointed).toBe(sequence);
    expect(sequences(root).at(-1)).toBe(Number(log.lastSequence));
  });

  test('definitions lost in the middle make only their groups unreadable', async () => {
    const root = temporaryDirectory();
    const writer = await openLog(root, { segmentBytes: 65_536 });
    await writer.append(barGroup(1, 1));
    await writer.append(barGroup(2, 3));
    await writer.append(barGroup(3, 1));
    const path = segmentPath(root, 1);
    flip(path, (recordsOf(path)[2] ?? 0) + 50);
    const log = readLog(root, realFilesystem);
    expect(log.damage.map(({ message }) => message)).toEqual([
      expect.stringContaining('record 3 '),
      expect.stringContaining('bucket 3, which is not defined'),
    ]);
    expect(sequences(root)).toEqual([2, 5]);
  });
});

describe('files that are no log', () => {
  test.each([
    ['empty', Buffer.alloc(0)],
    ['one byte', Buffer.from([7])],
    ['zeros', Buffer.alloc(4096)],
    ['ones', Buffer.alloc(4096, 0xff)],
    ['text', Buffer.from('not a log '.repeat(1000))],
  ])('%s: a report, never an exception', (_name, bytes) => {
    const root = temporaryDirectory();
    writeFileSync(segmentPath(root, 1), bytes);
    const log = readLog(root, realFilesystem);
    expect([...log.groups]).toEqual([]);
    expect(log.segments).toHaveLength(1);
    expect(log.damage.length).toBe(bytes.every((byte) => byte === 0) ? 0 : 1);
  });

  test('a directory of a segment name is left alone', () => {
    const root = temporaryDirectory();
    realFilesystem.makeDirectory(segmentPath(root, 1));
    expect(readLog(root, realFilesystem).segments).toEqual([]);
  });
});

describe('entries inside an intact record are checked', () => {
  async function problemsOf(raw: RawEntry): Promise<string[]> {
    const root = temporaryDirectory();
    const writer = await openLog(root);
    await writer.append(groupOf({ raw, bucket: 1 }, { bucket: 1, rows: [[60, 1, 1]] }));
    const log = readLog(root, realFilesystem);
    const kinds = [...log.groups].flatMap(({ entries }) => entries.map(({ kind }) => kind));
    return [...log.damage.map(({ message }) => message), ...kinds];
  }

  test('what is right is taken', async () => {
    expect(await problemsOf((target) => encodeCreateYear(target, 1, 2020))).toEqual([
      'create-year',
      'rows',
    ]);
    expect(await problemsOf((target) => encodeDestroy(target, 'X/1Min/OHLCV'))).toEqual([
      'destroy',
      'rows',
    ]);
  });

  test.each<[string, RegExp, RawEntry]>([
    ['a kind nobody knows', /unknown kind 99/, (target) => put(target, 99, new Uint8Array(16))],
    ['a year of no bucket', /new year/, (target) => encodeCreateYear(target, 7, 2020)],
    ['a year outside the calendar', /new year/, (target) => encodeCreateYear(target, 1, 10_000)],
    ['a path that climbs', /destroyed path/, (target) => encodeDestroy(target, '../1Min/X')],
    [
      'a path that is not UTF-8',
      /destroyed path/,
      (target) => {
        const bytes = encodeDestroy(target, 'XX/1Min/OHLCV');
        target.bytes[target.offset + 8] = 0xff;
        return bytes;
      },
    ],
    ['rows of no bucket', /not defined/, (target) => put(target, 1, rowsHeader(9, 1, 3))],
    ['rows that do not fit', /do not fit/, (target) => put(target, 1, rowsHeader(1, 1000, 3))],
    ['columns that do not fit', /do not fit/, (target) => put(target, 1, rowsHeader(1, 0, 9))],
    [
      'a definition cut short',
      /bucket definition/,
      (target) => {
        const entry = encodeBucket(5, 'X/1Min/OHLCV', BARS);
        return put(target, 2, entry.subarray(8, 24));
      },
    ],
  ])('%s is reported, and the next entry taken', async (_name, problem, raw) => {
    const [message, ...rest] = await problemsOf(raw);
    expect(message).toMatch(problem);
    expect(rest).toEqual(['rows']);
  });

  function put({ view, bytes, offset }: EntryTarget, kind: number, body: Uint8Array): number {
    const size = padded(8 + body.length);
    view.setUint32(offset, size, true);
    view.setUint16(offset + 4, kind, true);
    bytes.set(body, offset + 8);
    if (kind === 1) view.setUint16(offset + 6, body[15] ?? 0, true);
    return size;
  }

  function rowsHeader(bucket: number, rowCount: number, columnCount: number): Uint8Array {
    const body = new Uint8Array(16);
    const view = new DataView(body.buffer);
    view.setUint32(0, bucket, true);
    view.setUint32(4, rowCount, true);
    body[15] = columnCount;
    return body;
  }
});

describe('what triggers are owed', () => {
  const owed = (count: number, trigger = 'agg'): OwedBatch[] =>
    Array.from({ length: count }, (_, at) => ({
      trigger,
      key: `K${at}/1Min/OHLCV`,
      ranges: [{ from: 60 * at, to: 60 * at + 600 }],
    }));

  async function checkpointed(root: string, batches: readonly OwedBatch[]) {
    const writer = await openLog(root, { segmentBytes: 65_536 });
    const sequence = await writer.append(barGroup(1));
    await writer.checkpointIntent(sequence, []);
    await writer.checkpointComplete(sequence, batches);
    return { writer, sequence };
  }

  test('is what the newest completed checkpoint says, also of the same sequence', async () => {
    const root = temporaryDirectory();
    const { writer, sequence } = await checkpointed(root, owed(2));
    expect(readLog(root, realFilesystem).owed).toEqual(owed(2));
    await writer.checkpointIntent(sequence, []);
    expect(readLog(root, realFilesystem).owed).toEqual(owed(2));
    await writer.checkpointComplete(sequence, owed(1, 'other'));
    expect(readLog(root, realFilesystem).owed).toEqual(owed(1, 'other'));
    await writer.checkpointIntent(sequence, []);
    await writer.checkpointComplete(sequence, []);
    expect(readLog(root, realFilesystem)).toMatchObject({ owed: [], damage: [] });
  });

  test('is split over records and segments, and whole', async () => {
    const root = temporaryDirectory();
    const { writer } = await checkpointed(root, owed(3000));
    expect(readLog(root, realFilesystem).segments.length).toBeGreaterThan(2);
    expect(readLog(root, realFilesystem)).toMatchObject({ owed: owed(3000), damage: [] });
    expect(writer.pendingBytes).toBe(0);
  });

  test('counts only with its completion: cut anywhere, the one before counts', async () => {
    const root = temporaryDirectory();
    const { writer } = await checkpointed(root, owed(2));
    const path = segmentPath(root, 1);
    const before = recordsOf(path).length;
    const second = await writer.append(barGroup(2));
    await writer.checkpointIntent(second, []);
    await writer.checkpointComplete(second, owed(400, 'other'));
    const whole = readFileSync(path);
    const offsets = recordsOf(path);
    expect(offsets.length).toBeGreaterThan(before + 3);
    for (const offset of offsets.slice(before)) {
      writeFileSync(path, whole.subarray(0, offset + 44));
      const log = readLog(root, realFilesystem);
      expect(log.owed).toEqual(owed(2));
      expect(log.damage).toEqual([]);
    }
    writeFileSync(path, whole);
    expect(readLog(root, realFilesystem).owed).toEqual(owed(400, 'other'));
  });

  test('of a completion that was cut off is not taken for the next one', async () => {
    const root = temporaryDirectory();
    await checkpointed(root, owed(400));
    const path = segmentPath(root, 1);
    truncateSync(path, (recordsOf(path).at(-1) ?? 0) + 44);
    const { lastSequence } = readLog(root, realFilesystem);
    const writer = await openLog(root, { nextSequence: lastSequence + 1n });
    await writer.checkpointIntent(lastSequence, []);
    await writer.checkpointComplete(lastSequence, owed(1, 'other'));
    expect(readLog(root, realFilesystem).owed).toEqual(owed(1, 'other'));
  });

  test('keeps the log at a clean stop', async () => {
    const root = temporaryDirectory();
    const { writer, sequence } = await checkpointed(root, owed(1));
    await writer.close();
    expect(readLog(root, realFilesystem)).toMatchObject({ owed: owed(1), checkpointed: sequence });
  });
});
