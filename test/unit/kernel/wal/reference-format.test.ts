/** The log of example E13 of the format description: two write sets, then a checkpoint. */

import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { parseReferenceLog } from '../../../../kernel/wal/reference-format.ts';

const E13 = Buffer.from(
  `02010100002a36fe9c97170101002a36fe9c9717000000dd0000000000000001002a36fe9c9717020000000000
   00000018004141504c2f314d696e2f4f484c43562f323032312e62696e1400000000000000e064820000000000
   a30e0400000000000000c8420000484300004a4200401643e8030000060545706f636803044f70656e00044869
   676800034c6f770005436c6f73650006566f6c756d65010119004555525553442f315365632f5449434b2f3230
   31392e62696e180000000c000000a8ed0100000000008c0e0000000000000000803f0000004099999919000040
   400000804033333333030545706f63680303426964000341736b00a234181a126c4fac10682f061032f1620101
   002a36fe9c971700020101002a36fe9c971701000101002a36fe9c97170102`.replace(/\s/g, ''),
  'hex',
);
const CHECKPOINT_AT = 0x117;
const COMMIT_AT = 0x10c;
const GROUP_AT = 0x16;

function sets(bytes: Uint8Array): number {
  return parseReferenceLog(bytes).groups.reduce((count, group) => count + group.sets.length, 0);
}

test('the example is the one described', () => {
  expect(E13.length).toBe(301);
  expect(createHash('sha256').update(E13).digest('hex')).toBe(
    '1f0417f71e93906d7a5814abc31ea27be7e85c6610549d48a43966faccf12610',
  );
});

test('a checkpoint covers its group', () => {
  const log = parseReferenceLog(E13);
  expect(log).toMatchObject({ groups: [], checkpointedGroups: 1, problems: [], tornBytes: 0 });
  expect(log.messages.map(({ kind }) => kind).slice(0, 3)).toEqual([
    'status',
    'transaction',
    'group',
  ]);
});

test('without the checkpoint both write sets are there', () => {
  const log = parseReferenceLog(E13.subarray(0, CHECKPOINT_AT));
  expect(log.problems).toEqual([]);
  expect(log.groups).toHaveLength(1);
  const [bars, ticks] = log.groups[0]?.sets ?? [];
  expect(bars).toMatchObject({
    directory: 'AAPL/1Min/OHLCV',
    year: 2021,
    index: 0x40ea3,
    offset: 0x8264e0,
    recordType: 'fixed',
  });
  expect(bars?.data.length).toBe(20);
  expect(bars?.columns?.map(({ name, type }) => `${name} ${type.wire}`)).toEqual([
    'Open f4',
    'High f4',
    'Low f4',
    'Close f4',
    'Volume i4',
  ]);
  expect(ticks).toMatchObject({
    directory: 'EURUSD/1Sec/TICK',
    year: 2019,
    index: 0xe8c,
    offset: 0x1eda8,
    recordType: 'variable',
  });
  expect(ticks?.data.length).toBe(24);
});

test('cut anywhere it gives the group or nothing, and no problem', () => {
  for (let bytes = 0; bytes <= E13.length; bytes++) {
    const log = parseReferenceLog(E13.subarray(0, bytes));
    expect(log.problems, `cut at ${bytes}`).toEqual([]);
    const isWhole = bytes >= COMMIT_AT && bytes < E13.length;
    expect(sets(E13.subarray(0, bytes)), `cut at ${bytes}`).toBe(isWhole ? 2 : 0);
  }
});

test('one wrong byte anywhere is survived, and reported where it can be known', () => {
  const log = E13.subarray(0, CHECKPOINT_AT);
  for (let at = 0; at < log.length; at++)
    for (const mask of [0x01, 0x80, 0xff]) {
      const bytes = Buffer.from(log);
      bytes[at] = (bytes[at] ?? 0) ^ mask;
      const { problems } = parseReferenceLog(bytes);
      const isInGroup = at > GROUP_AT && at < COMMIT_AT;
      expect(sets(bytes), `byte ${at} ^ ${mask}`).toBe(isInGroup ? 0 : 2);
      if (isInGroup || at === GROUP_AT)
        expect(problems.length, `byte ${at} ^ ${mask}`).toBeGreaterThan(0);
    }
});

test('a checkpoint of a group nobody has seen is not believed', () => {
  const bytes = Buffer.from(E13);
  bytes.writeBigInt64LE(9_000_000_000_000_000_000n, CHECKPOINT_AT + 12);
  expect(sets(bytes)).toBe(2);
});

test('logs of older servers, without columns and without tick lengths, are read', () => {
  const path = Buffer.from('AAPL/1Min/OHLCV/2021.bin');
  for (const hasTickBytes of [true, false]) {
    const set = Buffer.concat([
      Buffer.from([0, path.length, 0]),
      path,
      Buffer.from([20, 0, 0, 0]),
      hasTickBytes ? Buffer.alloc(4) : Buffer.alloc(0),
      Buffer.from('e064820000000000a30e040000000000', 'hex'),
      Buffer.alloc(20, 1),
    ]);
    const body = Buffer.concat([Buffer.alloc(8, 1), Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]), set]);
    const length = Buffer.alloc(8);
    length.writeBigInt64LE(BigInt(body.length));
    const digest = createHash('md5').update(length).update(body).digest();
    const bytes = Buffer.concat([E13.subarray(0, 11), Buffer.from([0]), length, body, digest]);
    const log = parseReferenceLog(bytes);
    expect(log.problems).toEqual([]);
    expect(log.groups[0]?.sets[0]).toMatchObject({ index: 0x40ea3, columns: undefined });
  }
});
