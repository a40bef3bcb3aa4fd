/**
 * A feeder that writes 0, 1, 2 … to one bucket, goes on from what is stored, and says how many rows
 * the kernel promised to be on disk.
 */

import { type BgWorker, defineBgWorker, z } from '../../plugins/sdk.ts';

const BASE = Date.UTC(2021, 0, 1) / 1000;
const BATCH = 11;

const feeder: BgWorker = defineBgWorker({
  name: 'counting-feeder',
  version: '1.0.0',
  api: 1,
  config: z.object({ key: z.string(), variable: z.boolean() }),
  async start(ctx) {
    const { key, variable } = ctx.config;
    const last = await ctx.lastRow(key);
    let next = last === undefined ? 0 : Number(last.Value) + 1;
    while (!ctx.signal.aborted) {
      const numbers = Array.from({ length: BATCH }, (_, at) => next + at);
      const rows = {
        Epoch: numbers.map((n) => BASE + (variable ? Math.floor(n / 5) : n * 60)),
        Value: BigInt64Array.from(numbers, BigInt),
      };
      const nanoseconds = { Nanoseconds: Int32Array.from(numbers, (n) => (n % 5) * 100_000_000) };
      await ctx.write(key, variable ? { ...rows, ...nanoseconds } : rows, { variable });
      next += BATCH;
      await ctx.flush();
      ctx.log.info('committed', { key, rows: next });
      await ctx.clock.sleep(10, ctx.signal);
    }
  },
});

export default feeder;
