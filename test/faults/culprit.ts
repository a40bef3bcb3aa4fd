/**
 * A feeder that does one wrong thing, once. It writes a mark to its bucket and waits for the word to
 * begin (a row in GO); if the mark of an earlier worker is there already, it behaves. So its second
 * worker also shows that what the first one handed over before it died is in the database.
 *
 * A fault that is *refused* throws here, inside the plugin: that is said with its code, and the
 * plugin goes on.
 */

import { type BgWorker, type Context, defineBgWorker, z } from '../../plugins/sdk.ts';

const EPOCH = Date.UTC(2021, 0, 1) / 1000;
const MIB = 1024 * 1024;
const FLOOD_ROWS = 1_000_000;
const FLOOD_BATCH = 500;
const MANY = 300_000;
/** Log lines are limited by the second. */
const LOG_REST_MS = 1_500;
const SYNC_MS = 10_000;

type Ctx = Context<{ key: string; fault: string }>;
type Fault = (ctx: Ctx) => unknown;

/** A promise that waits until the worker is ended from outside. */
const forEver = (): Promise<never> => new Promise(() => {});

/** What a plugin without types may reach for. */
const realm = globalThis as unknown as Record<
  string,
  Record<string, (...args: unknown[]) => unknown>
>;
const evaluate = (text: string): unknown =>
  (realm.globalThis as unknown as { eval(text: string): unknown }).eval(text);
const construct = (name: string, ...args: unknown[]): unknown =>
  Reflect.construct(realm[name] as unknown as new (...args: unknown[]) => unknown, args);

export const FAULTS: Readonly<Record<string, Fault>> = {
  // ---- ends by an error ---------------------------------------------------------------------
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
  'overflows the stack': () => {
    const deeper = (): number => deeper() + 1;
    return deeper();
  },
  'process.exit': () => globalThis.process.exit(3),

  // ---- does not give the thread back ----------------------------------------------------------
  'loops for ever': () => {
    for (;;);
  },
  'storms with microtasks': () => {
    const again = (): void => queueMicrotask(again);
    again();
    return forEver();
  },
  'matches a regex bomb': () => /^(a+)+$/.test(`${'a'.repeat(60)}!`),
  'computes for 10 s': () => {
    const endMs = Date.now() + SYNC_MS;
    while (Date.now() < endMs);
  },
  'sorts in native code for ever': () => {
    const values = new Float64Array(20_000_000);
    for (;;) {
      for (let at = 0; at < values.length; at++) values[at] = Math.random();
      values.sort();
    }
  },

  // ---- takes memory ----------------------------------------------------------------------------
  'leaks small objects slowly': async ({ clock }) => {
    const kept: object[] = [];
    for (;;) {
      for (let at = 0; at < 20_000; at++) kept.push({ at, text: `x${at}` });
      await clock.sleep(1);
    }
  },
  'leaks small objects in a loop': () => {
    const kept: object[] = [];
    for (let at = 0; ; at++) kept.push({ at, text: `x${at}` });
  },
  'grows a Map': () => {
    const map = new Map<number, number>();
    for (let at = 0; ; at++) map.set(at, at);
  },
  'grows a Set': () => {
    const set = new Set<string>();
    for (let at = 0; ; at++) set.add(`k${at}`);
  },
  'grows an object': () => {
    const kept: Record<string, number> = {};
    for (let at = 0; ; at++) kept[`key${at}`] = at;
  },
  'fills arrays': () => {
    const kept: number[][] = [];
    for (;;) kept.push(new Array(4 * MIB).fill(1));
  },
  'joins a long text': () => {
    const kept: string[] = [];
    for (let at = 0; ; at++) kept.push(new Array(MIB).fill(`x${at}`).join(','));
  },
  'flattens a doubling text': () => {
    const kept: string[] = [];
    for (let at = 0; ; at++) {
      const text = `x${at}`.repeat(8 * MIB);
      // Reading a character makes it one piece.
      kept.push(text);
      if (text.charCodeAt(text.length - 1) === 0) return;
    }
  },
  'leaks buffers slowly': async ({ clock }) => {
    const kept: Uint8Array[] = [];
    for (;;) {
      kept.push(new Uint8Array(8 * MIB).fill(1));
      await clock.sleep(5);
    }
  },
  'leaks buffers in a loop': () => {
    const kept: Uint8Array[] = [];
    for (;;) kept.push(new Uint8Array(MIB).fill(1));
  },
  'leaks shared buffers': () => construct('SharedArrayBuffer', MIB),
  'leaks WebAssembly memory': () => construct('WebAssembly', { initial: 1000 }),

  // ---- reaches for what it has not ---------------------------------------------------------------
  'Atomics.wait': () =>
    realm.Atomics?.wait?.(new Int32Array(new ArrayBuffer(8)), 0, 0) ?? missing('Atomics'),
  'process.abort': () => realm.process?.abort?.() ?? missing('process.abort'),
  'process.kill': () => realm.process?.kill?.(1, 'SIGKILL'),
  'handles signals': () => realm.process?.on?.('SIGTERM', () => {}) ?? missing('process.on'),
  'process.binding': () => realm.process?.binding?.('fs'),
  'loads an addon': () => realm.process?.dlopen?.({ exports: {} }, 'x.node'),
  'require fs': () => {
    const load = realm.require as unknown as ((name: string) => unknown) | undefined;
    return load?.('fs') ?? missing('require');
  },
  'imports fs at run time': () => evaluate("import('node:fs')"),
  'makes code of text': () => construct('Function', 'return process'),
  'fetch past the broker': () =>
    (realm.fetch as unknown as (() => unknown) | undefined)?.() ?? missing('fetch'),
  'opens a channel': () => construct('BroadcastChannel', 'x'),
  'fetches a host it was not granted': ({ fetch }) => fetch('http://127.0.0.1:9/'),
  'opens a socket it was not granted': ({ socket }) => socket('ws://127.0.0.1:9/'),
  'reads the environment': ({ log }) => {
    const names = Object.keys(globalThis.process.env);
    if (names.length === 0) missing('process.env');
    log.error('sees', { names });
  },

  // ---- plays with what everybody shares ------------------------------------------------------------
  'changes prototypes': async ({ write, flush, config }) => {
    const games = [
      Object.prototype,
      Array.prototype,
      Promise.prototype,
      Map.prototype,
      Function.prototype,
    ];
    for (const prototype of games)
      for (const name of ['then', 'push', 'get', 'set', 'call', 'apply', 'toJSON', 'polluted'])
        Reflect.set(prototype, name, () => 'mine');
    for (const name of ['Error', 'Map', 'Promise', 'JSON', 'Int32Array'])
      Reflect.set(globalThis, name, undefined);
    await write(config.key, { Epoch: [EPOCH + 60], Value: BigInt64Array.of(43n) });
    await flush();
  },
  'says its secrets': ({ log, config }) => log.info(`the key is ${config.key}`),

  // ---- too much of something allowed -----------------------------------------------------------------
  'floods the log': async ({ log, clock }) => {
    for (let line = 0; line < MANY; line++) {
      log.info('noise', { line });
      if (line % 1000 === 0) await clock.sleep(1);
    }
    // So that the next line is heard again.
    await clock.sleep(LOG_REST_MS);
  },
  'floods stdout': async ({ clock }) => {
    for (let line = 0; line < MANY; line++) {
      realm.console?.log?.('noise', line);
      if (line % 1000 === 0) await clock.sleep(1);
    }
    await clock.sleep(LOG_REST_MS);
  },
  'floods with rows': async ({ write, config }) => {
    const value = new BigInt64Array(FLOOD_BATCH);
    for (let row = 0; row < FLOOD_ROWS; row += FLOOD_BATCH) {
      const epochs = Float64Array.from(value, (_, at) => EPOCH + 60 * ((row + at) % 500_000));
      await write(`${config.key}FLOOD`, { Epoch: epochs, Value: value });
    }
  },
  'floods with rows and does not wait': async ({ write, flush, config }) => {
    const value = new BigInt64Array(FLOOD_BATCH);
    const writes: Promise<void>[] = [];
    for (let row = 0; row < FLOOD_ROWS / 4; row += FLOOD_BATCH) {
      const epochs = Float64Array.from(value, (_, at) => EPOCH + 60 * ((row + at) % 500_000));
      writes.push(write(`${config.key}FLOOD`, { Epoch: epochs, Value: value }));
    }
    await Promise.all(writes);
    await flush();
  },
  'floods with questions': async ({ lastRow, config, clock }) => {
    for (let round = 0; round < 4; round++) {
      const answers = Array.from({ length: 5_000 }, () => lastRow(config.key));
      await Promise.all(answers);
      await clock.sleep(1);
    }
  },
  'sends rows that do not fit': async ({ write, config }) => {
    for (let row = 0; row < 2_000; row++)
      await write(config.key, { Epoch: [EPOCH + row], Value: ['x'] as unknown as number[] }).catch(
        () => undefined,
      );
  },
  'writes for ever': async ({ write, config, signal }) => {
    for (let row = 0; !signal.aborted; row++)
      await write(`${config.key}SLOW`, { Epoch: [EPOCH + row * 60], Value: BigInt64Array.of(1n) });
  },
  'never writes': ({ clock, signal }) => clock.sleep(3_600_000, signal),

  // ---- scribbles over its ring: only with a host that has been tampered with -------------------------
  'hands over a wild length': (ctx) => scribble(ctx, 'length'),
  'hands over a wild cursor': (ctx) => scribble(ctx, 'cursor'),
  'hands over random bytes': (ctx) => scribble(ctx, 'bytes'),
  'names a series it never opened': (ctx) => scribble(ctx, 'series'),
};

/** run-fault.ts starts such a case with a host whose ring looks at this word. */
async function scribble({ write, config, clock }: Ctx, what: string): Promise<void> {
  Reflect.set(globalThis, 'scribble', what);
  await write(config.key, { Epoch: [EPOCH], Value: BigInt64Array.of(42n) });
  await clock.sleep(3_600_000);
}

function missing(name: string): never {
  throw Object.assign(new Error(`${name} is not there`), { code: 'absent' });
}

const plugin: BgWorker = defineBgWorker({
  name: 'culprit',
  version: '1.0.0',
  api: 1,
  config: z.object({ key: z.string(), fault: z.enum(Object.keys(FAULTS)) }),
  async start(ctx) {
    const { key, fault } = ctx.config;
    const { sleep } = ctx.clock;
    const { log } = ctx;
    const isFirst = (await ctx.lastRow(key)) === undefined;
    if (isFirst) {
      // Not flushed: what `write` took is kept, whatever happens next.
      await ctx.write(key, { Epoch: [EPOCH], Value: BigInt64Array.of(42n) });
      log.info('waits', { fault });
      while ((await ctx.lastRow('GO/1Min/MARK')) === undefined) await sleep(10, ctx.signal);
      log.info('begins', { fault });
      // So that this is heard before a fault that never gives the thread back.
      await sleep(20);
      try {
        await FAULTS[fault]?.(ctx);
      } catch (error) {
        const { code, message } = error as Error & { readonly code?: string };
        // What the sandbox refuses has a code of ours, or is simply not there.
        if (code === undefined && !(error instanceof TypeError || error instanceof ReferenceError))
          throw error;
        log.info('refused', { fault, code: code ?? 'absent', message });
      }
    }
    log.info('behaves', { fault, isFirst });
    await sleep(3_600_000, ctx.signal);
  },
});

export default plugin;
