/**
 * Which files a backup is made of: the tree of buckets, what plugins remember, what was agreed to and
 * dead letters. Not the log, which the checkpoint before makes needless, nor the lock, flight
 * recordings, reports of repairs, and what a crash left on its way to be a file.
 */

import { type FileHandle, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ConfigError, RequestError, reasonOf } from '../base/errors.ts';
import {
  CATEGORY_FILE,
  CONSENT_FILE,
  METADATA_DIRECTORY,
  parseLettersFileName,
  STATE_FILE,
} from '../storage/file-names.ts';
import type { SourceFile } from './pack.ts';
import type { FilePlace } from './parts.ts';

/** Directories deeper than this hold no buckets. */
const DEPTH_MAX = 8;
const OWN: readonly string[] = [CATEGORY_FILE, STATE_FILE, CONSENT_FILE];

/**
 * The files of a data directory. Those of its root are all opened at once, before the first is
 * answered: dead letters are added and files replaced while the rest is copied, and what was there
 * then stays as it was below its descriptor. Throws RequestError MKTS_BACKUP.
 */
export async function* databaseFiles(root: string): AsyncGenerator<SourceFile> {
  const entries = await list(root);
  const names = entries
    .filter((entry) => entry.isFile())
    .map(({ name }) => name)
    .filter((name) => OWN.includes(name) || parseLettersFileName(name) !== undefined)
    .sort();
  const opened: SourceFile[] = [];
  try {
    for (const name of names) opened.push(await openSource(root, name));
    yield* opened;
  } finally {
    for (const { handle } of opened) await handle.close();
  }
  for (const entry of entries)
    if (entry.isDirectory() && entry.name !== METADATA_DIRECTORY)
      yield* treeFiles(root, entry.name, 1);
}

/** Of a directory that is part of the tree: one that says what its children are. */
async function* treeFiles(
  root: string,
  directory: string,
  depth: number,
): AsyncGenerator<SourceFile> {
  const entries = (await list(join(root, directory))).sort((a, b) => (a.name < b.name ? -1 : 1));
  if (!entries.some((entry) => entry.isFile() && entry.name === CATEGORY_FILE)) return;
  for (const entry of entries) {
    const path = `${directory}/${entry.name}`;
    if (entry.isDirectory() && depth < DEPTH_MAX) yield* treeFiles(root, path, depth + 1);
    else if (entry.isFile() && !entry.name.endsWith('.new')) yield* openFiles(root, [path]);
  }
}

/** Files that are known by name, one open at a time. Throws RequestError MKTS_BACKUP. */
export async function* openFiles(
  root: string,
  paths: Iterable<string>,
): AsyncGenerator<SourceFile> {
  for (const path of paths) {
    const source = await openSource(root, path);
    try {
      yield source;
    } finally {
      await source.handle.close();
    }
  }
}

/** Files of a backup in a directory. Throws ConfigError MKTS_BACKUP_INVALID if one is not there. */
export async function* backedUpFiles(
  root: string,
  files: readonly FilePlace[],
): AsyncGenerator<SourceFile> {
  try {
    yield* openFiles(
      root,
      files.map(({ path }) => path),
    );
  } catch (cause) {
    if (!(cause instanceof RequestError)) throw cause;
    throw new ConfigError(
      'MKTS_BACKUP_INVALID',
      { reason: String(cause.fields.reason) },
      { cause },
    );
  }
}

async function openSource(root: string, path: string): Promise<SourceFile> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(join(root, path), 'r');
    return { path, handle, bytes: (await handle.stat()).size };
  } catch (cause) {
    await handle?.close();
    throw unreadable(path, cause);
  }
}

async function list(directory: string): ReturnType<typeof listing> {
  try {
    return await listing(directory);
  } catch (cause) {
    throw unreadable(directory, cause);
  }
}

function listing(directory: string): Promise<import('node:fs').Dirent[]> {
  return readdir(directory, { withFileTypes: true });
}

function unreadable(path: string, cause: unknown): RequestError {
  return new RequestError('MKTS_BACKUP', { reason: `${path}: ${reasonOf(cause)}` }, { cause });
}
