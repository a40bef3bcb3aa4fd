/**
 * Files that are mostly holes, by what they hold. Node cannot ask where the holes of a file are; GNU
 * tar can, and writes down what it finds: a map of the data, then the data (POSIX format, sparse
 * version 1.0). So a year of seconds is read in the time its few rows take, and not its gigabyte.
 */

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';

export interface SparseFile {
  readonly size: number;
  /** Ascending. Between them, and after the last up to `size`, there are zeros. */
  readonly extents: readonly { readonly offset: number; readonly data: Buffer }[];
}

/** Tar's unit. Extents begin at its multiples, however holes are found. */
const BLOCK = 512;
const ZEROS = Buffer.alloc(BLOCK);
const STORED_BYTES_MAX = 256 * 1024 * 1024;

export function readSparseFile(directory: string, path: string): SparseFile {
  const options = ['--format=posix', '--sparse', '--sparse-version=1.0'];
  const tar = execFileSync('tar', [...options, '-cf', '-', '-C', directory, path], {
    maxBuffer: STORED_BYTES_MAX,
  });
  const records = new Map<string, string>();
  let at = 0;
  if (typeOf(tar, at) === 'x') {
    const bytes = octal(tar, at);
    for (const [key, value] of paxRecords(tar.subarray(BLOCK, BLOCK + bytes)))
      records.set(key, value);
    at += BLOCK + padded(bytes);
  }
  if (typeOf(tar, at) !== '0') throw new Error(`${path} is not a plain file`);
  const stored = tar.subarray(
    at + BLOCK,
    at + BLOCK + Number(records.get('size') ?? octal(tar, at)),
  );
  if (!records.has('GNU.sparse.major'))
    return { size: stored.length, extents: [{ offset: 0, data: stored }] };
  return { size: Number(records.get('GNU.sparse.realsize')), extents: mappedExtents(stored) };
}

/** `count`, then an offset and a length for each extent, a line each; the data begin at a block. */
function mappedExtents(stored: Buffer): SparseFile['extents'] {
  let at = 0;
  const next = (): number => {
    const end = stored.indexOf('\n', at);
    const value = Number(stored.toString('latin1', at, end));
    at = end + 1;
    return value;
  };
  const places = Array.from({ length: next() }, () => ({ offset: next(), bytes: next() }));
  at = padded(at);
  const extents = places.map(({ offset, bytes }) => {
    const data = stored.subarray(at, at + bytes);
    if (data.length !== bytes) throw new Error('tar gave less than its map says');
    at += bytes;
    return { offset, data };
  });
  return extents.filter(({ data }) => data.length > 0);
}

/** `<length of this line> <key>=<value>\n`, many times. */
function* paxRecords(bytes: Buffer): Generator<[key: string, value: string]> {
  for (let at = 0; at < bytes.length; ) {
    const length = Number.parseInt(bytes.toString('latin1', at, at + 20), 10);
    const line = bytes.toString('utf8', at, at + length - 1);
    const [, key = '', value = ''] = /^\d+ ([^=]*)=(.*)$/s.exec(line) ?? [];
    yield [key, value];
    at += length;
  }
}

function typeOf(tar: Buffer, header: number): string {
  return tar.toString('latin1', header + 156, header + 157);
}

function octal(tar: Buffer, header: number): number {
  return Number.parseInt(tar.toString('latin1', header + 124, header + 136), 8);
}

function padded(bytes: number): number {
  return Math.ceil(bytes / BLOCK) * BLOCK;
}

/**
 * Equal for two files exactly if their bytes are: of size, and place and bytes of each block that is
 * not all zeros. Where a file has holes and where it has zeros written does not show.
 */
export function contentDigest({ size, extents }: SparseFile): string {
  const hash = createHash('sha256').update(`${size}\n`);
  for (const { offset, data } of extents)
    for (let at = 0; at < data.length; at += BLOCK) {
      const block = data.subarray(at, at + BLOCK);
      if (block.equals(ZEROS.subarray(0, block.length))) continue;
      hash.update(`${offset + at} ${block.length}\n`).update(block);
    }
  return hash.digest('hex');
}

/** Bytes of the file from `offset`, holes as zeros; fewer at its end. */
export function bytesAt({ size, extents }: SparseFile, offset: number, bytes: number): Buffer {
  const end = Math.min(offset + bytes, size);
  const target = Buffer.alloc(Math.max(0, end - offset));
  for (const extent of extents) {
    if (extent.offset >= end) break;
    const from = Math.max(offset, extent.offset);
    const to = Math.min(end, extent.offset + extent.data.length);
    if (from < to)
      extent.data.copy(target, from - offset, from - extent.offset, to - extent.offset);
  }
  return target;
}
