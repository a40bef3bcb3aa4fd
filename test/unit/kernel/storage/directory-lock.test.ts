import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { lockDirectory } from '../../../../kernel/storage/directory-lock.ts';
import { temporaryRoot } from '../../../support/store.ts';

let scratch: ReturnType<typeof temporaryRoot>;
beforeEach(() => {
  scratch = temporaryRoot();
});
afterEach(() => scratch.remove());

function holder(): Record<string, unknown> {
  return JSON.parse(readFileSync(join(scratch.root, 'mkts.lock'), 'utf8')) as Record<
    string,
    unknown
  >;
}

test('a directory is locked once; the error says by whom', () => {
  const lock = lockDirectory(scratch.root);
  expect(() => lockDirectory(scratch.root)).toThrow(
    expect.objectContaining({
      code: 'MKTS_ROOT_LOCKED',
      fields: { path: scratch.root, pid: process.pid, since: holder().since },
    }),
  );
  lock.release();
  lockDirectory(scratch.root).release();
  expect(readdirSync(scratch.root)).toEqual([]);
});

test.each<[string, object]>([
  ['a process that is gone', { pid: 4_194_303 }],
  ['a process of before a reboot', { bootId: 'another' }],
  ['a process whose id another one has now', { startTime: '1' }],
])('a lock of %s is taken over', (_what, changed) => {
  lockDirectory(scratch.root);
  writeFileSync(join(scratch.root, 'mkts.lock'), JSON.stringify({ ...holder(), ...changed }));
  const lock = lockDirectory(scratch.root);
  expect(holder()).toMatchObject({ pid: process.pid });
  lock.release();
});

test.each(['', '{', 'null', '{"pid":"x"}'])('a lock that says %j is taken over', (text) => {
  writeFileSync(join(scratch.root, 'mkts.lock'), text);
  lockDirectory(scratch.root);
  expect(holder()).toMatchObject({ pid: process.pid });
});

test('releasing leaves the lock of a later holder alone', () => {
  const lock = lockDirectory(scratch.root);
  const other = JSON.stringify({ ...holder(), pid: 1 });
  writeFileSync(join(scratch.root, 'mkts.lock'), other);
  lock.release();
  expect(readFileSync(join(scratch.root, 'mkts.lock'), 'utf8')).toBe(other);
});

test('a directory that is not there cannot be locked', () => {
  expect(() => lockDirectory(join(scratch.root, 'nowhere'))).toThrow(
    expect.objectContaining({ code: 'MKTS_ROOT_DIRECTORY' }),
  );
});
