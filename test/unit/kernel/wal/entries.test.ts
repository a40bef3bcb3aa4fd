import { describe, expect, test } from 'vitest';
import { PLUGIN_NAME_BYTES_MAX, TOUCHED_RANGES_MAX } from '../../../../kernel/base/limits.ts';
import {
  DELETE_ROWS_BYTES,
  decodeDeleteRows,
  decodeOwed,
  encodeDeleteRows,
  encodeOwed,
  type OwedBatch,
} from '../../../../kernel/wal/entries.ts';

const BATCH: OwedBatch = {
  trigger: 'on disk',
  key: 'AAPL/1Min/OHLCV',
  ranges: [
    { from: -62_135_596_800, to: -60 },
    { from: 1_600_000_000, to: 253_402_300_799 },
  ],
};

function decode(bytes: Uint8Array): ReturnType<typeof decodeOwed> {
  return decodeOwed({ bytes, view: new DataView(bytes.buffer) }, 0);
}

describe('what a trigger is owed', () => {
  test.each<[string, OwedBatch]>([
    ['a batch over all years', BATCH],
    [
      'a name of as many bytes as allowed',
      { ...BATCH, trigger: 'n'.repeat(PLUGIN_NAME_BYTES_MAX) },
    ],
    ['a name that is not ASCII', { ...BATCH, trigger: 'größer' }],
    [
      'as many ranges as allowed',
      {
        ...BATCH,
        ranges: Array.from({ length: TOUCHED_RANGES_MAX }, (_, at) => ({
          from: 600 * at,
          to: 600 * at + 60,
        })),
      },
    ],
  ])('%s comes back as it was', (_name, batch) => {
    const bytes = encodeOwed(7n, batch);
    expect(bytes.length % 8).toBe(0);
    expect(decode(bytes)).toEqual({ sequence: 7n, batch });
  });

  test('its bytes are those FORMAT.md draws', () => {
    const bytes = encodeOwed(7n, { trigger: 'agg', key: 'A/1D/X', ranges: [{ from: 1, to: 2 }] });
    expect(Buffer.from(bytes).toString('hex')).toBe(
      `38000000${'0800'}0100${'0700000000000000'}0300060000000000` +
        `${Buffer.from('aggA/1D/X').toString('hex')}${'00'.repeat(7)}` +
        '01000000000000000200000000000000',
    );
  });

  test.each<[string, (view: DataView) => void]>([
    ['no range', (view) => view.setUint16(6, 0, true)],
    ['more ranges than there is room', (view) => view.setUint16(6, 3, true)],
    ['more ranges than allowed', (view) => view.setUint16(6, TOUCHED_RANGES_MAX + 1, true)],
    ['no name', (view) => view.setUint16(16, 0, true)],
    ['a name too long', (view) => view.setUint16(16, PLUGIN_NAME_BYTES_MAX + 1, true)],
    ['a key that is none', (view) => view.setUint16(16, 8, true)],
    ['a name that is not UTF-8', (view) => view.setUint8(24, 0xff)],
    ['a range that ends before it begins', (view) => view.setBigInt64(48, -59n, true)],
    ['a range before all years', (view) => view.setBigInt64(48, -62_135_596_801n, true)],
    ['a range after all years', (view) => view.setBigInt64(72, 253_402_300_800n, true)],
    ['fewer bytes than its fixed part', (view) => view.setUint32(0, 16, true)],
  ])('%s is refused', (_name, spoil) => {
    const bytes = encodeOwed(7n, BATCH);
    spoil(new DataView(bytes.buffer));
    expect(decode(bytes)).toBeUndefined();
  });
});

describe('a deletion of rows', () => {
  const deletion = {
    bucketId: 3,
    originId: 2,
    times: { fromSeconds: -60, fromNanos: 5, toSeconds: 253_402_300_799, toNanos: 999_999_999 },
  };
  const encoded = (): DataView => {
    const bytes = new Uint8Array(DELETE_ROWS_BYTES);
    const view = new DataView(bytes.buffer);
    expect(encodeDeleteRows({ bytes, view, offset: 0 }, deletion)).toBe(DELETE_ROWS_BYTES);
    return view;
  };

  test('comes back as it was, and its bytes are those FORMAT.md draws', () => {
    const view = encoded();
    expect(decodeDeleteRows(view, 0)).toEqual(deletion);
    expect(Buffer.from(view.buffer).toString('hex')).toBe(
      '280000000a0000000300000002000000c4ffffffffffffff7f41f4ff3a00000005000000ffc99a3b',
    );
  });

  test.each<[string, (view: DataView) => void]>([
    ['another length', (view) => view.setUint32(0, 48, true)],
    ['an end before its beginning', (view) => view.setBigInt64(24, -61n, true)],
    ['a time before all years', (view) => view.setBigInt64(16, -62_135_596_801n, true)],
    ['a time after all years', (view) => view.setBigInt64(24, 253_402_300_800n, true)],
    ['more nanoseconds than a second has', (view) => view.setUint32(32, 1e9, true)],
  ])('with %s it is not readable', (_name, damage) => {
    const view = encoded();
    damage(view);
    expect(decodeDeleteRows(view, 0)).toBeUndefined();
  });
});
