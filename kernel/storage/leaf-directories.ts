/**
 * The directories of buckets with their `category_name` files: made and synced before a first year
 * file, and removed. Each directory's file names the category of its children.
 *
 * Invariant: a directory whose entries changed is remembered until it was synced, over write-backs
 * that fail: the next one finds the names there, and would take them for durable. A removal the disk
 * refuses is remembered, too, and comes first in the next write-back, before anything is made.
 */

import { dirname, join } from 'node:path';
import { StorageError } from '../base/errors.ts';
import { CATEGORY_CHAIN, CATEGORY_FILE, LEAF_CATEGORY } from './file-names.ts';
import type { Filesystem } from './filesystem.ts';
import { isRefusal } from './refusal.ts';

export class LeafDirectories {
  readonly #root: string;
  readonly #filesystem: Filesystem;
  /** Absolute paths of directories whose entries changed; synced children first. */
  readonly #changed = new Set<string>();
  /** Leaf directories that are there, as far as this write-back knows. */
  readonly #made = new Set<string>();
  /** Leaf directories of destroyed buckets that could not be removed. */
  readonly #doomed = new Set<string>();
  #isHeld = false;

  constructor(root: string, filesystem: Filesystem) {
    this.#root = root;
    this.#filesystem = filesystem;
  }

  /** A write-back begins. Throws StorageError if what is to be removed first cannot be. */
  begin(): void {
    this.#made.clear();
    for (const directory of this.#doomed) {
      this.#remove(directory);
      this.#doomed.delete(directory);
    }
  }

  /** Leaves what is to be removed to the next write-back, until the function it returns is called. */
  hold(): () => void {
    this.#isHeld = true;
    return () => {
      this.#isHeld = false;
    };
  }

  /** Makes a leaf directory (relative to the root) and what is missing above it. */
  make(directory: string): void {
    if (this.#made.has(directory)) return;
    const filesystem = this.#filesystem;
    const categories = [...CATEGORY_CHAIN, LEAF_CATEGORY];
    let path = this.#root;
    directory.split('/').forEach((part, depth) => {
      const child = join(path, part);
      if (!filesystem.exists(child)) {
        filesystem.makeDirectory(child);
        this.#changed.add(path);
      }
      this.#category(path, categories[depth] ?? LEAF_CATEGORY);
      path = child;
    });
    this.#category(path, LEAF_CATEGORY);
    this.#made.add(directory);
  }

  /** A file was made in a leaf directory. */
  changed(directory: string): void {
    this.#changed.add(join(this.#root, directory));
  }

  /** As if all on the way to a leaf directory had changed: a process before this one may have. */
  suspect(directory: string): void {
    let path = this.#root;
    this.#changed.add(path);
    for (const part of directory.split('/')) {
      path = join(path, part);
      this.#changed.add(path);
    }
  }

  /** Syncs of the directories changed so far, to be run one by one. */
  *syncs(): Generator<() => void> {
    const filesystem = this.#filesystem;
    for (const path of [...this.#changed].sort((a, b) => b.length - a.length))
      yield () => {
        // A directory of a bucket destroyed meanwhile needs no sync.
        if (filesystem.exists(path)) filesystem.syncDirectory(path);
        this.#changed.delete(path);
      };
  }

  /**
   * Removes a leaf directory (relative to the root), then each parent that has no directory left; the
   * root and its category stay. What is held, or the disk refuses, is done by the next write-back.
   */
  remove(directory: string): void {
    this.#made.clear();
    if (this.#isHeld) {
      this.#doomed.add(directory);
      return;
    }
    try {
      this.#remove(directory);
      this.#doomed.delete(directory);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      this.#doomed.add(directory);
    }
  }

  /**
   * Order: each step is durable before the next, files before the category they lie under, so that a
   * power cut leaves a bucket, or an empty directory, and nothing the next start must wonder about.
   */
  #remove(directory: string): void {
    const filesystem = this.#filesystem;
    let path = join(this.#root, directory);
    if (filesystem.exists(path)) {
      for (const { name, kind } of filesystem.list(path))
        if (kind === 'file' && name !== CATEGORY_FILE) filesystem.remove(join(path, name));
      filesystem.syncDirectory(path);
      filesystem.removeTree(path);
    }
    for (
      path = dirname(path);
      path !== this.#root && path !== dirname(path);
      path = dirname(path)
    ) {
      if (!filesystem.exists(path)) continue;
      if (filesystem.list(path).some(({ kind }) => kind === 'directory')) break;
      filesystem.syncDirectory(path);
      filesystem.removeTree(path);
    }
    if (filesystem.exists(path)) filesystem.syncDirectory(path);
  }

  #category(directory: string, category: string): void {
    const filesystem = this.#filesystem;
    const path = join(directory, CATEGORY_FILE);
    const found = filesystem.readFile(path);
    if (found !== undefined && found.length > 0) {
      const text = Buffer.from(found).toString();
      if (text === category) return;
      throw new StorageError('MKTS_DISK', {
        operation: 'create',
        path,
        reason: `the category is ${text}, not ${category}`,
      });
    }
    // Written under another name first: a torn category would hide all that lies below.
    const newPath = `${path}.new`;
    const file = filesystem.open(newPath, 'create');
    try {
      file.write(Buffer.from(category), 0);
      file.datasyncBlocking();
    } finally {
      file.close();
    }
    filesystem.rename(newPath, path);
    this.#changed.add(directory);
  }
}
