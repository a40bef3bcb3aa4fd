/**
 * my-plugin: a row a minute that says the server is alive.
 *
 * The count goes on after a stop or a crash: it is kept in `ctx.state`, in one piece with the row it
 * belongs to. Whatever should run by itself (a job, a backfill, a generator) can begin like this.
 */

import { defineBgWorker, z } from 'mkts/sdk';

const config = z.strictObject({
  symbol: z.string().min(1).default('HEARTBEAT').describe('First part of the key it writes.'),
  every: z.number().min(0.1).default(60).describe('Seconds between two beats.'),
});

export default defineBgWorker({
  name: 'my-plugin',
  version: '0.1.0',
  api: 1,
  config,
  capabilities: { writes: ['*/1Min/STATUS'] },
  async start(ctx) {
    const key = `${ctx.config.symbol}/1Min/STATUS`;
    while (!ctx.signal.aborted) {
      const beats = Number(ctx.state.get('beats') ?? 0) + 1;
      const minute = ctx.slots.start(ctx.clock.now() / 1000, '1Min');
      await ctx.write(key, { Epoch: [minute], Beats: [beats] }, { state: { beats } });
      await ctx.clock.sleep(ctx.config.every * 1000, ctx.signal);
    }
  },
});
