/**
 * A year file whose header cannot be believed: what the header would be, if another year of the
 * bucket says what the columns are, and if the slots bear it out.
 *
 * The proof is in the slots: read with the record length of the other year, each filled one must
 * carry the index of its own place, and there must be one. So a file of other columns stays aside.
 */

import { join } from 'node:path';
import type { FoundBucket } from '../storage/catalog-tree.ts';
import { encodeHeader, HEADER_BYTES, RESERVED_TAIL_BYTES } from '../storage/header.ts';
import type { StoreContext } from '../storage/store-context.ts';
import { YearFile } from '../storage/year-file.ts';
import type { Change } from './findings.ts';
import { eachSlotBatch } from './slot-batches.ts';

/** The tail is no header: in daily buckets the slot of Jan 1 reaches into it. */
const REPLACED_BYTES = HEADER_BYTES - RESERVED_TAIL_BYTES;
const VERSION_BYTES = 8;

export function headerChange(
  context: StoreContext,
  { key, directory, schema, years }: FoundBucket,
  year: number,
): Change | undefined {
  const description = years.at(-1)?.description;
  if (schema === undefined || description === undefined) return undefined;
  const { timeframeSeconds } = key;
  const options = { context, directory, schema, timeframeSeconds, year, description };
  const file = new YearFile({ ...options, isOnDisk: true });
  try {
    if (!context.filesystem.exists(join(context.root, file.path))) return undefined;
    if (file.size() < file.sparseBytes) return undefined;
    const before = new Uint8Array(REPLACED_BYTES);
    file.read(before, 0);
    const header = encodeHeader({ description, year, timeframeSeconds, schema });
    const after = header.slice(0, REPLACED_BYTES);
    // A header of another version is another format, and no damage.
    const isVersion = Buffer.compare(before.subarray(0, VERSION_BYTES), after.subarray(0, 8)) === 0;
    const isEmpty = before.subarray(0, VERSION_BYTES).every((byte) => byte === 0);
    if (!isVersion && !isEmpty) return undefined;
    return isBorneOut(file) ? { path: file.path, offset: 0, before, after } : undefined;
  } finally {
    file.close();
  }
}

function isBorneOut(file: YearFile): boolean {
  let own = 0;
  let foreign = 0;
  eachSlotBatch(file, ({ first, end, words }) => {
    for (let position = Math.max(first, 0); position < end; position++) {
      const word = ((position - first) * file.recordBytes) >> 2;
      if (words[word] === position + 1 && words[word + 1] === 0) own++;
      else if (words[word] !== 0 || words[word + 1] !== 0) foreign++;
    }
  });
  return own > 0 && foreign === 0;
}
