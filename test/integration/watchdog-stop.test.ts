/**
 * Whoever stops a server that has a watchdog, in whatever way (a signal to one of the two processes, or
 * to both, or the end of the watchdog) gets one stop in good order. How it comes back is in
 * watchdog.test.ts.
 */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { kernelPid, startWatched } from '../support/watched-server.ts';

const FEEDER = join(import.meta.dirname, '../crash/counting-feeder.ts');
const FED = 'FEED/1Min/COUNT';
const HEALTHY = { module: FEEDER, name: 'healthy', config: { key: FED, variable: false } };

test('Ctrl-C, which reaches both processes, is one stop in good order', async () => {
  const { server, root } = await startWatched({ bgworkers: [HEALTHY] });
  await server.line(({ msg }) => msg === 'committed');
  process.kill(-server.pid, 'SIGINT');
  expect(await server.ended()).toBe(0);
  const messages = server.lines.map(({ msg }) => msg);
  expect(messages).toContain("initiating graceful shutdown due to 'interrupt' request");
  expect(messages.at(-1)).toBe('exiting...');
  expect(messages.filter((msg) => msg.startsWith('second signal'))).toEqual([]);
  expect(readdirSync(root).filter((name) => /\.wal$|lock$/.test(name))).toEqual([]);
  expect(server.stderr).toBe('');
});

test('a second Ctrl-C does not wait', async () => {
  const { server } = await startWatched({ stop_grace_period: 3600 });
  process.kill(-server.pid, 'SIGINT');
  await server.line(({ msg }) => msg.startsWith('waiting a grace period'));
  process.kill(-server.pid, 'SIGINT');
  expect(await server.ended()).toBe(130);
  expect(server.lines.at(-1)?.msg).toContain("second signal ('interrupt')");
});

test('whoever stops the kernel itself stops the server', async () => {
  const { server, root } = await startWatched();
  process.kill(kernelPid(root) ?? 0, 'SIGTERM');
  expect(await server.ended()).toBe(0);
  expect(server.lines.at(-1)?.msg).toBe('exiting...');
});

test('a report asked of the watchdog is the kernel’s', async () => {
  const { server } = await startWatched();
  process.kill(server.pid, 'SIGUSR1');
  await server.line(({ report }) => report !== undefined);
  expect(await server.stop()).toBe(0);
});

test('a kernel whose watchdog is killed stops in good order', async () => {
  const { server, root } = await startWatched({ bgworkers: [HEALTHY] });
  await server.line(({ msg }) => msg === 'committed');
  // Its output ends with the last process that has it.
  await server.kill();
  expect(server.lines.at(-1)?.msg).toBe('exiting...');
  expect(readdirSync(root).filter((name) => /\.wal$|lock$/.test(name))).toEqual([]);
});
