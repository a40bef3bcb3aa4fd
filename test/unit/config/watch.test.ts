import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { configHash } from '../../../config/load.ts';
import { ConfigWatch } from '../../../config/watch.ts';
import { temporaryDirectory } from '../../support/temporary-directory.ts';

const DEBOUNCE_MS = 20;
/** So late that it plays no part. */
const NEVER_MS = 600_000;

function watchOf(path: string, { pollMs = NEVER_MS, debounceMs = DEBOUNCE_MS } = {}) {
  const texts: string[] = [];
  const waiting: (() => void)[] = [];
  const watch = new ConfigWatch({
    path,
    hash: configHash(readFileSync(path)),
    onChange: () => {
      let text = 'gone';
      try {
        text = readFileSync(path, 'utf8');
      } catch {
        // Told as it is.
      }
      texts.push(text);
      waiting.shift()?.();
    },
    debounceMs,
    pollMs,
  });
  onTestFinished(() => watch.close());
  return {
    watch,
    texts,
    /** Does something to the file; resolves with the next text seen. */
    async after(act: () => void): Promise<string | undefined> {
      const seen = new Promise<void>((resolve) => waiting.push(resolve));
      act();
      await seen;
      return texts.at(-1);
    },
  };
}

function fileOf(text: string): string {
  const path = join(temporaryDirectory(), 'mkts.yml');
  writeFileSync(path, text);
  return path;
}

test('a file written in place, put in its place, gone and back', async () => {
  const path = fileOf('a');
  const { after, texts } = watchOf(path);
  expect(await after(() => writeFileSync(path, 'b'))).toBe('b');
  for (const text of ['c', 'd'])
    expect(
      await after(() => {
        writeFileSync(`${path}~`, text);
        renameSync(`${path}~`, path);
      }),
    ).toBe(text);
  expect(await after(() => writeFileSync(path, 'e'))).toBe('e');
  expect(await after(() => rmSync(path))).toBe('gone');
  expect(await after(() => writeFileSync(path, 'f'))).toBe('f');
  expect(texts).toEqual(['b', 'c', 'd', 'e', 'gone', 'f']);
});

test('a burst is one change; the same bytes, and other files beside it, are none', async () => {
  const path = fileOf('a');
  const { after, texts } = watchOf(path, { debounceMs: 100 });
  await after(() => {
    for (let write = 0; write < 20; write++) writeFileSync(path, `b${write}`);
    writeFileSync(path, 'b');
  });
  writeFileSync(path, 'b');
  writeFileSync(join(path, '../mkts-1.wal'), 'x');
  expect(await after(() => writeFileSync(path, 'c'))).toBe('c');
  expect(texts).toEqual(['b', 'c']);
});

test('a link is followed, and noticed when it is turned', async () => {
  const directory = temporaryDirectory();
  for (const name of ['one', 'two']) {
    mkdirSync(join(directory, name));
    writeFileSync(join(directory, name, 'settings.yml'), name);
  }
  const path = join(directory, 'mkts.yml');
  symlinkSync(join('one', 'settings.yml'), path);
  const { after } = watchOf(path);
  expect(await after(() => writeFileSync(join(directory, 'one/settings.yml'), '1'))).toBe('1');
  expect(
    await after(() => {
      symlinkSync(join('two', 'settings.yml'), `${path}~`);
      renameSync(`${path}~`, path);
    }),
  ).toBe('two');
});

test('where nothing is told, the file is looked at', async () => {
  const directory = temporaryDirectory();
  for (const name of ['one', 'two']) {
    mkdirSync(join(directory, name));
    writeFileSync(join(directory, name, 'mkts.yml'), name);
  }
  // A link above the watched directories: no event reaches them.
  symlinkSync('one', join(directory, 'current'));
  const { after } = watchOf(join(directory, 'current/mkts.yml'), { pollMs: 30 });
  expect(
    await after(() => {
      symlinkSync('two', join(directory, 'next'));
      renameSync(join(directory, 'next'), join(directory, 'current'));
    }),
  ).toBe('two');
});

test('a change between the start’s look and the watch is seen', async () => {
  const path = fileOf('new');
  let watch: ConfigWatch | undefined;
  await new Promise<void>((onChange) => {
    watch = new ConfigWatch({
      path,
      hash: configHash(Buffer.from('old')),
      onChange,
      debounceMs: 1,
    });
  });
  watch?.close();
});

test('nothing is told after the close', async () => {
  const path = fileOf('a');
  const closed = watchOf(path);
  const other = watchOf(path);
  writeFileSync(path, 'b');
  closed.watch.close();
  // Looks as late as the closed one would have.
  expect(await other.after(() => writeFileSync(path, 'c'))).toBe('c');
  expect(closed.texts).toEqual([]);
});
