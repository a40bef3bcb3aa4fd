/**
 * A plugin's rows on their way into its transport: `ctx.write` and `ctx.flush`. Runs in the worker.
 *
 * The bucket's schema is asked for once per key and cached: from then on a write is checked, cast,
 * and encoded in place in the ring without a call to the kernel. Everything of a call is checked
 * before its first frame, so a call that is refused has written nothing.
 *
 * Invariant: calls are accepted in the order in which they were made, whoever waits for what. A call
 * that cannot finish at once queues, and all later ones queue behind it.
 */

import { assert } from '../kernel/base/assert.ts';
import type { Column } from '../kernel/base/column-series.ts';
import { MktsError } from '../kernel/base/errors.ts';
import { fitColumns } from '../kernel/base/fit-columns.ts';
import { FRAME_BYTES_MAX } from '../kernel/base/limits.ts';
import { encodeRowBlock, rowBlockBytes, rowsPerBlock } from '../kernel/base/row-block.ts';
import {
  type BucketSchema,
  fromPlainSchema,
  type PlainSchema,
  toPlainSchema,
} from '../kernel/base/schema.ts';
import type { Rows, WriteOptions } from '../plugins/sdk.ts';
import { type InferredRows, inferColumns, inferSchema } from './infer-columns.ts';
import type { OpenedSeries } from './protocol.ts';
import type { FrameWriter } from './transport.ts';

interface Series {
  readonly id: number;
  readonly schema: BucketSchema;
}

export type OpenSeries = (key: string, schema: PlainSchema) => Promise<OpenedSeries>;

export class SeriesWriter {
  readonly #transport: FrameWriter;
  readonly #openSeries: OpenSeries;
  readonly #series = new Map<string, Series>();
  /** The newest call that did not finish at once; undefined: none is under way. */
  #tail: Promise<void> | undefined;

  constructor(transport: FrameWriter, openSeries: OpenSeries) {
    this.#transport = transport;
    this.#openSeries = openSeries;
  }

  async write(key: string, rows: Rows, options: WriteOptions = {}): Promise<void> {
    const inferred = inferColumns(rows);
    if (inferred.rowCount === 0) return;
    const series = this.#series.get(key);
    if (this.#tail === undefined && series !== undefined) {
      const fitted = fitColumns(series.schema, inferred.columns, inferred.rowCount);
      const written = this.#writeWhileRoom(series, fitted, inferred.rowCount, 0);
      if (written === inferred.rowCount) return;
      return this.#queue(() => this.#writeRest(series, fitted, inferred.rowCount, written));
    }
    return this.#queue(() => this.#writeUnknown(key, inferred, options));
  }

  /** Resolves when everything written by calls made so far is committed. */
  async flush(): Promise<void> {
    // The caller of a refused write was told; a flush is about what was accepted.
    // Without one under way nothing may be awaited: a later write would slip in before the look.
    if (this.#tail !== undefined) await this.#tail.catch(() => {});
    await this.#transport.waitForCommitted();
  }

  #queue(task: () => Promise<void>): Promise<void> {
    const before = this.#tail;
    const run = before === undefined ? task() : before.then(task, task);
    this.#tail = run;
    const leave = (): void => {
      if (this.#tail === run) this.#tail = undefined;
    };
    run.then(leave, leave);
    return run;
  }

  async #writeUnknown(key: string, rows: InferredRows, options: WriteOptions): Promise<void> {
    const series = this.#series.get(key) ?? (await this.#open(key, rows, options));
    const fitted = fitColumns(series.schema, rows.columns, rows.rowCount);
    await this.#writeRest(series, fitted, rows.rowCount, 0);
  }

  async #open(key: string, rows: InferredRows, options: WriteOptions): Promise<Series> {
    const wanted = inferSchema(rows, options.variable === true);
    // By its own schema first, so that rows nobody could store declare no bucket.
    fitColumns(wanted, rows.columns, rows.rowCount);
    const { seriesId, schema } = await this.#openSeries(key, toPlainSchema(wanted));
    const known = fromPlainSchema(schema);
    if (known === undefined)
      throw new MktsError('MKTS_COLUMN_TYPE_UNKNOWN', { type: JSON.stringify(schema) });
    const series = { id: seriesId, schema: known };
    this.#series.set(key, series);
    return series;
  }

  async #writeRest(
    series: Series,
    columns: readonly Column[],
    rowCount: number,
    from: number,
  ): Promise<void> {
    for (let row = from; row < rowCount; ) {
      const next = this.#writeWhileRoom(series, columns, rowCount, row);
      if (next === row)
        await this.#transport.waitForRoom(frameBytes(series.schema, rowCount - row));
      row = next;
    }
  }

  /** Writes frames from row `from` on until there is no room; returns the first row not written. */
  #writeWhileRoom(
    series: Series,
    columns: readonly Column[],
    rowCount: number,
    from: number,
  ): number {
    const rowsMax = rowsPerBlock(series.schema, FRAME_BYTES_MAX);
    let row = from;
    while (row < rowCount) {
      const to = Math.min(rowCount, row + rowsMax);
      const bytes = rowBlockBytes(series.schema, to - row);
      const target = this.#transport.tryWrite(bytes);
      if (target === undefined) break;
      const encoded = encodeRowBlock(target, series.id, 0, columns, { from: row, to });
      assert(encoded === bytes, 'a block is as long as its rows say');
      this.#transport.commit();
      row = to;
    }
    return row;
  }
}

/** Bytes of the next frame when `rowCount` rows remain. */
function frameBytes(schema: BucketSchema, rowCount: number): number {
  return rowBlockBytes(schema, Math.min(rowCount, rowsPerBlock(schema, FRAME_BYTES_MAX)));
}
