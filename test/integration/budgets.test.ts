/**
 * What a plugin may use in a time, on real workers, and on a whole server: throttled, not ended. A
 * neighbour that takes the processor would spoil it; what is counted is in budget-counts.test.ts.
 */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished, type TestContext, test } from 'vitest';
import { queryServer } from '../../kernel/cli/rpc-client.ts';
import type { SupervisorOptions } from '../../kernel/supervisor/supervisor.ts';
import { bgworker, type HarnessPlugin, PluginHarness } from '../support/plugin-harness.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';
import { startTestServer, type TestServer } from '../support/test-server.ts';

/** A server with one plugin, `greedy`; it ends with the test. */
async function hosted(
  plugin: Omit<HarnessPlugin, 'name'>,
  { onTestFinished }: Pick<TestContext, 'onTestFinished'>,
  options: Partial<SupervisorOptions> = {},
): Promise<PluginHarness> {
  const host = new PluginHarness([{ name: 'greedy', ...plugin }], options);
  onTestFinished(() => host.stop());
  await host.start();
  return host;
}

const IDLE = 'await new Promise((resolve) => ctx.signal.addEventListener("abort", resolve));';
/** Wants all of a core, in turns of some milliseconds. */
const BURN = `while (!ctx.signal.aborted) {
    const end = performance.now() + 5;
    while (performance.now() < end);
    await new Promise((resolve) => setImmediate(resolve));
  }`;

// At the same time: each takes a tenth of a core, which a busy machine has to give, and the rest of
// its ten seconds is waiting.
test.concurrent.for(['worker', 'process'] as const)(
  'CPU (%s): a plugin past its share is slowed down, not taken for stuck, degraded if it goes on, and stops at once',
  async (isolation, context) => {
    const host = await hosted(
      { code: bgworker(BURN), entry: { isolation, budget: { cpuPercent: 10 } } },
      context,
      { limits: { heartbeatTimeoutMs: 2_500 } },
    );
    const status = () => host.supervisor.plugins()[0];
    await host.until(() => (status()?.throttledMs ?? 0) > 0);
    // What it may use at once after a rest is used up: from here on the rate holds.
    const [beganMs, cpuMs] = [performance.now(), status()?.cpuMs ?? 0];
    const slept = status()?.throttledMs ?? 0;
    // On a busy machine it may be late with its heartbeat before.
    const ends = () => host.causesOf('greedy');
    await host.until(
      () => status()?.reason === 'it wants more CPU than its budget' || ends().length > 0,
    );
    expect(ends()).toEqual([]);
    expect((status()?.throttledMs ?? 0) - slept).toBeGreaterThan(1_000);
    const percent = (100 * ((status()?.cpuMs ?? 0) - cpuMs)) / (performance.now() - beganMs);
    expect(percent).toBeGreaterThan(1);
    expect(percent).toBeLessThan(15);

    const stoppingMs = performance.now();
    await host.stop();
    // Less than the time a plugin has to stop by itself.
    expect(performance.now() - stoppingMs).toBeLessThan(4_000);
    expect(host.statesOf('greedy').at(-1)).toBe('stopped');
  },
);

test('CPU: what rests between its turns is never slowed down', async (context) => {
  const host = await hosted(
    {
      code: bgworker(`for (let at = 0; at < 20; at++) {
        const end = performance.now() + 4;
        while (performance.now() < end);
        await ctx.clock.sleep(40);
      }
      ctx.log.info('rested'); ${IDLE}`),
      entry: { budget: { cpuPercent: 50 } },
    },
    context,
  );
  await host.until(() => host.saidBy('greedy').includes('rested'));
  await host.until(() => (host.supervisor.plugins()[0]?.cpuMs ?? 0) > 60);
  expect(host.supervisor.plugins()[0]?.throttledMs).toBe(0);
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

/** Asks until the answer will do, or the time is over. Asked without a pause, a server does nothing else. */
async function eventually<T>(ask: () => Promise<T>, will: (answer: T) => boolean): Promise<T> {
  const deadlineMs = performance.now() + 30_000;
  for (;;) {
    const answer = await ask();
    if (will(answer) || performance.now() > deadlineMs) return answer;
    await sleep(20);
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
