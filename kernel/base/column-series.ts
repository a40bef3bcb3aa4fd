/**
 * Rows by column, as typed arrays: what a client sends, a query returns and a function computes on.
 * Invariant: every column holds exactly `rowCount` values (times `lanes` for STRING16).
 */

import type { ColumnData, ElementType } from './element-type.ts';

export interface Column {
  readonly name: string;
  readonly type: ElementType;
  readonly data: ColumnData;
}

export interface ColumnSeries {
  readonly rowCount: number;
  readonly columns: readonly Column[];
}

export function columnNamed(series: ColumnSeries, name: string): Column | undefined {
  return series.columns.find((column) => column.name === name);
}

/** Bytes of a column as they lie in memory: little-endian, without copying. Default: all. */
export function columnBytes(
  data: ColumnData,
  from = 0,
  count: number = data.byteLength - from,
): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset + from, count);
}
