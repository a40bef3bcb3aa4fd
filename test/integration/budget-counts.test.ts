/** What a plugin may use that is counted and not timed, on real workers: memory, lines, requests. */

import { expect, onTestFinished, test } from 'vitest';
import type { SupervisorOptions } from '../../kernel/supervisor/supervisor.ts';
import { bgworker, type HarnessPlugin, PluginHarness } from '../support/plugin-harness.ts';

/** A server with one plugin, `greedy`; it ends with the test. */
async function hosted(
  plugin: Omit<HarnessPlugin, 'name'>,
  options: Partial<SupervisorOptions> = {},
): Promise<PluginHarness> {
  const host = new PluginHarness([{ name: 'greedy', ...plugin }], options);
  onTestFinished(() => host.stop());
  await host.start();
  return host;
}

const IDLE = 'await new Promise((resolve) => ctx.signal.addEventListener("abort", resolve));';

test.each([
  ['external', 'externalMb', 'worker', 'new Uint8Array(1024 * 1024).fill(1)'],
  ['heap', 'heapMb', 'worker', 'Array.from({ length: 20_000 }, (_, at) => ({ at }))'],
  ['external', 'externalMb', 'process', 'new Uint8Array(1024 * 1024).fill(1)'],
  ['heap', 'heapMb', 'process', 'Array.from({ length: 20_000 }, (_, at) => ({ at }))'],
] as const)(
  'memory: past its bound of %s memory alone (%s, in a %s) a plugin is ended',
  async (part, bound, isolation, piece) => {
    const host = await hosted({
      code: bgworker(`const kept = [];
        while (!ctx.signal.aborted) { kept.push(${piece}); await ctx.clock.sleep(2); }`),
      entry: { isolation, budget: { memoryMb: 512, [bound]: 48 } },
    });
    await host.entered('greedy', 'backoff');
    expect(host.causesOf('greedy')[0]).toBe('MKTS_PLUGIN_MEMORY');
    const { state } = host.states.find(({ state: { kind } }) => kind === 'backoff') ?? {};
    expect(state).toMatchObject({ cause: { fields: { limitMb: 48, part } } });
  },
);

test('log lines: past the rate they are dropped and counted', async () => {
  const host = await hosted({
    code: bgworker(`for (let at = 0; at < 100; at++) ctx.log.info('line ' + at); ${IDLE}`),
    entry: { budget: { logLinesPerSecond: 7 } },
  });
  await host.until(() => host.lines.some(({ fields }) => fields.dropped === 93));
  expect(host.saidBy('greedy').filter((line) => line.startsWith('line '))).toHaveLength(7);
});

test('requests: so many queries are under way, the next wait, and all are answered', async () => {
  let underWay = 0;
  let most = 0;
  const answers: (() => void)[] = [];
  const rows = { rowCount: 0, columns: [] };
  const host = await hosted(
    {
      code: bgworker(`
          const asked = Array.from({ length: 20 }, () => ctx.query({ key: 'A/1Min/OHLCV' }));
          await ctx.lastRow('A/1Min/OHLCV');
          ctx.log.info('last row');
          ctx.log.info('answered ' + (await Promise.all(asked)).length); ${IDLE}`),
      entry: { budget: { requestsMax: 3 } },
    },
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
