/**
 * A feeder that makes bars as fast as it is asked to: `symbols` buckets in turn, `rowsPerWrite` bars
 * each. Prices are cheap arithmetic, so that what is measured is the way of a record.
 */

import { type BgWorker, defineBgWorker, z } from '../../plugins/sdk.ts';

const BASE = Date.UTC(2021, 0, 1) / 1000;
const PACE_SLICE_MS = 5;

const feeder: BgWorker = defineBgWorker({
  name: 'bench-feeder',
  version: '1.0.0',
  api: 1,
  config: z.object({
    symbols: z.number(),
    rowsPerWrite: z.number(),
    /** 0 = as fast as the kernel takes them. */
    rowsPerSecond: z.number(),
  }),
  async start(ctx) {
    const { symbols, rowsPerWrite, rowsPerSecond } = ctx.config;
    const keys = Array.from(
      { length: symbols },
      (_, n) => `SYM${String(n).padStart(3, '0')}/1Min/OHLCV`,
    );
    const rows = {
      Epoch: new Float64Array(rowsPerWrite),
      Open: new Float64Array(rowsPerWrite),
      High: new Float64Array(rowsPerWrite),
      Low: new Float64Array(rowsPerWrite),
      Close: new Float64Array(rowsPerWrite),
      Volume: new Float64Array(rowsPerWrite),
    };
    const startedMs = ctx.clock.now();
    let written = 0;
    for (let minute = 0; !ctx.signal.aborted; minute += rowsPerWrite) {
      for (const [symbol, key] of keys.entries()) {
        for (let row = 0; row < rowsPerWrite; row++) {
          const price = 100 + symbol + ((minute + row) % 1000) / 100;
          // A year of minutes, then over again: files stay of one year.
          rows.Epoch[row] = BASE + ((minute + row) % 525_600) * 60;
          rows.Open[row] = price;
          rows.High[row] = price + 1;
          rows.Low[row] = price - 1;
          rows.Close[row] = price + 0.5;
          rows.Volume[row] = minute + row;
        }
        await ctx.write(key, rows);
        written += rowsPerWrite;
        if (rowsPerSecond === 0) continue;
        const aheadMs = (written / rowsPerSecond) * 1000 - (ctx.clock.now() - startedMs);
        if (aheadMs > PACE_SLICE_MS) await ctx.clock.sleep(aheadMs, ctx.signal);
      }
    }
  },
});

export default feeder;
