/** What the parts of one open store share: the disk, the zone, memory, and the list of work. */

import type { CorruptionError } from '../base/errors.ts';
import type { TickReadMode } from '../base/tick-time.ts';
import type { Zone } from '../base/zone.ts';
import type { ColdPages } from './cold-pages.ts';
import type { Filesystem } from './filesystem.ts';
import type { LeafDirectories } from './leaf-directories.ts';
import type { OpenFiles } from './open-files.ts';
import type { Residents } from './residents.ts';
import type { YearFile } from './year-file.ts';
import type { OverwrittenPage, WrittenChunk } from './year-sums.ts';

export interface StoreContext {
  readonly root: string;
  readonly filesystem: Filesystem;
  readonly zone: Zone;
  readonly compressTicks: boolean;
  readonly tickReadMode: TickReadMode;
  /** Cold pages and chunks get sums; those there are, are kept right in any case. */
  readonly checksums: boolean;
  readonly coldPages: ColdPages;
  readonly files: OpenFiles;
  readonly directories: LeafDirectories;
  readonly residents: Residents;
  /** Years a write-back has something to do for. */
  readonly pending: Set<StoredYear>;
  reportDamage(error: CorruptionError): void;
}

/** A year of a bucket as the write-back sees it: FIXED slots or VARIABLE ticks. */
export interface StoredYear {
  readonly file: YearFile;
  /** What is dirty now, in a form that later applies do not change where that would matter. */
  beginWork(): YearWork;
  /** Forgets all memory: the bucket is destroyed. */
  discard(): void;
}

/** A VARIABLE index cell as it lies on disk. */
export interface CellImage {
  /** Year file, relative to the root: 'EURUSD/1Min/TICK/2021.bin'. */
  readonly path: string;
  readonly offset: number;
  /** 24 bytes. */
  readonly bytes: Uint8Array;
}

/** One write-back of one year. The generators yield wherever the caller may pause. */
export interface YearWork {
  readonly year: StoredYear;
  /** Cells that `writeSlots` overwrites, as the last complete checkpoint left them. */
  readonly cells: readonly CellImage[];
  /** Appends what slots will point at. Order: durable before `writeSlots`. */
  writeTail(): Generator<void>;
  /** Pages that `writeSlots` overwrites. */
  pages(): readonly OverwrittenPage[];
  /** What `writeTail` appended. */
  chunks(): readonly WrittenChunk[];
  /** Writes slots in place. Order: `YearSums.beforeSlots` was told of them, durably. */
  writeSlots(): Generator<void>;
  /** All of it is durable: what was not touched again is clean. */
  succeed(): void;
  /** Nothing is known about the disk: everything stays dirty. */
  fail(): void;
}
