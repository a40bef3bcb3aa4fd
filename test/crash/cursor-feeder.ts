/**
 * A feeder of trades that can be read again from any number on: it keeps the next number in its
 * state, writes ticks of two keys with it, and never asks what is stored. If rows and state were
 * apart for one group, a kill would lose trades or double them.
 */

import { type BgWorker, defineBgWorker, z } from '../../plugins/sdk.ts';

const BASE = Date.UTC(2021, 0, 1) / 1000;

const feeder: BgWorker = defineBgWorker({
  name: 'cursor-feeder',
  version: '1.0.0',
  api: 1,
  config: z.object({ keys: z.array(z.string()), batch: z.number() }),
  async start(ctx) {
    const { keys, batch } = ctx.config;
    let next = Number(ctx.state.get('cursor') ?? 0);
    ctx.log.info('begins', { next });
    for (let turn = 1; !ctx.signal.aborted; turn++) {
      const numbers = Array.from({ length: 1 + (turn % batch) }, (_, at) => next + at);
      const rows = {
        Epoch: numbers.map((n) => BASE + Math.floor(n / 50) * 60),
        Nanoseconds: Int32Array.from(numbers, (n) => (n % 50) * 1_000_000),
        Value: BigInt64Array.from(numbers, BigInt),
      };
      next += numbers.length;
      const state = { cursor: next };
      const [key = '', ...others] = keys;
      if (others.length === 0) await ctx.write(key, rows, { variable: true, state });
      else
        await ctx.writeAll(
          keys.map((each) => ({ key: each, rows, variable: true })),
          { state },
        );
      if (turn % 10 !== 0) continue;
      await ctx.flush();
      ctx.log.info('committed', { key, rows: next });
      await ctx.clock.sleep(2, ctx.signal);
    }
  },
});

export default feeder;
