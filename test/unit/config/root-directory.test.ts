import { chmodSync, existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { expect, test } from 'vitest';
import { explain, prepareRootDirectory } from '../../../config/root-directory.ts';
import { temporaryDirectory } from '../../support/temporary-directory.ts';

const NOBODY = 65_534;

function prepare(path: string, written: string = path): void {
  prepareRootDirectory({ rootDirectory: path, rootDirectoryWritten: written });
}

/** Runs `act` as a user the disk says no to; root it never does. */
function asNobody(act: () => void): void {
  const uid = process.geteuid?.();
  if (uid === 0) process.seteuid?.(NOBODY);
  try {
    act();
  } finally {
    if (uid === 0) process.seteuid?.(0);
  }
}

test('it is created with all its parents, and left empty', () => {
  const path = join(temporaryDirectory(), 'a/b/c');
  prepare(path);
  prepare(path);
  expect(existsSync(path)).toBe(true);
  expect(readdirSync(path)).toEqual([]);
});

test('a file in its place, or on the way, is named', () => {
  const directory = temporaryDirectory();
  const file = join(directory, 'file');
  writeFileSync(file, '');
  expect(() => prepare(file)).toThrow(`${file} is a file, not a directory`);
  expect(() => prepare(join(file, 'below/it'))).toThrow(`${file} is a file, not a directory`);
});

test('a link that leads nowhere is named', () => {
  const link = join(temporaryDirectory(), 'link');
  symlinkSync('/nowhere/at/all', link);
  expect(() => prepare(join(link, 'data'))).toThrow(
    `${link} is a symbolic link to something that does not exist`,
  );
});

test.skipIf(process.platform === 'win32')(
  'a parent that may not be written is named, with its owner and who asks',
  () => {
    const parent = join(temporaryDirectory(), 'parent');
    mkdirSync(parent);
    chmodSync(join(parent, '..'), 0o755);
    chmodSync(parent, 0o555);
    asNobody(() => {
      expect(() => prepare(join(parent, 'data'))).toThrow(
        /parent\/data cannot be created: .*\/parent \(owner uid \d+, gid \d+, mode 555\) is not writable for this process \(uid \d+\)/,
      );
      expect(() => prepare(parent)).toThrow(/nothing can be created in it: .*mode 555/);
    });
  },
);

test('a relative path names the directory it starts from', () => {
  const file = join(temporaryDirectory(), 'file');
  writeFileSync(file, '');
  const written = relative(process.cwd(), file);
  expect(() => prepare(file, written)).toThrow(
    `('${written}' is relative to the working directory, ${process.cwd()})`,
  );
});

test('what the system says in one word is said in words', () => {
  const failure = (code: string) => Object.assign(new Error(code), { code });
  expect(explain('/x', failure('EROFS'))).toBe('it lies on a read-only filesystem');
  expect(explain('/x', failure('ENOSPC'))).toBe('the disk is full');
  expect(explain(temporaryDirectory(), failure('EIO'))).toBe('EIO');
});
