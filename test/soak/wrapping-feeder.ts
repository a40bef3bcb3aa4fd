/** Feeds a day of bars of many symbols again and again, and ticks of now: what is stored stays small. */

import { type BgWorker, defineBgWorker, z } from '../../plugins/sdk.ts';

const DAY = Date.UTC(2021, 0, 1) / 1000;
const MINUTES = 1_440;

const feeder: BgWorker = defineBgWorker({
  name: 'wrapping-feeder',
  version: '1.0.0',
  api: 1,
  config: z.object({ symbols: z.number(), round: z.number() }),
  async start(ctx) {
    const { symbols, round } = ctx.config;
    let next = Number(ctx.state.get('next') ?? 0);
    for (; !ctx.signal.aborted; next++) {
      const minute = next % MINUTES;
      for (let symbol = 0; symbol < symbols; symbol++)
        await ctx.write(`S${symbol}/1Min/OHLCV`, {
          Epoch: [DAY + 60 * minute],
          Close: [next],
          Round: [round],
        });
      const now = ctx.clock.now();
      await ctx.write(
        'TRADES/1Min/TICK',
        {
          Epoch: [Math.floor(now / 1000)],
          Nanoseconds: [(now % 1000) * 1e6],
          Number: Float64Array.of(next),
        },
        { variable: true, state: { next: next + 1 } },
      );
      await ctx.clock.sleep(2, ctx.signal);
    }
  },
});

export default feeder;
