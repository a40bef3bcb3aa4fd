/** A feeder that writes a row now and then. */

import { type BgWorker, defineBgWorker, z } from '../../../plugins/sdk.ts';

const feeder: BgWorker = defineBgWorker({
  name: 'slow-feeder',
  version: '1.0.0',
  api: 1,
  config: z.object({ key: z.string(), everyMs: z.number() }),
  async start(ctx) {
    const { key, everyMs } = ctx.config;
    for (let Epoch = 60; !ctx.signal.aborted; Epoch += 60) {
      await ctx.write(key, { Epoch: [Epoch], Value: [Epoch] });
      await ctx.clock.sleep(everyMs, ctx.signal);
    }
  },
});

export default feeder;
