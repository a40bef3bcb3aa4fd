import { EventEmitter } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import type { SignalSource } from '../../../../kernel/cli/signals.ts';
import { formatDuration } from '../../../../kernel/cli/signals.ts';
import { runStart } from '../../../../kernel/cli/start.ts';
import type { Kernel } from '../../../../kernel/kernel.ts';
import { createLog, type LogOptions } from '../../../../kernel/log.ts';
import { temporaryDirectory } from '../../../support/temporary-directory.ts';

/** Stands for `process`: signals are emitted, exits are recorded. */
class FakeProcess extends EventEmitter implements SignalSource {
  readonly exits: number[] = [];
  exit(code: number): void {
    this.exits.push(code);
  }
}

interface Line {
  readonly level: string;
  readonly msg: string;
  readonly error?: { readonly message?: string; readonly stack?: string };
}

function scene(settings: string = '') {
  const directory = temporaryDirectory();
  const configPath = join(directory, 'mkts.yml');
  const root = join(directory, 'data');
  writeFileSync(configPath, `root_directory: ${root}\nlisten_port: 0\n${settings}`);
  const signals = new FakeProcess();
  const lines: Line[] = [];
  const done = Promise.withResolvers<void>();
  const steps: string[] = [];
  const kernel: Kernel = {
    address: 'http://127.0.0.1:1',
    drain: () => void steps.push('drain'),
    stop: async (reason) => {
      steps.push(`stop ${reason}`);
      done.resolve();
    },
    done: done.promise,
    supervisor: new EventEmitter() as unknown as Kernel['supervisor'],
  };
  const started = Promise.withResolvers<void>();
  const options = {
    configPath,
    signals,
    createLog: (given: LogOptions) =>
      createLog({ ...given, write: (line) => void lines.push(JSON.parse(line) as Line) }),
    startKernel: async () => {
      started.resolve();
      return kernel;
    },
  };
  const messages = (): readonly string[] => lines.map(({ msg }) => msg);
  return { options, signals, lines, messages, done, steps, kernel, started: started.promise };
}

test.each([
  ['SIGINT', 'interrupt'],
  ['SIGTERM', 'terminated'],
])('%s stops the kernel in good order, with the phrases people look for', async (event, name) => {
  const { options, signals, steps, messages, started } = scene();
  const exitCode = runStart(options);
  await started;
  signals.emit(event);
  expect(await exitCode).toBe(0);
  expect(steps).toEqual(['drain', `stop ${name}`]);
  expect(messages()[0]).toBe(`using ${options.configPath} for configuration`);
  expect(messages().slice(-3)).toEqual([
    `initiating graceful shutdown due to '${name}' request`,
    'waiting a grace period of 0s to shutdown...',
    'exiting...',
  ]);
  expect(signals.eventNames()).toEqual([]);
});

test('a signal during the start is kept until the kernel runs', async () => {
  const { options, signals, kernel, steps } = scene();
  const startKernel = async () => {
    signals.emit('SIGTERM');
    return kernel;
  };
  expect(await runStart({ ...options, startKernel })).toBe(0);
  expect(steps).toEqual(['drain', 'stop terminated']);
});

test('a second signal does not wait', async () => {
  const { options, signals, started, messages } = scene('stop_grace_period: 3600\n');
  void runStart(options);
  await started;
  signals.emit('SIGINT');
  await vi.waitFor(() => expect(messages().at(-1)).toContain('grace period of 1h0m0s'));
  signals.emit('SIGINT');
  expect(signals.exits).toEqual([130]);
});

test('an error nobody caught is logged with its stack, and ends the process with 1', async () => {
  const { options, signals, started, lines } = scene();
  const exitCode = runStart(options);
  await started;
  signals.emit('uncaughtException', new TypeError('x is undefined'));
  expect(signals.exits).toEqual([1]);
  expect(lines.at(-1)).toMatchObject({
    level: 'fatal',
    error: { message: 'x is undefined', stack: expect.stringContaining('start.test.ts') },
  });
  signals.emit('SIGTERM');
  await exitCode;
});

test('SIGUSR1 reports and goes on; the report holds no environment', async () => {
  const { options, signals, started, lines, messages } = scene();
  vi.stubEnv('MKTS_TEST_SECRET', 'not-in-a-report');
  const exitCode = runStart(options);
  await started;
  signals.emit('SIGUSR1');
  expect(messages()).toContain('dumping stack traces due to SIGUSR1 request');
  expect(lines.at(-1)).toMatchObject({ report: { memory: expect.anything() } });
  expect(JSON.stringify(lines)).not.toContain('not-in-a-report');
  vi.unstubAllEnvs();
  signals.emit('SIGTERM');
  expect(await exitCode).toBe(0);
});

test('a kernel that ends by itself, or fails to stop, is a failure', async () => {
  const alone = scene();
  const exitCode = runStart(alone.options);
  await alone.started;
  alone.done.reject(new Error('fdatasync failed'));
  expect(await exitCode).toBe(1);
  expect(alone.lines.at(-1)).toMatchObject({
    level: 'fatal',
    error: { message: 'fdatasync failed' },
  });

  const stuck = scene();
  const stop = async (): Promise<void> => {
    throw new Error('disk full');
  };
  const running = runStart({
    ...stuck.options,
    startKernel: async () => ({ ...stuck.kernel, stop }),
  });
  stuck.signals.emit('SIGTERM');
  expect(await running).toBe(1);
  expect(stuck.messages()).not.toContain('exiting...');
});

test('warnings about the settings are in the log', async () => {
  const { options, signals, started, lines } = scene('wal_bypass: true\n');
  const exitCode = runStart(options);
  await started;
  const warned = lines.filter(({ level }) => level === 'warn').map(({ msg }) => msg);
  expect(warned.some((msg) => /mkts\.yml:3:1 wal_bypass: not available/.test(msg))).toBe(true);
  signals.emit('SIGTERM');
  await exitCode;
});

test('a duration is printed as Go prints it', () => {
  expect([0, 5000, 90_000, 3_605_000].map(formatDuration)).toEqual(['0s', '5s', '1m30s', '1h0m5s']);
});
