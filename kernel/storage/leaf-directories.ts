/**
 * The directories of buckets with their `category_name` files: made and synced before a first year
 * file. Each directory's file names the category of its children.
 */

import { dirname, join } from 'node:path';
import { StorageError } from '../base/errors.ts';
import { CATEGORY_CHAIN, CATEGORY_FILE, LEAF_CATEGORY } from './file-names.ts';
import type { StoreContext } from './store-context.ts';

export class LeafDirectories {
  readonly #context: StoreContext;
  /** Absolute paths of directories whose entries changed; synced children first. */
  readonly #changed = new Set<string>();
  readonly #made = new Set<string>();

  constructor(context: StoreContext) {
    this.#context = context;
  }

  /** Makes a leaf directory (relative to the root) and what is missing above it. */
  make(directory: string): void {
    if (this.#made.has(directory)) return;
    const { filesystem, root } = this.#context;
    const categories = [...CATEGORY_CHAIN, LEAF_CATEGORY];
    let path = root;
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
    this.#changed.add(join(this.#context.root, directory));
  }

  /** Syncs of the directories changed so far, to be run one by one. */
  *syncs(): Generator<() => void> {
    const { filesystem } = this.#context;
    const changed = [...this.#changed].sort((a, b) => b.length - a.length);
    this.#changed.clear();
    for (const path of changed)
      yield () => {
        // A directory of a bucket destroyed meanwhile needs no sync.
        if (filesystem.exists(path)) filesystem.syncDirectory(path);
      };
  }

  #category(directory: string, category: string): void {
    const { filesystem } = this.#context;
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

/**
 * Removes a leaf directory (relative to the root), then each parent that has no directory left.
 * The root and its category stay.
 *
 * Order: each step is durable before the next, files before the category they lie under, so that a
 * power cut leaves a bucket, or an empty directory, and nothing the next start must wonder about.
 */
export function removeLeaf(context: StoreContext, directory: string): void {
  const { filesystem, root } = context;
  let path = join(root, directory);
  if (filesystem.exists(path)) {
    for (const { name, kind } of filesystem.list(path))
      if (kind === 'file' && name !== CATEGORY_FILE) filesystem.remove(join(path, name));
    filesystem.syncDirectory(path);
    filesystem.removeTree(path);
  }
  for (path = dirname(path); path !== root && path !== dirname(path); path = dirname(path)) {
    if (!filesystem.exists(path)) continue;
    if (filesystem.list(path).some(({ kind }) => kind === 'directory')) break;
    filesystem.syncDirectory(path);
    filesystem.removeTree(path);
  }
  if (filesystem.exists(path)) filesystem.syncDirectory(path);
}
