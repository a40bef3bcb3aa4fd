/**
 * `mkts query`: rows of a running server as a table on a terminal, or as one JSON object a line.
 */

import { once } from 'node:events';
import type { Column } from '../base/column-series.ts';
import { STRING16 } from '../base/element-type.ts';
import { type AnsweredBucket, type QueryOptions, queryServer } from './rpc-client.ts';

export interface QueryCommand extends QueryOptions {
  readonly url: string;
  readonly json: boolean;
}

/** Prints the rows; returns the exit code: 0, or 1 if there are none. */
export async function runQuery(command: QueryCommand): Promise<number> {
  const buckets = await queryServer(command.url, command);
  const print = command.json ? jsonLines : tableLines;
  for (const bucket of buckets)
    for (const line of print(bucket))
      if (!process.stdout.write(`${line}\n`)) await once(process.stdout, 'drain');
  return buckets.some(({ rowCount }) => rowCount > 0) ? 0 : 1;
}

function* jsonLines({ key, rowCount, columns }: AnsweredBucket): Generator<string> {
  for (let row = 0; row < rowCount; row++) {
    const values = columns.map((column) => [column.name, valueAt(column, row)] as const);
    yield JSON.stringify({ key, ...Object.fromEntries(values) });
  }
}

function* tableLines({ key, rowCount, columns }: AnsweredBucket): Generator<string> {
  const rows = Array.from({ length: rowCount }, (_, row) =>
    columns.map((column) =>
      column.name === 'Epoch' ? timeText(column, row) : String(valueAt(column, row)),
    ),
  );
  const widths = columns.map(({ name }, at) =>
    Math.max(name.length, ...rows.map((cells) => cells[at]?.length ?? 0)),
  );
  const align = (cells: readonly string[]): string =>
    cells.map((cell, at) => cell.padStart(widths[at] ?? 0)).join('  ');
  yield key;
  yield align(columns.map(({ name }) => name));
  for (const cells of rows) yield align(cells);
  yield `(${rowCount} row${rowCount === 1 ? '' : 's'})`;
}

function timeText(column: Column, row: number): string {
  return new Date(Number(column.data[row] ?? 0) * 1000).toISOString().replace('.000Z', 'Z');
}

function valueAt({ type, data }: Column, row: number): number | string {
  if (type !== STRING16) {
    const value = data[row] ?? 0;
    // JSON has no integers past 2^53: as text they stay exact.
    return typeof value === 'bigint' && !Number.isSafeInteger(Number(value))
      ? String(value)
      : Number(value);
  }
  const units = Array.from(data.subarray(row * type.lanes, (row + 1) * type.lanes), Number);
  return String.fromCodePoint(...units.filter((unit) => unit > 0 && unit <= 0x10_ffff));
}
