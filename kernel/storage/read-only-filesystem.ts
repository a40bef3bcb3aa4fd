/**
 * A filesystem that cannot change anything: what may only look gets its disk through this, so that
 * no mistake of its own, and none of the parts it uses, writes a byte.
 */

import { StorageError } from '../base/errors.ts';
import type { Filesystem, OpenFile } from './filesystem.ts';

/** Every call that would change something throws StorageError MKTS_DISK. */
export function readOnly(filesystem: Filesystem): Filesystem {
  const refused = (operation: string, path: string): never => {
    throw new StorageError('MKTS_DISK', { operation, path, reason: 'it is only looked at' });
  };
  const fileOf = (file: OpenFile): OpenFile => ({
    path: file.path,
    read: (target, offset) => file.read(target, offset),
    write: () => refused('write', file.path),
    size: () => file.size(),
    truncate: () => refused('truncate', file.path),
    datasyncBlocking: () => refused('fdatasync', file.path),
    datasync: async () => refused('fdatasync', file.path),
    close: () => file.close(),
  });
  return {
    open: (path, mode) =>
      mode === 'read' || mode === 'read-write'
        ? fileOf(filesystem.open(path, 'read'))
        : refused('create', path),
    readFile: (path) => filesystem.readFile(path),
    exists: (path) => filesystem.exists(path),
    list: (directory) => filesystem.list(directory),
    makeDirectory: (path) => refused('mkdir', path),
    rename: (from) => refused('rename', from),
    remove: (path) => refused('remove', path),
    removeTree: (path) => refused('remove', path),
    syncDirectory: (path) => refused('fsync', path),
    syncDirectoryLater: async (path) => refused('fsync', path),
  };
}
