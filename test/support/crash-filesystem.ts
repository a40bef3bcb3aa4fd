/**
 * A disk in memory that forgets. Everything is seen at once by whoever reads; what a power cut leaves
 * of it is decided by a seed:
 *
 * - written and not synced: each sector of 512 bytes survives or not, by itself, in any combination,
 *   so a write can be torn anywhere on a sector border, and a later one survive an earlier one
 * - a file's length: as far as the surviving sectors reach; a truncation survives or not
 * - names (made, renamed, removed) survive or not, each by itself, until their directory is synced:
 *   a synced file can be gone because its name was never synced
 * - a sync that fails drops what it should have written: a later sync does not bring it back (that is
 *   what Linux does)
 *
 * Every call is counted; `crashAt` lets the power go before a call, `fail` makes calls fail. After
 * the power went nothing answers any more; `restart` gives the disk as the next start finds it.
 * `killed` is the end of a process only: the system keeps what it has, and has yet to sync it.
 */

import { dirname } from 'node:path';
import type {
  DirectoryEntry,
  Filesystem,
  OpenFile,
  OpenMode,
} from '../../kernel/storage/filesystem.ts';
import { diskError as diskErrorOf } from '../../kernel/storage/refusal.ts';
import { SparseBytes } from './sparse-bytes.ts';

export const SECTOR_BYTES = 512;

/** The power is gone. */
export class PowerCut extends Error {
  override readonly name = 'PowerCut';
}

export type DiskOperation =
  | 'open'
  | 'read'
  | 'write'
  | 'stat'
  | 'truncate'
  | 'fdatasync'
  | 'close'
  | 'list'
  | 'mkdir'
  | 'rename'
  | 'remove'
  | 'fsync';

export interface DiskCall {
  readonly operation: DiskOperation;
  readonly path: string;
  /** 1, 2, 3 … */
  readonly count: number;
}

export type DiskFault = 'EIO' | 'ENOSPC' | 'EDQUOT' | 'EMFILE' | 'EROFS' | 'EACCES';

/** A write on a full disk may take about `share` of its bytes, up to a sector border, and then fails. */
export interface PartialFault {
  readonly fault: DiskFault;
  readonly share: number;
}

export type FaultPlan = (call: DiskCall) => DiskFault | PartialFault | undefined;

/** Calls that change something: the places worth cutting the power at. */
const CHANGES: ReadonlySet<DiskOperation> = new Set<DiskOperation>([
  'open',
  'write',
  'truncate',
  'fdatasync',
  'mkdir',
  'rename',
  'remove',
  'fsync',
]);

/** In [0, 1): a small generator with a state of 32 bits (mulberry32). */
export function randomBy(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A change of a file that is not on the device. */
type PendingChange =
  | { readonly kind: 'write'; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: 'truncate'; readonly size: number };

interface Inode {
  /** As readers see it. */
  readonly bytes: SparseBytes;
  /** As the device has it. */
  readonly durable: SparseBytes;
  readonly pending: PendingChange[];
}

/** A change of a name that is not on the device: what the name leads to afterwards. */
interface PendingName {
  readonly path: string;
  readonly node: Node | undefined;
}

type Node = { readonly kind: 'file'; readonly inode: Inode } | { readonly kind: 'directory' };

export class CrashFilesystem implements Filesystem {
  #names = new Map<string, Node>();
  #durableNames = new Map<string, Node>();
  /** In order; all of a rename's names at once. */
  #pendingNames: { readonly directory: string; readonly names: readonly PendingName[] }[] = [];
  #callCount = 0;
  #changeCount = 0;
  #crashAt = Number.POSITIVE_INFINITY;
  #isOff = false;
  #fault: FaultPlan | undefined;

  /** Calls that changed something so far: `crashAt` counts these. */
  get changeCount(): number {
    return this.#changeCount;
  }
  get isOff(): boolean {
    return this.#isOff;
  }

  /** Lets the power go right before the `change`-th call from now on that would change something. */
  crashAt(change: number): void {
    this.#crashAt = this.#changeCount + change;
  }

  /** Asked at every call: what it returns is what the call fails with. Undefined ends it. */
  fail(fault: FaultPlan | undefined): void {
    this.#fault = fault;
  }

  /** The disk as another process finds it when the one that used it is gone. */
  killed(): CrashFilesystem {
    const next = new CrashFilesystem();
    next.#names = this.#names;
    next.#durableNames = this.#durableNames;
    next.#pendingNames = this.#pendingNames;
    this.#isOff = true;
    return next;
  }

  /** The disk as the next start finds it. `seed` decides what survived. */
  restart(seed: number): CrashFilesystem {
    this.#isOff = true;
    const random = randomBy(seed);
    // By seed: some disks lose nearly all, some nearly nothing.
    const chance = random();
    const survives = (): boolean => random() < chance;
    const names = new Map(this.#durableNames);
    for (const { names: changed } of this.#pendingNames)
      if (survives())
        for (const { path, node } of changed)
          if (node === undefined) names.delete(path);
          else names.set(path, node);
    const next = new CrashFilesystem();
    const inodes = new Map<Inode, Inode>();
    for (const [path, node] of names) {
      if (!isReachable(path, names)) continue;
      next.#names.set(path, node.kind === 'directory' ? node : surviving(node.inode));
    }
    next.#durableNames = new Map(next.#names);
    return next;

    function surviving(inode: Inode): Node {
      const known = inodes.get(inode);
      if (known !== undefined) return { kind: 'file', inode: known };
      const durable = inode.durable.copy();
      write(inode.pending, durable, survives);
      const kept: Inode = { bytes: durable.copy(), durable, pending: [] };
      inodes.set(inode, kept);
      return { kind: 'file', inode: kept };
    }
  }

  /** As it is now, all of it on the device: for a disk that was lawfully unmounted. */
  settle(): void {
    for (const node of this.#names.values()) if (node.kind === 'file') settleInode(node.inode);
    this.#durableNames = new Map(this.#names);
    this.#pendingNames = [];
  }

  /** Paths of all files, for tests that look at or damage them. */
  files(): readonly string[] {
    return [...this.#names].filter(([, { kind }]) => kind === 'file').map(([path]) => path);
  }

  open(path: string, mode: OpenMode): OpenFile {
    this.#call('open', path);
    let node = this.#names.get(path);
    if (node?.kind === 'directory') throw diskError('open', path, 'EISDIR');
    if (mode === 'create-exclusive' && node !== undefined) throw diskError('open', path, 'EEXIST');
    if (mode === 'create' || mode === 'create-exclusive') {
      if (node === undefined) {
        if (this.#names.get(dirname(path))?.kind !== 'directory')
          throw diskError('open', path, 'ENOENT');
        const inode = { bytes: new SparseBytes(), durable: new SparseBytes(), pending: [] };
        node = { kind: 'file', inode };
        this.#rename(dirname(path), [{ path, node }]);
      } else {
        node.inode.bytes.truncate(0);
        node.inode.pending.push({ kind: 'truncate', size: 0 });
      }
    }
    if (node === undefined) throw diskError('open', path, 'ENOENT');
    return this.#file(path, node.inode);
  }

  readFile(path: string): Uint8Array | undefined {
    this.#call('read', path);
    const node = this.#names.get(path);
    if (node === undefined) return undefined;
    if (node.kind === 'directory') throw diskError('read', path, 'EISDIR');
    return node.inode.bytes.whole();
  }

  exists(path: string): boolean {
    return this.#names.has(path);
  }

  list(directory: string): readonly DirectoryEntry[] {
    this.#call('list', directory);
    if (this.#names.get(directory)?.kind !== 'directory')
      throw diskError('list', directory, 'ENOENT');
    return [...this.#names]
      .filter(([path]) => path !== directory && dirname(path) === directory)
      .map(([path, { kind }]) => ({ name: path.slice(directory.length + 1), kind }));
  }

  makeDirectory(path: string): void {
    this.#call('mkdir', path);
    const missing: string[] = [];
    for (let at = path; !this.#names.has(at); at = dirname(at)) {
      missing.unshift(at);
      if (at === dirname(at)) break;
    }
    for (const made of missing)
      this.#rename(dirname(made), [{ path: made, node: { kind: 'directory' } }]);
  }

  rename(from: string, to: string): void {
    this.#call('rename', from);
    const node = this.#names.get(from);
    if (node === undefined) throw diskError('rename', from, 'ENOENT');
    const below = [...this.#names].filter(([path]) => path.startsWith(`${from}/`));
    this.#rename(dirname(to), [
      { path: from, node: undefined },
      { path: to, node },
      ...below.flatMap(([path, inner]) => [
        { path, node: undefined },
        { path: `${to}${path.slice(from.length)}`, node: inner },
      ]),
    ]);
  }

  remove(path: string): void {
    this.#call('remove', path);
    if (this.#names.has(path)) this.#rename(dirname(path), [{ path, node: undefined }]);
  }

  removeTree(path: string): void {
    this.#call('remove', path);
    // Each name by itself: a power cut in the middle leaves any part of the tree.
    const below = [...this.#names.keys()].filter((each) => each.startsWith(`${path}/`));
    for (const each of [...below, path].reverse())
      if (this.#names.has(each)) this.#rename(dirname(each), [{ path: each, node: undefined }]);
  }

  syncDirectory(path: string): void {
    this.#call('fsync', path);
    const synced = this.#pendingNames.filter(({ directory }) => directory === path);
    this.#pendingNames = this.#pendingNames.filter(({ directory }) => directory !== path);
    for (const { names } of synced)
      for (const { path: name, node } of names)
        if (node === undefined) this.#durableNames.delete(name);
        else this.#durableNames.set(name, node);
  }

  async syncDirectoryLater(path: string): Promise<void> {
    await null;
    this.syncDirectory(path);
  }

  #rename(directory: string, names: readonly PendingName[]): void {
    for (const { path, node } of names)
      if (node === undefined) this.#names.delete(path);
      else this.#names.set(path, node);
    this.#pendingNames.push({ directory, names });
  }

  #file(path: string, inode: Inode): OpenFile {
    const sync = (): void => {
      try {
        this.#call('fdatasync', path);
      } catch (error) {
        // What the failed sync should have written is clean for the system, and on no device.
        if (!this.#isOff) inode.pending.length = 0;
        throw error;
      }
      settleInode(inode);
    };
    return {
      path,
      read: (target, offset) => {
        this.#call('read', path);
        return inode.bytes.read(target, offset);
      },
      write: (source, offset) => {
        const put = (bytes: Uint8Array): void => {
          if (bytes.length === 0) return;
          inode.bytes.write(bytes, offset);
          inode.pending.push({ kind: 'write', offset, bytes: Uint8Array.from(bytes) });
        };
        this.#call('write', path, (share) => {
          const end = offset + share * source.length;
          put(source.subarray(0, Math.max(0, end - (end % SECTOR_BYTES) - offset)));
        });
        put(source);
      },
      size: () => {
        this.#call('stat', path);
        return inode.bytes.size;
      },
      truncate: (bytes) => {
        this.#call('truncate', path);
        inode.bytes.truncate(bytes);
        inode.pending.push({ kind: 'truncate', size: bytes });
      },
      datasyncBlocking: sync,
      datasync: async () => {
        // The device takes its time; others go on meanwhile.
        await null;
        sync();
      },
      close: () => this.#call('close', path),
    };
  }

  /** `onPart` does the part of the call that a fault lets through. */
  #call(operation: DiskOperation, path: string, onPart?: (share: number) => void): void {
    if (this.#isOff) throw new PowerCut(`${operation} ${path}: the power is gone`);
    this.#callCount++;
    if (CHANGES.has(operation)) {
      this.#changeCount++;
      if (this.#changeCount >= this.#crashAt) {
        this.#isOff = true;
        throw new PowerCut(`${operation} ${path}: the power goes`);
      }
    }
    const fault = this.#fault?.({ operation, path, count: this.#callCount });
    if (fault === undefined) return;
    if (typeof fault === 'string') throw diskError(operation, path, fault);
    onPart?.(fault.share);
    throw diskError(operation, path, fault.fault);
  }
}

/** What was written and not synced reaches the device, as far as it `survives`. */
function write(
  changes: readonly PendingChange[],
  durable: SparseBytes,
  survives: () => boolean,
): void {
  for (const change of changes) {
    if (change.kind === 'truncate') {
      if (survives()) durable.truncate(change.size);
      continue;
    }
    const { offset, bytes } = change;
    for (let at = 0; at < bytes.length; ) {
      const sectorEnd = (Math.floor((offset + at) / SECTOR_BYTES) + 1) * SECTOR_BYTES;
      const end = Math.min(bytes.length, sectorEnd - offset);
      if (survives()) durable.write(bytes.subarray(at, end), offset + at);
      at = end;
    }
  }
}

/** Not simply what readers see: that may hold what a failed sync has dropped. */
function settleInode({ pending, durable }: Inode): void {
  write(pending.splice(0), durable, () => true);
}

/** A synced file whose directory is gone cannot be reached. */
function isReachable(path: string, names: ReadonlyMap<string, Node>): boolean {
  for (let at = dirname(path); at !== dirname(at); at = dirname(at))
    if (names.get(at)?.kind !== 'directory') return false;
  return true;
}

function diskError(operation: string, path: string, code: string): Error {
  return diskErrorOf(operation, path, Object.assign(new Error(code), { code }));
}
