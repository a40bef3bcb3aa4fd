/**
 * Writes the rows of dead letters after all, as rows of the plugin they are of, each letter all or
 * nothing; one that is committed is removed. Main thread.
 *
 * They pass every check a write of that plugin passes now: the keys it may write, the bucket's
 * columns, values that fit exactly. What is refused stays, and the answer says why. A crash between
 * the commit and the removal leaves the letter: rows of bars are then written twice the same, and
 * ticks stand there twice.
 */

import type { Column } from './base/column-series.ts';
import {
  type DeadLetter,
  type LetterRows,
  letterColumns,
  letterValue,
  type ReplayAnswer,
} from './base/dead-letter.ts';
import { RequestError, reasonOf, StorageError } from './base/errors.ts';
import { refusedBlocks, refusedColumns } from './base/refused-frame.ts';
import {
  type BucketSchema,
  EPOCH_SHAPE,
  fromPlainSchema,
  NANOSECONDS_SHAPE,
} from './base/schema.ts';
import { parseTimeBucketKey } from './base/time-bucket-key.ts';
import type { Ingest, WriteBatch } from './ingest/ingest.ts';
import type { Origins } from './ingest/origins.ts';
import type { DeadLetters } from './supervisor/dead-letters.ts';
import type { WriteGrants } from './supervisor/write-grants.ts';

export interface LetterReplayOptions {
  readonly letters: Pick<DeadLetters, 'read' | 'remove'>;
  readonly ingest: Pick<Ingest, 'write'>;
  readonly origins: Pick<Origins, 'add'>;
}

export class LetterReplay {
  readonly #options: LetterReplayOptions;
  readonly #originIds = new Map<string, number>();
  /** 'plugin id' of what is being written: two operators do not write it twice. */
  readonly #underWay = new Set<string>();

  constructor(options: LetterReplayOptions) {
    this.#options = options;
  }

  /** In the order of `ids`. Rejects only if a letter cannot be read or removed. */
  async replay(plugin: string, ids: readonly number[], grants: WriteGrants): Promise<ReplayAnswer> {
    const replayed: ReplayAnswer['replayed'][number][] = [];
    const refused: ReplayAnswer['refused'][number][] = [];
    for (const id of new Set(ids)) {
      const identity = `${plugin} ${id}`;
      if (this.#underWay.has(identity)) {
        refused.push({ id, reason: 'it is being written already' });
        continue;
      }
      this.#underWay.add(identity);
      try {
        replayed.push({ id, rowCount: await this.#write(plugin, id, grants) });
      } catch (cause) {
        refused.push({ id, reason: reasonOf(cause) });
      } finally {
        this.#underWay.delete(identity);
      }
    }
    return { replayed, refused };
  }

  /** Returns the rows. */
  async #write(plugin: string, id: number, grants: WriteGrants): Promise<number> {
    const { letters, ingest } = this.#options;
    const batches = batchesOf(await letters.read(plugin, id));
    for (const { key } of batches)
      if (!grants.allows(key.path))
        throw new RequestError('MKTS_ADMIN_ARGUMENT', {
          argument: key.path,
          problem: `plugin ${plugin} may not write it; it may write ${grants.text}`,
        });
    await ingest.write(batches, { originId: this.#originOf(plugin), casts: 'exact' });
    try {
      await letters.remove(plugin, [id]);
    } catch (cause) {
      // What the disk refused to note comes back at the next start: who tries again then must know.
      throw new StorageError(
        'MKTS_DISK',
        {
          operation: 'removing',
          path: `dead letter ${id}`,
          reason: `its rows are written, but ${reasonOf(cause)}`,
        },
        { cause },
      );
    }
    return batches.reduce((count, { rowCount }) => count + rowCount, 0);
  }

  #originOf(plugin: string): number {
    let originId = this.#originIds.get(plugin);
    if (originId === undefined) {
      originId = this.#options.origins.add({ kind: 'plugin', name: plugin, generation: 0 });
      this.#originIds.set(plugin, originId);
    }
    return originId;
  }
}

/** Throws RequestError: what is wrong with its rows, or that it has none. */
export function batchesOf(letter: DeadLetter): readonly WriteBatch[] {
  const { rows, frames, series } = letter;
  const batches =
    rows !== undefined
      ? rows.map(batchOfRows)
      : frames !== undefined && series !== undefined
        ? batchesOfFrames(Buffer.from(frames, 'base64'), series)
        : [];
  if (batches.some(({ rowCount }) => rowCount > 0)) return batches;
  throw invalid(
    frames === undefined
      ? 'it holds no rows, but a message the plugin could not read'
      : 'it holds no rows, but a frame that is damaged',
  );
}

/** What the frames of a letter hold, for a person to read; undefined: nothing, or they are damaged. */
export function rowsOfFrames(letter: DeadLetter): readonly LetterRows[] | undefined {
  const { frames, series } = letter;
  if (frames === undefined || series === undefined) return undefined;
  try {
    return batchesOfFrames(Buffer.from(frames, 'base64'), series).map((batch) => ({
      key: batch.key.path,
      variable: batch.schema.recordType === 'variable',
      columns: batch.columns.map(({ name, type, data }) => ({
        name,
        type: type.name,
        values: Array.from(data, letterValue),
      })),
    }));
  } catch (cause) {
    if (cause instanceof RequestError) return undefined;
    throw cause;
  }
}

function batchOfRows(rows: LetterRows): WriteBatch {
  const key = parseTimeBucketKey(rows.key);
  const { rowCount, columns } = letterColumns(rows);
  return { key, schema: schemaOf(columns, rows.variable), columns, rowCount };
}

/** What a bucket of these rows would be, should there be none. */
function schemaOf(columns: readonly Column[], variable: boolean): BucketSchema {
  const implied = variable ? [EPOCH_SHAPE.name, NANOSECONDS_SHAPE.name] : [EPOCH_SHAPE.name];
  return {
    recordType: variable ? 'variable' : 'fixed',
    columns: columns
      .filter(({ name }) => !implied.includes(name))
      .map(({ name, type }) => ({ name, type })),
  };
}

function batchesOfFrames(
  bytes: Uint8Array,
  series: NonNullable<DeadLetter['series']>,
): readonly WriteBatch[] {
  const blocks = refusedBlocks(bytes);
  if (blocks === undefined) throw invalid('its frames are damaged');
  return blocks.map((block) => {
    const target = series.find(({ id }) => id === block.seriesId);
    const schema = target && fromPlainSchema(target.schema);
    const columns = schema && refusedColumns(bytes, block, schema);
    if (target === undefined || schema === undefined || columns === undefined)
      throw invalid('its frames are damaged');
    return { key: parseTimeBucketKey(target.key), schema, columns, rowCount: block.rowCount };
  });
}

function invalid(reason: string): RequestError {
  return new RequestError('MKTS_DATASET_INVALID', { reason });
}
