/**
 * Files, which stand still meanwhile, to the tar of a backup (FORMAT.md), a window at a time: what it
 * holds in memory does not depend on how large they are. Reads through libuv's pool, so that a cold
 * disk does not hold up the thread.
 */

import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { ConfigError, MktsError, RequestError, reasonOf } from '../base/errors.ts';
import { type BackupFile, formatManifest, MANIFEST_NAME, type Manifest } from './manifest.ts';
import { encodePart, type FilePlace, WINDOW_BYTES } from './parts.ts';
import { tarEnd, tarMember } from './tar.ts';

/** In the place of a manifest, when the backup was given up: `{ code, message }`. */
export const FAILURE_NAME = 'mkts-backup-failed.json';

/** A file that is open, and stays so until the next is asked for. */
export interface SourceFile extends FilePlace {
  readonly handle: FileHandle;
}

export interface PackOptions {
  readonly about: Omit<Manifest, 'files'>;
  readonly files: AsyncIterable<SourceFile>;
  /** Asked after each read; throws if the files do not stand still any more. */
  readonly check?: () => void;
  /** Called before the manifest is sent; throws if the files are not what they should be. */
  readonly onPacked?: (files: readonly BackupFile[]) => void;
}

/** The pieces of the tar. Throws what `check` throws, and MKTS_BACKUP if a file cannot be read. */
export async function* packBackup({
  about,
  files,
  check,
  onPacked,
}: PackOptions): AsyncGenerator<Uint8Array> {
  const packed: BackupFile[] = [];
  const mtimeMs = Date.parse(about.takenAt);
  let partCount = 0;
  const window = Buffer.allocUnsafeSlow(WINDOW_BYTES);
  for await (const file of files) {
    const { path, bytes } = file;
    const hash = createHash('sha256');
    for (let offset = 0; offset < bytes; offset += WINDOW_BYTES) {
      await readWindow(file, offset, window);
      check?.();
      const part = encodePart(file, offset, window);
      if (part === undefined) continue;
      for (const piece of part) hash.update(piece);
      partCount++;
      yield tarMember(`parts/${String(partCount).padStart(10, '0')}`, mtimeMs, ...part);
    }
    packed.push({ path, bytes, sha256: hash.digest('hex') });
  }
  check?.();
  onPacked?.(packed);
  yield tarMember(MANIFEST_NAME, mtimeMs, formatManifest({ ...about, files: packed }));
  yield tarEnd();
}

/** What ends the tar of a backup that was given up: whoever reads it learns why. */
export function packFailure(error: unknown, mtimeMs: number): Buffer {
  const code = error instanceof MktsError ? error.code : 'MKTS_INTERNAL';
  const failure = Buffer.from(JSON.stringify({ code, message: reasonOf(error) }));
  return Buffer.concat([tarMember(FAILURE_NAME, mtimeMs, failure), tarEnd()]);
}

/** Throws ConfigError MKTS_BACKUP_INVALID unless files are what a manifest says. */
export function expectFiles(found: readonly BackupFile[], said: readonly BackupFile[]): void {
  const digests = new Map(found.map(({ path, bytes, sha256 }) => [path, `${bytes} ${sha256}`]));
  for (const { path, bytes, sha256 } of said)
    if (digests.get(path) !== `${bytes} ${sha256}`)
      throw new ConfigError('MKTS_BACKUP_INVALID', {
        reason: `${path} is not what its checksum says`,
      });
}

/** Fills the window; zeros past the end of the file. */
async function readWindow(
  { handle, path, bytes }: SourceFile,
  offset: number,
  window: Buffer,
): Promise<void> {
  const wanted = Math.min(WINDOW_BYTES, bytes - offset);
  let done = 0;
  while (done < wanted) {
    const { bytesRead } = await handle
      .read(window, done, wanted - done, offset + done)
      .catch((cause: unknown) => {
        throw new RequestError('MKTS_BACKUP', { reason: `${path}: ${reasonOf(cause)}` }, { cause });
      });
    if (bytesRead === 0)
      throw new RequestError('MKTS_BACKUP', { reason: `${path} became shorter` });
    done += bytesRead;
  }
  window.fill(0, wanted);
}
