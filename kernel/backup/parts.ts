/**
 * A part of a file as a backup holds it: those blocks of a window of 256 KiB that are not all zero
 * (FORMAT.md). A year file of one-second bars is gigabytes of hole, which so costs nothing. Pure.
 *
 *   part = {"path":…,"bytes":<of the file>,"offset":<of the window>,"blocks":"<64 bits>"}\n | block*
 */

import { ConfigError } from '../base/errors.ts';
import { BACKUP_PATH_BYTES_MAX } from '../base/limits.ts';
import { isPath, isSize } from './manifest.ts';

/** On disk, and in digests: never change these two. */
export const BLOCK_BYTES = 4096;
export const WINDOW_BYTES: number = 64 * BLOCK_BYTES;

const ZERO_BLOCK = Buffer.alloc(BLOCK_BYTES);
const ZERO_WINDOW = Buffer.alloc(WINDOW_BYTES);
const NEWLINE = 10;
/** JSON writes a byte of a path as six characters at most. */
const HEADER_BYTES_MAX = 6 * BACKUP_PATH_BYTES_MAX + 256;

export interface Part {
  readonly path: string;
  /** Size of the whole file. */
  readonly bytes: number;
  /** Runs of blocks one after the other, and where they lie; past the end of the file they are zero. */
  readonly runs: readonly { readonly offset: number; readonly content: Uint8Array }[];
}

export interface FilePlace {
  readonly path: string;
  readonly bytes: number;
}

/** `window` has WINDOW_BYTES, zeros past the end of the file. Undefined if it is all zero. */
export function encodePart(
  { path, bytes }: FilePlace,
  offset: number,
  window: Buffer,
): readonly Uint8Array[] | undefined {
  if (window.equals(ZERO_WINDOW)) return undefined;
  let blocks = 0n;
  const runs: { from: number; to: number }[] = [];
  for (let at = 0, bit = 1n; at < WINDOW_BYTES; at += BLOCK_BYTES, bit <<= 1n) {
    if (window.subarray(at, at + BLOCK_BYTES).equals(ZERO_BLOCK)) continue;
    blocks |= bit;
    const last = runs.at(-1);
    if (last?.to === at) last.to = at + BLOCK_BYTES;
    else runs.push({ from: at, to: at + BLOCK_BYTES });
  }
  const header = { path, bytes, offset, blocks: blocks.toString(16).padStart(16, '0') };
  return [
    Buffer.from(`${JSON.stringify(header)}\n`),
    ...runs.map(({ from, to }) => window.subarray(from, to)),
  ];
}

/** Throws ConfigError MKTS_BACKUP_INVALID. */
export function decodePart(content: Uint8Array): Part {
  const end = content.subarray(0, HEADER_BYTES_MAX).indexOf(NEWLINE);
  const { path, bytes, offset, blocks } = parseHeader(content.subarray(0, Math.max(0, end)));
  const isWhole =
    isPath(path) &&
    isSize(bytes) &&
    isSize(offset) &&
    offset % WINDOW_BYTES === 0 &&
    typeof blocks === 'string' &&
    /^[0-9a-f]{16}$/.test(blocks);
  if (!isWhole) throw damaged();
  const runs: { offset: number; content: Uint8Array }[] = [];
  let at = end + 1;
  let rest = BigInt(`0x${blocks}`);
  for (let block = 0; rest !== 0n; block++, rest >>= 1n) {
    if ((rest & 1n) === 0n) continue;
    const place = offset + block * BLOCK_BYTES;
    if (place >= bytes) throw damaged();
    const last = runs.at(-1);
    if (last !== undefined && last.offset + last.content.length === place)
      last.content = content.subarray(at - last.content.length, at + BLOCK_BYTES);
    else runs.push({ offset: place, content: content.subarray(at, at + BLOCK_BYTES) });
    at += BLOCK_BYTES;
  }
  if (at !== content.length) throw damaged();
  return { path, bytes, runs };
}

function parseHeader(line: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const value = JSON.parse(Buffer.from(line).toString()) as unknown;
    return typeof value === 'object' && value !== null ? { ...value } : {};
  } catch {
    throw damaged();
  }
}

function damaged(): ConfigError {
  return new ConfigError('MKTS_BACKUP_INVALID', { reason: 'a part of a file is damaged' });
}
