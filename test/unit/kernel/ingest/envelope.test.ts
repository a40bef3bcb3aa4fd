import { expect, test } from 'vitest';
import { FLOAT64 } from '../../../../kernel/base/element-type.ts';
import { EPOCH_SHAPE } from '../../../../kernel/base/schema.ts';
import { encodeTexts } from '../../../../kernel/base/state-entry.ts';
import { encodeEnvelope, envelopeOf } from '../../../../workers/envelope.ts';
import type { RingWriter } from '../../../../workers/ring.ts';
import { closes, startIngestion } from '../../../support/ingestion.ts';

const JAN_1 = Date.UTC(2021, 0, 1) / 1000;
const A = closes('A/1Min/OHLCV', [{ name: 'Close', type: FLOAT64 }]);
const B = closes('B/1Min/OHLCV', A.schema.columns);
type Changes = Readonly<Record<string, string | undefined>>;

/** A bar of each series at `minutes` after New Year, and changes, as one frame. */
function send(
  writer: RingWriter,
  seriesIds: readonly number[],
  changes: Changes,
  spoil: (view: DataView, offset: number) => void = () => undefined,
): void {
  const blocks = seriesIds.map((seriesId) => ({
    seriesId,
    schema: A.schema,
    rowCount: 1,
    columns: [
      { ...EPOCH_SHAPE, data: BigInt64Array.of(BigInt(JAN_1)) },
      { name: 'Close', type: FLOAT64, data: Float64Array.of(seriesId) },
    ],
  }));
  const states = Object.entries(changes).map(([name, json]) => encodeTexts({ name, json }));
  const envelope = envelopeOf(blocks, states);
  const target = writer.tryWrite(envelope.bytes);
  if (target === undefined) throw new Error('the ring has room');
  encodeEnvelope(target, envelope);
  spoil(target.view, target.offset);
  writer.commit();
}

test('rows of several keys and state become one group, and state is there with the rows', async () => {
  const { catalog, states, watermarks, tap } = await startIngestion();
  const { writer } = tap([A, B]);
  send(writer, [0, 1], { cursor: '1' });
  await writer.waitForCommitted();
  // Sequence 1 is what ids mean, 2 the group.
  expect(watermarks.get('committed')).toBe(2n);
  expect(catalog.bucket(A.key.path)?.lastRow().rowCount).toBe(1);
  expect(catalog.bucket(B.key.path)?.lastRow().rowCount).toBe(1);
  expect(states.taken('test').entries).toEqual([['cursor', '1']]);
  expect(states.snapshot()).toEqual(new Map([['test', new Map([['cursor', '1']])]]));
  send(writer, [], { cursor: undefined, other: '{}' });
  await writer.waitForCommitted();
  expect(states.taken('test').entries).toEqual([['other', '{}']]);
  expect(states.snapshot()).toEqual(new Map([['test', new Map([['other', '{}']])]]));
});

test.each<[string, (view: DataView, offset: number) => void, RegExp]>([
  ['another length', (v, o) => v.setUint32(o, 1 << 20, true), /./],
  ['no entries', (v, o) => v.setUint16(o + 6, 0, true), /says 0/],
  ['more entries than it holds', (v, o) => v.setUint16(o + 6, 4, true), /3 entries and says 4/],
  ['an entry of no length', (v, o) => v.setUint32(o + 8, 0, true), /entry of 0 bytes/],
  ['an entry beyond its end', (v, o) => v.setUint32(o + 8, 4096, true), /entry of 4096 bytes/],
  ['an entry that is not aligned', (v, o) => v.setUint32(o + 8, 41, true), /entry of 41 bytes/],
  ['an envelope in it', (v, o) => v.setUint16(o + 12, 10, true), /kind 10/],
  ['an entry only the log may have', (v, o) => v.setUint16(o + 12, 5, true), /kind 5/],
  ['a series nobody opened', (v, o) => v.setUint32(o + 16, 9, true), /never opened/],
  ['rows that are wrong in the second block', (v, o) => v.setUint32(o + 60, 0, true), /0 rows/],
  ['state without a name', (v, o) => v.setUint16(o + 94, 0, true), /state is not readable/],
  ['state with a name too long', (v, o) => v.setUint16(o + 94, 300, true), /not readable/],
])('an envelope with %s is refused as a whole', async (_what, spoil, reason) => {
  const { catalog, states, tap, fatal } = await startIngestion();
  const { writer, refused } = tap([A, B]);
  send(writer, [0, 1], { cursor: '1' }, spoil);
  await expect.poll(() => refused.length).toBe(1);
  expect(refused[0]?.code).toMatch(/^MKTS_(FRAME|RING)_INVALID$/);
  expect(refused[0]?.message).toMatch(reason);
  for (const { key } of [A, B])
    expect(catalog.bucket(key.path)?.lastRow().rowCount ?? 0, key.path).toBe(0);
  expect(states.taken('test').entries).toEqual([]);
  expect(fatal).toEqual([]);
});

test('more state than its worker was told is not taken, whoever sent it', async () => {
  const { states, tap } = await startIngestion();
  const { writer, refused } = tap([A]);
  expect(states.taken('test').bytesMax).toBe(4096);
  send(writer, [], { a: 'x'.repeat(4096 - 64 - 1) });
  await writer.waitForCommitted();
  expect(states.bytesOf('test')).toBe(4096);
  send(writer, [], { a: 'x'.repeat(100) });
  send(writer, [], { a: 'y'.repeat(4096 - 64 - 1) });
  await writer.waitForCommitted();
  send(writer, [0], { b: 'y' });
  await expect.poll(() => refused.length).toBe(1);
  expect(refused[0]?.message).toContain('larger than it may be');
  expect(states.taken('test').entries).toEqual([['a', 'y'.repeat(4096 - 64 - 1)]]);
});

test('an envelope for a bucket that is being destroyed waits, and is then there as a whole', async () => {
  const { catalog, ingest, states, tap } = await startIngestion();
  const { writer } = tap([A, B]);
  send(writer, [0, 1], { cursor: '1' });
  await writer.waitForCommitted();
  const destroyed = ingest.destroy(B.key.path);
  send(writer, [0, 1], { cursor: '2' });
  await destroyed;
  await writer.waitForCommitted();
  expect(catalog.bucket(B.key.path)?.lastRow().rowCount).toBe(1);
  expect(states.taken('test').entries).toEqual([['cursor', '2']]);
});
