/**
 * The directory tree: what reading the catalog reports, names nobody gave, and category files that
 * can be written again.
 */

import { join } from 'node:path';
import { type CorruptionError, reasonOf } from '../base/errors.ts';
import type { FoundTree } from '../storage/catalog-tree.ts';
import {
  CATEGORY_CHAIN,
  CATEGORY_FILE,
  LEAF_CATEGORY,
  METADATA_DIRECTORY,
} from '../storage/file-names.ts';
import type { Filesystem } from '../storage/filesystem.ts';
import type { Change, Findings } from './findings.ts';
import { type NameKind, rootFileKind, treeFileKind } from './known-names.ts';

export interface TreeCheck {
  readonly root: string;
  readonly filesystem: Filesystem;
  readonly tree: FoundTree;
  /** Reported while the tree was read; those of year files are left out. */
  readonly damage: readonly CorruptionError[];
}

/** Directories deeper than this are not looked into: no bucket lies there. */
const DEPTH_MAX = 8;
const CHAIN: readonly string[] = [...CATEGORY_CHAIN, LEAF_CATEGORY];

export function checkTree(check: TreeCheck, findings: Findings): void {
  for (const { code, fields } of check.damage)
    if (code === 'MKTS_CATALOG_CORRUPT') {
      const path = String(fields.path);
      const change = categoryChange(check, path);
      findings.add(
        { severity: 'damage', code, path, what: String(fields.reason) },
        change === undefined ? [] : [change],
      );
    }
  walk(check, '', 0, findings);
}

function walk(check: TreeCheck, directory: string, depth: number, findings: Findings): void {
  const { root, filesystem, tree } = check;
  const category = tree.categories.get(directory);
  const isLeaf = category === LEAF_CATEGORY;
  const say = (name: string, kind: NameKind, what: string): void =>
    findings.add({
      severity: kind === 'trap' ? 'damage' : 'note',
      code: 'MKTS_STRAY_FILE',
      path: below(directory, name),
      what,
    });
  let entries: ReturnType<Filesystem['list']>;
  try {
    entries = filesystem.list(join(root, directory));
  } catch (cause) {
    const what = reasonOf(cause);
    findings.add({ severity: 'damage', code: 'MKTS_DISK', path: directory, what });
    return;
  }
  for (const { name, kind } of entries) {
    if (kind === 'other') say(name, 'stray', 'neither a file nor a directory: not looked into');
    else if (kind === 'directory') {
      if (name === METADATA_DIRECTORY) continue;
      if (isLeaf) say(name, 'trap', 'a directory beside year files hides them from a Go server');
      else if (depth < DEPTH_MAX) walk(check, below(directory, name), depth + 1, findings);
    } else {
      const named = directory === '' ? rootFileKind(name) : treeFileKind(name, { isLeaf });
      // Year files the catalog could not take are told as such.
      if (named === 'trap' && name.endsWith('.bin') && category !== undefined) continue;
      const what = WHAT[named];
      if (what !== undefined) say(name, named, what);
    }
  }
}

const WHAT: Readonly<Record<NameKind, string | undefined>> = {
  own: undefined,
  half: 'left half made by a crash; the next start does without it',
  aside: 'a damaged file that was set aside',
  stray: 'no file of the database; nobody looks at it',
  trap: 'a Go server takes it for a file of its own',
};

/**
 * The category file that hides a directory, as it should be: the first on the way down that is not
 * what it is in a tree of ours, if what it holds is none of the words. Trees of other orders, which
 * a Go server can make, have the same words in other places.
 */
function categoryChange({ root, filesystem, tree }: TreeCheck, hidden: string): Change | undefined {
  const parts = hidden === '' ? [] : hidden.split('/');
  for (let depth = 0; depth <= parts.length; depth++) {
    const directory = parts.slice(0, depth).join('/');
    const category = tree.categories.get(directory);
    const wanted = CHAIN[depth];
    if (category === wanted) continue;
    if (category === undefined || wanted === undefined || CHAIN.includes(category))
      return undefined;
    const path = below(directory, CATEGORY_FILE);
    const before = filesystem.readFile(join(root, path)) ?? new Uint8Array(0);
    return { path, offset: undefined, before, after: Buffer.from(wanted) };
  }
  return undefined;
}

function below(directory: string, name: string): string {
  return directory === '' ? name : `${directory}/${name}`;
}
