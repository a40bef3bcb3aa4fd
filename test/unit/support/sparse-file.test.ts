import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bytesAt, contentDigest, readSparseFile } from '../../support/sparse-file.ts';
import { temporaryDirectory } from '../../support/temporary-directory.ts';

const SIZE = 3_000_001;

/** Writes pieces into a file of SIZE bytes; what is between them is a hole. */
function fileOf(...pieces: readonly (readonly [offset: number, bytes: Buffer])[]) {
  const directory = temporaryDirectory();
  const descriptor = openSync(join(directory, 'a'), 'w');
  ftruncateSync(descriptor, SIZE);
  for (const [offset, bytes] of pieces) writeSync(descriptor, bytes, 0, bytes.length, offset);
  closeSync(descriptor);
  return { file: readSparseFile(directory, 'a'), dense: readFileSync(join(directory, 'a')) };
}

const text = Buffer.from('some rows');

test('a file with holes is read as what it is', () => {
  const { file, dense } = fileOf([5, text], [1_000_000, text], [SIZE - text.length, text]);
  expect(file.size).toBe(SIZE);
  expect(file.extents.reduce((sum, { data }) => sum + data.length, 0)).toBeLessThan(SIZE / 10);
  expect(bytesAt(file, 0, SIZE + 10).equals(dense)).toBe(true);
  expect(bytesAt(file, 999_995, 20).equals(dense.subarray(999_995, 1_000_015))).toBe(true);
});

test('holes and written zeros are the same content, and any other byte is another', () => {
  const { file } = fileOf([1_000_000, text]);
  const digest = contentDigest(file);
  const zeros = Buffer.alloc(500_000);
  expect(contentDigest(fileOf([1_000_000, text], [2_000_000, zeros]).file)).toBe(digest);
  expect(contentDigest(fileOf([0, Buffer.alloc(SIZE)], [1_000_000, text]).file)).toBe(digest);
  for (const at of [0, 999_999, 1_000_001, 2_500_000, SIZE - 1]) {
    const other = fileOf([1_000_000, text], [at, Buffer.from([1])]);
    expect(contentDigest(other.file), `byte ${at}`).not.toBe(digest);
  }
  expect(contentDigest(fileOf([1_000_512, text]).file)).not.toBe(digest);
  expect(contentDigest({ ...file, size: SIZE + 1 })).not.toBe(digest);
});

test('a file without holes, and an empty one', () => {
  const { file, dense } = fileOf([0, Buffer.alloc(SIZE, 7)]);
  expect(bytesAt(file, 0, SIZE).equals(dense)).toBe(true);
  expect(contentDigest({ size: 0, extents: [] })).not.toBe(contentDigest(file));
});
