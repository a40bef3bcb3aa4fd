import { appendFileSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { StorageError } from '../../../../kernel/base/errors.ts';
import { LETTERS_KEPT_MAX, LETTERS_PER_SECOND_MAX } from '../../../../kernel/base/limits.ts';
import { type Filesystem, realFilesystem } from '../../../../kernel/storage/filesystem.ts';
import { DeadLetters } from '../../../../kernel/supervisor/dead-letters.ts';
import type { NewLetter } from '../../../../kernel/supervisor/refused-frames.ts';
import { temporaryDirectory } from '../../../support/temporary-directory.ts';

interface Setting {
  readonly bytesMax?: number;
  readonly filesystem?: Filesystem;
}

function setUp(root = temporaryDirectory(), { bytesMax = 1 << 20, filesystem }: Setting = {}) {
  const lines: string[] = [];
  const note = (fields: Readonly<Record<string, unknown>>, message: string): void => {
    lines.push(`${String(fields.code)} ${message}`);
  };
  // Each letter in a second of its own.
  let nowMs = 0;
  const letters = new DeadLetters({
    root,
    filesystem: filesystem ?? realFilesystem,
    log: { debug: note, info: note, warn: note, error: note },
    bytesLeftOf: () => bytesMax,
    nowMs: () => {
      nowMs += 1000;
      return nowMs;
    },
  });
  onTestFinished(() => letters.close());
  return { root, letters, lines, path: join(root, 'mkts-letters-feed.jsonl') };
}

function message(payload: string): NewLetter {
  const at = Date.UTC(2026, 0, 5);
  return { at, generation: 3, reason: 'not understood', rowCount: 0, payload };
}

test('letters are listed, read, removed, and there after a restart', async () => {
  const { root, letters } = setUp();
  for (const text of ['one', 'two', 'three']) letters.add('feed', message(text));
  const { letters: list, count } = await letters.list('feed', 2);
  expect(count).toBe(3);
  expect(list.map(({ id, excerpt }) => [id, excerpt])).toEqual([
    [2, 'two'],
    [3, 'three'],
  ]);
  expect(list[0]).toMatchObject({
    time: '2026-01-05T00:00:00.000Z',
    generation: 3,
    reason: 'not understood',
    isReplayable: false,
  });
  await letters.remove('feed', [2]);
  expect(await letters.read('feed', 3)).toMatchObject({ id: 3, payload: 'three' });
  await expect(letters.read('feed', 2)).rejects.toMatchObject({ code: 'MKTS_LETTER_UNKNOWN' });
  await letters.close();

  const again = setUp(root);
  expect((await again.letters.list('feed', 10)).letters.map(({ id }) => id)).toEqual([1, 3]);
  expect(await again.letters.read('feed', 1)).toMatchObject({ payload: 'one' });
  again.letters.add('feed', message('four'));
  expect((await again.letters.list('feed', 1)).letters[0]?.id).toBe(4);
  expect(again.lines).toEqual([]);
  expect(await again.letters.clear('feed')).toBe(3);
  expect(existsSync(again.path)).toBe(false);
  expect((await again.letters.list('feed', 10)).count).toBe(0);
});

test('damaged lines, and a last one cut short, are told once and skipped; the others are there', async () => {
  const { root, letters, path } = setUp();
  for (const text of ['one', 'two', 'three']) letters.add('feed', message(text));
  await letters.close();
  writeFileSync(path, readFileSync(path, 'utf8').replace('"two"', '"tw'));
  appendFileSync(path, '{"id":4,"payload":"cut sh');
  const again = setUp(root);
  again.letters.add('feed', message('five'));
  const { letters: list } = await again.letters.list('feed', 10);
  expect(list.map(({ excerpt }) => excerpt)).toEqual(['one', 'three', 'five']);
  expect(again.lines).toEqual([
    expect.stringMatching(/^MKTS_LETTERS_CORRUPT .*2 lines.*cut short/),
  ]);
  await again.letters.close();
  const third = setUp(root);
  const kept = (await third.letters.list('feed', 10)).letters;
  expect(kept.map(({ excerpt }) => excerpt)).toEqual(['one', 'three', 'five']);
});

test('their number is bounded: the oldest goes, and is counted', async () => {
  const { letters } = setUp(undefined, { bytesMax: 1 << 30 });
  for (let at = 1; at <= LETTERS_KEPT_MAX + 5; at++) letters.add('feed', message(String(at)));
  const { letters: list, count, dropped } = await letters.list('feed', 10_000);
  expect(count).toBe(LETTERS_KEPT_MAX);
  expect(list[0]?.excerpt).toBe('6');
  expect(dropped).toBe(5);
});

test('their bytes are bounded: the file stays within what its plugin has left of its disk', async () => {
  const bytesMax = 40_000;
  const { root, letters, path } = setUp(undefined, { bytesMax });
  const total = 300;
  for (let at = 1; at <= total; at++) {
    letters.add('feed', message(`${at} ${'x'.repeat(900)}`));
    if (at % 7 !== 0) continue;
    await letters.list('feed', 1);
    expect(statSync(path).size).toBeLessThanOrEqual(bytesMax);
    expect(letters.bytesOf('feed')).toBe(statSync(path).size);
  }
  const { letters: list, count, dropped } = await letters.list('feed', 1000);
  expect(count + dropped).toBe(total);
  expect(list.at(-1)?.excerpt).toMatch(/^300 /);
  const oldest = list[0]?.id ?? 0;
  expect(await letters.read('feed', oldest)).toMatchObject({ id: oldest });
  await letters.close();
  const again = setUp(root, { bytesMax });
  expect((await again.letters.list('feed', 1000)).letters).toEqual(list);
});

test('a flood within a second is counted, and does not reach the disk', async () => {
  const letters = new DeadLetters({
    root: temporaryDirectory(),
    filesystem: realFilesystem,
    log: { debug() {}, info() {}, warn() {}, error() {} },
    bytesLeftOf: () => 1 << 20,
    nowMs: () => 0,
  });
  for (let at = 0; at < 10_000; at++) letters.add('feed', message('x'));
  letters.take({ plugin: 'feed', generation: 1 }, [], 77);
  const { count, dropped } = await letters.list('feed', 1);
  expect(count).toBe(2 * LETTERS_PER_SECOND_MAX);
  expect(count + dropped).toBe(10_077);
  expect(letters.totals()).toEqual([{ plugin: 'feed', made: 10_077, kept: count, dropped }]);
  await letters.close();
});

test('a disk that refuses costs letters and a line, and nothing throws', async () => {
  let isFull = true;
  const filesystem: Filesystem = {
    ...realFilesystem,
    open(path, mode) {
      if (isFull && mode !== 'read')
        throw new StorageError('MKTS_DISK', { operation: 'open', path, reason: 'ENOSPC' });
      return realFilesystem.open(path, mode);
    },
  };
  const { letters, lines } = setUp(undefined, { filesystem });
  for (const text of ['one', 'two']) {
    letters.add('feed', message(text));
    expect((await letters.list('feed', 10)).count).toBe(0);
  }
  expect(lines).toEqual([expect.stringContaining('ENOSPC')]);
  isFull = false;
  letters.add('feed', message('three'));
  const { letters: list, dropped } = await letters.list('feed', 10);
  expect(list.map(({ excerpt }) => excerpt)).toEqual(['three']);
  expect(dropped).toBe(2);
});
