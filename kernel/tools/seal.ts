/**
 * `mkts tool integrity --seal`: writes the checksums of every page and chunk that has none, in year
 * files in which nothing is damaged. So what was written without them, by us or by a Go server, is
 * covered from now on: a seal says what is there, and not that it is what was once written.
 *
 * The caller holds the directory's lock, and has looked.
 */

import { join } from 'node:path';
import { MktsError } from '../base/errors.ts';
import { tickBytesOf } from '../base/schema.ts';
import { type FoundBucket, readTree } from '../storage/catalog-tree.ts';
import type { StoreContext } from '../storage/store-context.ts';
import { NO_SUM, sumOf } from '../storage/sums-format.ts';
import { CELL_BYTES, ChunkReader, decodeCell } from '../storage/tick-cells.ts';
import { YearFile } from '../storage/year-file.ts';
import type { WrittenChunk } from '../storage/year-sums.ts';
import type { IntegrityOptions, IntegrityReport } from './integrity.ts';
import { eachPage, eachSlotBatch, isEmpty } from './slot-batches.ts';
import { toolContext } from './tool-context.ts';

export interface Sealed {
  /** That had no sum before. */
  readonly pages: number;
  readonly chunks: number;
  /** Year files with damage, which are not sealed. */
  readonly leftOut: number;
}

/**
 * Throws MKTS_SEAL if a log waits to be replayed, since that changes pages, or if there is more damage
 * than the report names. Throws StorageError if the disk fails.
 */
export function seal(options: IntegrityOptions, report: IntegrityReport): Sealed {
  const { findings, unsaid, logs } = report;
  if (logs.waitingGroups > 0 || logs.restoredCells.length > 0)
    throw new MktsError('MKTS_SEAL', {
      reason: 'a log waits to be replayed; start the server once, stop it, and seal again',
    });
  if (logs.referenceLogs > 0)
    throw new MktsError('MKTS_SEAL', {
      reason:
        'a Go server was here last, and a start drops all checksums then; start the server once',
    });
  if (unsaid > 0) throw new MktsError('MKTS_SEAL', { reason: 'too much is damaged to be named' });
  const damaged = new Set(
    findings.filter(({ severity }) => severity === 'damage').map(({ path }) => path),
  );
  const context = toolContext(options, () => undefined);
  const count = { pages: 0, chunks: 0, leftOut: 0 };
  try {
    for (const bucket of readTree(context).buckets)
      for (const file of filesOf(context, bucket))
        if (damaged.has(file.path) || damaged.has(file.sums.sumsFile.path)) count.leftOut++;
        else sealFile(file, count);
  } finally {
    context.files.close();
  }
  return count;
}

function* filesOf(context: StoreContext, bucket: FoundBucket): Generator<YearFile> {
  const { key, directory, schema, years } = bucket;
  const { timeframeSeconds } = key;
  if (schema === undefined) return;
  for (const { year, description } of years) {
    const options = { context, directory, schema, timeframeSeconds, year, description };
    const file = new YearFile({ ...options, isOnDisk: true });
    yield file;
    file.close();
  }
}

/** What is sealed is durable when it returns. */
function sealFile(file: YearFile, count: { pages: number; chunks: number }): void {
  const { sums, context } = file;
  // Order: before any sum. A server that was not ours may have left slots with the system only.
  file.datasyncBlocking();
  const entries = sums.pageSums(0, sums.layout.pageCount);
  eachPage(file, (page, bytes) => {
    if (entries[page] === NO_SUM && !isEmpty(bytes)) sums.written(page, sumOf(bytes));
  });
  const pages = sums.waiting;
  sums.writeCold(Number.POSITIVE_INFINITY);
  const chunks = file.schema.recordType === 'variable' ? sealChunks(file) : 0;
  if (pages + chunks === 0) return;
  sums.sumsFile.datasyncBlocking();
  context.filesystem.syncDirectory(join(context.root, file.directory));
  count.pages += pages;
  count.chunks += chunks;
}

function sealChunks(file: YearFile): number {
  const { sums } = file;
  const fileBytes = file.size();
  let count = 0;
  eachSlotBatch(file, ({ first, end, words, bytes }) => {
    const reader = new ChunkReader(file, tickBytesOf(file.schema), false);
    const chunks: WrittenChunk[] = [];
    for (let position = first; position < end; position++) {
      const slot = (position - first) * CELL_BYTES;
      const cell = decodeCell(file, position, { words, bytes }, slot, fileBytes);
      if (typeof cell !== 'object' || reader.isSummed(position, cell)) continue;
      chunks.push({ position, offset: cell.offset, sum: reader.sum(cell) });
    }
    sums.beforeSlots([], chunks);
    count += chunks.length;
  });
  return count;
}
