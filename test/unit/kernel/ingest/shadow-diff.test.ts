/** The diff itself, on a clock the test turns; and the ring of a shadow, which reaches the diff only. */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FLOAT64, INT64, STRING16 } from '../../../../kernel/base/element-type.ts';
import { SHADOW_SAMPLES_MAX, SHADOW_WINDOWS_MAX } from '../../../../kernel/base/limits.ts';
import type { BucketSchema } from '../../../../kernel/base/schema.ts';
import { ShadowDiff, type Side } from '../../../../kernel/ingest/shadow-diff.ts';
import { createRing, RingReader, RingWriter } from '../../../../workers/ring.ts';
import { closes, sendFrame, startIngestion } from '../../../support/ingestion.ts';
import { blockOfRows } from '../../../support/store.ts';

const BARS: BucketSchema = { recordType: 'fixed', columns: [{ name: 'Close', type: FLOAT64 }] };
const TICKS: BucketSchema = { recordType: 'variable', columns: BARS.columns };
const WINDOW_MS = 10_000;
const NONE = {
  equal: 0,
  different: 0,
  onlyOld: 0,
  onlyNew: 0,
  disputed: 0,
  atStart: 0,
  uncompared: 0,
  waiting: 0,
};

function diffOf(bounds: { readonly rowsMax?: number; readonly bytesMax?: number } = {}) {
  const clock = { nowMs: 0 };
  const diff = new ShadowDiff({ nowMs: () => clock.nowMs, windowMs: WINDOW_MS, ...bounds });
  const take = (
    side: Side,
    rows: readonly (readonly number[])[],
    schema = BARS,
    key = 'AAPL/1Min/OHLCV',
  ): void => {
    const { bytes } = blockOfRows(schema, rows);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    diff.takeBlock(side, key, schema, view, 0);
  };
  return { diff, clock, take };
}

test('the same rows are equal, and a later shadow has a lag', () => {
  const { diff, clock, take } = diffOf();
  take('old', [
    [60, 1],
    [120, 2],
  ]);
  expect(diff.counts).toEqual({ ...NONE, waiting: 2 });
  clock.nowMs = 40;
  take('new', [[60, 1]]);
  take('new', [[120, 2]]);
  expect(diff.counts).toEqual({ ...NONE, equal: 2 });
  expect(diff.lagMs).toEqual({ median: 40, p99: 40 });
  expect(diff.samples).toEqual([]);
});

test('a row with other bytes is different, and shown with both values', () => {
  const { diff, clock, take } = diffOf();
  take('new', [[60, 1.5]]);
  take('old', [[60, 1]]);
  expect(diff.counts).toEqual({ ...NONE, disputed: 1 });
  expect(diff.samples.map(({ what }) => what)).toEqual(['disputed']);
  expect(diff.isProven(0)).toBe(false);
  clock.nowMs = WINDOW_MS;
  diff.sweep();
  expect(diff.counts).toEqual({ ...NONE, different: 1 });
  expect(diff.samples).toEqual([
    {
      what: 'different',
      key: 'AAPL/1Min/OHLCV',
      epoch: 60,
      nanoseconds: undefined,
      old: { Close: 1 },
      new: { Close: 1.5 },
    },
  ]);
});

test('of a bar that is written again the last one counts, whoever asked the venue first', () => {
  const { diff, clock, take } = diffOf();
  // Both see it grow, at other moments, and see the same in the end.
  take('old', [[60, 1]]);
  take('new', [[60, 2]]);
  clock.nowMs = 6_000;
  take('old', [[60, 3]]);
  expect(diff.counts).toEqual({ ...NONE, disputed: 1 });
  clock.nowMs = 12_000;
  diff.sweep();
  take('new', [[60, 3]]);
  expect(diff.counts).toEqual({ ...NONE, equal: 1 });
  // Once more the same is nothing new; another value is, until the other has it too.
  take('old', [[60, 3]]);
  take('new', [[60, 3]]);
  expect(diff.counts).toEqual({ ...NONE, equal: 1 });
  take('old', [[60, 4]]);
  expect(diff.counts).toEqual({ ...NONE, equal: 1, disputed: 1 });
  expect(diff.samples).toMatchObject([{ what: 'disputed', old: { Close: 4 }, new: { Close: 3 } }]);
  take('old', [[60, 3]]);
  expect(diff.counts).toEqual({ ...NONE, equal: 2 });
});

test('a bar that never rests is judged all the same', () => {
  const { diff, clock, take } = diffOf();
  let value = 0;
  for (; diff.counts.different === 0 && clock.nowMs < 1_000 * WINDOW_MS; clock.nowMs += 5_000) {
    take('old', [[60, value++]]);
    take('new', [[60, -value]]);
    diff.sweep();
  }
  expect(clock.nowMs / WINDOW_MS).toBeGreaterThan(SHADOW_WINDOWS_MAX);
  expect(clock.nowMs / WINDOW_MS).toBeLessThan(SHADOW_WINDOWS_MAX + 2);
});

test('ticks of one second are told apart by their nanoseconds, and of one instant by their order', () => {
  const { diff, take } = diffOf();
  take(
    'old',
    [
      [60, 1, 5],
      [60, 2, 5],
      [60, 3, 6],
    ],
    TICKS,
  );
  take(
    'new',
    [
      [60, 3, 6],
      [60, 1, 5],
      [60, 2, 5],
    ],
    TICKS,
  );
  expect(diff.counts).toEqual({ ...NONE, equal: 3 });
  take(
    'old',
    [
      [61, 1, 5],
      [61, 2, 5],
    ],
    TICKS,
  );
  take(
    'new',
    [
      [61, 2, 5],
      [61, 1, 5],
    ],
    TICKS,
  );
  expect(diff.counts).toEqual({ ...NONE, equal: 3, different: 2 });
});

test('what the other side never writes is of one side only, after the window and not before', () => {
  const { diff, clock, take } = diffOf();
  take('new', [[0, 0]]);
  take('old', [[0, 0]]);
  clock.nowMs = 5_000;
  take('old', [[60, 1]]);
  take('new', [[120, 2]]);
  clock.nowMs = 5_000 + WINDOW_MS - 1;
  diff.sweep();
  expect(diff.counts).toEqual({ ...NONE, equal: 1, waiting: 2 });
  clock.nowMs++;
  diff.sweep();
  expect(diff.counts).toEqual({ ...NONE, equal: 1, onlyOld: 1, onlyNew: 1 });
  expect(diff.samples.map(({ what, old, new: fresh }) => [what, old, fresh])).toEqual([
    ['only old', { Close: 1 }, undefined],
    ['only new', undefined, { Close: 2 }],
  ]);
});

test('rows of one side around the shadow’s first are of the start; a shadow that never writes is not spared', () => {
  const { diff, clock, take } = diffOf();
  take('old', [[60, 1]]);
  clock.nowMs = 3_000;
  take('new', [[600, 10]]);
  clock.nowMs = 3_900;
  take('old', [[120, 2]]);
  clock.nowMs = 20_000;
  diff.sweep();
  expect(diff.counts).toEqual({ ...NONE, atStart: 3 });

  const silent = diffOf();
  silent.take('old', [[60, 1]]);
  silent.clock.nowMs = WINDOW_MS;
  silent.diff.sweep();
  expect(silent.diff.counts).toEqual({ ...NONE, onlyOld: 1 });
});

test('other columns under one key are a difference', () => {
  const { diff, take } = diffOf();
  take('old', [[60, 1]]);
  take('new', [[60, 1]], { recordType: 'fixed', columns: [{ name: 'Last', type: FLOAT64 }] });
  expect(diff.counts).toEqual({ ...NONE, disputed: 1 });
  expect(diff.samples[0]).toMatchObject({ old: { Close: 1 }, new: { Last: 1 } });
});

test('values that JSON has no number for are shown as texts', () => {
  const { diff, take } = diffOf();
  const schema: BucketSchema = {
    recordType: 'fixed',
    columns: [
      { name: 'Close', type: FLOAT64 },
      { name: 'Id', type: INT64 },
      { name: 'Name', type: STRING16 },
    ],
  };
  take('old', [[60, Number.NaN, 2 ** 62, 0x41]], schema);
  take('new', [[60, Number.POSITIVE_INFINITY, 7, 0x42]], schema);
  expect(diff.samples[0]?.old).toMatchObject({ Close: 'NaN', Id: String(2n ** 62n) });
  expect(diff.samples[0]?.new).toMatchObject({ Close: 'Infinity', Id: 7 });
  expect(typeof diff.samples[0]?.old?.Name).toBe('string');
  expect(() => JSON.stringify(diff.samples)).not.toThrow();
});

test('past its bounds the oldest stay uncompared, and the shadow is held up before that', () => {
  const { diff, take } = diffOf({ rowsMax: 10 });
  for (let row = 0; row < 4; row++) take('new', [[60 * row, row]]);
  expect(diff.hasRoom).toBe(true);
  take('new', [[600, 0]]);
  expect(diff.hasRoom).toBe(false);
  for (let row = 20; row < 26; row++) take('old', [[60 * row, row]]);
  diff.sweep();
  // The oldest, down to nine tenths.
  expect(diff.counts).toEqual({ ...NONE, uncompared: 2, waiting: 9 });
  expect(diff.isProven(0)).toBe(false);

  // What the other side writes of those is not known either, and no difference.
  const late = diffOf({ rowsMax: 10 });
  late.take('new', [[0, 0]]);
  late.take('old', [[0, 0]]);
  late.clock.nowMs = 5_000;
  for (let row = 1; row <= 12; row++) late.take('old', [[60 * row, row]]);
  late.diff.sweep();
  for (let row = 1; row <= 12; row++) late.take('new', [[60 * row, row]]);
  late.clock.nowMs += WINDOW_MS;
  late.diff.sweep();
  expect(late.diff.counts).toEqual({ ...NONE, equal: 10, uncompared: 6 });

  // The one that serves may be as far ahead as it will: the shadow can follow.
  const behind = diffOf({ rowsMax: 10 });
  for (let row = 0; row < 10; row++) behind.take('old', [[60 * row, row]]);
  expect(behind.diff.hasRoom).toBe(true);
  behind.diff.close();
  expect(behind.diff.counts).toEqual({ ...NONE, uncompared: 10 });

  const bytes = diffOf({ bytesMax: 1_000 });
  for (let row = 0; row < 10; row++) bytes.take('old', [[60 * row, row]]);
  bytes.diff.sweep();
  expect(bytes.diff.counts.uncompared).toBeGreaterThan(0);
  expect(bytes.diff.counts.waiting).toBeGreaterThan(0);
});

test('only the first differences of a kind are kept', () => {
  const { diff, clock, take } = diffOf();
  for (let row = 0; row < 3 * SHADOW_SAMPLES_MAX; row++) {
    take('old', [[60 * row, 1]]);
    take('new', [[60 * row, 2]]);
  }
  expect(diff.samples).toHaveLength(SHADOW_SAMPLES_MAX);
  clock.nowMs = WINDOW_MS;
  diff.sweep();
  expect(diff.counts.different).toBe(3 * SHADOW_SAMPLES_MAX);
  expect(diff.samples.map(({ epoch }) => epoch)).toEqual(
    Array.from({ length: SHADOW_SAMPLES_MAX }, (_, row) => 60 * row),
  );
});

test('enough equal rows prove nothing while an older row still waits for its other half', () => {
  const { diff, clock, take } = diffOf();
  take('new', [[0, 0]]);
  take('old', [[0, 0]]);
  clock.nowMs = 2_000;
  take('old', [
    [60, 1],
    [120, 2],
  ]);
  take('new', [[120, 2]]);
  expect(diff.isProven(3)).toBe(false);
  expect(diff.isProven(2)).toBe(false);
  clock.nowMs = 2_500;
  // Younger than the moment there were enough: it can wait.
  take('old', [[180, 3]]);
  expect(diff.isProven(2)).toBe(false);
  take('new', [[60, 1]]);
  expect(diff.isProven(2)).toBe(true);
  take('new', [[180, 4]]);
  clock.nowMs += WINDOW_MS;
  diff.sweep();
  expect(diff.counts.different).toBe(1);
  expect(diff.isProven(2)).toBe(false);
});

const STREAM = fc.array(
  fc.record({
    key: fc.constantFrom('A/1Min/OHLCV', 'B/1Min/OHLCV', 'A/1Sec/TICK'),
    second: fc.nat({ max: 4 }),
    nanos: fc.nat({ max: 1 }),
    value: fc.nat({ max: 3 }),
  }),
  { maxLength: 60 },
);

test('streams that are equal give no difference, however they interleave', () => {
  fc.assert(
    fc.property(STREAM, fc.array(fc.boolean(), { maxLength: 200 }), (stream, choices) => {
      const { diff, clock, take } = diffOf();
      const at = { old: 0, new: 0 };
      for (let step = 0; at.old < stream.length || at.new < stream.length; step++) {
        const wanted: Side = (choices[step] ?? step % 2 === 0) ? 'old' : 'new';
        const side: Side = at[wanted] < stream.length ? wanted : wanted === 'old' ? 'new' : 'old';
        const row = stream[at[side]++];
        if (row === undefined) throw new Error('a side has a row left');
        const { key, second, nanos, value } = row;
        const isTick = key.endsWith('TICK');
        take(side, [isTick ? [second, value, nanos] : [second, value]], isTick ? TICKS : BARS, key);
        clock.nowMs += 7;
        diff.sweep();
      }
      const { equal, ...others } = diff.counts;
      expect({ ...others, equal: 0 }).toEqual(NONE);
      const ticks = stream.filter(({ key }) => key.endsWith('TICK'));
      const bars = stream.filter(({ key }) => !key.endsWith('TICK'));
      const places = new Set(bars.map(({ key, second }) => `${key} ${second}`));
      expect(equal).toBeGreaterThanOrEqual(ticks.length + places.size);
      expect(equal).toBeLessThanOrEqual(ticks.length + 2 * bars.length);
    }),
  );
});

test('one changed tick anywhere in a stream is a difference', () => {
  fc.assert(
    fc.property(STREAM, fc.nat(), (stream, pick) => {
      fc.pre(stream.length > 0);
      const { diff, take } = diffOf();
      const changed = pick % stream.length;
      for (const { key, second, nanos, value } of stream)
        take('old', [[second, value, nanos]], TICKS, key);
      for (const [at, { key, second, nanos, value }] of stream.entries())
        take('new', [[second, at === changed ? value + 0.5 : value, nanos]], TICKS, key);
      expect(diff.counts).toEqual({ ...NONE, equal: stream.length - 1, different: 1 });
    }),
  );
});

test('of bars as many are told as would be stored differently', () => {
  fc.assert(
    fc.property(STREAM, STREAM, fc.array(fc.boolean()), (old, fresh, choices) => {
      const { diff, clock, take } = diffOf();
      take('new', [[1e6, 0]]);
      take('old', [[1e6, 0]]);
      clock.nowMs = WINDOW_MS / 2;
      const streams = { old: [...old], new: [...fresh] };
      const stored = { old: new Map<string, number>(), new: new Map<string, number>() };
      for (let step = 0; streams.old.length + streams.new.length > 0; step++) {
        const wanted: Side = (choices[step] ?? step % 2 === 0) ? 'old' : 'new';
        const side: Side = streams[wanted].length > 0 ? wanted : wanted === 'old' ? 'new' : 'old';
        const row = streams[side].shift();
        if (row === undefined) throw new Error('a side has a row left');
        take(side, [[row.second, row.value]], BARS, row.key);
        stored[side].set(`${row.key} ${row.second}`, row.value);
      }
      clock.nowMs += WINDOW_MS;
      diff.sweep();
      const places = [...new Set([...stored.old.keys(), ...stored.new.keys()])];
      const other = places.filter((at) => stored.old.get(at) !== stored.new.get(at));
      const alone = (side: Side, than: Side): number =>
        other.filter((at) => stored[side].has(at) && !stored[than].has(at)).length;
      const { different, onlyOld, onlyNew, waiting, disputed } = diff.counts;
      expect({ different, onlyOld, onlyNew, waiting, disputed }).toEqual({
        different: other.length - alone('old', 'new') - alone('new', 'old'),
        onlyOld: alone('old', 'new'),
        onlyNew: alone('new', 'old'),
        waiting: 0,
        disputed: 0,
      });
    }),
  );
});

test('rows of a shadow’s ring reach the diff, and neither the store nor the catalog', async () => {
  const { catalog, drain, tap, fatal } = await startIngestion();
  const series = closes('AAPL/1Min/OHLCV', BARS.columns);
  const other = closes('ONLY/1Min/OHLCV', BARS.columns);
  const diff = new ShadowDiff({ nowMs: () => performance.now(), windowMs: WINDOW_MS });
  const shared = createRing(1024 * 1024);
  const writer = new RingWriter(shared, () => undefined);
  const refused: Error[] = [];
  const end = drain.shadow({
    source: {
      plugin: 'test',
      originId: 0,
      reader: new RingReader(shared, 'test'),
      series: (id) => [series, other][id],
      onInvalid: (error) => refused.push(error),
    },
    diff,
    state: { entries: [], bytesMax: 4096 },
  });
  const { writer: serving } = tap([series]);
  sendFrame(serving, 0, BARS, [60, 120]);
  sendFrame(writer, 0, BARS, [60, 120]);
  sendFrame(writer, 1, BARS, [60]);
  await writer.waitForCommitted();
  await serving.waitForCommitted();
  expect(diff.counts).toEqual({ ...NONE, equal: 2, waiting: 1 });
  expect(catalog.bucket('AAPL/1Min/OHLCV')?.lastRow().rowCount).toBe(1);
  expect(catalog.known('ONLY/1Min/OHLCV')).toBeUndefined();

  // What is not valid ends the shadow alone.
  sendFrame(writer, 41, BARS, [180]);
  await expect.poll(() => refused.length).toBe(1);
  expect(refused[0]?.message).toContain('never opened');
  sendFrame(serving, 0, BARS, [180]);
  await serving.waitForCommitted();
  expect(diff.counts.waiting).toBe(2);
  // What waits when it ends is never going to be known.
  await end();
  expect(diff.counts).toEqual({ ...NONE, equal: 2, uncompared: 2 });
  sendFrame(serving, 0, BARS, [240]);
  await serving.waitForCommitted();
  expect(diff.counts.waiting).toBe(0);
  expect(fatal).toEqual([]);
});
