/**
 * What a backup says of itself (FORMAT.md): the sequence it is of, and size and SHA-256 of each file.
 * Its first line is the SHA-256 of the rest. Pure.
 */

import { createHash } from 'node:crypto';
import { ConfigError } from '../base/errors.ts';
import { BACKUP_PATH_BYTES_MAX } from '../base/limits.ts';

/** On disk: a change of meaning is a new number. */
export const BACKUP_FORMAT = 1;
export const MANIFEST_NAME = 'mkts-backup.json';

export interface BackupFile {
  /** Relative to the data directory, with slashes. */
  readonly path: string;
  readonly bytes: number;
  /** Of its parts, as parts.ts writes them, in hexadecimal. */
  readonly sha256: string;
}

export interface Manifest {
  /** The newest group that is in it. */
  readonly sequence: bigint;
  /** When it was begun, ISO 8601. */
  readonly takenAt: string;
  /** Of the server that made it. */
  readonly version: string;
  /** Of the server's mkts.yml: one that is started on the restored directory needs the same. */
  readonly timezone: string;
  readonly files: readonly BackupFile[];
}

const FIRST_LINE = /^\{"sha256":"([0-9a-f]{64})",\n$/;
const FIRST_LINE_BYTES = '{"sha256":"",\n'.length + 64;
const DIGEST = /^[0-9a-f]{64}$/;

export function formatManifest({ sequence, files, ...about }: Manifest): Buffer {
  const fields = JSON.stringify({ format: BACKUP_FORMAT, sequence: String(sequence), ...about });
  const lines = files.map((file) => JSON.stringify(file)).join(',\n');
  const rest = Buffer.from(`${fields.slice(1, -1)},\n"files":[\n${lines}\n]}\n`);
  const sum = createHash('sha256').update(rest).digest('hex');
  return Buffer.concat([Buffer.from(`{"sha256":"${sum}",\n`), rest]);
}

/** Throws ConfigError MKTS_BACKUP_INVALID. */
export function parseManifest(bytes: Uint8Array): Manifest {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const sum = FIRST_LINE.exec(text.toString('latin1', 0, FIRST_LINE_BYTES))?.[1];
  const rest = text.subarray(FIRST_LINE_BYTES);
  if (sum === undefined || createHash('sha256').update(rest).digest('hex') !== sum)
    throw invalid(`its ${MANIFEST_NAME} is damaged`);
  const fields = JSON.parse(text.toString()) as Readonly<Record<string, unknown>>;
  const { format, sequence, takenAt, version, timezone, files } = fields;
  if (format !== BACKUP_FORMAT)
    throw invalid(`its format is ${String(format)}, this program reads ${BACKUP_FORMAT}`);
  const isWhole =
    typeof sequence === 'string' &&
    /^\d{1,20}$/.test(sequence) &&
    typeof takenAt === 'string' &&
    typeof version === 'string' &&
    typeof timezone === 'string' &&
    Array.isArray(files) &&
    files.every(isFile);
  if (!isWhole) throw invalid(`its ${MANIFEST_NAME} has fields of another kind`);
  if (new Set(files.map(({ path }) => path)).size !== files.length)
    throw invalid(`its ${MANIFEST_NAME} names a file twice`);
  return { sequence: BigInt(sequence), takenAt, version, timezone, files };
}

function isFile(value: unknown): value is BackupFile {
  if (typeof value !== 'object' || value === null) return false;
  const { path, bytes, sha256 } = value as Readonly<Record<string, unknown>>;
  return isPath(path) && isSize(bytes) && typeof sha256 === 'string' && DIGEST.test(sha256);
}

/** True for a path that leads to a file below the directory it is relative to, and nowhere else. */
export function isPath(value: unknown): value is string {
  return (
    typeof value === 'string' &&
    Buffer.byteLength(value) <= BACKUP_PATH_BYTES_MAX &&
    !/[\0\\]/.test(value) &&
    value.split('/').every((part) => part !== '' && part !== '.' && part !== '..')
  );
}

export function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

function invalid(reason: string): ConfigError {
  return new ConfigError('MKTS_BACKUP_INVALID', { reason });
}
