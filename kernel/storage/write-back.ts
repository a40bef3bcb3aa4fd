/**
 * One write-back: what was dirty when it began goes to disk, in an order that a crash at any point
 * leaves readable and repeatable.
 *
 *   directories, category files → sync → year files → tick chunks → sync → sums of what is about to be
 *   overwritten go → sync → cells and slots → sync → directories
 *
 * Order: a year file appears in a directory whose category is durable; without it the next start
 * would not look into the directory, and find the file when it makes it again.
 * Order: sums of pages go before the pages change (year-sums.ts); new ones come when all is durable.
 * Order: a cell is written when its chunk is durable, so it always leads to a whole chunk. The log
 * keeps the cells' old bytes (`cells`) before `run`, and replay puts them back, so that a repeated
 * write-back adds each tick once. Runs on the main thread in slices of CHECKPOINT_SLICE_MS.
 */

import { reasonOf, StorageError } from '../base/errors.ts';
import { CHECKPOINT_SLICE_MS, WRITE_BACK_SYNCS_MAX } from '../base/limits.ts';
import type { CellImage, StoreContext, StoredYear, YearWork } from './store-context.ts';

import type { YearFile } from './year-file.ts';

export type { CellImage } from './store-context.ts';

export interface WriteBack {
  /** Index cells this write-back overwrites, as the last complete checkpoint left them. */
  readonly cells: readonly CellImage[];
  /** Rejects with StorageError; then everything stays dirty, and the next one writes all of it. */
  run(): Promise<void>;
  /** Instead of `run`, when the log cannot say that it begins: everything stays dirty. */
  abandon(): void;
}

export class StoreWriteBack implements WriteBack {
  readonly cells: readonly CellImage[];
  readonly #context: StoreContext;
  readonly #afterCrash: boolean;
  readonly #works: readonly YearWork[];
  readonly #onEnd: () => void;
  readonly #slice = new Slice();

  constructor(context: StoreContext, afterCrash: boolean, onEnd: () => void) {
    this.#context = context;
    this.#afterCrash = afterCrash;
    this.#onEnd = onEnd;
    const years = [...context.pending];
    context.pending.clear();
    this.#works = years.map((year) => year.beginWork());
    this.cells = this.#works.flatMap(({ cells }) => cells);
  }

  async run(): Promise<void> {
    const { directories } = this.#context;
    try {
      directories.begin();
      for (const { file } of this.#years()) {
        if (!file.isOnDisk) {
          directories.make(file.directory);
          file.sums.sumsFile.removeStale();
        }
        if (this.#afterCrash) directories.suspect(file.directory);
        await this.#slice.end();
      }
      await this.#syncDirectories();
      for (const year of this.#years()) {
        if (!year.file.isOnDisk) await this.#create(year);
        await this.#slice.end();
      }
      for (const work of this.#works) await this.#finish(work, work.writeTail());
      await this.#sync((work) => work.cells.length > 0);
      await this.#clearSums();
      for (const work of this.#works) await this.#finish(work, work.writeSlots());
      await this.#sync(() => true);
      await this.#syncDirectories();
      for (const work of this.#works) work.succeed();
      for (const _year of this.#context.coldPages.endWriteBack()) await this.#slice.end();
    } catch (error) {
      for (const work of this.#works) work.fail();
      if (error instanceof StorageError) throw error;
      throw new StorageError('MKTS_CHECKPOINT', { reason: reasonOf(error) }, { cause: error });
    } finally {
      this.#onEnd();
    }
  }

  abandon(): void {
    for (const work of this.#works) work.fail();
    this.#onEnd();
  }

  *#years(): Generator<StoredYear> {
    for (const { year } of this.#works) if (!year.file.isDestroyed) yield year;
  }

  async #create({ file }: StoredYear): Promise<void> {
    const { directories } = this.#context;
    // Destroyed and written again since the directories were made.
    directories.make(file.directory);
    await file.create();
    if (!file.isDestroyed) directories.changed(file.directory);
  }

  async #syncDirectories(): Promise<void> {
    for (const sync of this.#context.directories.syncs()) {
      sync();
      await this.#slice.end();
    }
  }

  async #finish({ year }: YearWork, pieces: Generator<void>): Promise<void> {
    if (year.file.isDestroyed) return;
    for (const _piece of pieces) {
      await this.#slice.end();
      // Destroyed while others had the thread: its files are gone, and must not come back.
      if (year.file.isDestroyed) return;
    }
  }

  async #sync(needs: (work: YearWork) => boolean): Promise<void> {
    const files = this.#works.filter(needs).map(({ year }) => year.file);
    await eachOf(files, async (file) => {
      if (!file.isDestroyed) await file.datasync();
    });
  }

  async #clearSums(): Promise<void> {
    const cleared: YearFile[] = [];
    for (const work of this.#works) {
      const { file } = work.year;
      if (file.isDestroyed || !file.sums.isKept) continue;
      if (file.sums.beforeSlots(work.pages(), work.chunks())) cleared.push(file);
      await this.#slice.end();
    }
    await eachOf(cleared, async ({ sums, isDestroyed }) => {
      if (!isDestroyed) await sums.sumsFile.datasync();
    });
    for (const { sums } of cleared) sums.settle();
  }
}

async function eachOf(
  files: readonly YearFile[],
  sync: (file: YearFile) => Promise<void>,
): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let file = files[next++]; file !== undefined; file = files[next++]) await sync(file);
  };
  await Promise.all(Array.from({ length: WRITE_BACK_SYNCS_MAX }, worker));
}

/** Gives the thread away when it was held for CHECKPOINT_SLICE_MS. */
class Slice {
  #startMs = performance.now();

  async end(): Promise<void> {
    if (performance.now() - this.#startMs < CHECKPOINT_SLICE_MS) return;
    await new Promise((resolve) => setImmediate(resolve));
    this.#startMs = performance.now();
  }
}
