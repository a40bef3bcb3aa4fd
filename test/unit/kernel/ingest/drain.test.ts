import { expect, test } from 'vitest';
import { FLOAT64 } from '../../../../kernel/base/element-type.ts';
import { closes, sendFrame, startIngestion } from '../../../support/ingestion.ts';

const JAN_1 = Date.UTC(2021, 0, 1) / 1000;
const SERIES = closes('AAPL/1Min/OHLCV', [{ name: 'Close', type: FLOAT64 }]);

test('frames of a ring become visible rows, and the plugin learns that they are committed', async () => {
  const { catalog, tap } = await startIngestion();
  const { writer } = tap([SERIES]);
  sendFrame(writer, 0, SERIES.schema, [JAN_1, JAN_1 + 60]);
  sendFrame(writer, 0, SERIES.schema, [JAN_1 + 120]);
  await writer.waitForCommitted();
  const rows = await catalog.bucket('AAPL/1Min/OHLCV')?.scan({ fromEnd: false });
  expect(Array.from(rows?.columns[0]?.data ?? [], Number)).toEqual([
    JAN_1,
    JAN_1 + 60,
    JAN_1 + 120,
  ]);
});

test.each<[string, (view: DataView, offset: number) => void, RegExp]>([
  ['a length that is not the one handed over', (v, o) => v.setUint32(o, 1 << 20, true), /./],
  ['an unknown kind', (v, o) => v.setUint16(o + 4, 9, true), /kind 9/],
  ['another column count', (v, o) => v.setUint16(o + 6, 7, true), /column count/],
  ['a series nobody opened', (v, o) => v.setUint32(o + 8, 41, true), /never opened/],
  ['more rows than it has bytes for', (v, o) => v.setUint32(o + 12, 1000, true), /1000 rows/],
  ['no rows', (v, o) => v.setUint32(o + 12, 0, true), /0 rows/],
  ['a row count near 2^32', (v, o) => v.setUint32(o + 12, 0xffff_fff0, true), /rows of its series/],
  ['a year past 9999', (v, o) => v.setBigInt64(o + 24, 1n << 40n, true), /years 1 to 9999/],
  ['an Epoch of all ones', (v, o) => v.setBigInt64(o + 24, (1n << 63n) - 1n, true), /years 1 to/],
])('a frame with %s is refused, and nothing of it is stored', async (_what, spoil, reason) => {
  const { catalog, tap, fatal } = await startIngestion();
  const hostile = tap([SERIES]);
  const healthy = tap([closes('GOOD/1Min/OHLCV', SERIES.schema.columns)]);
  sendFrame(hostile.writer, 0, SERIES.schema, [JAN_1, JAN_1 + 60], spoil);
  sendFrame(healthy.writer, 0, SERIES.schema, [JAN_1]);
  await healthy.writer.waitForCommitted();
  await expect.poll(() => hostile.refused.length).toBe(1);
  expect(hostile.refused[0]?.code).toMatch(/^MKTS_(FRAME|RING)_INVALID$/);
  expect(hostile.refused[0]?.message).toMatch(reason);
  expect(catalog.bucket('AAPL/1Min/OHLCV')).toBeUndefined();
  expect(catalog.bucket('GOOD/1Min/OHLCV')?.lastRow().rowCount).toBe(1);
  expect(fatal).toEqual([]);
});

test('rows for a bucket that was destroyed and made anew with other columns are refused', async () => {
  const { catalog, ingest, tap } = await startIngestion();
  const { writer, refused } = tap([SERIES]);
  sendFrame(writer, 0, SERIES.schema, [JAN_1]);
  await writer.waitForCommitted();
  await ingest.destroy('AAPL/1Min/OHLCV');
  const other = { recordType: 'fixed', columns: [{ name: 'Price', type: FLOAT64 }] } as const;
  await ingest.create(SERIES.key, other, 2021);
  sendFrame(writer, 0, SERIES.schema, [JAN_1 + 60]);
  await expect.poll(() => refused.length).toBe(1);
  expect(refused[0]?.message).toContain('unable to match data columns');
  expect(catalog.bucket('AAPL/1Min/OHLCV')?.lastRow().rowCount).toBe(0);
});

test('rows for a bucket that was destroyed make it anew', async () => {
  const { catalog, ingest, tap } = await startIngestion();
  const { writer } = tap([SERIES]);
  sendFrame(writer, 0, SERIES.schema, [JAN_1, JAN_1 + 60]);
  await writer.waitForCommitted();
  await ingest.destroy('AAPL/1Min/OHLCV');
  expect(catalog.bucket('AAPL/1Min/OHLCV')).toBeUndefined();
  sendFrame(writer, 0, SERIES.schema, [JAN_1 + 600]);
  await writer.waitForCommitted();
  const rows = await catalog.bucket('AAPL/1Min/OHLCV')?.scan({ fromEnd: false });
  expect(Array.from(rows?.columns[0]?.data ?? [], Number)).toEqual([JAN_1 + 600]);
});
