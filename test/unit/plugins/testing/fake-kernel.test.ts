import { expect, test } from 'vitest';
import { type BgWorker, defineBgWorker, defineTrigger, z } from '../../../../plugins/sdk.ts';
import { FakeKernel } from '../../../../plugins/testing/fake-kernel.ts';

const KEY = 'A/1Min/OHLCV';
const none: z.ZodType = z.object({});

function bgworker(
  start: BgWorker['start'],
  capabilities: BgWorker['capabilities'] = { network: ['venue.example'] },
): BgWorker {
  return defineBgWorker({ name: 'p', version: '1', api: 1, config: none, capabilities, start });
}

/** What the body of a plugin throws, as code or text. */
async function thrownBy(
  body: BgWorker['start'],
  capabilities?: BgWorker['capabilities'],
): Promise<unknown> {
  const kernel = new FakeKernel();
  const run = kernel.start(bgworker(body, capabilities));
  await kernel.until(() => run.ended);
  const { code, message } = run.failure as { code?: string; message: string };
  return code ?? message;
}

test('rows are kept by the rules of the store', async () => {
  const kernel = new FakeKernel();
  const ctx = kernel.context({}, new AbortController().signal);
  await ctx.write(KEY, { Epoch: [130, 60], Close: [2, 1], Trades: BigInt64Array.of(5n, 4n) });
  await ctx.write(KEY, { Epoch: [125], Close: [3], Trades: BigInt64Array.of(6n) });
  expect(kernel.rows(KEY)).toEqual([
    { Epoch: 60, Close: 1, Trades: 4n },
    { Epoch: 120, Close: 3, Trades: 6n },
  ]);
  const { rowCount, Epoch, columns } = await ctx.query({ key: KEY, from: 70, columns: ['Trades'] });
  expect({ rowCount, Epoch, columns }).toEqual({
    rowCount: 2,
    Epoch: Float64Array.of(60, 120),
    columns: { Trades: BigInt64Array.of(4n, 6n) },
  });
  expect((await ctx.query({ key: KEY, limit: 1 })).Epoch).toEqual(Float64Array.of(120));
  expect((await ctx.query({ key: KEY, limit: 1, oldest: true })).Epoch).toEqual(
    Float64Array.of(60),
  );
  expect(await ctx.lastRow(KEY)).toEqual({ Epoch: 120, Close: 3, Trades: 6n });
  expect(await ctx.lastRow('B/1Min/OHLCV')).toBeUndefined();
  expect((await ctx.query({ key: 'B/1Min/OHLCV' })).rowCount).toBe(0);
});

test('ticks keep every row, in the order of their time', async () => {
  const kernel = new FakeKernel();
  const ctx = kernel.context({}, new AbortController().signal);
  const ticks = { Epoch: [7, 7, 6], Price: [1, 2, 3], Nanoseconds: [5, 4, 9] };
  await ctx.write('A/1Sec/TRADE', ticks, { variable: true });
  expect(kernel.rows('A/1Sec/TRADE').map(({ Price }) => Price)).toEqual([3, 2, 1]);
});

test('what a server refuses is refused, with its code, and nothing of it is stored', async () => {
  const kernel = new FakeKernel();
  const ctx = kernel.context({}, new AbortController().signal);
  const codeOf = (refused: Promise<unknown>): Promise<unknown> =>
    refused.then(
      () => 'done',
      (error) => error.code,
    );
  await ctx.write(KEY, { Epoch: [60], Close: Float32Array.of(1) });
  expect(await codeOf(ctx.write(KEY, { Epoch: [60], Open: [1] }))).toBe('MKTS_COLUMN_MISMATCH');
  expect(await codeOf(ctx.write('A/1Min', { Epoch: [60], C: [1] }))).toBe('MKTS_KEY_INVALID');
  expect(await codeOf(ctx.write('A/7Min/X', { Epoch: [60], C: [1] }))).toBe(
    'MKTS_TIMEFRAME_UNSUPPORTED',
  );
  expect(await codeOf(ctx.write(KEY, { Epoch: [0.5], Close: [1] }))).toBe('MKTS_DATASET_INVALID');
  expect(await codeOf(ctx.state.set('at', Number.NaN))).toBe('MKTS_STATE_INVALID');
  const both = ctx.writeAll(
    [
      { key: 'B/1Min/OHLCV', rows: { Epoch: [60], Close: [1] } },
      { key: KEY, rows: { Epoch: [60], Open: [1] } },
    ],
    { state: { at: 1 } },
  );
  expect(await codeOf(both)).toBe('MKTS_COLUMN_MISMATCH');
  expect(kernel.store.keys).toEqual([KEY]);
  expect(ctx.state.get('at')).toBeUndefined();
});

test('state is kept over runs, by the name of the entry', async () => {
  const kernel = new FakeKernel();
  const plugin = bgworker(async (ctx) => {
    await ctx.state.set('runs', Number(ctx.state.get('runs') ?? 0) + 1);
    ctx.log.info('ran', { runs: ctx.state.get('runs') });
  });
  for (const name of ['p', 'p', 'q']) {
    const run = kernel.start(plugin, {}, { name });
    await kernel.until(() => run.ended);
  }
  expect(kernel.lines('info').map(({ fields }) => fields.runs)).toEqual([1, 2, 1]);
});

test('a plugin may do what it declares, and nothing else', async () => {
  const kernel = new FakeKernel({ fetch: () => ({ body: 'hello' }) });
  const said: unknown[] = [];
  const asks = { network: ['venue.example'], writes: ['*/1Min/OHLCV'], secrets: ['api_key'] };
  const run = kernel.start(
    bgworker(async (ctx) => {
      said.push((await ctx.fetch('https://venue.example/')).text(), ctx.secrets.get('api_key'));
      await ctx.write(KEY, { Epoch: [60], Close: [1] });
    }, asks),
    {},
    { secrets: { api_key: 'k', other: 'o' } },
  );
  await kernel.until(() => run.ended);
  expect([run.failure, ...said]).toEqual([undefined, 'hello', 'k']);

  expect(await thrownBy((ctx) => ctx.write('A/1Min/X', { Epoch: [60], C: [1] }), asks)).toBe(
    'MKTS_CAPABILITY_DENIED',
  );
  expect(await thrownBy(async (ctx) => void ctx.secrets.get('other'), asks)).toBe(
    'MKTS_CAPABILITY_DENIED',
  );
  expect(await thrownBy(async (ctx) => void (await ctx.fetch('https://b.example')), asks)).toBe(
    'MKTS_NET_DENIED',
  );
  expect(await thrownBy(async (ctx) => void (await ctx.socket('wss://b.example')), {})).toBe(
    'MKTS_NET_DENIED',
  );
});

test('a plugin that stops when it is told has not failed, and one that throws has', async () => {
  const kernel = new FakeKernel();
  const sleeper = kernel.start(bgworker((ctx) => ctx.clock.sleep(1_000_000)));
  await kernel.clock.advance(1_000);
  await sleeper.stop();
  expect(sleeper).toMatchObject({ ended: true, failure: undefined });
  expect(await thrownBy(() => Promise.reject(new Error('broken')))).toBe('broken');
});

test('a condition that cannot come true is told with the log and what the plugin threw', async () => {
  const kernel = new FakeKernel();
  kernel.start(
    bgworker(async (ctx) => {
      ctx.log.warn('no bars', { symbol: 'A' });
      throw new Error('broken');
    }),
  );
  await expect(kernel.until(() => false)).rejects.toThrow(
    /nothing is left to happen:\nwarn no bars \{"symbol":"A"\}\nthe plugin threw: broken/,
  );
});

test('a trigger is told what was put, starts before it fires, and its errors come out', async () => {
  const order: string[] = [];
  const plugin = defineTrigger({
    name: 't',
    version: '1',
    api: 1,
    config: none,
    async start(ctx) {
      await ctx.clock.sleep(0);
      order.push('start');
    },
    async fire(_ctx, batch) {
      order.push(JSON.stringify(batch));
      if (batch.ranges[0]?.from === 0) throw new Error('not this one');
    },
  });
  const kernel = new FakeKernel();
  const run = kernel.start(plugin);
  const fired = run.fire(kernel.put(KEY, { Epoch: [180, 60], Close: [1, 2] }));
  await kernel.until(() => order.length === 2);
  await fired;
  expect(order).toEqual([
    'start',
    '{"key":"A/1Min/OHLCV","symbol":"A","timeframe":"1Min","attributeGroup":"OHLCV","ranges":[{"from":60,"to":180}]}',
  ]);
  const other = { ...kernel.put(KEY, { Epoch: [60], Close: [1] }), ranges: [{ from: 0, to: 0 }] };
  await expect(run.fire(other)).rejects.toThrow('not this one');
});
