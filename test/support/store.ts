/** A store on a temporary directory, and rows for it: what the tests of kernel/storage share. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Column, ColumnSeries } from '../../kernel/base/column-series.ts';
import type { CorruptionError } from '../../kernel/base/errors.ts';
import { encodeRowBlock, rowBlockBytes } from '../../kernel/base/row-block.ts';
import { type BucketSchema, rowShapesOf } from '../../kernel/base/schema.ts';
import { UTC } from '../../kernel/base/zone.ts';
import type { RowBlockRef } from '../../kernel/storage/bucket.ts';
import { Catalog, type StoreOptions } from '../../kernel/storage/catalog.ts';
import { realFilesystem } from '../../kernel/storage/filesystem.ts';

export type TestStore = { catalog: Catalog; damage: CorruptionError[]; root: string };

export function temporaryRoot(): { root: string; remove(): void } {
  const root = mkdtempSync(join(tmpdir(), 'mkts-store-'));
  return { root, remove: () => rmSync(root, { recursive: true, force: true }) };
}

export function openStore(root: string, options: Partial<StoreOptions> = {}): TestStore {
  const damage: CorruptionError[] = [];
  const catalog = Catalog.open({
    root,
    filesystem: realFilesystem,
    zone: UTC,
    compressTicks: true,
    tickReadMode: 'exact',
    onDamage: (error) => damage.push(error),
    ...options,
  });
  return { catalog, damage, root };
}

/** A block of columns in row order with the schema's types, as the log would hold it. */
export function blockOf(
  schema: BucketSchema,
  columns: readonly Column[],
  rowCount: number,
): RowBlockRef {
  const buffer = new SharedArrayBuffer(rowBlockBytes(schema, rowCount));
  const block = {
    buffer,
    view: new DataView(buffer),
    bytes: new Uint8Array(buffer),
    words: new Int32Array(buffer),
    offset: 0,
    rowCount,
  };
  encodeRowBlock(block, 1, 1, columns, { from: 0, to: rowCount });
  return block;
}

/** A block of rows given as numbers in row order: [Epoch, …columns, Nanoseconds of ticks]. */
export function blockOfRows(
  schema: BucketSchema,
  rows: readonly (readonly number[])[],
): RowBlockRef {
  const columns = rowShapesOf(schema).map(({ name, type }, at): Column => {
    const data = type.view(new ArrayBuffer(type.bytes * rows.length), 0, rows.length);
    rows.forEach((row, index) => {
      const value = row[at] ?? 0;
      if (data instanceof BigInt64Array || data instanceof BigUint64Array)
        data[index] = BigInt(value);
      else data[index] = value;
    });
    return { name, type, data };
  });
  return blockOf(schema, columns, rows.length);
}

/** Rows as numbers, in the order of the columns. */
export function rowsOf(series: ColumnSeries): number[][] {
  return Array.from({ length: series.rowCount }, (_, row) =>
    series.columns.map(({ data }) => Number(data[row])),
  );
}
