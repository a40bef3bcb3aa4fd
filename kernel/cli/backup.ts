/**
 * `mkts backup <directory>|-` and `mkts restore <backup> <root>`. What was done is told on stderr, since
 * stdout may be the tar. Throws MktsErrors; then a target directory is as it was before.
 */

import { once } from 'node:events';
import { createReadStream, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { restoreToDirectory, tarOfDirectory } from '../backup/backup-directory.ts';
import type { Manifest } from '../backup/manifest.ts';
import { restoreBackup } from '../backup/restore.ts';
import { readBackup } from '../backup/unpack.ts';
import { ConfigError, reasonOf } from '../base/errors.ts';
import { realFilesystem } from '../storage/filesystem.ts';
import { type AdminServer, streamAdmin } from './admin-client.ts';

const STANDARD = '-';

export async function runBackup(server: AdminServer, target: string): Promise<void> {
  const tar = readable(streamAdmin(server, { path: ['backup'] }));
  if (target !== STANDARD) {
    tell(await restoreToDirectory(tar, resolve(target), realFilesystem), `backed up to ${target}`);
    return;
  }
  if (process.stdout.isTTY)
    throw new ConfigError('MKTS_BACKUP_TARGET', { path: 'stdout', reason: 'it is a terminal' });
  // Checked on its way, so that the exit code says whether it is whole.
  tell(await readBackup(printed(tar), () => undefined), 'backed up to stdout');
}

export async function runRestore(source: string, root: string): Promise<void> {
  const tar = readable(open(source));
  tell(await restoreBackup(tar, resolve(root), realFilesystem), `restored to ${root}`);
}

function open(source: string): AsyncIterable<Uint8Array> {
  if (source === STANDARD) return process.stdin;
  let isDirectory: boolean;
  try {
    isDirectory = statSync(source).isDirectory();
  } catch (cause) {
    throw invalid(reasonOf(cause), cause);
  }
  return isDirectory ? tarOfDirectory(resolve(source)) : createReadStream(source);
}

/** A stream that breaks is a backup that is cut off. */
async function* readable(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* chunks;
  } catch (cause) {
    if (cause instanceof TypeError || isSystemError(cause)) throw invalid(reasonOf(cause), cause);
    throw cause;
  }
}

async function* printed(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    if (!process.stdout.write(chunk)) await once(process.stdout, 'drain');
    yield chunk;
  }
}

function tell({ sequence, takenAt, files, timezone }: Manifest, what: string): void {
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  process.stderr.write(
    `${what}: ${files.length} files, ${bytes} bytes with holes, at sequence ${sequence} of ${takenAt}; timezone ${timezone}\n`,
  );
}

function isSystemError(thrown: unknown): boolean {
  return thrown instanceof Error && 'syscall' in thrown;
}

function invalid(reason: string, cause: unknown): ConfigError {
  return new ConfigError('MKTS_BACKUP_INVALID', { reason }, { cause });
}
