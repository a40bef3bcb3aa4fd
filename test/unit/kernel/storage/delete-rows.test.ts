/** Rows that are deleted: what is on disk and what is in memory while a write-back is under way. */

import { statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FLOAT64, INT32 } from '../../../../kernel/base/element-type.ts';
import type { BucketSchema } from '../../../../kernel/base/schema.ts';
import { parseTimeBucketKey } from '../../../../kernel/base/time-bucket-key.ts';
import type { Bounds, Bucket } from '../../../../kernel/storage/bucket.ts';
import {
  blockOfRows,
  openStore,
  rowsOf,
  type TestStore,
  temporaryRoot,
} from '../../../support/store.ts';

const BARS: BucketSchema = { recordType: 'fixed', columns: [{ name: 'A', type: INT32 }] };
const TICKS: BucketSchema = { recordType: 'variable', columns: [{ name: 'A', type: FLOAT64 }] };
const T = Date.UTC(2021, 6, 5) / 1000;

let scratch: ReturnType<typeof temporaryRoot>;
let store: TestStore;
beforeEach(() => {
  scratch = temporaryRoot();
  store = openStore(scratch.root);
});
afterEach(() => {
  store.catalog.close();
  scratch.remove();
});

function bucketOf(path: string, schema: BucketSchema): Bucket {
  return store.catalog.declare(parseTimeBucketKey(path), schema);
}

function reopened(path: string, options: Parameters<typeof openStore>[1] = {}): Bucket {
  store.catalog.close();
  store = openStore(scratch.root, options);
  const bucket = store.catalog.bucket(path);
  if (bucket === undefined) throw new Error(`${path} is gone`);
  return bucket;
}

function between(fromSeconds: number, toSeconds: number, toNanos = 0): Bounds {
  return { fromSeconds, fromNanos: 0, toSeconds, toNanos };
}

async function valuesOf(bucket: Bucket): Promise<number[]> {
  const rows = rowsOf(await bucket.scan({ fromEnd: false }));
  return rows.map(([, value = 0]) => value);
}

/** A bar a minute, or a tick a second: its number. */
function rows(schema: BucketSchema, from: number, to: number): ReturnType<typeof blockOfRows> {
  const step = schema === BARS ? 60 : 1;
  const numbers = Array.from({ length: to - from }, (_, at) => from + at);
  return blockOfRows(
    schema,
    numbers.map((n) => [T + n * step, n, 0]),
  );
}

test('what was cleared unread stays cleared when the write-back is given up', async () => {
  bucketOf('B/1Min/X', BARS).apply(rows(BARS, 0, 5000));
  await store.catalog.beginWriteBack().run();
  const bucket = reopened('B/1Min/X');
  bucket.deleteRows(between(T, T + 60 * 4998));
  store.catalog.beginWriteBack().abandon();
  expect(await valuesOf(bucket)).toEqual([4999]);
  await store.catalog.beginWriteBack().run();
  expect(await valuesOf(reopened('B/1Min/X'))).toEqual([4999]);
});

test('a slot that is filled again after it was cleared keeps its row', async () => {
  bucketOf('B/1Min/X', BARS).apply(rows(BARS, 0, 5000));
  await store.catalog.beginWriteBack().run();
  const bucket = reopened('B/1Min/X');
  bucket.deleteRows(between(T, T + 60 * 4999));
  bucket.apply(rows(BARS, 100, 102));
  expect(await valuesOf(bucket)).toEqual([100, 101]);
  await store.catalog.beginWriteBack().run();
  expect(await valuesOf(reopened('B/1Min/X'))).toEqual([100, 101]);
});

test('a write-back puts on disk the ticks of its beginning, though as many others came since', async () => {
  const bucket = bucketOf('T/1H/X', TICKS);
  bucket.apply(rows(TICKS, 0, 10));
  const writeBack = store.catalog.beginWriteBack();
  bucket.deleteRows(between(T + 5, T + 9));
  bucket.apply(rows(TICKS, 20, 25));
  const now = [0, 1, 2, 3, 4, 20, 21, 22, 23, 24];
  expect(await valuesOf(bucket)).toEqual(now);
  await writeBack.run();
  expect(await valuesOf(bucket)).toEqual(now);
  // A start replays what came after it, and so must not find it there.
  expect(await valuesOf(reopened('T/1H/X'))).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test('ticks are cut to the nanosecond, and an interval without any becomes an empty one', async () => {
  const bucket = bucketOf('T/1Min/X', TICKS);
  const at = (second: number, nanos: number): number[] => [T + second, second, nanos];
  bucket.apply(
    blockOfRows(TICKS, [at(10, 5e8), at(10, 6e8), at(70, 0), at(130, 2e8), at(130, 3e8)]),
  );
  await store.catalog.beginWriteBack().run();
  const cut = reopened('T/1Min/X');
  // A time on disk is a 2^32nd of its interval: these are between two ticks.
  const times = { fromSeconds: T + 10, fromNanos: 5.5e8, toSeconds: T + 130, toNanos: 2.5e8 };
  cut.deleteRows(times);
  expect(await valuesOf(cut)).toEqual([10, 130]);
  await store.catalog.beginWriteBack().run();
  expect(store.catalog.dirtyBytes).toBe(0);
  const again = reopened('T/1Min/X');
  expect(await valuesOf(again)).toEqual([10, 130]);
  again.deleteRows(between(T, T + 200));
  await store.catalog.beginWriteBack().run();
  expect(await valuesOf(reopened('T/1Min/X'))).toEqual([]);
  expect(store.damage).toEqual([]);
});

test.each(['exact', 'reference'] as const)(
  'with times read the %s way exactly the ticks that a query shows are deleted',
  async (tickReadMode) => {
    const path = 'T/1Min/X';
    const nanos = (n: number): number => (n * 7_919_000) % 1_000_000_000;
    const written = Array.from({ length: 600 }, (_, n) => [T + n, n, nanos(n)]);
    bucketOf(path, TICKS).apply(blockOfRows(TICKS, written));
    await store.catalog.beginWriteBack().run();
    for (const [from, to] of [
      [T + 60, T + 119],
      [T + 61, T + 180],
      [T + 240, T + 240],
      [T + 239, T + 361],
    ] as const) {
      const bucket = reopened(path, { tickReadMode });
      const all = await valuesOf(bucket);
      const shown = rowsOf(
        await bucket.scan({
          fromEnd: false,
          fromSeconds: from,
          toSeconds: to,
          toNanos: 999_999_999,
        }),
      ).map(([, value]) => value);
      bucket.deleteRows(between(from, to, 999_999_999));
      expect(await valuesOf(bucket)).toEqual(all.filter((value) => !shown.includes(value)));
      await store.catalog.beginWriteBack().run();
    }
  },
);

test('deleting all years of a sparse file leaves its holes', async () => {
  const bucket = bucketOf('B/1Sec/X', BARS);
  bucket.apply(
    blockOfRows(BARS, [
      [T, 1],
      [T + 2_000_000, 2],
    ]),
  );
  await store.catalog.beginWriteBack().run();
  const blocks = (): number => statSync(join(scratch.root, 'B/1Sec/X/2021.bin')).blocks;
  const before = blocks();
  const opened = reopened('B/1Sec/X');
  opened.deleteRows(between(Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY));
  await store.catalog.beginWriteBack().run();
  expect(blocks()).toBe(before);
  expect(await valuesOf(reopened('B/1Sec/X'))).toEqual([]);
});

test('a bucket of which nothing is written yet has nothing to delete', () => {
  const bucket = bucketOf('B/1Min/X', BARS);
  bucket.deleteRows(between(T, T + 60));
  expect(bucket.isVisible).toBe(false);
});
