/** A backup as a text of bytes: what is packed is unpacked, and no damage of it goes unnoticed. */

import {
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packBackup, packFailure } from '../../../../kernel/backup/pack.ts';
import { BLOCK_BYTES, WINDOW_BYTES } from '../../../../kernel/backup/parts.ts';
import { restoreBackup } from '../../../../kernel/backup/restore.ts';
import { databaseFiles } from '../../../../kernel/backup/source-files.ts';
import { readTar, tarEnd, tarMember } from '../../../../kernel/backup/tar.ts';
import { readBackup } from '../../../../kernel/backup/unpack.ts';
import { lockDirectory } from '../../../../kernel/storage/directory-lock.ts';
import { realFilesystem } from '../../../../kernel/storage/filesystem.ts';
import { temporaryDirectory } from '../../../support/temporary-directory.ts';

const ABOUT = {
  sequence: 17n,
  takenAt: '2026-01-02T03:04:05.000Z',
  version: '0.0.0',
  timezone: 'UTC',
};

/** A directory that looks like a database to a backup. */
function database(): string {
  const root = temporaryDirectory();
  const put = (path: string, content: string | Buffer): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  };
  put('category_name', 'Symbol');
  put('mkts-state.json', '{}');
  put('mkts-consent.json', '{"a":1}');
  put('mkts-letters-feed.jsonl', 'x\n');
  put('mkts.lock', 'held');
  put('mkts-0000000000000001.wal', 'log');
  put('elsewhere/notes', 'no part of the tree');
  put('AAPL/category_name', 'Timeframe');
  put('AAPL/1Sec/category_name', 'AttributeGroup');
  put('AAPL/1Sec/OHLCV/category_name', 'Year');
  const year = Buffer.alloc(3 * WINDOW_BYTES + 100);
  year.fill(1, 10, 20);
  year.fill(2, WINDOW_BYTES - 5, WINDOW_BYTES + 5);
  year.fill(3, 3 * WINDOW_BYTES + 50);
  put('AAPL/1Sec/OHLCV/2021.bin', year);
  put('AAPL/1Sec/OHLCV/2022.bin', '');
  truncateSync(join(root, 'AAPL/1Sec/OHLCV/2022.bin'), 64 * WINDOW_BYTES);
  put('AAPL/1Sec/OHLCV/2023.bin', '');
  put('AAPL/1Sec/OHLCV/2024.bin', Buffer.alloc(WINDOW_BYTES, 7));
  put('AAPL/1Sec/OHLCV/2025.bin.new', 'half made');
  return root;
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const collected: T[] = [];
  for await (const item of items) collected.push(item);
  return collected;
}

async function packed(root: string): Promise<Buffer> {
  const pieces = packBackup({ about: ABOUT, files: databaseFiles(root) });
  return Buffer.concat(await collect(pieces));
}

async function* inChunks(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const check = (bytes: Uint8Array): Promise<unknown> =>
  readBackup(inChunks(bytes, 10_007), () => undefined);

const KEPT = [
  'AAPL/1Sec/OHLCV/2021.bin',
  'AAPL/1Sec/OHLCV/2022.bin',
  'AAPL/1Sec/OHLCV/2023.bin',
  'AAPL/1Sec/OHLCV/2024.bin',
  'AAPL/1Sec/OHLCV/category_name',
  'AAPL/1Sec/category_name',
  'AAPL/category_name',
  'category_name',
  'mkts-consent.json',
  'mkts-letters-feed.jsonl',
  'mkts-state.json',
];

function filesBelow(root: string): string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
    .sort();
}

describe('a backup', () => {
  test('what is packed is restored byte by byte, holes stay holes, and nothing else is there', async () => {
    const root = database();
    const tar = await packed(root);
    for (const size of [1, 511, 1 << 20]) {
      const target = join(temporaryDirectory(), 'restored');
      const manifest = await restoreBackup(inChunks(tar, size), target, realFilesystem);
      expect(manifest).toMatchObject(ABOUT);
      expect(manifest.files.map(({ path }) => path).sort()).toEqual(KEPT);
      expect(filesBelow(target)).toEqual(KEPT);
      for (const path of KEPT)
        expect(readFileSync(join(target, path)).equals(readFileSync(join(root, path)))).toBe(true);
      const { size: bytes, blocks } = statSync(join(target, 'AAPL/1Sec/OHLCV/2022.bin'));
      expect(bytes).toBe(64 * WINDOW_BYTES);
      expect(blocks * 512).toBeLessThan(WINDOW_BYTES);
    }
    // 16 MiB of hole cost nothing.
    expect(tar.length).toBeLessThan(WINDOW_BYTES + 40 * BLOCK_BYTES);
  });

  test('it is a tar as others write it', async () => {
    const members = await collect(readTar(inChunks(await packed(database()), 4096)));
    expect(members.at(0)?.name).toBe('parts/0000000001');
    expect(members.at(-1)?.name).toBe('mkts-backup.json');
    const manifest = JSON.parse(Buffer.from(members.at(-1)?.content ?? []).toString());
    expect(manifest).toMatchObject({ format: 1, sequence: '17', timezone: 'UTC' });
  });

  test('one flipped bit is found, wherever it is', async () => {
    const tar = await packed(database());
    await check(tar);
    // A prime stride over content; every byte of the first members and of the last ones.
    const places = Array.from({ length: tar.length }, (_, at) => at).filter(
      (at) => at < 2_000 || at > tar.length - 3_000 || at % 19_973 === 0,
    );
    const unnoticed: number[] = [];
    for (const at of places) {
      const damaged = Buffer.from(tar.subarray(0));
      damaged[at] = (damaged[at] ?? 0) ^ (1 << (at % 8));
      const error = await check(damaged).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      if (Reflect.get(Object(error), 'code') !== 'MKTS_BACKUP_INVALID') unnoticed.push(at);
    }
    expect(unnoticed).toEqual([]);
  }, 60_000);

  test('one that is cut off is found, wherever it is cut', async () => {
    const tar = await packed(database());
    for (const end of [0, 1, 511, 512, 5_000, tar.length - 2_000, tar.length - 512, tar.length - 1])
      await expect(check(tar.subarray(0, end))).rejects.toMatchObject({
        code: 'MKTS_BACKUP_INVALID',
      });
  });

  test('paths that lead elsewhere, unknown members and a second manifest are refused', async () => {
    const part = (path: string): Buffer => {
      const header = { path, bytes: 10, offset: 0, blocks: '0000000000000001' };
      return Buffer.concat([
        Buffer.from(`${JSON.stringify(header)}\n`),
        Buffer.alloc(BLOCK_BYTES, 1),
      ]);
    };
    const refused = (...members: readonly Buffer[]): Promise<void> =>
      expect(check(Buffer.concat([...members, tarEnd()]))).rejects.toMatchObject({
        code: 'MKTS_BACKUP_INVALID',
      });
    for (const path of ['../x', '/etc/x', 'a//b', 'a/./b', 'a/..', '', 'a\\b', 'a\0b'])
      await refused(tarMember('parts/1', 0, part(path)));
    await refused(tarMember('README', 0, Buffer.from('hello')));
    await refused();
    const tar = await packed(database());
    const manifest = (await collect(readTar(inChunks(tar, 4096)))).at(-1);
    const whole = tar.subarray(0, tar.length - 1024);
    await refused(whole, tarMember('mkts-backup.json', 0, manifest?.content ?? Buffer.alloc(0)));
  });

  test('one the server gave up says why', async () => {
    const failure = packFailure(new Error('the log is full'), 0);
    await expect(check(failure)).rejects.toThrow(/given up: the log is full \(MKTS_INTERNAL\)/);
  });
});

describe('a restore', () => {
  test('a directory that is not empty is refused, and left as it was', async () => {
    const tar = await packed(database());
    const target = temporaryDirectory();
    writeFileSync(join(target, 'mine'), 'text');
    await expect(restoreBackup(inChunks(tar, 4096), target, realFilesystem)).rejects.toMatchObject({
      code: 'MKTS_BACKUP_TARGET',
    });
    expect(filesBelow(target)).toEqual(['mine']);
  });

  test('what fails leaves nothing behind', async () => {
    const tar = await packed(database());
    const target = temporaryDirectory();
    const cut = inChunks(tar.subarray(0, tar.length - 2_000), 4096);
    await expect(restoreBackup(cut, target, realFilesystem)).rejects.toThrow(/cut off/);
    expect(filesBelow(target)).toEqual([]);
    await restoreBackup(inChunks(tar, 4096), target, realFilesystem);
  });

  test('while it is not finished, and when it was cut short, no server starts on it', async () => {
    const tar = await packed(database());
    const target = temporaryDirectory();
    let looks = 0;
    const watched = async function* (): AsyncGenerator<Uint8Array> {
      for await (const chunk of inChunks(tar, 65_536)) {
        expect(() => lockDirectory(target)).toThrow(/a restore into it was cut short/);
        looks++;
        yield chunk;
      }
    };
    await restoreBackup(watched(), target, realFilesystem);
    expect(looks).toBeGreaterThan(1);
    lockDirectory(target).release();

    // As a kill leaves it.
    const killed = temporaryDirectory();
    writeFileSync(join(killed, 'mkts-restore.unfinished'), '');
    expect(() => lockDirectory(killed)).toThrow(/restore/);
    await expect(restoreBackup(inChunks(tar, 4096), killed, realFilesystem)).rejects.toMatchObject({
      code: 'MKTS_BACKUP_TARGET',
    });
  });
});
