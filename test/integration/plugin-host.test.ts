/**
 * Plugins in real worker threads, and the same in real processes: what they are given, what is taken
 * away, and how they end.
 */

import { afterEach, describe, expect, test } from 'vitest';
import { bundlePlugin } from '../../kernel/supervisor/bundle-plugin.ts';
import {
  bgworker,
  type HarnessPlugin,
  PluginHarness,
  ticker,
  trigger,
} from '../support/plugin-harness.ts';
import { temporaryFile } from '../support/temporary-directory.ts';

describe.each(['worker', 'process'] as const)('isolation: %s', (isolation) => {
  let harness: PluginHarness | undefined;

  async function run(
    plugins: readonly HarnessPlugin[],
    options: ConstructorParameters<typeof PluginHarness>[1] = {},
  ): Promise<PluginHarness> {
    const tier = plugins.map((plugin) => ({ ...plugin, entry: { isolation, ...plugin.entry } }));
    harness = new PluginHarness(tier, options);
    await harness.start();
    return harness;
  }

  afterEach(async () => {
    await harness?.stop();
    harness = undefined;
  });

  describe('a plugin that behaves', () => {
    test('its rows arrive in order, and flush waits until they are committed', async () => {
      const host = await run([
        {
          name: 'feeder',
          code: bgworker(`
          for (let at = 0; at < 1000; at++)
            await ctx.write('A/1Min/OHLCV', { Epoch: [1700000000 + 60 * at], Close: [at], Volume: new Int32Array([at]) });
          await ctx.flush();
          const last = await ctx.lastRow('A/1Min/OHLCV');
          ctx.log.info('flushed', { close: last.Close, frozen: Object.isFrozen(ctx) });
        `),
        },
      ]);
      await host.entered('feeder', 'stopped');
      const rows = host.rowsOf('feeder', 'A/1Min/OHLCV');
      expect(rows.map(({ values }) => values[0])).toEqual([...Array(1000).keys()]);
      expect(rows[999]?.epoch).toBe(1700000000 + 60 * 999);
      const line = host.lines.find(({ message }) => message === 'flushed');
      expect(line?.fields).toMatchObject({ close: 999, frozen: true, plugin: 'feeder' });
      expect(host.supervisor.plugins()[0]).toMatchObject({
        state: 'stopped',
        reason: 'ended by itself',
        restarts: 0,
      });
    });

    test('one that does nothing but await one write after the other is not taken for stuck', async () => {
      const host = await run(
        [
          {
            name: 'eager',
            code: bgworker(`
          let rows = 0;
          for (const untilMs = ctx.clock.now() + 3500; ctx.clock.now() < untilMs; rows++)
            await ctx.write('E/1Sec/OHLCV', { Epoch: [1600000000 + rows % 9], Close: [rows] });
          ctx.log.info('wrote', { rows });
        `),
          },
        ],
        // On a busy machine it may be late with its heartbeat by a second.
        { limits: { sampleMs: 50, heartbeatTimeoutMs: 2_500 } },
      );
      await host.entered('eager', 'stopped');
      expect(host.causesOf('eager')).toEqual([]);
      expect(host.statesOf('eager')).not.toContain('backoff');
    });

    test('it is profiled while it spins, and its end ends the profile', async () => {
      const host = await run(
        [
          {
            name: 'busy',
            code: bgworker(`
          function spinsHere() { const until = Date.now() + 50; while (Date.now() < until); }
          for (;;) { spinsHere(); await ctx.clock.sleep(1); }
        `),
          },
        ],
        {},
      );
      await host.entered('busy', 'running');
      const never = new AbortController();
      await expect
        .poll(() => profiledFunctions(host.supervisor.profile('busy', 300, never.signal)), {
          timeout: 30_000, // A busy machine may give its worker nothing for that long.
        })
        .toContain('spinsHere');
      const enough = new AbortController();
      const early = host.supervisor.profile('busy', 60_000, enough.signal);
      enough.abort();
      expect(JSON.parse(await early)).toHaveProperty('samples');
      const cut = host.supervisor.profile('busy', 60_000, never.signal);
      const refused = expect(cut).rejects.toMatchObject({ code: 'MKTS_PROFILE' });
      await host.supervisor.stopOne('busy');
      await refused;
    });

    test('a batch larger than a frame and larger than the ring arrives whole', async () => {
      const rowCount = 400_000;
      const host = await run([
        {
          name: 'bulk',
          code: bgworker(`
          const Epoch = Float64Array.from({ length: ${rowCount} }, (_, at) => 1600000000 + at);
          const Close = Float64Array.from({ length: ${rowCount} }, (_, at) => at);
          await ctx.write('B/1Sec/OHLCV', { Epoch, Close });
          await ctx.flush();
        `),
        },
      ]);
      await host.entered('bulk', 'stopped');
      const rows = host.rowsOf('bulk', 'B/1Sec/OHLCV');
      expect(rows.length).toBe(rowCount);
      expect(rows.every(({ values }, at) => values[0] === at)).toBe(true);
    });

    test('a write that is refused writes nothing and does not end the plugin', async () => {
      const host = await run([
        {
          name: 'picky',
          code: bgworker(`
          const attempts = [
            ['C/1Min/OHLCV', { Epoch: [1, 2], Close: [1] }],
            ['C/1Min/OHLCV', { Epoch: [1.5], Close: [1] }],
            ['C/1Min/OHLCV', { Epoch: [1e13], Close: [1] }],
            ['C/1Min/OHLCV', { Epoch: [60], Close: [null] }],
            ['C/1Min/OHLCV', { Close: [1] }],
            ['../1Min/OHLCV', { Epoch: [60], Close: [1] }],
          ];
          for (const [key, rows] of attempts)
            await ctx.write(key, rows).catch((error) => ctx.log.info(error.code));
          await ctx.write('C/1Min/OHLCV', { Epoch: [60], Close: new Int32Array([7]) });
          await ctx.write('C/1Min/OHLCV', { Epoch: [120], Close: [0.5] })
            .catch((error) => ctx.log.info(error.code));
          await ctx.flush();
        `),
        },
      ]);
      await host.entered('picky', 'stopped');
      expect(host.saidBy('picky')).toEqual([
        'MKTS_DATASET_INVALID',
        'MKTS_DATASET_INVALID',
        'MKTS_EPOCH_RANGE',
        'MKTS_DATASET_INVALID',
        'MKTS_COLUMN_TYPE',
        'MKTS_KEY_INVALID',
        'MKTS_COLUMN_LOSSY',
      ]);
      expect(host.rowsOf('picky', 'C/1Min/OHLCV')).toEqual([{ epoch: 60, values: [7] }]);
    });

    test('a trigger is told of batches; what it throws reaches the caller and it goes on', async () => {
      const host = await run([
        {
          name: 'agg',
          kind: 'trigger',
          code: trigger(`
          if (batch.symbol === 'BAD') throw new Error('cannot');
          ctx.log.info(batch.symbol + ' ' + batch.timeframe + ' ' + batch.ranges[0].from);
        `),
        },
      ]);
      await host.entered('agg', 'running');
      const ranges = [{ from: 60, to: 120 }];
      await expect(host.supervisor.fire('agg', { key: 'BAD/1Min/OHLCV', ranges })).rejects.toThrow(
        'cannot',
      );
      await host.supervisor.fire('agg', { key: 'X/1Min/OHLCV', ranges });
      await host.until(() => host.saidBy('agg').length > 0);
      expect(host.saidBy('agg')).toEqual(['X 1Min 60']);
      expect(host.statesOf('agg')).toEqual(['starting', 'running']);
    });

    test('it is stopped in good order: the signal aborts, rows are committed, nothing is restarted', async () => {
      const host = await run([{ name: 'tick', code: bgworker(ticker('T/1Min/OHLCV')) }]);
      await host.until(() => host.rowsOf('tick', 'T/1Min/OHLCV').length > 500);
      await host.supervisor.stop();
      expect(host.statesOf('tick')).toEqual(['starting', 'running', 'stopped']);
      expect(host.supervisor.plugins()[0]).toMatchObject({ reason: 'on request' });
    });

    test('it gets grants for its hosts and for URLs the operator wrote, and metrics arrive', async () => {
      const host = await run([
        {
          name: 'net',
          config: {
            url: 'wss://feed.example:9000/x',
            other: 'https://no.example',
            list: ['http://b.example/'],
          },
          code: bgworker(
            `ctx.metrics.count('trades', { venue: 'x' }, 2); ctx.metrics.count('trades', { venue: 'x' });
           ctx.metrics.gauge('lag', 1.5);`,
            `capabilities: { network: ['api.example'], networkFromConfig: ['url', 'list', 'absent'] },`,
          ),
        },
      ]);
      await host.entered('net', 'stopped');
      expect(host.grants.get('net')?.[0]).toBe('api.example');
      expect(host.grants.get('net')?.join(' ')).toContain('feed.example:9000');
      expect(host.grants.get('net')?.join(' ')).toContain('b.example');
      expect(host.grants.get('net')?.join(' ')).not.toContain('no.example');
      expect(host.metrics.map(({ name, value }) => [name, value])).toEqual([
        ['trades', 3],
        ['lag', 1.5],
      ]);
    });
  });

  test('a plugin in TypeScript, bundled with zod, checks its configuration in the sealed realm', async () => {
    const file = temporaryFile(
      'typed.ts',
      `import { defineBgWorker, z } from 'mkts/sdk';
     export default defineBgWorker({
       name: 'typed', version: '2', api: 1,
       config: z.object({ symbols: z.array(z.string()).min(1), limit: z.number().default(5) }),
       async start(ctx) { ctx.log.info(ctx.config.symbols.join() + ctx.config.limit); },
     });`,
    );
    const bundle: NonNullable<ConstructorParameters<typeof PluginHarness>[1]>['bundle'] = ({
      name,
    }) => bundlePlugin({ name, file });
    const host = await run(
      [
        { name: 'good', code: '', config: { symbols: ['A', 'B'] } },
        { name: 'bad', code: '', config: { symbols: [], limit: 'x' } },
      ],
      { bundle },
    );
    await host.entered('good', 'stopped');
    await host.entered('bad', 'failed');
    expect(host.saidBy('good')).toEqual(['A,B5']);
    expect(host.supervisor.plugins()[1]?.reason).toContain('mkts.yml:1:2 config.symbols');
  });

  describe('a plugin that fails is restarted by itself while another keeps flowing', () => {
    const MISDEEDS: readonly (readonly [string, string, string])[] = [
      ['throws', 'throw new Error("boom");', ''],
      [
        'throws outside its promise',
        'setTimeout(() => { throw new Error("later"); }); await new Promise(() => {});',
        'MKTS_PLUGIN_FAILED',
      ],
      [
        'rejects unheard',
        'Promise.reject(new Error("unheard")); await new Promise(() => {});',
        'MKTS_PLUGIN_FAILED',
      ],
      ['exits', 'process.exit(3);', 'MKTS_PLUGIN_EXIT'],
      ['spins for ever', 'for (;;) {}', 'MKTS_PLUGIN_STUCK'],
      [
        'fills the heap',
        'globalThis.kept = []; for (;;) { for (let at = 0; at < 20000; at++) kept.push({ at, text: "x" + at }); await new Promise((done) => setTimeout(done, 1)); }',
        'MKTS_PLUGIN_MEMORY',
      ],
      [
        'fills memory outside the heap',
        'globalThis.kept = []; for (;;) { kept.push(new Uint8Array(4e6).fill(1)); await new Promise((done) => setTimeout(done, 5)); }',
        'MKTS_PLUGIN_MEMORY',
      ],
      ['recurses', 'const f = () => f() + 1; f();', ''],
    ];

    test.each(MISDEEDS)('it %s', async (_name, body, code) => {
      const host = await run(
        [
          { name: 'bad', code: bgworker(`ctx.log.info('alive'); ${body}`) },
          { name: 'good', code: bgworker(ticker('G/1Min/OHLCV')) },
        ],
        {
          limits: { restartDelayMs: 20, sampleMs: 50, heartbeatTimeoutMs: 1_000, memorySoftMb: 96 },
        },
      );
      // A state of being late may come in between.
      await host.entered('bad', 'backoff');
      await host.entered('bad', 'starting', 2);
      const before = host.rowsOf('good', 'G/1Min/OHLCV').length;
      await host.until(() => host.rowsOf('good', 'G/1Min/OHLCV').length > before + 100);
      expect(host.causesOf('bad')[0]).toBe(code);
      // Late it may be, where all the cores are taken; it goes on.
      const others = host
        .statesOf('good')
        .filter((state) => !['running', 'degraded'].includes(state));
      expect(others).toEqual(['starting']);
    });

    test('after too many restarts it is quarantined, and an operator can start it again', async () => {
      const host = await run([{ name: 'bad', code: bgworker('throw new Error("boom");') }], {
        limits: { restartDelayMs: 1, restartsMax: 3 },
      });
      await host.entered('bad', 'quarantined');
      expect(host.statesOf('bad').filter((state) => state === 'backoff').length).toBe(3);
      await host.supervisor.restart('bad');
      await host.entered('bad', 'quarantined', 2);
    });

    test('a batch a trigger never ends is given up, and the trigger replaced', async () => {
      const host = await run(
        [{ name: 'slow', kind: 'trigger', code: trigger('await new Promise(() => {});') }],
        { limits: { restartDelayMs: 20, triggerTimeoutMs: 100 } },
      );
      await host.entered('slow', 'running');
      await expect(
        host.supervisor.fire('slow', { key: 'X/1Min/OHLCV', ranges: [{ from: 60, to: 60 }] }),
      ).rejects.toMatchObject({ code: 'MKTS_PLUGIN_TIMEOUT' });
      await host.entered('slow', 'running', 2);
    });
  });

  describe('a plugin that cannot run is named and left alone', () => {
    test('its configuration is refused, with the place in mkts.yml', async () => {
      const host = await run([
        {
          name: 'conf',
          config: { filter: 'nasdaqq' },
          code: `module.exports = { kind: 'bgworker', name: 't', version: '1', api: 1, async start() {},
          config: { safeParseAsync: async () => ({ success: false, error: { issues: [
            { path: ['filter'], message: 'expected nasdaq' }] } }) } };`,
        },
      ]);
      await host.entered('conf', 'failed');
      expect(host.causesOf('conf')).toEqual(['MKTS_PLUGIN_CONFIG']);
      expect(host.supervisor.plugins()[0]?.reason).toBe(
        'mkts.yml:1:2 config.filter: expected nasdaq (plugin=conf)',
      );
    });

    test.each([
      ['is for another kernel', bgworker('').replace('api: 1', 'api: 99'), 'MKTS_PLUGIN_API'],
      ['is a trigger in the place of a bgworker', trigger(''), 'MKTS_PLUGIN_SHAPE'],
      ['exports nothing', 'module.exports = {}', 'MKTS_PLUGIN_SHAPE'],
    ])('it %s', async (_name, code, expected) => {
      const host = await run([{ name: 'unfit', code }]);
      await host.entered('unfit', 'failed');
      expect(host.causesOf('unfit')).toEqual([expected]);
    });

    test('its bundle cannot be built', async () => {
      const host = await run([{ name: 'unbuilt', code: '' }], {
        bundle: () => Promise.reject(new Error('no such module')),
      });
      await host.entered('unbuilt', 'failed');
      expect(host.supervisor.plugins()[0]?.reason).toBe('no such module');
    });
  });

  describe('what is taken away', () => {
    const PROBES: readonly (readonly [string, string])[] = [
      ['require fs', `require('fs')`],
      ['require child_process', `require('node:child_process')`],
      ['require net', `require('net')`],
      ['import()', `await import('fs')`],
      ['eval', `eval('1')`],
      ['indirect eval', `(0, eval)('1')`],
      ['Function', `new Function('return 1')()`],
      ['function constructor', `(() => {}).constructor('return 1')()`],
      ['async function constructor', `(async () => {}).constructor('return 1')`],
      ['generator constructor', `(function* () {}).constructor('return 1')`],
      ['async generator constructor', `(async function* () {}).constructor('return 1')`],
      ['process.kill', `process.kill(1, 0)`],
      ['process.getBuiltinModule', `process.getBuiltinModule('fs')`],
      ['process.binding', `process.binding('fs')`],
      ['process.dlopen', `process.dlopen({}, 'x.node')`],
      ['process.chdir', `process.chdir('/')`],
      ['process of a constructor', `process.constructor.constructor('return process')()`],
      ['fetch', `fetch('http://127.0.0.1')`],
      ['WebSocket', `new WebSocket('ws://127.0.0.1')`],
      ['BroadcastChannel', `new BroadcastChannel('x')`],
      ['MessageChannel', `new MessageChannel()`],
      ['WebAssembly', `new WebAssembly.Memory({ initial: 1 })`],
      ['SharedArrayBuffer', `new SharedArrayBuffer(8)`],
      ['crypto.subtle', `crypto.subtle.digest('SHA-256', new Uint8Array(1))`],
      ['replacing process', `Object.defineProperty(globalThis, 'process', { value: 1 })`],
      ['a name of the host: ring', 'ring.beat()'],
      ['a name of the host: hosted', 'hosted.stop()'],
      ['a name of the host: its modules', 'import_node_worker_threads.parentPort'],
      ['setTimeout of text', `setTimeout('1')`],
    ];

    test('every way out of the realm is denied', async () => {
      const probes = PROBES.map(
        ([name, code]) => `try { ${code}; ctx.log.info(${JSON.stringify(name)} + ' WORKS'); }
        catch (error) { ctx.log.info(${JSON.stringify(name)} + ' denied'); }`,
      );
      const host = await run([{ name: 'probe', code: bgworker(probes.join('\n')) }]);
      await host.entered('probe', 'stopped');
      expect(host.saidBy('probe')).toEqual(PROBES.map(([name]) => `${name} denied`));
    });

    test('call sites of a stack lead nowhere, and the environment is empty', async () => {
      const host = await run([
        {
          name: 'probe',
          code: bgworker(`
          Error.prepareStackTrace = (_error, sites) => sites;
          ctx.log.info(typeof new Error().stack, { env: Object.keys(process.env).length });
          ctx.log.info(Object.getOwnPropertyNames(globalThis).filter((name) =>
            /require|module|Worker|import|__/.test(name)).join(','));
        `),
        },
      ]);
      await host.entered('probe', 'stopped');
      expect(host.saidBy('probe')).toEqual(['string', '']);
      expect(host.lines.find(({ message }) => message === 'string')?.fields.env).toBe(0);
    });

    test('a flood of log lines is cut, counted, and hurts nobody', async () => {
      const host = await run([
        {
          name: 'chatter',
          code: bgworker(
            `for (let at = 0; at < 100000; at++) console.log('line', at, { key: 's3cret-value' });`,
          ),
          config: { api_key: 's3cret-value' },
        },
      ]);
      await host.entered('chatter', 'stopped');
      const lines = host.saidBy('chatter');
      expect(lines.length).toBeLessThan(1000);
      expect(lines.some((line) => line.includes('s3cret'))).toBe(false);
      expect(lines[0]).toContain('***');
      const dropped = host.lines.find(({ fields }) => Number(fields.dropped) > 0);
      expect(Number(dropped?.fields.dropped)).toBeGreaterThan(90_000);
    });
  });
});

async function profiledFunctions(profile: Promise<string>): Promise<string[]> {
  const { nodes } = JSON.parse(await profile) as {
    nodes: { callFrame: { functionName: string } }[];
  };
  return nodes.map(({ callFrame }) => callFrame.functionName);
}
