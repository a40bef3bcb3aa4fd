/**
 * A backup as a directory: the files as they are, below `data`, and the manifest beside it.
 *
 * Order: the manifest last, when the files are durable. Without it the directory is no backup.
 */

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ConfigError, reasonOf } from '../base/errors.ts';
import type { Filesystem } from '../storage/filesystem.ts';
import { formatManifest, MANIFEST_NAME, type Manifest, parseManifest } from './manifest.ts';
import { expectFiles, packBackup } from './pack.ts';
import { expectEmpty, restoreBackup } from './restore.ts';
import { backedUpFiles } from './source-files.ts';

const DATA_DIRECTORY = 'data';

/** Unpacks the tar of a backup into an empty directory, or one that is not there. Throws as `restoreBackup`. */
export async function restoreToDirectory(
  chunks: AsyncIterable<Uint8Array>,
  directory: string,
  filesystem: Filesystem,
): Promise<Manifest> {
  expectEmpty(directory, filesystem);
  const manifest = await restoreBackup(chunks, join(directory, DATA_DIRECTORY), filesystem);
  const path = join(directory, MANIFEST_NAME);
  const file = filesystem.open(`${path}.new`, 'create');
  file.write(formatManifest(manifest), 0);
  file.datasyncBlocking();
  file.close();
  filesystem.rename(`${path}.new`, path);
  filesystem.syncDirectory(directory);
  return manifest;
}

/** The tar of a backup in a directory, checked against its manifest. Throws MKTS_BACKUP_INVALID. */
export async function* tarOfDirectory(directory: string): AsyncGenerator<Uint8Array> {
  const path = join(directory, MANIFEST_NAME);
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw new ConfigError('MKTS_BACKUP_INVALID', { reason: reasonOf(cause) }, { cause });
  });
  const { files, ...about } = parseManifest(bytes);
  yield* packBackup({
    about,
    files: backedUpFiles(join(directory, DATA_DIRECTORY), files),
    onPacked: (packed) => expectFiles(packed, files),
  });
}
