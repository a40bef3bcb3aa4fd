/** Writes rows to a running server over `/rpc`. Rejects with the server's words if it refuses. */

import { columnBytes } from '../../kernel/base/column-series.ts';
import type { ColumnData } from '../../kernel/base/element-type.ts';
import { callServer } from '../../kernel/cli/rpc-client.ts';

export interface WireColumn {
  readonly name: string;
  /** Wire type, 'f8'. */
  readonly type: string;
  readonly data: ColumnData;
}

export async function writeRows(
  url: string,
  key: string,
  columns: readonly WireColumn[],
  options: { readonly variable?: boolean } = {},
): Promise<void> {
  const rowCount = columns[0]?.data.length ?? 0;
  const longKey = `${key}:Symbol/Timeframe/AttributeGroup`;
  const dataset = {
    types: columns.map(({ type }) => type),
    names: columns.map(({ name }) => name),
    data: columns.map(({ data }) => Buffer.from(columnBytes(data))),
    length: rowCount,
    startindex: { [longKey]: 0 },
    lengths: { [longKey]: rowCount },
  };
  const result = (await callServer(url, 'Write', {
    requests: [{ dataset, is_variable_length: options.variable === true }],
  })) as { responses: readonly { error: string }[] | null };
  const [refused] = result.responses ?? [];
  if (refused !== undefined) throw new Error(refused.error);
}
