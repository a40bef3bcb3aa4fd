/** The disk that forgets: what must survive does, for any seed; what need not is lost for some. */

import { expect, test } from 'vitest';
import { CrashFilesystem, PowerCut, SECTOR_BYTES } from '../../support/crash-filesystem.ts';

const SEEDS = Array.from({ length: 200 }, (_, seed) => seed);

function disk(): CrashFilesystem {
  const filesystem = new CrashFilesystem();
  filesystem.makeDirectory('/data');
  filesystem.settle();
  return filesystem;
}

/** How many different disks the seeds leave behind. */
function outcomes(filesystem: CrashFilesystem, path: string): Set<string> {
  return new Set(
    SEEDS.map((seed) => {
      const bytes = filesystem.restart(seed).readFile(path);
      return bytes === undefined ? 'gone' : Buffer.from(bytes).toString('hex');
    }),
  );
}

test('a synced file with a synced name survives every seed', () => {
  const filesystem = disk();
  const file = filesystem.open('/data/a', 'create');
  file.write(Uint8Array.of(1, 2, 3), 0);
  file.datasyncBlocking();
  filesystem.syncDirectory('/data');
  expect(outcomes(filesystem, '/data/a')).toEqual(new Set(['010203']));
});

test('a synced file whose name was not synced can be gone', () => {
  const filesystem = disk();
  const file = filesystem.open('/data/a', 'create');
  file.write(Uint8Array.of(1), 0);
  file.datasyncBlocking();
  expect(outcomes(filesystem, '/data/a')).toEqual(new Set(['01', 'gone']));
});

test('a write is torn at sector borders, in any combination', () => {
  const filesystem = disk();
  const file = filesystem.open('/data/a', 'create');
  file.write(new Uint8Array(3 * SECTOR_BYTES).fill(1), 0);
  file.datasyncBlocking();
  filesystem.syncDirectory('/data');
  file.write(new Uint8Array(2 * SECTOR_BYTES).fill(2), SECTOR_BYTES / 2);
  const found = new Set(
    SEEDS.map((seed) => {
      const bytes = filesystem.restart(seed).readFile('/data/a') ?? new Uint8Array(0);
      return [0, SECTOR_BYTES - 1, SECTOR_BYTES, 2 * SECTOR_BYTES, 3 * SECTOR_BYTES - 1]
        .map((at) => bytes[at])
        .join('');
    }),
  );
  // First byte and last byte were not written; the three pieces survive each by itself.
  expect([...found].sort()).toEqual([
    '11111',
    '11121',
    '11211',
    '11221',
    '12111',
    '12121',
    '12211',
    '12221',
  ]);
});

test('a rename is all or nothing', () => {
  const filesystem = disk();
  for (const name of ['/data/old', '/data/new']) {
    const file = filesystem.open(name, 'create');
    file.write(Uint8Array.of(name === '/data/old' ? 1 : 2), 0);
    file.datasyncBlocking();
  }
  filesystem.syncDirectory('/data');
  filesystem.rename('/data/new', '/data/old');
  for (const seed of SEEDS) {
    const after = filesystem.restart(seed);
    const isRenamed = after.readFile('/data/old')?.[0] === 2;
    expect(after.exists('/data/new')).toBe(!isRenamed);
  }
  expect(outcomes(filesystem, '/data/old')).toEqual(new Set(['01', '02']));
});

test('what a failed sync should have written is lost, whatever a later one says', () => {
  const filesystem = disk();
  const file = filesystem.open('/data/a', 'create');
  filesystem.syncDirectory('/data');
  file.write(Uint8Array.of(1), 0);
  filesystem.fail(({ operation }) => (operation === 'fdatasync' ? 'EIO' : undefined));
  expect(() => file.datasyncBlocking()).toThrow('EIO');
  filesystem.fail(undefined);
  file.datasyncBlocking();
  // It is still read, which is what makes this dangerous.
  expect(filesystem.readFile('/data/a')).toEqual(Uint8Array.of(1));
  expect(outcomes(filesystem, '/data/a')).toEqual(new Set(['']));
});

test('after the power went nothing answers', () => {
  const filesystem = disk();
  filesystem.crashAt(2);
  const file = filesystem.open('/data/a', 'create');
  expect(() => file.write(Uint8Array.of(1), 0)).toThrow(PowerCut);
  expect(() => filesystem.readFile('/data/a')).toThrow(PowerCut);
  expect(filesystem.restart(1).readFile('/data/a') ?? new Uint8Array(0)).toHaveLength(0);
});
