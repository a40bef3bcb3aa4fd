/**
 * my-plugin: the range of each bar, written beside it whenever bars are written.
 *
 * A trigger is told which times of a bucket were written, and reads the rows itself. It remembers
 * nothing: corrected and repeated bars come out right, and being told twice does no harm.
 */

import { defineTrigger, z } from 'mkts/sdk';

const config = z.strictObject({
  unit: z.enum(['price', 'percent']).default('price').describe('Of what the range is given in.'),
});

export default defineTrigger({
  name: 'my-plugin',
  version: '0.1.0',
  api: 1,
  config,
  capabilities: { writes: ['*/*/RANGE'] },
  async fire(ctx, { key, symbol, timeframe, ranges }) {
    for (const { from, to } of ranges) {
      const { Epoch, columns } = await ctx.query({ key, from, to, columns: ['High', 'Low'] });
      const { High, Low } = columns;
      // Other rows than bars: not ours.
      if (High === undefined || Low === undefined) return;
      const Range = Float64Array.from(Epoch, (_, at) => {
        const [high, low] = [Number(High[at]), Number(Low[at])];
        return ctx.config.unit === 'price' ? high - low : (100 * (high - low)) / low;
      });
      await ctx.write(`${symbol}/${timeframe}/RANGE`, { Epoch, Range });
    }
  },
});
