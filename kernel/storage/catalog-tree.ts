/**
 * Reads the directory tree once, when the server starts: which buckets there are, which year files
 * they have, and whether each file's header can be believed.
 *
 * Nothing found here stops the start: a bad name, category or header is reported and left out. What
 * the disk refuses to show does (no descriptors, no permission): a bucket left out for that would be
 * missing its acknowledged rows.
 */

import { join } from 'node:path';
import { CorruptionError, reasonOf } from '../base/errors.ts';
import { type BucketSchema, NANOSECONDS_SHAPE, recordBytesOf, sameSchema } from '../base/schema.ts';
import { parseTimeBucketKey, type TimeBucketKey } from '../base/time-bucket-key.ts';
import { isStorable } from '../base/timeframe.ts';
import { YearGrid } from '../base/year-grid.ts';
import {
  CATEGORY_CHAIN,
  CATEGORY_FILE,
  isYearFileName,
  LEAF_CATEGORY,
  METADATA_DIRECTORY,
  parseYearFileName,
} from './file-names.ts';
import type { DirectoryEntry } from './filesystem.ts';
import { decodeHeader, HEADER_BYTES, RESERVED_TAIL_BYTES, type YearHeader } from './header.ts';
import { isRefusal } from './refusal.ts';
import type { StoreContext } from './store-context.ts';

/** The file system's own, which only root may list. */
const LOST_AND_FOUND = 'lost+found';
/** Directories deeper than this hold nothing we could name. */
const DEPTH_MAX = 8;

export interface FoundBucket {
  readonly key: TimeBucketKey;
  /** Relative to the root. */
  readonly directory: string;
  /** Undefined if no year file can be used. */
  readonly schema: BucketSchema | undefined;
  readonly years: readonly { readonly year: number; readonly description: string }[];
  readonly damagedYears: ReadonlyMap<number, CorruptionError>;
  /** Why it takes no rows, damage aside. */
  readonly readOnlyReason: string | undefined;
}

export interface FoundTree {
  readonly buckets: readonly FoundBucket[];
  /** `category_name` of every directory, by path relative to the root ('' is the root). */
  readonly categories: ReadonlyMap<string, string>;
}

/** What reading the tree needs of a store. */
export type TreeContext = Pick<StoreContext, 'root' | 'filesystem' | 'zone' | 'reportDamage'>;

export function readTree(context: TreeContext): FoundTree {
  const tree = new TreeReader(context);
  tree.walk('', [], []);
  return tree;
}

class TreeReader implements FoundTree {
  readonly buckets: FoundBucket[] = [];
  readonly categories = new Map<string, string>();
  readonly #context: TreeContext;

  constructor(context: TreeContext) {
    this.#context = context;
  }

  walk(directory: string, items: readonly string[], categories: readonly string[]): void {
    const { filesystem, root } = this.#context;
    let entries: readonly DirectoryEntry[];
    let stored: Uint8Array | undefined;
    try {
      entries = filesystem.list(join(root, directory));
      stored = filesystem.readFile(join(root, directory, CATEGORY_FILE));
    } catch (error) {
      // Without its root there is no database.
      if (directory === '' || (isRefusal(error) && directory !== LOST_AND_FOUND)) throw error;
      this.#hide(directory, reasonOf(error));
      return;
    }
    if (stored === undefined || stored.length === 0) {
      // A root without a tree is a new database; a tree without files is one a crash left half made.
      const isTree = directory === '' ? this.#hasTree(entries) : this.#hasFiles(directory);
      if (isTree) this.#hide(directory, `it has no ${CATEGORY_FILE}`);
      return;
    }
    const category = Buffer.from(stored).toString();
    this.categories.set(directory, category);
    const files = entries.filter(({ name, kind }) => kind === 'file' && isYearFileName(name));
    for (const { name } of files)
      if (parseYearFileName(name) === undefined)
        this.#report(pathOf(directory, name), 'its name is no year');
    if (category === LEAF_CATEGORY) {
      const years = files.flatMap(({ name }) => parseYearFileName(name) ?? []);
      this.#leaf(directory, items, categories, years);
      return;
    }
    if (files.length > 0)
      this.#report(directory, `it has year files, and its category is ${category.slice(0, 40)}`);
    if (items.length >= DEPTH_MAX) return;
    for (const { name, kind } of entries)
      if (kind === 'directory' && name !== METADATA_DIRECTORY)
        this.walk(pathOf(directory, name), [...items, name], [...categories, category]);
  }

  /** What is there must not be made a second time: no new bucket fits this category. */
  #hide(directory: string, reason: string): void {
    this.categories.set(directory, '');
    this.#report(directory, reason);
  }

  /** True if a directory of the root is one of a tree, and files are in it. */
  #hasTree(entries: readonly DirectoryEntry[]): boolean {
    const { filesystem, root } = this.#context;
    return entries.some(
      ({ name, kind }) =>
        kind === 'directory' &&
        filesystem.exists(join(root, name, CATEGORY_FILE)) &&
        this.#hasFiles(name),
    );
  }

  /** Besides category files, and what was on its way to be one. */
  #hasFiles(directory: string, depth = 0): boolean {
    const { filesystem, root } = this.#context;
    return filesystem
      .list(join(root, directory))
      .some(({ name, kind }) =>
        kind === 'directory' && depth < DEPTH_MAX
          ? this.#hasFiles(pathOf(directory, name), depth + 1)
          : name !== CATEGORY_FILE && name !== `${CATEGORY_FILE}.new`,
      );
  }

  #leaf(
    directory: string,
    items: readonly string[],
    categories: readonly string[],
    years: readonly number[],
  ): void {
    const key = this.#keyOf(directory, items, categories);
    if (key === undefined || years.length === 0) return;
    const headers: YearHeader[] = [];
    const damagedYears = new Map<number, CorruptionError>();
    const damage = (year: number, reason: string, offset: number): void => {
      const path = pathOf(directory, `${year}.bin`);
      const error = new CorruptionError('MKTS_YEAR_FILE_CORRUPT', { path, reason, offset });
      damagedYears.set(year, error);
      this.#context.reportDamage(error);
    };
    for (const year of [...years].sort((a, b) => b - a)) {
      const header = this.#header(directory, key, year);
      const [newest] = headers;
      if ('reason' in header) damage(year, header.reason, header.offset);
      else if (newest !== undefined && !sameSchema(newest.schema, header.schema))
        damage(year, `its columns are not those of ${newest.year}`, 0);
      else headers.push(header);
    }
    const schema = headers[0]?.schema;
    this.buckets.push({
      key,
      directory,
      schema,
      years: headers.map(({ year, description }) => ({ year, description })).reverse(),
      damagedYears,
      readOnlyReason: schema === undefined ? undefined : readOnlyReasonOf(key, directory, schema),
    });
  }

  #keyOf(
    directory: string,
    items: readonly string[],
    categories: readonly string[],
  ): TimeBucketKey | undefined {
    const isPermutation =
      categories.length === CATEGORY_CHAIN.length &&
      CATEGORY_CHAIN.every((category) => categories.includes(category));
    if (!isPermutation) {
      this.#report(directory, `no key names the categories ${categories.join('/')}`);
      return undefined;
    }
    try {
      return parseTimeBucketKey(
        CATEGORY_CHAIN.map((category) => items[categories.indexOf(category)]).join('/'),
      );
    } catch (error) {
      this.#report(directory, reasonOf(error));
      return undefined;
    }
  }

  #header(
    directory: string,
    key: TimeBucketKey,
    year: number,
  ): YearHeader | { readonly reason: string; readonly offset: number } {
    const { filesystem, root, zone } = this.#context;
    const path = join(root, directory, `${year}.bin`);
    try {
      const file = filesystem.open(path, 'read');
      try {
        const header = decodeHeader((offset, bytes) => {
          const target = new Uint8Array(bytes);
          return target.subarray(0, file.read(target, offset));
        });
        if ('reason' in header) return header;
        if (header.year !== year)
          return { reason: `its header says year ${header.year}`, offset: 264 };
        if (header.timeframeSeconds !== key.timeframeSeconds)
          return { reason: `its timeframe is ${header.timeframeSeconds} s`, offset: 272 };
        const { slotCount } = new YearGrid(zone, header.timeframeSeconds, year);
        const bytes = HEADER_BYTES + slotCount * recordBytesOf(header.schema);
        const found = file.size();
        return found >= bytes
          ? header
          : { reason: `it has ${found} bytes, not ${bytes}`, offset: found };
      } finally {
        file.close();
      }
    } catch (error) {
      if (isRefusal(error)) throw error;
      return { reason: reasonOf(error), offset: 0 };
    }
  }

  #report(path: string, reason: string): void {
    this.#context.reportDamage(new CorruptionError('MKTS_CATALOG_CORRUPT', { path, reason }));
  }
}

function readOnlyReasonOf(
  key: TimeBucketKey,
  directory: string,
  schema: BucketSchema,
): string | undefined {
  if (directory !== key.path)
    return 'its tree has other categories than Symbol/Timeframe/AttributeGroup';
  if (!isStorable(key.timeframeSeconds)) return 'its timeframe does not divide 24 hours';
  if (key.timeframeSeconds === 86_400 && recordBytesOf(schema) > RESERVED_TAIL_BYTES)
    return 'its records do not fit the place of Jan 1';
  if (
    schema.recordType === 'variable' &&
    schema.columns.some(({ name }) => name === NANOSECONDS_SHAPE.name)
  )
    return 'its header lists Nanoseconds';
  return undefined;
}

function pathOf(directory: string, name: string): string {
  return directory === '' ? name : `${directory}/${name}`;
}
