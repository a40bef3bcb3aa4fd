/**
 * The tree of buckets of one data directory, and the door to the store.
 *
 * Runs on the main thread. Whatever cannot be believed isolates its bucket: its whole years are
 * still read, but it takes no rows (MKTS_BUCKET_READ_ONLY) until replay or an operator mends it.
 */

import { basename, dirname, join } from 'node:path';
import { assert } from '../base/assert.ts';
import { type CorruptionError, RequestError } from '../base/errors.ts';
import { type BucketSchema, checkSchema, recordBytesOf, sameSchema } from '../base/schema.ts';
import type { TickReadMode } from '../base/tick-time.ts';
import { parseTimeBucketKey, type TimeBucketKey } from '../base/time-bucket-key.ts';
import { isStorable } from '../base/timeframe.ts';
import type { Zone } from '../base/zone.ts';
import { Bucket, readOnlyError } from './bucket.ts';
import { type FoundBucket, readTree } from './catalog-tree.ts';
import { ColdPages } from './cold-pages.ts';
import {
  CATEGORY_CHAIN,
  damagedYearFileName,
  isSumsFileName,
  LEAF_CATEGORY,
  parseYearFileName,
  yearFileName,
} from './file-names.ts';
import type { Filesystem } from './filesystem.ts';
import { DESCRIPTION_OF_CREATE, RESERVED_TAIL_BYTES } from './header.ts';
import { LeafDirectories } from './leaf-directories.ts';
import { OpenFiles } from './open-files.ts';
import { Residents } from './residents.ts';
import type { StoreContext } from './store-context.ts';
import { type CellImage, StoreWriteBack, type WriteBack } from './write-back.ts';

export type { CellImage, WriteBack } from './write-back.ts';

export interface StoreOptions {
  readonly root: string;
  readonly filesystem: Filesystem;
  readonly zone: Zone;
  readonly compressTicks: boolean;
  readonly tickReadMode: TickReadMode;
  /** Pages and chunks get sums when they are cold; default: they do not. */
  readonly checksums?: boolean;
  /** Default SUM_AFTER_WRITE_BACKS. */
  readonly sumAfterWriteBacks?: number;
  /** Called once per damaged file or cell, also while the catalog opens; never throws. */
  onDamage(error: CorruptionError): void;
}

const DAMAGED_FILES_MAX = 1000;

export class Catalog {
  readonly #context: StoreContext;
  readonly #visible = new Map<string, Bucket>();
  readonly #declared = new Map<string, Bucket>();
  readonly #byId = new Map<number, Bucket>();
  readonly #categories: ReadonlyMap<string, string>;
  /** Year files set aside, by key and year. */
  readonly #damagedYears = new Map<string, Map<number, CorruptionError>>();
  readonly #damage: CorruptionError[];
  #nextId = 1;
  #sorted: readonly Bucket[] | undefined;
  #symbols: readonly string[] | undefined;
  #isWritingBack = false;

  private constructor(options: StoreOptions) {
    const damage: CorruptionError[] = [];
    const { filesystem, root, zone, compressTicks, tickReadMode, checksums = false } = options;
    this.#damage = damage;
    this.#context = {
      root,
      filesystem,
      zone,
      compressTicks,
      tickReadMode,
      checksums,
      coldPages: new ColdPages(options.sumAfterWriteBacks),
      files: new OpenFiles(filesystem),
      directories: new LeafDirectories(root, filesystem),
      residents: new Residents(),
      pending: new Set(),
      reportDamage(error) {
        damage.push(error);
        options.onDamage(error);
      },
    };
    if (!filesystem.exists(root)) filesystem.makeDirectory(root);
    const tree = readTree(this.#context);
    this.#categories = tree.categories;
    for (const found of tree.buckets) this.#adopt(found);
  }

  /** Reads the tree. Damage isolates one bucket, or one file, and is reported. */
  static open(options: StoreOptions): Catalog {
    return new Catalog(options);
  }

  bucket(path: string): Bucket | undefined {
    return this.#visible.get(path);
  }

  /** As `bucket`, or a declared one: what a write to this key would go to. */
  known(path: string): Bucket | undefined {
    return this.#visible.get(path) ?? this.#declared.get(path);
  }

  /** Ids are small integers of this process, never used twice; declared buckets have one too. */
  bucketById(id: number): Bucket | undefined {
    return this.#byId.get(id);
  }

  /**
   * The bucket of a key, for writing: the one there is (the schema is then not looked at), or a
   * declared one, which nobody sees before rows are applied or it is materialised. Throws
   * RequestError: MKTS_BUCKET_READ_ONLY, MKTS_CATEGORY_MISMATCH, or what is wrong with the schema.
   */
  declare(key: TimeBucketKey, schema: BucketSchema): Bucket {
    const bucket = this.writable(key, schema);
    if (bucket !== undefined) return bucket;
    const declared = this.#makeBucket(key, schema, key.path);
    this.#declared.set(key.path, declared);
    return declared;
  }

  /** As `declare`, but makes none: undefined says that one could be declared. Throws as that does. */
  writable(key: TimeBucketKey, schema: BucketSchema): Bucket | undefined {
    const bucket = this.known(key.path);
    const readOnlyReason =
      bucket?.readOnlyReason ?? (this.#damagedYears.has(key.path) ? DAMAGED : undefined);
    if (readOnlyReason !== undefined) throw readOnlyError(key.path, readOnlyReason);
    if (bucket === undefined) this.#checkNew(key, schema);
    return bucket;
  }

  /** Shows a bucket, with an empty year file if the year has none. May be repeated. */
  materialize(bucket: Bucket, year: number): void {
    const { readOnlyReason } = bucket;
    if (readOnlyReason !== undefined) throw readOnlyError(bucket.key.path, readOnlyReason);
    bucket.addYear(year, DESCRIPTION_OF_CREATE, { isOnDisk: false });
    bucket.show();
    this.#show(bucket);
  }

  /** Drops a declared bucket whose rows never came. */
  undeclare(bucket: Bucket): void {
    if (this.#declared.get(bucket.key.path) !== bucket) return;
    this.#declared.delete(bucket.key.path);
    this.#byId.delete(bucket.id);
  }

  /** Removes a bucket and its files, and parents left empty. May be repeated. */
  destroy(path: string): void {
    // Not known: a process before this one has removed it, and maybe not durably.
    const bucket = this.#visible.get(path);
    bucket?.destroy();
    this.#visible.delete(path);
    this.#damagedYears.delete(path);
    if (bucket !== undefined) this.#byId.delete(bucket.id);
    this.#changed();
    this.#context.directories.remove(bucket?.directory ?? path);
  }

  /**
   * For replay: begins a year anew whose file was made within the log and is broken. The broken
   * file is kept under another name. Without a broken file this is declare and materialize.
   */
  recreateYear(path: string, schema: BucketSchema, year: number): Bucket {
    const damaged = this.#damagedYears.get(path);
    if (damaged?.has(year) === true) {
      const known = this.#visible.get(path);
      if (known !== undefined && !sameSchema(known.schema, schema))
        throw readOnlyError(path, DAMAGED);
      this.#setAside(path, year);
      damaged.delete(year);
      if (damaged.size === 0) {
        this.#damagedYears.delete(path);
        known?.setReadOnly(undefined);
      }
    }
    const bucket = this.declare(parseTimeBucketKey(path), schema);
    this.materialize(bucket, year);
    return bucket;
  }

  /** Visible buckets, by path. */
  buckets(): readonly Bucket[] {
    this.#sorted ??= [...this.#visible.values()].sort((a, b) => compare(a.key.path, b.key.path));
    return this.#sorted;
  }

  symbols(): readonly string[] {
    this.#symbols ??= [...new Set(this.buckets().map(({ key }) => key.symbol))].sort(compare);
    return this.#symbols;
  }

  /** All damage reported so far. */
  damaged(): readonly CorruptionError[] {
    return this.#damage;
  }

  /**
   * What is dirty now, ready to be written. One write-back at a time. `afterCrash`: a process before
   * this one may have made or renamed what is there, and not synced it.
   */
  beginWriteBack({ afterCrash = false }: { readonly afterCrash?: boolean } = {}): WriteBack {
    assert(!this.#isWritingBack, 'one write-back at a time');
    this.#isWritingBack = true;
    return new StoreWriteBack(this.#context, afterCrash, () => {
      this.#isWritingBack = false;
    });
  }

  /**
   * Between two write-backs: from now on no file is removed, so that none changes before the next one
   * begins; the function it returns is called before that. Destroyed buckets are gone for everybody at once all the same.
   */
  holdFiles(): () => void {
    assert(!this.#isWritingBack, 'files stand still when none are written back');
    return this.#context.directories.hold();
  }

  /** Memory that waits for a write-back, that of one under way included. */
  get dirtyBytes(): number {
    return this.#context.residents.heldBytes;
  }

  /** For replay, before anything is applied: undoes the cells of a checkpoint cut short. */
  restoreCells(cells: readonly CellImage[]): void {
    const offsets = new Map<string, number[]>();
    for (const { path, offset } of cells) {
      const ofFile = offsets.get(path);
      if (ofFile === undefined) offsets.set(path, [offset]);
      else ofFile.push(offset);
    }
    for (const [path, ofFile] of offsets) {
      const { bucket, year } = this.#yearOf(path);
      if (year !== undefined) bucket?.beforeRestore(year, ofFile);
    }
    for (const { path, offset, bytes } of cells) {
      const { bucket, year } = this.#yearOf(path);
      if (year !== undefined) bucket?.restoreCell(year, offset, bytes);
    }
  }

  /**
   * For recovery, before anything is read of year files: a Go server has written to them, and not told
   * their sums. Each directory is synced whatever was found, since a start before may have removed
   * them and not come so far.
   */
  dropSums(): void {
    const { filesystem, root } = this.#context;
    for (const [directory, category] of this.#categories) {
      const path = join(root, directory);
      if (category !== LEAF_CATEGORY || !filesystem.exists(path)) continue;
      for (const { name, kind } of filesystem.list(path))
        if (kind === 'file' && isSumsFileName(name)) filesystem.remove(join(path, name));
      filesystem.syncDirectory(path);
    }
  }

  #yearOf(path: string): {
    readonly bucket?: Bucket | undefined;
    readonly year?: number | undefined;
  } {
    return {
      bucket: this.#visible.get(dirname(path)),
      year: parseYearFileName(basename(path)),
    };
  }

  /** Closes files; writes nothing back but the sums of pages that are. */
  close(): void {
    this.#context.coldPages.close();
    this.#context.files.close();
  }

  #adopt(found: FoundBucket): void {
    const { key, directory, schema, damagedYears } = found;
    if (this.#visible.has(key.path)) return;
    if (damagedYears.size > 0) this.#damagedYears.set(key.path, new Map(damagedYears));
    if (schema === undefined) return;
    const bucket = this.#makeBucket(key, schema, directory);
    bucket.setReadOnly(found.readOnlyReason ?? (damagedYears.size > 0 ? DAMAGED : undefined));
    for (const { year, description } of found.years)
      bucket.addYear(year, description, { isOnDisk: true });
    bucket.show();
    this.#show(bucket);
  }

  #makeBucket(key: TimeBucketKey, schema: BucketSchema, directory: string): Bucket {
    const bucket = new Bucket({
      context: this.#context,
      id: this.#nextId++,
      key,
      schema,
      directory,
      onVisible: (shown) => this.#show(shown),
    });
    this.#byId.set(bucket.id, bucket);
    return bucket;
  }

  #show(bucket: Bucket): void {
    const known = this.#visible.get(bucket.key.path);
    if (known === bucket) return;
    assert(known === undefined, 'a key has one bucket');
    if (this.#declared.get(bucket.key.path) === bucket) this.#declared.delete(bucket.key.path);
    this.#visible.set(bucket.key.path, bucket);
    this.#changed();
  }

  #changed(): void {
    this.#sorted = undefined;
    this.#symbols = undefined;
  }

  #checkNew(key: TimeBucketKey, schema: BucketSchema): void {
    if (!isStorable(key.timeframeSeconds))
      throw new RequestError('MKTS_TIMEFRAME_UNSUPPORTED', {
        timeframe: key.timeframe,
        key: key.path,
      });
    checkSchema(schema);
    const bytes = recordBytesOf(schema);
    if (key.timeframeSeconds === 86_400 && bytes > RESERVED_TAIL_BYTES)
      throw new RequestError('MKTS_RECORD_TOO_LONG', { max: RESERVED_TAIL_BYTES, bytes });
    const { symbol, timeframe } = key;
    const above = ['', symbol, `${symbol}/${timeframe}`, key.path];
    above.forEach((directory, depth) => {
      const category = this.#categories.get(directory);
      const wanted = CATEGORY_CHAIN[depth] ?? LEAF_CATEGORY;
      if (category !== undefined && category !== wanted)
        throw new RequestError('MKTS_CATEGORY_MISMATCH', { key: key.path, category, wanted });
    });
  }

  #setAside(path: string, year: number): void {
    const { filesystem, root } = this.#context;
    const directory = join(root, path);
    for (let n = 1; n <= DAMAGED_FILES_MAX; n++) {
      const aside = join(directory, damagedYearFileName(year, n));
      if (filesystem.exists(aside)) continue;
      filesystem.rename(join(directory, yearFileName(year)), aside);
      filesystem.syncDirectory(directory);
      return;
    }
    throw readOnlyError(
      path,
      `${DAMAGED_FILES_MAX} damaged files of ${year} are set aside already`,
    );
  }
}

const DAMAGED = 'a year file is damaged';

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
