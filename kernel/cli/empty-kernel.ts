/** What a plugin has for a kernel where there is no database. */

import { EPOCH_SHAPE } from '../base/schema.ts';
import type { KernelFunctions } from '../supervisor/kernel-api.ts';

/** A store that holds nothing and takes everything. */
export const EMPTY_KERNEL: KernelFunctions = {
  openBucket: (_key, schema) => ({ schema }),
  schemaOf: () => undefined,
  query: async () => ({ rowCount: 0, columns: [{ ...EPOCH_SHAPE, data: new BigInt64Array(0) }] }),
  lastRow: () => ({ rowCount: 0, columns: [{ ...EPOCH_SHAPE, data: new BigInt64Array(0) }] }),
  metric: () => undefined,
};
