/** What a plugin may use, on real workers, and on a whole server: throttled first, ended where not. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, onTestFinished, test } from 'vitest';
import { queryServer } from '../../kernel/cli/rpc-client.ts';
import type { SupervisorOptions } from '../../kernel/supervisor/supervisor.ts';
import { bgworker, type HarnessPlugin, PluginHarness } from '../support/plugin-harness.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';
import { startTestServer, type TestServer } from '../support/test-server.ts';

const hosts: PluginHarness[] = [];

async function hosted(
  plugins: readonly (Omit<HarnessPlugin, 'name'> & { readonly name?: string })[],
  options: Partial<SupervisorOptions> = {},
): Promise<PluginHarness> {
  const host = new PluginHarness(
    plugins.map((plugin) => ({ name: 'greedy', ...plugin })),
    options,
  );
  hosts.push(host);
  await host.start();
  return host;
}

afterEach(async () => {
  await Promise.all(hosts.splice(0).map((host) => host.stop()));
});

const IDLE = 'await new Promise((resolve) => ctx.signal.addEventListener("abort", resolve));';
/** Wants all of a core, in turns of some milliseconds. */
const BURN = `while (!ctx.signal.aborted) {
    const end = performance.now() + 5;
    while (performance.now() < end);
    await new Promise((resolve) => setImmediate(resolve));
  }`;

test.each(['worker', 'process'] as const)(
  'CPU (%s): a plugin past its share is slowed down, not taken for stuck, degraded if it goes on, and stops at once',
  async (isolation) => {
    const host = await hosted(
      [{ code: bgworker(BURN), entry: { isolation, budget: { cpuPercent: 20 } } }],
      { limits: { heartbeatTimeoutMs: 2_500 } },
    );
    const status = () => host.supervisor.plugins()[0];
    await host.until(() => (status()?.throttledMs ?? 0) > 0);
    // What it may use at once after a rest is used up: from here on the rate holds.
    const [beganMs, cpuMs] = [performance.now(), status()?.cpuMs ?? 0];
    const slept = status()?.throttledMs ?? 0;
    // On a busy machine it may be late with its heartbeat before.
    await host.until(() => status()?.reason === 'it wants more CPU than its budget');
    expect((status()?.throttledMs ?? 0) - slept).toBeGreaterThan(1_000);
    const percent = (100 * ((status()?.cpuMs ?? 0) - cpuMs)) / (performance.now() - beganMs);
    expect(percent).toBeGreaterThan(1);
    expect(percent).toBeLessThan(30);
    expect(host.causesOf('greedy')).toEqual([]);

    const stoppingMs = performance.now();
    await host.stop();
    // Less than the time a plugin has to stop by itself.
    expect(performance.now() - stoppingMs).toBeLessThan(4_000);
    expect(host.statesOf('greedy').at(-1)).toBe('stopped');
  },
);

test('CPU: what rests between its turns is never slowed down', async () => {
  const host = await hosted([
    {
      code: bgworker(`for (let at = 0; at < 20; at++) {
        const end = performance.now() + 4;
        while (performance.now() < end);
        await ctx.clock.sleep(40);
      }
      ctx.log.info('rested'); ${IDLE}`),
      entry: { budget: { cpuPercent: 50 } },
    },
  ]);
  await host.until(() => host.saidBy('greedy').includes('rested'));
  await host.until(() => (host.supervisor.plugins()[0]?.cpuMs ?? 0) > 60);
  expect(host.supervisor.plugins()[0]?.throttledMs).toBe(0);
});

test.each([
  ['external', 'externalMb', 'worker', 'new Uint8Array(1024 * 1024).fill(1)'],
  ['heap', 'heapMb', 'worker', 'Array.from({ length: 20_000 }, (_, at) => ({ at }))'],
  ['external', 'externalMb', 'process', 'new Uint8Array(1024 * 1024).fill(1)'],
  ['heap', 'heapMb', 'process', 'Array.from({ length: 20_000 }, (_, at) => ({ at }))'],
] as const)(
  'memory: past its bound of %s memory alone (%s, in a %s) a plugin is ended',
  async (part, bound, isolation, piece) => {
    const host = await hosted([
      {
        code: bgworker(`const kept = [];
        while (!ctx.signal.aborted) { kept.push(${piece}); await ctx.clock.sleep(2); }`),
        entry: { isolation, budget: { memoryMb: 512, [bound]: 48 } },
      },
    ]);
    await host.entered('greedy', 'backoff');
    expect(host.causesOf('greedy')[0]).toBe('MKTS_PLUGIN_MEMORY');
    const { state } = host.states.find(({ state: { kind } }) => kind === 'backoff') ?? {};
    expect(state).toMatchObject({ cause: { fields: { limitMb: 48, part } } });
  },
);

test('log lines: past the rate they are dropped and counted', async () => {
  const host = await hosted([
    {
      code: bgworker(`for (let at = 0; at < 100; at++) ctx.log.info('line ' + at); ${IDLE}`),
      entry: { budget: { logLinesPerSecond: 7 } },
    },
  ]);
  await host.until(() => host.lines.some(({ fields }) => fields.dropped === 93));
  expect(host.saidBy('greedy').filter((line) => line.startsWith('line '))).toHaveLength(7);
});

test('requests: so many queries are under way, the next wait, and all are answered', async () => {
  let underWay = 0;
  let most = 0;
  const answers: (() => void)[] = [];
  const rows = { rowCount: 0, columns: [] };
  const host = await hosted(
    [
      {
        code: bgworker(`
          const asked = Array.from({ length: 20 }, () => ctx.query({ key: 'A/1Min/OHLCV' }));
          await ctx.lastRow('A/1Min/OHLCV');
          ctx.log.info('last row');
          ctx.log.info('answered ' + (await Promise.all(asked)).length); ${IDLE}`),
        entry: { budget: { requestsMax: 3 } },
      },
    ],
    {
      kernel: () => ({
        openBucket: (_key, schema) => ({ schema }),
        schemaOf: () => undefined,
        query: async () => {
          most = Math.max(most, ++underWay);
          await new Promise<void>((resolve) => answers.push(resolve));
          underWay--;
          return rows;
        },
        lastRow: () => rows,
        metric: () => undefined,
      }),
    },
  );
  // The newest row is in memory: it waits for no query.
  await host.until(() => host.saidBy('greedy').includes('last row'));
  await host.until(() => {
    answers.shift()?.();
    return host.saidBy('greedy').includes('answered 20');
  });
  expect(most).toBe(3);
});

// ---- on a whole server ------------------------------------------------------------------------

function pluginFile(body: string, capabilities = '{}'): string {
  const file = join(temporaryDirectory(), 'plugin.ts');
  writeFileSync(
    file,
    `import { defineBgWorker, z } from 'mkts/sdk';
     export default defineBgWorker({ name: 'probe', version: '1.0.0', api: 1,
       config: z.object({ symbol: z.string().default('A'), rows: z.number().default(1e9) }), capabilities: ${capabilities},
       async start(ctx) { ${body} } });`,
  );
  return file;
}

async function startServer(bgworkers: readonly unknown[]): Promise<TestServer> {
  const server = await startTestServer({ listen_host: '127.0.0.1', bgworkers });
  onTestFinished(() => server.remove());
  return server;
}

/** Value of the first sample of a family that holds all of `labels`. */
async function metric(url: string, family: string, ...labels: readonly string[]): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const line = text
    .split('\n')
    .find((each) => each.startsWith(`${family}{`) && labels.every((label) => each.includes(label)));
  return Number(line?.split(' ').at(-1) ?? Number.NaN);
}

/** Asks until the answer will do, or the time is over. */
async function eventually<T>(ask: () => Promise<T>, will: (answer: T) => boolean): Promise<T> {
  const deadlineMs = performance.now() + 10_000;
  for (;;) {
    const answer = await ask();
    if (will(answer) || performance.now() > deadlineMs) return answer;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function rowCount(url: string, symbol: string): Promise<number> {
  const [bucket] = await queryServer(url, { destination: `${symbol}/1Sec/OHLCV` }).catch(() => []);
  return bucket?.rowCount ?? 0;
}

test('records: past the rate writes wait, nothing is lost, and others are as fast as before', async () => {
  const flood = pluginFile(`
    const { symbol, rows } = ctx.config;
    let at = 0;
    try {
      for (; at < rows && !ctx.signal.aborted; at += 10) {
        const Epoch = Array.from({ length: 10 }, (_, n) => 1600000000 + at + n);
        await ctx.write(symbol + '/1Sec/OHLCV', { Epoch, Close: Epoch });
        if (at % 1000 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
    } finally { ctx.log.warn('accepted ' + at); }`);
  const server = await startServer([
    {
      name: 'slow',
      module: flood,
      config: { symbol: 'S' },
      resources: { records_per_second: 2000 },
    },
    { name: 'free', module: flood, config: { symbol: 'F', rows: 100_000 } },
  ]);
  const slow = (): Promise<number> => rowCount(server.url, 'S');
  await eventually(slow, (rows) => rows >= 2000);
  const beganMs = performance.now();
  const before = await slow();
  const rows = (await eventually(slow, (now) => now >= before + 4000)) - before;
  const rate = rows / ((performance.now() - beganMs) / 1000);
  expect(rate).toBeGreaterThan(500);
  expect(rate).toBeLessThan(2500);
  // Long since done.
  expect(await rowCount(server.url, 'F')).toBe(100_000);

  // What was accepted and still lies in the ring is written at the stop, without waiting for tokens.
  const stoppingMs = performance.now();
  await server.stop();
  expect(performance.now() - stoppingMs).toBeLessThan(5_000);
  const accepted = server.warnings
    .filter((line) => line.startsWith('accepted '))
    .map((line) => Number(line.split(' ')[1]))
    .sort((a, b) => a - b);
  expect(accepted).toHaveLength(2);
  const again = await startTestServer({ root_directory: server.root, listen_host: '127.0.0.1' });
  onTestFinished(() => again.remove());
  const stored = [await rowCount(again.url, 'S'), await rowCount(again.url, 'F')];
  expect(stored.sort((a, b) => a - b)).toEqual(accepted);
});

test('denials of keys, hosts and secrets are in /metrics and told once each', async () => {
  const probe = pluginFile(
    `for (let at = 0; at < 30; at++) {
       await ctx.write('X/1Min/OHLCV', { Epoch: [1600000000], Close: [1] }).catch(() => {});
       await ctx.fetch('http://198.51.100.1:81/').catch(() => {});
       try { ctx.secrets.get('none'); } catch {}
     }
     await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve));`,
    "{ writes: ['Y/1Min/OHLCV'], network: ['198.51.100.1'] }",
  );
  const server = await startServer([{ name: 'probe', module: probe }]);
  for (const what of ['write', 'network', 'secret'])
    expect(
      await eventually(
        () => metric(server.url, 'mkts_plugin_denied_total', 'plugin="probe"', `what="${what}"`),
        (count) => count === 30,
      ),
      what,
    ).toBe(30);
  const told = server.warnings.filter((line) => line === 'a plugin tried what it may not');
  expect(told).toHaveLength(3);
});
