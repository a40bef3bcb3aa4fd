/**
 * A feeder that does one wrong thing, once: it writes a mark to its bucket, and if the mark of an
 * earlier worker was there already, it behaves. So its second worker also shows that what the first
 * one handed over before it died is in the database.
 */

import { type BgWorker, type Context, defineBgWorker, z } from '../../../plugins/sdk.ts';

const EPOCH = Date.UTC(2021, 0, 1) / 1000;
const MIB = 1024 * 1024;
const FLOOD_ROWS = 2_000_000;
const FLOOD_BATCH = 500;
/** Log lines are limited by the second. */
const LOG_REST_MS = 1_500;

type Fault = (ctx: Context<{ key: string; fault: string }>) => unknown;

/** A promise that waits until the worker is ended from outside. */
const forEver = (): Promise<never> => new Promise(() => {});

const FAULTS: Readonly<Record<string, Fault>> = {
  'throws in start': () => {
    throw new Error('boom');
  },
  'throws in a timer': () => {
    setTimeout(() => {
      throw new Error('boom');
    });
    return forEver();
  },
  'rejects unheard': () => {
    void Promise.reject(new Error('boom'));
    return forEver();
  },
  'loops for ever': () => {
    for (;;);
  },
  'storms with microtasks': () => {
    const again = (): void => queueMicrotask(again);
    again();
    return forEver();
  },
  exits: () => {
    globalThis.process.exit(3);
  },
  'leaks small objects': async ({ clock }) => {
    const kept: object[] = [];
    for (;;) {
      for (let at = 0; at < 20_000; at++) kept.push({ at, text: `x${at}` });
      await clock.sleep(1);
    }
  },
  'leaks buffers in a loop': () => {
    const kept: Uint8Array[] = [];
    for (;;) kept.push(new Uint8Array(MIB).fill(1));
  },
  'leaks small objects in a loop': () => {
    const kept: object[] = [];
    for (let at = 0; ; at++) kept.push({ at, text: `x${at}` });
  },
  'recurses without end': () => {
    const deeper = (): number => deeper() + 1;
    return deeper();
  },
  'floods the log': async ({ log, clock }) => {
    for (let line = 0; line < 300_000; line++) {
      log.info('noise', { line });
      if (line % 1000 === 0) await clock.sleep(1);
    }
    // So that the next line is heard again.
    await clock.sleep(LOG_REST_MS);
  },
  'floods with rows': async ({ write, config }) => {
    const value = new BigInt64Array(FLOOD_BATCH);
    for (let row = 0; row < FLOOD_ROWS; row += FLOOD_BATCH) {
      const epochs = Float64Array.from(value, (_, at) => EPOCH + 60 * ((row + at) % 500_000));
      await write(`${config.key}FLOOD`, { Epoch: epochs, Value: value });
    }
  },
  'floods with questions': async ({ lastRow, config, clock }) => {
    for (let round = 0; round < 4; round++) {
      const answers = Array.from({ length: 5_000 }, () => lastRow(config.key));
      await Promise.all(answers);
      await clock.sleep(1);
    }
  },
};

const plugin: BgWorker = defineBgWorker({
  name: 'faulty-plugin',
  version: '1.0.0',
  api: 1,
  config: z.object({ key: z.string(), fault: z.enum(Object.keys(FAULTS)) }),
  async start(ctx) {
    const { key, fault } = ctx.config;
    const isFirst = (await ctx.lastRow(key)) === undefined;
    // Not flushed: what `write` took is kept, whatever happens next.
    if (isFirst) await ctx.write(key, { Epoch: [EPOCH], Value: BigInt64Array.of(42n) });
    if (isFirst) await FAULTS[fault]?.(ctx);
    ctx.log.info('behaves', { fault, isFirst });
    await ctx.clock.sleep(3_600_000, ctx.signal);
  },
});

export default plugin;
