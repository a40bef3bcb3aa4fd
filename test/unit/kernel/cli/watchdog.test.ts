/** When the kernel is started again, and with whom in quarantine: the process is played by the test. */

import type { ChildProcess } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { MktsError } from '../../../../kernel/base/errors.ts';
import type { BlackBoxRecord } from '../../../../kernel/black-box.ts';
import { runWatchdog } from '../../../../kernel/cli/watchdog.ts';
import type { ToKernel, ToWatchdog } from '../../../../kernel/cli/watchdog-protocol.ts';

class FakeKernel extends EventEmitter {
  readonly pid = undefined;
  readonly heard: ToKernel[] = [];
  readonly kills: string[] = [];
  connected = true;

  send(message: ToKernel): boolean {
    this.heard.push(message);
    return true;
  }
  kill(signal: string): boolean {
    this.kills.push(signal);
    return true;
  }
  says(message: ToWatchdog): void {
    this.emit('message', message);
  }
  async ends(code: number | null, signal: NodeJS.Signals | null = null): Promise<void> {
    this.connected = false;
    this.emit('exit', code, signal);
    this.emit('disconnect');
    await vi.advanceTimersByTimeAsync(0);
  }
}

function scene() {
  const kernels: FakeKernel[] = [];
  const signals = new EventEmitter();
  const reports: MktsError[] = [];
  const exitCode = runWatchdog({
    spawn: () => {
      const kernel = new FakeKernel();
      kernels.push(kernel);
      return kernel as unknown as ChildProcess;
    },
    signals,
    report: (error) => reports.push(error),
  });
  const newest = (): FakeKernel => {
    const kernel = kernels.at(-1);
    if (kernel === undefined) throw new Error('one was started');
    return kernel;
  };
  return { kernels, newest, signals, reports, exitCode };
}

function recordOf(...plugins: readonly string[]): BlackBoxRecord {
  const workers = plugins.map((plugin) => ({
    plugin,
    ageMs: 3_600_000,
    usedMb: plugin === 'leaky' ? 900 : 20,
    limitMb: 256,
    silentMs: 0,
    unansweredMs: 0,
    isEnding: false,
  }));
  return { rssMb: 1000, growthMb: 800, kernelHeapPart: 0.1, workers };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test.each([0, 1])(
  'a kernel that exits with %d before it was ready is not started again',
  async (code) => {
    const { newest, kernels, exitCode, reports } = scene();
    await newest().ends(code);
    expect(await exitCode).toBe(code);
    expect(kernels).toHaveLength(1);
    expect(reports).toEqual([]);
  },
);

test.each([
  ['an exit after it was ready', 1, null, true],
  ['a signal after it was ready', null, 'SIGKILL', true],
  ['a signal before', null, 'SIGSEGV', false],
] as const)('it is started again after %s, and told why', async (_what, code, signal, wasReady) => {
  const { newest, kernels, exitCode } = scene();
  if (wasReady) newest().says({ kind: 'ready' });
  await newest().ends(code, signal);
  expect(kernels).toHaveLength(2);
  expect(newest().heard).toEqual([
    { kind: 'start', quarantined: [], death: expect.objectContaining({ deaths: 1 }) },
  ]);
  newest().says({ kind: 'ready' });
  newest().says({ kind: 'stopping' });
  await newest().ends(0);
  expect(await exitCode).toBe(0);
});

test.each(['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const)(
  'it is not started again after a %s it did not hear',
  async (signal) => {
    const { newest, kernels, exitCode } = scene();
    await newest().ends(null, signal);
    expect(await exitCode).toBeGreaterThan(128);
    expect(kernels).toHaveLength(1);
  },
);

test('whoever is to blame stays in quarantine from death to death, until it runs again', async () => {
  const { newest } = scene();
  newest().says({ kind: 'ready' });
  newest().says({ kind: 'record', record: recordOf('good', 'leaky') });
  await newest().ends(null, 'SIGABRT');
  const [first] = newest().heard;
  expect(first).toMatchObject({
    quarantined: [['leaky', expect.stringMatching(/SIGABRT: it held 900 .*\(MKTS_KERNEL_DIED\)$/)]],
    death: { plugin: 'leaky', evidence: 'it held 900 MB of the 256 MB it may use' },
  });
  newest().says({ kind: 'record', record: recordOf('good') });
  await newest().ends(null, 'SIGKILL');
  expect(newest().heard[0]).toMatchObject({ quarantined: [['leaky', expect.anything()]] });
  // An operator released it.
  newest().says({ kind: 'record', record: recordOf('good', 'leaky') });
  await newest().ends(1, null);
  newest().says({ kind: 'ready' });
  await newest().ends(0);
});

test('five deaths in a minute are enough, and five in two are not', async () => {
  const fast = scene();
  for (let death = 0; death < 5; death++) await fast.newest().ends(null, 'SIGKILL');
  expect(await fast.exitCode).toBe(137);
  expect(fast.reports.map(({ code }) => code)).toEqual(['MKTS_KERNEL_LOOP']);

  const slow = scene();
  for (let death = 0; death < 10; death++) {
    await slow.newest().ends(null, 'SIGKILL');
    await vi.advanceTimersByTimeAsync(20_000);
  }
  expect(slow.reports).toEqual([]);
  slow.newest().says({ kind: 'stopping' });
  await slow.newest().ends(0);
  expect(await slow.exitCode).toBe(0);
});

test('a kernel that is ready gets one in reserve, which takes its place', async () => {
  const { kernels, newest, exitCode } = scene();
  const [first] = kernels;
  first?.says({ kind: 'ready' });
  expect(kernels).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(2_000);
  const reserve = newest();
  expect(kernels).toHaveLength(2);
  expect(reserve.heard).toEqual([]);
  await first?.ends(null, 'SIGKILL');
  expect(kernels).toHaveLength(2);
  expect(reserve.heard[0]).toMatchObject({ kind: 'start' });

  // One that dies while it waits is not counted on, and the last one goes with the watchdog.
  reserve.says({ kind: 'ready' });
  await vi.advanceTimersByTimeAsync(2_000);
  await newest().ends(null, 'SIGKILL');
  await reserve.ends(null, 'SIGKILL');
  expect(kernels).toHaveLength(4);
  newest().says({ kind: 'ready' });
  await vi.advanceTimersByTimeAsync(2_000);
  expect(kernels).toHaveLength(5);
  kernels[3]?.says({ kind: 'stopping' });
  await kernels[3]?.ends(0);
  expect(await exitCode).toBe(0);
  expect(kernels[4]?.kills).toEqual(['SIGKILL']);
});

test('signals are passed on as words; the third does not wait to be heard', async () => {
  const { newest, signals, exitCode, kernels } = scene();
  signals.emit('SIGUSR1');
  for (let time = 0; time < 3; time++) signals.emit('SIGINT');
  expect(newest().heard.slice(1)).toEqual(
    ['SIGUSR1', 'SIGINT', 'SIGINT'].map((signal) => ({ kind: 'signal', signal })),
  );
  expect(newest().kills).toEqual(['SIGKILL']);
  await newest().ends(null, 'SIGKILL');
  expect(await exitCode).toBe(137);
  expect(kernels).toHaveLength(1);
  expect(signals.eventNames()).toEqual([]);
});

test('a kernel that has stopped and does not exit is ended, with the code it said', async () => {
  const { newest, exitCode } = scene();
  newest().says({ kind: 'ready' });
  newest().says({ kind: 'stopping' });
  newest().says({ kind: 'stopped', exitCode: 0 });
  await vi.advanceTimersByTimeAsync(1_000);
  expect(newest().kills).toEqual(['SIGKILL']);
  await newest().ends(null, 'SIGKILL');
  expect(await exitCode).toBe(0);
});
