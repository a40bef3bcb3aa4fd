/** A store for a tool: all that reading year files needs, and nothing that goes on by itself. */

import type { CorruptionError } from '../base/errors.ts';
import type { Zone } from '../base/zone.ts';
import { ColdPages } from '../storage/cold-pages.ts';
import type { Filesystem } from '../storage/filesystem.ts';
import { LeafDirectories } from '../storage/leaf-directories.ts';
import { OpenFiles } from '../storage/open-files.ts';
import { Residents } from '../storage/residents.ts';
import type { StoreContext } from '../storage/store-context.ts';

export interface ToolDirectory {
  readonly root: string;
  readonly filesystem: Filesystem;
  readonly zone: Zone;
}

export function toolContext(
  { root, filesystem, zone }: ToolDirectory,
  reportDamage: (error: CorruptionError) => void,
): StoreContext {
  return {
    root,
    filesystem,
    zone,
    compressTicks: false,
    tickReadMode: 'exact',
    // Of use to who may write; the filesystem of the others writes nothing.
    checksums: true,
    coldPages: new ColdPages(),
    files: new OpenFiles(filesystem),
    directories: new LeafDirectories(root, filesystem),
    residents: new Residents(),
    pending: new Set(),
    reportDamage,
  };
}
