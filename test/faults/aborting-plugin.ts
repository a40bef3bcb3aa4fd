/**
 * A feeder that takes the process with it: it writes a row, waits until it is in the database, and
 * then asks V8 for something so large that V8 aborts, whatever limits it has.
 */

import { type BgWorker, defineBgWorker, z } from '../../plugins/sdk.ts';

const EPOCH = Date.UTC(2021, 0, 1) / 1000;
/** The longest text there is. In parts it would be an array longer than V8 can make. */
const LETTERS = 2 ** 29 - 30;

const plugin: BgWorker = defineBgWorker({
  name: 'aborting-plugin',
  version: '1.0.0',
  api: 1,
  config: z.object({ key: z.string() }),
  async start(ctx) {
    await ctx.write(ctx.config.key, { Epoch: [EPOCH], Value: BigInt64Array.of(42n) });
    await ctx.flush();
    ctx.log.info('blows up');
    // So that the line is heard.
    await ctx.clock.sleep(500, ctx.signal);
    'x'.padEnd(LETTERS).split('');
  },
});

export default plugin;
