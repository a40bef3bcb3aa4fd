/**
 * What follows when a plugin cannot be started, and a start in quarantine: on real workers.
 */

import { expect, onTestFinished, test } from 'vitest';
import type { OnStartError } from '../../config/entry-settings.ts';
import { PluginError } from '../../kernel/base/errors.ts';
import type { SupervisorOptions } from '../../kernel/supervisor/supervisor.ts';
import { bgworker, type HarnessPlugin, PluginHarness, ticker } from '../support/plugin-harness.ts';

const STEADY: HarnessPlugin = { name: 'steady', code: bgworker(ticker('STEADY/1Min/C')) };

function culprit(code: string, onStartError: OnStartError, probationMs = 10_000): HarnessPlugin {
  return {
    name: 'culprit',
    code,
    entry: {
      onStartError,
      required: onStartError === 'exit',
      reload: {
        watch: false,
        probationMs,
      },
    },
  };
}

async function started(
  plugins: readonly HarnessPlugin[],
  options: Partial<SupervisorOptions> = {},
): Promise<PluginHarness> {
  const host = new PluginHarness(plugins, options);
  onTestFinished(() => host.stop());
  await host.start();
  return host;
}

function statesOf(host: PluginHarness, plugin: string): readonly string[] {
  return host.states.filter((entered) => entered.plugin === plugin).map(({ state }) => state.kind);
}

function isIn(host: PluginHarness, plugin: string, state: string): boolean {
  return host.supervisor.plugins().some(({ name, state: now }) => name === plugin && now === state);
}

const THROWS = bgworker('throw new Error("no upstream")');

test('quarantine: one that throws as it starts is tried once, until an operator starts it', async () => {
  const host = await started([STEADY, culprit(THROWS, 'quarantine')]);
  await host.until(() => isIn(host, 'culprit', 'quarantined'));
  expect(statesOf(host, 'culprit')).toEqual(['starting', 'running', 'quarantined']);
  expect(host.lines.filter(({ level }) => level === 'error')).toMatchObject([
    {
      message: 'plugin cannot be started and is quarantined',
      fields: { plugin: 'culprit', reason: 'no upstream', generation: 1 },
    },
  ]);
  await host.until(() => isIn(host, 'steady', 'running'));
  host.code.set('culprit', bgworker(ticker('CULPRIT/1Min/C')));
  await host.supervisor.release('culprit');
  expect(isIn(host, 'culprit', 'running')).toBe(true);
});

test('quarantine: nor is one that does not build', async () => {
  const host = await started([culprit(THROWS, 'quarantine')], {
    bundle: async () => {
      throw new PluginError('MKTS_PLUGIN_BUILD', { plugin: 'culprit', reason: 'no' });
    },
  });
  await host.until(() => isIn(host, 'culprit', 'quarantined'));
  expect(statesOf(host, 'culprit')).toEqual(['starting', 'quarantined']);
});

test('quarantine: one that was started once crashes as any other', async () => {
  const crashesLater = bgworker('await ctx.clock.sleep(100); throw new Error("later")');
  const host = await started([culprit(crashesLater, 'quarantine', 20)]);
  await host.until(() => statesOf(host, 'culprit').filter((kind) => kind === 'running').length > 1);
  expect(statesOf(host, 'culprit').slice(0, 5)).toEqual([
    ...['starting', 'running', 'backoff', 'starting', 'running'],
  ]);
});

test('retry: one that throws as it starts is tried again', async () => {
  const host = await started([culprit(THROWS, 'retry')]);
  await host.until(() => statesOf(host, 'culprit').filter((kind) => kind === 'backoff').length > 1);
});

test('exit: what keeps it from running is what keeps the server from starting', async () => {
  const host = await started([STEADY, culprit('throw new Error("at import")', 'exit')]);
  await expect(host.supervisor.requiredRun()).rejects.toThrow(/at import/);
});

test('entries in quarantine from the start run when they are released, and not before', async () => {
  const culprits = { ...STEADY, name: 'culprit' };
  const host = await started([culprits, STEADY], {
    quarantined: new Map([['culprit', 'it was growing when the server died']]),
  });
  await host.until(() => isIn(host, 'steady', 'running'));
  expect(statesOf(host, 'culprit')).toEqual(['quarantined']);
  expect(host.supervisor.status('culprit')).toMatchObject({
    state: 'quarantined',
    generation: 0,
    reason: expect.stringContaining('it was growing when the server died'),
  });
  expect(host.lines.filter(({ fields }) => fields.plugin === 'culprit')).toMatchObject([
    { level: 'error', message: 'plugin is quarantined' },
  ]);
  await host.supervisor.release('culprit');
  expect(isIn(host, 'culprit', 'running')).toBe(true);
});
