import { setImmediate as immediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Dispatcher } from '../../../../kernel/triggers/dispatcher.ts';
import { compilePattern } from '../../../../kernel/triggers/matcher.ts';
import type { OndiskaggConfig } from '../../../../plugins/ondiskagg/config.ts';
import ondiskagg from '../../../../plugins/ondiskagg/plugin.ts';
import { PAGE_ROWS, readSegment } from '../../../../plugins/ondiskagg/windows.ts';
import type { Rows, TouchedBatch } from '../../../../plugins/sdk.ts';
import type { PlainBatch } from '../../../../workers/protocol.ts';
import { MemoryContext } from './memory-context.ts';

const NEW_YORK = 'America/New_York';
type Ctx = MemoryContext<OndiskaggConfig>;

function contextOf(destinations: readonly string[], timezone = 'UTC'): Ctx {
  return new MemoryContext({ destinations }, timezone);
}

function batchOf({ key, ranges }: PlainBatch): TouchedBatch {
  const [symbol = '', timeframe = '', attributeGroup = ''] = key.split('/');
  return { key, symbol, timeframe, attributeGroup, ranges };
}

/** A client writes, and the trigger is told. */
async function write(ctx: Ctx, key: string, rows: Rows): Promise<void> {
  await ondiskagg.fire(ctx, batchOf({ key, ranges: [ctx.put(key, rows)] }));
}

/** Bars with prices around `open`, as the reference's own test has them. */
function bars(epochs: readonly number[], opens: readonly number[]): Rows {
  const column = (offset: number) => Float32Array.from(opens, (open) => open + offset);
  return {
    Epoch: epochs,
    Open: column(0),
    High: column(0.1),
    Low: column(-0.1),
    Close: column(0.05),
  };
}

const f4 = (...values: readonly number[]): Float32Array => Float32Array.from(values);

const BASE = 'TEST/1Min/OHLC';
const FIVE = 'TEST/5Min/OHLC';
const MORNING = [1513332180, 1513332240, 1513332300, 1513332360, 1513332600];

async function afterA(): Promise<Ctx> {
  const ctx = contextOf(['5Min']);
  await write(ctx, BASE, bars(MORNING, [1, 2, 3, 4, 5]));
  return ctx;
}

test('bars are aggregated to first, max, min and last of each window', async () => {
  const ctx = await afterA();
  expect(await ctx.all(FIVE)).toEqual({
    Epoch: [1513332000, 1513332300, 1513332600],
    Open: f4(1, 3, 5),
    High: f4(2.1, 4.1, 5.1),
    Low: f4(0.9, 2.9, 4.9),
    Close: f4(2.05, 4.05, 5.05),
  });
  expect(ctx.flushCount).toBe(1);
});

test('a day is a calendar day of the server', async () => {
  const ctx = contextOf(['1D'], NEW_YORK);
  const epochs = [1513350180, 1513350240, 1513436700, 1513436760, 1513437000];
  await write(ctx, BASE, bars(epochs, [1, 2, 3, 4, 5]));
  expect(await ctx.all('TEST/1D/OHLC')).toMatchObject({
    Epoch: [1513314000, 1513400400],
    Open: f4(1, 3),
    Close: f4(2.05, 5.05),
  });
});

test('a corrected bar reaches its aggregate', async () => {
  const ctx = await afterA();
  await write(ctx, BASE, { ...bars([1513332240], [2]), High: f4(9) });
  expect(await ctx.all(FIVE)).toMatchObject({ High: f4(9, 4.1, 5.1), Close: f4(2.05, 4.05, 5.05) });
});

test('a late bar changes its window, and only that is written again', async () => {
  const ctx = await afterA();
  const late = { Open: f4(0.5), High: f4(0.6), Low: f4(0.4), Close: f4(0.55) };
  await write(ctx, BASE, { Epoch: [1513332060], ...late });
  expect(await ctx.all(FIVE)).toMatchObject({
    Open: f4(0.5, 3, 5),
    High: f4(2.1, 4.1, 5.1),
    Low: f4(0.4, 2.9, 4.9),
    Close: f4(2.05, 4.05, 5.05),
  });
  expect(ctx.writes.at(-1)).toEqual({ key: FIVE, epochs: [1513332000] });
});

test('a daily volume above 2^31 is summed', async () => {
  const ctx = contextOf(['5Min']);
  const epochs = [1513332000, 1513332060];
  await write(ctx, BASE, { ...bars(epochs, [1, 1]), Volume: Float64Array.of(2e9, 2e9) });
  expect(await ctx.all(FIVE)).toMatchObject({ Volume: Float64Array.of(4e9) });
  expect(ctx.warnings).toEqual([]);
});

test('a volume that does not fit its column is cut, counted and said once', async () => {
  const ctx = contextOf(['5Min']);
  const epochs = [1513332000, 1513332060];
  const rows = { ...bars(epochs, [1, 1]), Volume: Int32Array.of(2e9, 2e9) };
  await write(ctx, BASE, rows);
  await write(ctx, BASE, rows);
  expect(await ctx.all(FIVE)).toMatchObject({ Volume: Int32Array.of(2 ** 31 - 1) });
  expect(ctx.counts.get('saturated_sums')).toBe(2);
  expect(ctx.warnings).toHaveLength(1);
});

test('2H windows are the slots they are stored in', async () => {
  const ctx = contextOf(['2H'], NEW_YORK);
  await write(ctx, BASE, bars([1513256400, 1513263540], [1, 2]));
  expect(await ctx.all('TEST/2H/OHLC')).toMatchObject({
    Epoch: [1513256400],
    Open: f4(1),
    Close: f4(2.05),
  });
});

test('the first hour of a day of 25 hours belongs to it', async () => {
  const ctx = contextOf(['1D'], NEW_YORK);
  const midnight = Date.UTC(2026, 10, 1, 4) / 1000;
  await write(ctx, BASE, bars([midnight + 1800, midnight + 24 * 3600 + 1800], [1, 2]));
  expect(await ctx.all('TEST/1D/OHLC')).toMatchObject({ Epoch: [midnight], Close: f4(2.05) });
});

test('a window that reaches over the end of a day of a clock change is whole', async () => {
  // 4H windows are counted from January 1: in summer they begin at 01:00, 05:00, … local.
  const ctx = contextOf(['4H', '1D'], NEW_YORK);
  const midnight = Date.UTC(2026, 5, 2, 4) / 1000;
  await write(ctx, 'TEST/1H/OHLC', bars([midnight - 7200, midnight - 3600], [1, 2]));
  await write(ctx, 'TEST/1H/OHLC', bars([midnight], [3]));
  expect(await ctx.all('TEST/4H/OHLC')).toMatchObject({
    Epoch: [midnight - 3 * 3600],
    Open: f4(1),
    Close: f4(3.05),
  });
  expect(await ctx.all('TEST/1D/OHLC')).toMatchObject({
    Epoch: [midnight - 86_400, midnight],
    Close: f4(2.05, 3.05),
  });
});

/** The plugin behind a dispatcher, as in a server. */
function serve(
  ctx: Ctx,
  on: string,
): { readonly dispatcher: Dispatcher; readonly fires: string[] } {
  const fires: string[] = [];
  const dispatcher = new Dispatcher({
    triggers: [
      {
        name: ctx.name,
        matcher: compilePattern(on),
        fire: (batch) => {
          fires.push(batch.key);
          return ondiskagg.fire(ctx, batchOf(batch));
        },
      },
    ],
    log: { info: () => {}, warn: () => {}, error: (fields) => expect(fields).toBeUndefined() },
    yearOf: (epochSeconds) => new Date(epochSeconds * 1000).getUTCFullYear(),
  });
  ctx.onWrite = (key, from, to) =>
    dispatcher.applied(key, from, to, dispatcher.originChain(ctx.name));
  dispatcher.resume(ctx.name);
  return { dispatcher, fires };
}

test('a pattern that matches the aggregates too does not loop', async () => {
  const ctx = contextOf(['5Min', '1H']);
  const { dispatcher, fires } = serve(ctx, '*/*/OHLC');
  const { from, to } = ctx.put(BASE, bars(MORNING, [1, 2, 3, 4, 5]));
  dispatcher.applied(BASE, from, to, []);
  await dispatcher.stop(new AbortController().signal);
  await immediate();
  expect(fires).toEqual([BASE]);
  expect(ctx.writes.map(({ key }) => key)).toEqual([FIVE, 'TEST/1H/OHLC']);
  expect(dispatcher.stats[0]).toMatchObject({ fired: 1, barred: 2 });
});

test('a fast back-fill in pages leaves what one write would have left', async () => {
  const minutes = 10_080;
  const start = 1513296000;
  const rowsOf = (first: number, count: number): Rows => {
    const at = Array.from({ length: count }, (_, row) => first + row);
    const opens = at.map((minute) => 100 + ((minute * 7919) % 101));
    const volumes = Int32Array.from(at, (minute) => minute % 977);
    return {
      ...bars(
        at.map((minute) => start + 60 * minute),
        opens,
      ),
      Volume: volumes,
    };
  };
  const paged = contextOf(['5Min', '1H', '1D']);
  const { dispatcher, fires } = serve(paged, '*/1Min/*');
  for (let minute = 0; minute < minutes; minute += 1000) {
    const { from, to } = paged.put(BASE, rowsOf(minute, Math.min(1000, minutes - minute)));
    dispatcher.applied(BASE, from, to, []);
    if (minute % 3000 === 0) await immediate();
  }
  await dispatcher.stop(new AbortController().signal);
  const whole = contextOf(['5Min', '1H', '1D']);
  await write(whole, BASE, rowsOf(0, minutes));
  for (const [timeframe, count] of [
    ['5Min', 2016],
    ['1H', 168],
    ['1D', 7],
  ] as const) {
    const rows = await paged.all(`TEST/${timeframe}/OHLC`);
    expect(rows).toEqual(await whole.all(`TEST/${timeframe}/OHLC`));
    expect(rows?.Epoch).toHaveLength(count);
  }
  expect(whole.queries, 'one read').toHaveLength(1);
  expect(whole.writes, 'one write for each destination').toHaveLength(3);
  expect(fires.length).toBeLessThan(11);
});

test('a day of 1Sec bars is read in pages, the last second included', async () => {
  const ctx = contextOf(['1Min', '1D']);
  const epochs = Array.from({ length: 86_400 }, (_, second) => 1513296000 + second);
  await write(ctx, 'TEST/1Sec/OHLC', {
    ...bars(
      epochs,
      epochs.map((_, second) => second % 1000),
    ),
    Volume: new Uint32Array(86_400).fill(1),
  });
  expect(await ctx.all('TEST/1D/OHLC')).toMatchObject({
    Epoch: [1513296000],
    Volume: Uint32Array.of(86_400),
    Close: f4(399.05),
  });
  expect((await ctx.all('TEST/1Min/OHLC'))?.Volume).toEqual(new Uint32Array(1440).fill(60));
  expect(ctx.queries.map(({ limit }) => limit)).toEqual([PAGE_ROWS, PAGE_ROWS]);
});

test('touches far apart read only their windows', async () => {
  const ctx = contextOf(['5Min', '1H']);
  ctx.put(BASE, bars([0, 3600, 7200, 36_000], [1, 2, 3, 4]));
  const ranges = [
    { from: 0, to: 0 },
    { from: 36_000, to: 36_000 },
  ];
  await ondiskagg.fire(ctx, batchOf({ key: BASE, ranges }));
  expect(ctx.queries.map(({ from, to }) => [from, to])).toEqual([
    [0, 3600],
    [36_000, 39_600],
  ]);
  expect((await ctx.all('TEST/1H/OHLC'))?.Epoch).toEqual([0, 36_000]);
});

test('a row written inside its interval counts where it is read back', async () => {
  const ctx = contextOf(['5Min']);
  await write(ctx, BASE, bars([359.0, 299], [2, 1]));
  expect((await ctx.all(FIVE))?.Epoch).toEqual([0, 300]);
});

test('a page that ends inside a second loses no tick and counts none twice', async () => {
  const ctx = contextOf(['1Min']);
  const epochs = [0, 1, 1, 1, 1, 1, 2, 2, 59, 59, 60];
  ctx.put('T/1Sec/OHLC', { ...bars(epochs, epochs), Volume: new Int32Array(11).fill(1) }, true);
  for (const pageRows of [1, 2, 3, 4, 8, 100]) {
    const seen: number[] = [];
    for await (const { rows, from, to } of readSegment(
      ctx,
      'T/1Sec/OHLC',
      { start: 0, end: 60 },
      pageRows,
    ))
      seen.push(...rows.Epoch.subarray(from, to));
    expect(seen, `pages of ${pageRows}`).toEqual(epochs.slice(0, -1));
  }
});

test('destinations that do not fit the bars are skipped, and said once', async () => {
  const ctx = contextOf(['1Min', '5Min', '90Sec', '1H']);
  for (const minute of [0, 1]) await write(ctx, BASE, bars([60 * minute], [1]));
  expect(new Set(ctx.writes.map(({ key }) => key))).toEqual(new Set([FIVE, 'TEST/1H/OHLC']));
  expect(ctx.warnings).toHaveLength(2);
  await write(ctx, 'TEST/1D/OHLC', bars([0], [1]));
  expect(ctx.warnings).toHaveLength(6);
  expect(ctx.queries).toHaveLength(2);
});

test('trades, bars without prices and timeframes that cannot be stored are said once', async () => {
  const ctx = contextOf(['5Min']);
  const trades: TouchedBatch = batchOf({ key: 'A/1Sec/TRADE', ranges: [{ from: 0, to: 0 }] });
  for (const _ of [1, 2]) await ondiskagg.fire(ctx, trades);
  expect(ctx.warnings).toEqual([expect.stringContaining('trades are not aggregated')]);
  for (const _ of [1, 2]) await write(ctx, 'A/1Min/QUOTE', { Epoch: [0], Bid: f4(1), Ask: f4(2) });
  expect(ctx.warnings).toHaveLength(2);
  const weekly = batchOf({ key: 'A/1W/OHLC', ranges: [{ from: 0, to: 0 }] });
  for (const _ of [1, 2]) await ondiskagg.fire(ctx, weekly);
  expect(ctx.warnings).toHaveLength(3);
  expect(ctx.writes).toEqual([]);
});

test('a bucket that is gone when its turn comes is no failure', async () => {
  const ctx = contextOf(['5Min']);
  await ondiskagg.fire(ctx, batchOf({ key: BASE, ranges: [{ from: 0, to: 0 }] }));
  expect(ctx.writes).toEqual([]);
});

test('one destination that cannot be written does not keep the others from it', async () => {
  const ctx = contextOf(['5Min', '1H']);
  ctx.broken.add(FIVE);
  await expect(write(ctx, BASE, bars([0], [1]))).rejects.toThrow(`${FIVE} cannot be written`);
  expect(ctx.writes.map(({ key }) => key)).toEqual(['TEST/1H/OHLC']);
});

test('a stop lets the batch under way be finished: it would not be told again', async () => {
  const ctx = new MemoryContext({ destinations: ['5Min'] }, 'UTC', AbortSignal.abort());
  await write(ctx, BASE, bars([0], [1]));
  expect(ctx.writes).toHaveLength(1);
});
