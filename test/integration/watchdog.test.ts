/**
 * `mkts start` as a user starts it, two processes: the kernel dies and is back, with all that was
 * acknowledged; who killed it is in quarantine; and one that dies again and again is given up. How
 * both are stopped is in watchdog-stop.test.ts.
 */

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { queryServer } from '../../kernel/cli/rpc-client.ts';
import { writeRows } from '../support/rpc-write.ts';
import type { ServerProcess } from '../support/server-process.ts';
import { kernelPid, startWatched, type WatchedServer } from '../support/watched-server.ts';

const FEEDER = join(import.meta.dirname, '../crash/counting-feeder.ts');
const ABORTING = join(import.meta.dirname, '../faults/aborting-plugin.ts');
const FED = 'FEED/1Min/COUNT';
const MARK = 'CULPRIT/1Min/MARK';
const WRITTEN = 'CLIENT/1Min/COUNT';
const BASE = Date.UTC(2021, 0, 1) / 1000;
const BACK_MS_MAX = 1_000;
const IDLE_NODE_START_MS = 50;
/** Below the number of deaths at which it is given up. */
const KILLS = 3;
const DEADLINE_MS = 30_000;
const HEALTHY = { module: FEEDER, name: 'healthy', config: { key: FED, variable: false } };

async function isReady(url: string): Promise<boolean> {
  return fetch(`${url}/heartbeat`).then(
    async (response) => {
      await response.text();
      return response.status === 200;
    },
    () => false,
  );
}

/** Waits until another kernel than `before` answers; milliseconds since `sinceMs`. */
async function back(
  { root, url }: WatchedServer,
  before: number,
  sinceMs: number,
): Promise<number> {
  while (kernelPid(root) === before || !(await isReady(url))) {
    if (performance.now() - sinceMs > DEADLINE_MS) throw new Error('the kernel is not back');
    await retry();
  }
  return performance.now() - sinceMs;
}

/** How much longer than on an idle machine a process takes to start: other tests run beside this. */
function machineSlowness(): number {
  const sinceMs = performance.now();
  execFileSync(process.execPath, ['-e', '0']);
  return Math.max(1, (performance.now() - sinceMs) / IDLE_NODE_START_MS);
}

/** Asked more often, a kernel that starts has less of the machine. */
function retry(): Promise<void> {
  return sleep(10);
}

async function killKernel(scene: WatchedServer): Promise<number> {
  const pid = kernelPid(scene.root) ?? 0;
  const killedMs = performance.now();
  process.kill(pid, 'SIGKILL');
  return back(scene, pid, killedMs);
}

/** True when the watchdog has two children, the kernel and one in reserve; or cannot be asked. */
function hasReserve(pid: number): boolean {
  const path = `/proc/${pid}/task/${pid}/children`;
  return !existsSync(path) || readFileSync(path, 'utf8').trim().split(' ').length === 2;
}

async function values(url: string, key: string): Promise<number[]> {
  const [bucket] = await queryServer(url, { destination: key });
  const column = bucket?.columns.find(({ name }) => name === 'Value');
  return Array.from(column?.data ?? [], Number);
}

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, value) => value);
}

function committed(server: ServerProcess): number {
  return Number(server.lines.findLast(({ msg }) => msg === 'committed')?.rows ?? 0);
}

test('a plugin whose heap aborts the process is found out, and the rest is back without it', {
  timeout: 60_000,
}, async ({ annotate }) => {
  const culprit = { module: ABORTING, name: 'culprit', config: { key: MARK } };
  const scene = await startWatched({ bgworkers: [HEALTHY, culprit] });
  const { server, url, root } = scene;
  const before = kernelPid(root) ?? 0;
  await server.line(({ msg }) => msg === 'blows up');
  const death = await server.line(({ msg }) => msg.startsWith('the kernel process was ended by'));
  const promised = committed(server);
  const tookMs = await back(scene, before, performance.now());
  await annotate(`back ${Math.round(tookMs)} ms after its first line`);

  expect(death).toMatchObject({
    level: 'error',
    deaths: 1,
    plugin: 'culprit',
    evidence: expect.stringMatching(/^it (had not answered for|held) \d+ /),
  });
  expect(death.msg).toMatch(/ended by SIG(ABRT|TRAP|ILL); it is started again/);
  const told = await server.line(
    ({ plugin, reason }) => plugin === 'culprit' && reason !== undefined,
  );
  expect(told).toMatchObject({ level: 'error' });
  expect(told.reason).toMatch(/held to have killed the kernel process, .* \(MKTS_KERNEL_DIED\)/);

  // The others go on, the row of the culprit is there, and it does not run.
  await server.until(() => committed(server) > promised || undefined);
  const fed = await values(url, FED);
  expect(fed).toEqual(upTo(fed.length));
  expect(fed.length).toBeGreaterThanOrEqual(promised);
  expect(await values(url, MARK)).toEqual([42]);
  const metrics = await (await fetch(`${url}/metrics`)).text();
  expect(metrics).toMatch(
    /^mkts_plugin_state\{[^}]*plugin="culprit"[^}]*state="quarantined"[^}]*\} 1$/m,
  );
  expect(await server.stop()).toBe(0);
  expect(server.lines.filter(({ msg }) => msg === 'blows up')).toHaveLength(1);
});

test(`killed ${KILLS} times while clients write, it is back within ${BACK_MS_MAX} ms with all that was acknowledged`, async ({
  annotate,
}) => {
  const scene = await startWatched({ bgworkers: [HEALTHY], checkpoint_interval: '1h' });
  const { server, url, root } = scene;
  let acknowledged = 0;
  let isOver = false;
  const writing = (async () => {
    while (!isOver) {
      const numbers = [0, 1, 2, 3, 4, 5, 6].map((at) => acknowledged + at);
      const columns = [
        {
          name: 'Epoch',
          type: 'i8',
          data: BigInt64Array.from(numbers, (n) => BigInt(BASE + 60 * n)),
        },
        { name: 'Value', type: 'i8', data: BigInt64Array.from(numbers, BigInt) },
      ];
      // While nobody answers the same rows are sent again: it is a bar's slot that is written twice.
      const isTaken = await writeRows(url, WRITTEN, columns).then(
        () => true,
        () => false,
      );
      if (isTaken) acknowledged += numbers.length;
      else await retry();
    }
  })();
  const times: number[] = [];
  const boundsMs: number[] = [];
  for (let kill = 0; kill < KILLS; kill++) {
    const from = acknowledged;
    await expect.poll(() => acknowledged, { timeout: DEADLINE_MS }).toBeGreaterThan(from + 700);
    await expect.poll(() => hasReserve(server.pid), { timeout: DEADLINE_MS }).toBe(true);
    const promised = acknowledged;
    const slowness = machineSlowness();
    const tookMs = await killKernel(scene);
    times.push(tookMs);
    boundsMs.push(BACK_MS_MAX * Math.max(slowness, machineSlowness()));
    const found = await values(url, WRITTEN);
    expect(found).toEqual(upTo(found.length));
    expect(found.length).toBeGreaterThanOrEqual(promised);
  }
  isOver = true;
  await writing;
  const shown = times.map(
    (tookMs, kill) => `${Math.round(tookMs)} of ${Math.round(boundsMs[kill] ?? 0)}`,
  );
  await annotate(`from the kill to an answer: ${shown.join(', ')} ms`);
  // One measure on a busy machine says little: the best of them against the worst of its moments.
  expect(Math.min(...times)).toBeLessThan(Math.max(...boundsMs));
  expect(kernelPid(root)).not.toBe(server.pid);
  const fed = await values(url, FED);
  expect(fed).toEqual(upTo(fed.length));
  expect(fed.length).toBeGreaterThanOrEqual(committed(server));

  const deaths = server.lines.filter(({ msg }) => msg.includes('was ended by SIGKILL'));
  expect(deaths.map(({ deaths: count }) => count)).toEqual([1, 2, 3]);
  expect(
    deaths.map(({ plugin }) => plugin),
    'nobody is blamed',
  ).toEqual(deaths.map(() => undefined));
  expect(await server.stop()).toBe(0);
  expect(readdirSync(root).filter((name) => /\.wal$|lock$/.test(name))).toEqual([]);
}, 120_000);

test('one that dies again and again is given up, with one line and its exit code', async () => {
  const scene = await startWatched();
  const { server } = scene;
  for (let death = 1; death < 5; death++) await killKernel(scene);
  process.kill(kernelPid(scene.root) ?? 0, 'SIGKILL');
  expect(await server.ended()).toBe(128 + 9);
  expect(server.stderr).toMatch(
    /^Error: the kernel process died 5 times within 60 s .* ended by SIGKILL \(MKTS_KERNEL_LOOP\)\n$/,
  );
}, 60_000);
