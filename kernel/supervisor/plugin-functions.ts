/** What the kernel does for plugins, on the store: behind kernel-api.ts. Main thread. */

import type { ColumnSeries } from '../base/column-series.ts';
import { type BucketSchema, EPOCH_SHAPE } from '../base/schema.ts';
import { parseNewTimeBucketKey, type TimeBucketKey } from '../base/time-bucket-key.ts';
import type { Catalog } from '../storage/catalog.ts';
import type { KernelFunctions, PluginQuery } from './kernel-api.ts';

const NO_ROWS: ColumnSeries = {
  rowCount: 0,
  columns: [{ ...EPOCH_SHAPE, data: new BigInt64Array(0) }],
};

export function pluginFunctions(
  catalog: Catalog,
  told: Pick<KernelFunctions, 'metric' | 'denied' | 'deadLetters'>,
): KernelFunctions {
  return {
    openBucket(key: TimeBucketKey, schema: BucketSchema) {
      // All that its rows would be refused for later, when nobody could be told.
      const bucket = catalog.writable(key, schema);
      // A bucket is declared by its first row, not by the wish to write one.
      if (bucket === undefined) parseNewTimeBucketKey(key.path);
      return { schema: bucket?.schema ?? schema };
    },
    schemaOf(key: TimeBucketKey) {
      const bucket = catalog.known(key.path);
      return bucket?.readOnlyReason === undefined ? bucket?.schema : undefined;
    },
    async query({ key, from, to, limit, oldest, columns }: PluginQuery) {
      const range = {
        fromEnd: !oldest,
        ...(from === undefined ? {} : { fromSeconds: from }),
        ...(to === undefined ? {} : { toSeconds: to }),
        ...(limit === undefined ? {} : { limit }),
        ...(columns === undefined ? {} : { columns }),
      };
      return (await catalog.bucket(key.path)?.scan(range)) ?? NO_ROWS;
    },
    lastRow: (key: TimeBucketKey) => catalog.bucket(key.path)?.lastRow() ?? NO_ROWS,
    ...told,
  };
}
