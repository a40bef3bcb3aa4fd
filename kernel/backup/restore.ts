/**
 * Writes the files of a backup into an empty directory, durably. Main thread of a command.
 *
 *   marker ▸ files, each synced ▸ directories synced ▸ marker removed, synced
 *
 * Invariant: while the marker is there the directory is no database, and no server starts on it
 * (storage/directory-lock.ts); it goes when every file is there, checked and durable. What fails
 * removes what it wrote, the marker last.
 */

import { dirname, join } from 'node:path';
import { ConfigError, reasonOf } from '../base/errors.ts';
import { LOCK_FILE, RESTORE_MARKER } from '../storage/file-names.ts';
import type { Filesystem, OpenFile } from '../storage/filesystem.ts';
import type { Manifest } from './manifest.ts';
import type { FilePlace, Part } from './parts.ts';
import { readBackup } from './unpack.ts';

/**
 * Restores the tar of a backup into `root`, which must be empty, or not there. Throws ConfigError
 * MKTS_BACKUP_TARGET, MKTS_BACKUP_INVALID, or StorageError if the disk refuses.
 */
export async function restoreBackup(
  chunks: AsyncIterable<Uint8Array>,
  root: string,
  filesystem: Filesystem,
): Promise<Manifest> {
  const target = new RestoreTarget(root, filesystem);
  target.begin();
  try {
    const manifest = await readBackup(chunks, (part) => target.write(part));
    target.finish(manifest.files);
    return manifest;
  } catch (error) {
    target.discard();
    throw error;
  }
}

/** Throws ConfigError MKTS_BACKUP_TARGET unless a directory is empty but for a lock, or not there. */
export function expectEmpty(directory: string, filesystem: Filesystem): void {
  const refused = (reason: string): ConfigError =>
    new ConfigError('MKTS_BACKUP_TARGET', { path: directory, reason });
  if (!filesystem.exists(directory)) return;
  let names: readonly string[];
  try {
    names = filesystem.list(directory).map(({ name }) => name);
  } catch (error) {
    throw refused(reasonOf(error));
  }
  if (names.includes(RESTORE_MARKER))
    throw refused('a restore into it was cut short: remove the directory and restore again');
  if (names.some((name) => name !== LOCK_FILE)) throw refused('it is not empty');
}

class RestoreTarget {
  readonly #root: string;
  readonly #marker: string;
  readonly #filesystem: Filesystem;
  readonly #written = new Set<string>();
  /** Absolute paths, with what is to be synced in them. */
  readonly #directories = new Set<string>();
  #current: { readonly place: FilePlace; readonly file: OpenFile } | undefined;

  constructor(root: string, filesystem: Filesystem) {
    this.#root = root;
    this.#marker = join(root, RESTORE_MARKER);
    this.#filesystem = filesystem;
  }

  begin(): void {
    const filesystem = this.#filesystem;
    expectEmpty(this.#root, filesystem);
    filesystem.makeDirectory(this.#root);
    const marker = filesystem.open(this.#marker, 'create-exclusive');
    marker.datasyncBlocking();
    marker.close();
    filesystem.syncDirectory(this.#root);
    filesystem.syncDirectory(dirname(this.#root));
  }

  write({ path, bytes, runs }: Part): void {
    if (this.#current?.place.path !== path) {
      this.#close();
      this.#open({ path, bytes });
    }
    // The last block of a file is filled up with zeros.
    for (const { offset, content } of runs)
      this.#current?.file.write(content.subarray(0, bytes - offset), offset);
  }

  finish(files: readonly FilePlace[]): void {
    this.#close();
    for (const place of files)
      if (!this.#written.has(place.path)) {
        this.#open(place);
        this.#close();
      }
    const filesystem = this.#filesystem;
    for (const directory of [...this.#directories].sort((a, b) => b.length - a.length))
      filesystem.syncDirectory(directory);
    filesystem.syncDirectory(this.#root);
    // Order: only now, since without it the directory is a database.
    filesystem.remove(this.#marker);
    filesystem.syncDirectory(this.#root);
  }

  discard(): void {
    const filesystem = this.#filesystem;
    this.#current?.file.close();
    this.#current = undefined;
    for (const name of new Set([...this.#written].map((path) => path.split('/')[0] ?? '')))
      filesystem.removeTree(join(this.#root, name));
    filesystem.syncDirectory(this.#root);
    filesystem.remove(this.#marker);
  }

  #open(place: FilePlace): void {
    const filesystem = this.#filesystem;
    const path = join(this.#root, place.path);
    // Before it is made: what fails half-way is removed, too.
    this.#written.add(place.path);
    for (let above = dirname(path); above !== this.#root; above = dirname(above)) {
      if (this.#directories.has(above)) break;
      this.#directories.add(above);
    }
    filesystem.makeDirectory(dirname(path));
    const file = filesystem.open(path, 'create-exclusive');
    this.#current = { place, file };
    // A hole to its end: what is not written takes no room.
    file.truncate(place.bytes);
  }

  #close(): void {
    if (this.#current === undefined) return;
    const { file } = this.#current;
    file.datasyncBlocking();
    file.close();
    this.#current = undefined;
  }
}
