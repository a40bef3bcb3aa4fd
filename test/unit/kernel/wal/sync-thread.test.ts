import { expect, test } from 'vitest';
import { realFilesystem } from '../../../../kernel/storage/filesystem.ts';
import { readLog } from '../../../../kernel/wal/reader.ts';
import { startSyncThread } from '../../../../kernel/wal/sync-thread.ts';
import { barGroup, openLog } from '../../../support/log.ts';
import { temporaryDirectory } from '../../../support/temporary-directory.ts';

const HEADER = { buffer: new SharedArrayBuffer(64), start: 0, end: 64, fileOffset: 0 };

test('the thread writes what the writer hands it, over many segments', async () => {
  const root = temporaryDirectory();
  const sync = startSyncThread();
  const writer = await openLog(root, { sync });
  for (let value = 1; value <= 150; value++) await writer.append(barGroup(value));
  const log = readLog(root, realFilesystem);
  expect(log.damage).toEqual([]);
  expect(log.groupCount).toBe(150);
  await writer.checkpointIntent(log.lastSequence, []);
  await writer.checkpointComplete(log.lastSequence, []);
  await writer.close();
  expect(realFilesystem.list(root)).toEqual([]);
});

test('an error of the disk comes back as the error of its request', async () => {
  const sync = startSyncThread();
  const path = `${temporaryDirectory()}/missing/log`;
  await expect(sync.begin(path, HEADER)).rejects.toMatchObject({
    code: 'MKTS_DISK',
    fields: { path },
  });
  await expect(sync.prepare(path, 4096)).rejects.toMatchObject({ code: 'MKTS_DISK' });
  await sync.close();
});

test('requests under way and later ones are rejected when the thread dies', async () => {
  const root = temporaryDirectory();
  const sync = startSyncThread();
  const writer = await openLog(root, { sync });
  const underWay = writer.append(barGroup(1));
  const settled = Promise.allSettled([underWay]);
  await sync.terminate();
  // The write may have been answered just before the thread died; if not, it is rejected.
  const [result] = await settled;
  if (result?.status === 'rejected')
    expect(result.reason).toMatchObject({ code: 'MKTS_WAL_WRITE' });
  await expect(writer.append(barGroup(2))).rejects.toMatchObject({ code: 'MKTS_WAL_WRITE' });
  await expect(sync.begin(`${root}/x`, HEADER)).rejects.toMatchObject({ code: 'MKTS_DISK' });
  await writer.close();
});

test('a request the thread never gets to is rejected', async () => {
  const sync = startSyncThread();
  const opened = expect(sync.begin(`${temporaryDirectory()}/x`, HEADER)).rejects.toMatchObject({
    code: 'MKTS_DISK',
  });
  await sync.terminate();
  await opened;
});
