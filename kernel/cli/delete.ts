/**
 * `mkts delete`: which rows a range of times holds, bucket by bucket, and with `--yes` their end. The
 * range is the one `mkts query` takes, so that it shows what goes.
 */

import { type DeletedBucket, type DeleteOptions, deleteRows } from './rpc-client.ts';

export interface DeleteCommand extends Omit<DeleteOptions, 'isDryRun'> {
  readonly url: string;
  readonly isSure: boolean;
  readonly json: boolean;
}

/** Prints what was deleted, or would be; returns the exit code: 0, or 1 if there is nothing. */
export async function runDelete(command: DeleteCommand): Promise<number> {
  const { url, isSure, json } = command;
  const deleted = await deleteRows(url, { ...command, isDryRun: !isSure });
  const lines = json
    ? [JSON.stringify({ deleted: isSure, buckets: deleted })]
    : textLines(deleted, isSure);
  process.stdout.write(lines.map((line) => `${line}\n`).join(''));
  return deleted.length > 0 ? 0 : 1;
}

function textLines(deleted: readonly DeletedBucket[], isSure: boolean): readonly string[] {
  if (deleted.length === 0) return ['no rows in that range'];
  const keyWidth = Math.max(...deleted.map(({ key }) => key.length));
  const rowsWidth = Math.max(...deleted.map(({ rows }) => String(rows).length));
  const total = deleted.reduce((sum, { rows }) => sum + rows, 0);
  const what = `${total} row${total === 1 ? '' : 's'} of ${deleted.length} bucket${deleted.length === 1 ? '' : 's'}`;
  return [
    ...deleted.map(
      ({ key, rows, first, last }) =>
        `${key.padEnd(keyWidth)}  ${String(rows).padStart(rowsWidth)} rows  ${isoOf(first)} to ${isoOf(last)}`,
    ),
    isSure ? `${what} deleted` : `${what} would be deleted; nothing was: add --yes to delete them`,
  ];
}

function isoOf(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace('.000Z', 'Z');
}
