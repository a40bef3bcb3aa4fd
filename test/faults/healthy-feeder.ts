/**
 * A feeder that writes 0, 1, 2 … to one bucket and goes on from what is stored. It says how many
 * rows the kernel promised to be on disk, and how long the last promise took.
 */

import { type BgWorker, defineBgWorker, z } from '../../plugins/sdk.ts';

const BASE = Date.UTC(2021, 0, 1) / 1000;
const BATCH = 11;
const TICKS_PER_SECOND = 5;

const feeder: BgWorker = defineBgWorker({
  name: 'healthy-feeder',
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
        Epoch: numbers.map((n) => BASE + (variable ? Math.floor(n / TICKS_PER_SECOND) : n * 60)),
        Value: BigInt64Array.from(numbers, BigInt),
      };
      const nanoseconds = Int32Array.from(numbers, (n) => (n % TICKS_PER_SECOND) * 100_000_000);
      const startedMs = performance.now();
      await ctx.write(key, variable ? { ...rows, Nanoseconds: nanoseconds } : rows, { variable });
      next += BATCH;
      await ctx.flush();
      ctx.log.info('committed', { key, rows: next, ms: performance.now() - startedMs });
      await ctx.clock.sleep(10, ctx.signal);
    }
  },
});

export default feeder;
