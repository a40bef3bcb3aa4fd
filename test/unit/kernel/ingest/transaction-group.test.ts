import { expect, test } from 'vitest';
import { FLOAT64, INT64 } from '../../../../kernel/base/element-type.ts';
import { encodeRowBlock, rowBlockBytes } from '../../../../kernel/base/row-block.ts';
import type { BucketSchema } from '../../../../kernel/base/schema.ts';
import { TransactionGroup } from '../../../../kernel/ingest/transaction-group.ts';

const SCHEMA: BucketSchema = { recordType: 'fixed', columns: [{ name: 'Close', type: FLOAT64 }] };

function push(group: TransactionGroup, bucketId: number, rowCount: number): void {
  const epochs = Array.from({ length: rowCount }, (_, row) => bucketId * 1000 + row);
  const columns = [
    { name: 'Epoch', type: INT64, data: BigInt64Array.from(epochs, BigInt) },
    { name: 'Close', type: FLOAT64, data: Float64Array.from(epochs) },
  ];
  const target = { view: group.view, bytes: group.bytes, offset: group.end };
  encodeRowBlock(target, bucketId, bucketId + 100, columns, { from: 0, to: rowCount });
  group.push(rowBlockBytes(SCHEMA, rowCount), rowCount);
  group.buckets.add(bucketId);
  group.origins.add(bucketId + 100);
}

test('what is refused leaves the group, and the rest is as if it had come alone', () => {
  // Letters are requests, the others rows of plugins.
  for (const order of ['a1', '1a', '1a2', 'a1b2c', '1ab2', 'ab', '12', '']) {
    const group = new TransactionGroup(64 * 1024);
    const alone = new TransactionGroup(64 * 1024);
    const told: string[] = [];
    group.onEnd({ applied: () => told.push('applied'), failed: () => told.push('failed') });
    for (const name of order) {
      const id = Number.parseInt(name, 36);
      if (id < 10) {
        push(group, id, id + 1);
        push(alone, id, id + 1);
      } else
        group.request(
          { applied: () => told.push(`${name} applied`), failed: () => told.push(name) },
          () => {
            push(group, id, id);
            push(group, id + 1, 1);
          },
        );
    }
    group.refuse(new Error('no space'));
    expect(told).toEqual([...order].filter((name) => /[a-z]/.test(name)));
    for (const of of ['end', 'entryCount', 'rowCount', 'buckets', 'origins'] as const)
      expect(group[of], `${of} of ${order}`).toEqual(alone[of]);
    expect(group.bytes.subarray(0, group.end)).toEqual(alone.bytes.subarray(0, alone.end));
    // They have been told: the end of the group is none of theirs any more.
    told.length = 0;
    group.applied(1n);
    expect(told).toEqual(['applied']);
  }
});
