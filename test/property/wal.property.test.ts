/**
 * Random logs, cut or changed anywhere: what is read back is what is whole, in order, and nothing
 * else. A byte that was acknowledged and is wrong is named; nothing throws.
 */

import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeState, encodeTexts } from '../../kernel/base/state-entry.ts';
import { realFilesystem } from '../../kernel/storage/filesystem.ts';
import {
  type EntryTarget,
  encodeCreateYear,
  encodeDestroy,
  padded,
} from '../../kernel/wal/entries.ts';
import { decodeRecordHeader, SEGMENT_HEADER_BYTES } from '../../kernel/wal/format.ts';
import { type LogContents, readLog } from '../../kernel/wal/reader.ts';
import { parseReferenceLog } from '../../kernel/wal/reference-format.ts';
import { listSegments, segmentPath } from '../../kernel/wal/segments.ts';
import { bucketOf, type GroupEntry, groupOf, openLog } from '../support/log.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const RUNS = 60;

const row = fc.tuple(
  fc.integer({ min: -62_135_596_800, max: 253_402_300_799 }),
  fc.integer({ min: -1000, max: 1000 }),
  fc.integer({ min: 0, max: 999_999_999 }),
);
const entry: fc.Arbitrary<GroupEntry> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      bucket: fc.integer({ min: 1, max: 12 }),
      origin: fc.integer({ min: 0, max: 4 }),
      rows: fc.array(row, { minLength: 1, maxLength: 30 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc
      .record({ bucket: fc.integer({ min: 1, max: 12 }), year: fc.integer({ min: 1, max: 9999 }) })
      .map(({ bucket, year }) => ({
        bucket,
        raw: (target: EntryTarget) => encodeCreateYear(target, bucket, year),
      })),
  },
  {
    weight: 2,
    arbitrary: fc
      .record({
        origin: fc.integer({ min: 1, max: 4 }),
        name: fc.string({ minLength: 1, maxLength: 20, unit: 'grapheme' }),
        json: fc.option(fc.json(), { nil: undefined }),
      })
      .map(({ origin, name, json }) => ({
        origin,
        raw: (target: EntryTarget) => encodeState(target, origin, encodeTexts({ name, json })),
      })),
  },
  {
    weight: 1,
    arbitrary: fc.integer({ min: 1, max: 12 }).map((bucket) => ({
      raw: (target: EntryTarget) => encodeDestroy(target, bucketOf(bucket).path),
    })),
  },
);
const groups = fc.array(fc.array(entry, { minLength: 1, maxLength: 4 }), {
  minLength: 1,
  maxLength: 25,
});

/** What a log says, as text; a group an element. */
function contentsOf(log: LogContents): string[] {
  return [...log.groups].map(({ sequence, entries }) => {
    const texts = entries.map((found) => {
      if (found.kind === 'destroy') return `destroy ${found.path}`;
      if (found.kind === 'state') return `state ${found.plugin} ${JSON.stringify(found.change)}`;
      const { path } = found.bucket.key;
      if (found.kind === 'create-year') return `create ${path} ${found.year}`;
      if (found.kind === 'delete-rows')
        return `delete ${path} ${found.origin?.name} ${JSON.stringify(found.times)}`;
      const { bytes, view, offset } = found.block;
      const end = offset + view.getUint32(offset, true);
      return `rows ${path} ${found.origin?.name} ${Buffer.from(bytes.subarray(offset, end)).toString('hex')}`;
    });
    return `${sequence}: ${texts.join('; ')}`;
  });
}

interface Place {
  readonly at: number;
  readonly end: number;
  readonly sequence: bigint;
}

function recordsOf(bytes: Buffer): Place[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const places: Place[] = [];
  let at = SEGMENT_HEADER_BYTES;
  for (let header = decodeRecordHeader(view, at); header !== undefined; ) {
    const end = at + 40 + header.bodyBytes;
    places.push({ at, end, sequence: header.sequence });
    at = end;
    header = decodeRecordHeader(view, at);
  }
  return places;
}

async function logOf(root: string, of: readonly (readonly GroupEntry[])[]): Promise<string> {
  for (const { path } of listSegments(root, realFilesystem)) rmSync(path);
  const writer = await openLog(root, { segmentBytes: 8192 });
  for (const entries of of) await writer.append(groupOf(...entries));
  const used = listSegments(root, realFilesystem).filter(
    ({ path }) => recordsOf(readFileSync(path)).length > 0,
  );
  return used.at(-1)?.path ?? '';
}

test('a log cut anywhere in its last segment is whole up to the cut', async () => {
  const root = temporaryDirectory();
  await fc.assert(
    fc.asyncProperty(groups, fc.double({ min: 0, max: 1, noNaN: true }), async (of, where) => {
      const path = await logOf(root, of);
      const whole = readLog(root, realFilesystem);
      expect(whole.damage).toEqual([]);
      expect(whole.groupCount).toBe(of.length);
      const all = contentsOf(whole);
      const bytes = readFileSync(path);
      const records = recordsOf(bytes);
      const cut = Math.floor(where * (records.at(-1)?.end ?? 0));
      writeFileSync(path, bytes.subarray(0, cut));
      const log = readLog(root, realFilesystem);
      // A record that lacks only zeros at its end is whole: its checksum says so.
      const left = Buffer.concat([bytes.subarray(0, cut), Buffer.alloc(padded(cut) - cut)]);
      const lost = records.find(
        ({ at, end }) => !left.subarray(at, end).equals(bytes.subarray(at, end)),
      )?.sequence;
      const expected = all.filter(
        (group) => lost === undefined || BigInt(group.split(':')[0] ?? '') < lost,
      );
      expect(contentsOf(log)).toEqual(expected);
      expect(log.damage.length).toBe(cut > 0 && left.length < SEGMENT_HEADER_BYTES ? 1 : 0);
    }),
    { numRuns: RUNS },
  );
});

test('a log with a changed byte loses the record it is in, and no other', async () => {
  const root = temporaryDirectory();
  const mask = fc.integer({ min: 1, max: 255 });
  await fc.assert(
    fc.asyncProperty(
      groups,
      fc.double({ min: 0, max: 1, noNaN: true }),
      mask,
      async (of, where, xor) => {
        const path = await logOf(root, of);
        const all = contentsOf(readLog(root, realFilesystem));
        const bytes = readFileSync(path);
        const records = recordsOf(bytes);
        const end = records.at(-1)?.end ?? 0;
        const at = SEGMENT_HEADER_BYTES + Math.floor(where * (end - SEGMENT_HEADER_BYTES - 1));
        bytes[at] = (bytes[at] ?? 0) ^ xor;
        writeFileSync(path, bytes);
        const log = readLog(root, realFilesystem);
        const hit = records.findIndex((record) => at >= record.at && at < record.end);
        const sequence = records[hit]?.sequence ?? 0n;
        const found = contentsOf(log);
        const before = all.filter((group) => BigInt(group.split(':')[0] ?? '') < sequence);
        expect(found.slice(0, before.length)).toEqual(before);
        // Behind it: groups as they were, or shorter where the definitions of their buckets are lost.
        const names = new Set(all.map((group) => group.split(':')[0]));
        for (const group of found) expect(names).toContain(group.split(':')[0]);
        expect(found.some((group) => group.startsWith(`${sequence}:`))).toBe(false);
        const isDefinition = !all.some((group) => group.startsWith(`${sequence}:`));
        if (!isDefinition && hit < records.length - 1) {
          expect(found).toEqual(all.filter((group) => !group.startsWith(`${sequence}:`)));
          expect(log.damage).toMatchObject([{ fields: { path, offset: records[hit]?.at } }]);
        }
        if (hit === records.length - 1) expect(log.damage).toEqual([]);
      },
    ),
    { numRuns: RUNS },
  );
});

test('random bytes are never a log, and never an exception', () => {
  const root = temporaryDirectory();
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 600 }), { maxLength: 4 }), (files) => {
      for (const { path } of listSegments(root, realFilesystem)) rmSync(path);
      for (const [at, bytes] of files.entries()) writeFileSync(segmentPath(root, at + 1), bytes);
      const log = readLog(root, realFilesystem);
      expect([...log.groups]).toEqual([]);
      expect(log.segments.length).toBe(files.length);
    }),
    { numRuns: RUNS },
  );
});

test('random bytes are never a log of the Go server either', () => {
  const prefix = fc.constantFrom([], [2, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8], [0], [1]);
  fc.assert(
    fc.property(prefix, fc.uint8Array({ maxLength: 400 }), (head, bytes) => {
      expect(parseReferenceLog(Uint8Array.from([...head, ...bytes])).groups).toEqual([]);
    }),
    { numRuns: 500 },
  );
});
