/** The log on a disk that refuses: full, out of descriptors, read-only. */

import { expect, test } from 'vitest';
import type { Filesystem, OpenFile } from '../../../../kernel/storage/filesystem.ts';
import { diskError } from '../../../../kernel/storage/refusal.ts';
import { inProcessLogSync } from '../../../../kernel/wal/log-sync.ts';
import { readLog } from '../../../../kernel/wal/reader.ts';
import type { WalWriter } from '../../../../kernel/wal/writer.ts';
import {
  CrashFilesystem,
  type DiskCall,
  type DiskFault,
} from '../../../support/crash-filesystem.ts';
import { barGroup, openLog } from '../../../support/log.ts';

const ROOT = '/data';
const REFUSED = { code: 'MKTS_DISK_REFUSED' };

function disk(): CrashFilesystem {
  const filesystem = new CrashFilesystem();
  filesystem.makeDirectory(ROOT);
  filesystem.settle();
  return filesystem;
}

function log(filesystem: Filesystem): Promise<WalWriter> {
  return openLog(ROOT, { filesystem, sync: inProcessLogSync(filesystem) });
}

/** How many groups the log holds, and that nothing in it is damaged. */
function groupsOf(filesystem: Filesystem): number {
  const contents = readLog(ROOT, filesystem);
  expect(contents.damage).toEqual([]);
  return contents.groupCount;
}

async function append(writer: WalWriter, count: number): Promise<bigint> {
  let sequence = 0n;
  for (let value = 1; value <= count; value++) sequence = await writer.append(barGroup(value));
  return sequence;
}

function failing(fault: DiskFault, ...operations: readonly DiskCall['operation'][]) {
  return (call: DiskCall): DiskFault | undefined =>
    operations.includes(call.operation) ? fault : undefined;
}

test('of a refused write nothing is in the log, and the next one takes its place', async () => {
  const filesystem = disk();
  const writer = await log(filesystem);
  const first = await writer.append(barGroup(1));
  filesystem.fail(failing('ENOSPC', 'write'));
  await expect(writer.append(barGroup(2))).rejects.toMatchObject(REFUSED);
  await expect(writer.checkpointIntent(first, [])).rejects.toMatchObject(REFUSED);
  expect(groupsOf(filesystem)).toBe(1);
  filesystem.fail(undefined);
  expect(await writer.append(barGroup(3))).toBe(first + 1n);
  expect(groupsOf(filesystem)).toBe(2);
  expect(groupsOf(filesystem.restart(1))).toBe(2);
});

for (const [fault, operation] of [
  ['ENOSPC', 'write'],
  ['EDQUOT', 'fdatasync'],
  ['EMFILE', 'open'],
  ['EROFS', 'open'],
  ['EACCES', 'fsync'],
] as const)
  test(`a next segment that cannot be made (${fault} at ${operation}) is made later`, async () => {
    const filesystem = disk();
    const writer = await log(filesystem);
    let groups = 0;
    // Only what has to do with the second segment.
    filesystem.fail((call) =>
      call.operation === operation && !call.path.endsWith('01.wal') ? fault : undefined,
    );
    for (;;) {
      const refused = await writer.append(barGroup(++groups)).catch((error: unknown) => error);
      if (typeof refused === 'bigint') continue;
      expect(refused).toMatchObject(REFUSED);
      break;
    }
    await expect(writer.append(barGroup(groups))).rejects.toMatchObject(REFUSED);
    await expect(writer.probe()).rejects.toMatchObject(REFUSED);
    expect(groupsOf(filesystem)).toBe(groups - 1);
    filesystem.fail(undefined);
    await writer.probe();
    await append(writer, 50);
    expect(groupsOf(filesystem.restart(1))).toBe(groups - 1 + 50);
  });

test('a sync that fails is final, whatever the reason', async () => {
  for (const fault of ['EIO', 'ENOSPC'] as const) {
    const filesystem = disk();
    const writer = await log(filesystem);
    await writer.append(barGroup(1));
    filesystem.fail(failing(fault, 'fdatasync'));
    await expect(writer.append(barGroup(2))).rejects.toMatchObject({ code: 'MKTS_WAL_WRITE' });
    filesystem.fail(undefined);
    await expect(writer.append(barGroup(3))).rejects.toMatchObject({ code: 'MKTS_WAL_WRITE' });
  }
});

/** A full disk that takes `share` of the bytes of a write before it says so. */
function fillingUp(filesystem: CrashFilesystem): { disk: Filesystem; share: number | undefined } {
  const state: { disk: Filesystem; share: number | undefined } = {
    share: undefined,
    disk: new Proxy(filesystem, {
      get(target, name) {
        if (name === 'open')
          return (...given: Parameters<Filesystem['open']>): OpenFile => {
            const file = target.open(...given);
            return {
              ...file,
              write(source, offset) {
                if (state.share === undefined) return file.write(source, offset);
                file.write(source.subarray(0, Math.ceil(source.length * state.share)), offset);
                const cause = Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
                throw diskError('write', file.path, cause);
              },
            };
          };
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    }),
  };
  return state;
}

test('half a record is written over by the next one', async () => {
  const filesystem = disk();
  const filling = fillingUp(filesystem);
  const writer = await log(filling.disk);
  await writer.append(barGroup(1));
  filling.share = 0.5;
  await expect(writer.append(barGroup(2))).rejects.toMatchObject(REFUSED);
  expect(groupsOf(filesystem)).toBe(1);
  filling.share = undefined;
  await append(writer, 3);
  expect(groupsOf(filesystem)).toBe(4);
});

test('a refused write that is in the file all the same is final: it would be replayed', async () => {
  const filesystem = disk();
  const filling = fillingUp(filesystem);
  const writer = await log(filling.disk);
  await writer.append(barGroup(1));
  filling.share = 1;
  await expect(writer.append(barGroup(2))).rejects.toMatchObject({ code: 'MKTS_WAL_WRITE' });
  filling.share = undefined;
  await expect(writer.append(barGroup(3))).rejects.toMatchObject({ code: 'MKTS_WAL_WRITE' });
});

test('a new name that could not be synced is final', async () => {
  const filesystem = disk();
  const writer = await log(filesystem);
  const sequence = await append(writer, 100);
  filesystem.fail(failing('EIO', 'fsync'));
  await writer.checkpointIntent(sequence, []);
  await expect(writer.checkpointComplete(sequence, [])).rejects.toMatchObject({
    code: 'MKTS_WAL_WRITE',
  });
});

test('what the disk did not let go is gone after a clean stop', async () => {
  const filesystem = disk();
  const writer = await log(filesystem);
  for (let round = 0; round < 3; round++) {
    const sequence = await append(writer, 100);
    if (round < 2) filesystem.fail(failing('EACCES', 'rename', 'remove'));
    await writer.checkpointIntent(sequence, []);
    await writer.checkpointComplete(sequence, []);
    expect(groupsOf(filesystem)).toBeGreaterThan(0);
    filesystem.fail(undefined);
  }
  await writer.close();
  expect(filesystem.files()).toEqual([]);
});
