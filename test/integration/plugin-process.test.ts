/**
 * A plugin's own process: what it survives that a thread does not, how it ends whatever it does, and
 * that nothing it sends hurts the kernel. What it shares with a thread is in plugin-host.test.ts.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';
import { WebSocketServer } from 'ws';
import { STOP_TIMEOUT_MS } from '../../kernel/base/limits.ts';
import { startBroker } from '../../kernel/supervisor/broker-thread.ts';
import type { Departure } from '../../kernel/supervisor/plugin-host.ts';
import { PluginProcess } from '../../kernel/supervisor/plugin-process.ts';
import { processUsage } from '../../kernel/supervisor/process-usage.ts';
import { FROM_PROCESS } from '../../workers/process-protocol.ts';
import { HostBench, type HostBenchOptions, pluginText } from '../support/host-bench.ts';

let bench: HostBench | undefined;

async function start(body: string, options: HostBenchOptions = {}): Promise<HostBench> {
  bench = await HostBench.start('process', pluginText(body), options);
  return bench;
}

/** Starts the plugin, whose `start` need not settle. */
async function run(body: string, options: HostBenchOptions = {}): Promise<HostBench> {
  const started = await start(body, options);
  started.run().catch(() => undefined);
  return started;
}

function pidOf({ host }: HostBench): number {
  if (!(host instanceof PluginProcess) || host.pid === undefined) throw new Error('no process');
  return host.pid;
}

/** A dead process that was not waited for counts as alive here: a zombie would be one. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function untilDead(pid: number): Promise<void> {
  const untilMs = performance.now() + 10_000;
  while (isAlive(pid)) {
    if (performance.now() > untilMs) throw new Error(`process ${pid} is still there`);
    await delay(5);
  }
}

function codeOf({ cause }: Departure): unknown {
  return Reflect.get(cause, 'code');
}

afterEach(async () => {
  await bench?.end();
  bench = undefined;
});

describe('it ends whatever it does', () => {
  test.each([
    ['a loop', 'for (;;) {}'],
    [
      'a call into V8 that does not return',
      'new Float64Array(5e7).map((_, at) => -at).sort(); for (;;) {}',
    ],
    ['a regular expression', '/^(a+)+$/.test("a".repeat(50) + "b");'],
  ])('%s', async (_what, body) => {
    const host = await run(`ctx.log.info('busy'); await ctx.clock.sleep(1); ${body}`, {
      limits: { memorySoftMb: 1500 },
    });
    await host.said('busy');
    const heartbeat = (): number => host.host.ring.gauges().heartbeat;
    for (let seen = -1; seen !== heartbeat(); await delay(200)) seen = heartbeat();
    const fromMs = performance.now();
    const { cause, isZombie } = await host.end();
    // Killed at once, not after the time it has to stop: giving memory back takes some of it.
    expect(performance.now() - fromMs).toBeLessThan(STOP_TIMEOUT_MS - 1_000);
    expect(cause.message).toBe('the test is over');
    expect(isZombie).toBe(false);
    await untilDead(pidOf(host));
  });

  test('a loop is found out by its heartbeat', async () => {
    const host = await run('for (;;) {}', { limits: { heartbeatTimeoutMs: 500 } });
    expect(codeOf(await host.host.gone)).toBe('MKTS_PLUGIN_STUCK');
    await untilDead(pidOf(host));
  });

  test('its kernel is killed: it goes too, in the middle of a loop', async () => {
    const file = fileURLToPath(new URL('../support/kernel-with-process.ts', import.meta.url));
    const kernel = spawn(process.execPath, [file], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = await once(kernel.stdout, 'data');
    const pid = Number(String(line));
    expect(isAlive(pid)).toBe(true);
    kernel.kill('SIGKILL');
    await once(kernel, 'exit');
    await untilDead(pid);
  });

  test('signals meant for the kernel do not end it', async () => {
    const host = await start(
      `ctx.log.info('runs'); while (!ctx.signal.aborted) await ctx.clock.sleep(1);`,
    );
    const run = host.run();
    await host.said('runs');
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.kill(pidOf(host), signal);
    await expect(host.host.call('stop', (it) => it.stop())).resolves.toMatchObject({ ok: true });
    await run;
  });
});

describe('what it wrote before its end is there', () => {
  const WRITES = `
    for (let at = 0; at < 20000; at++) await ctx.write('A/1Sec/OHLCV', { Epoch: [1e9 + at], Close: [at] });`;

  test.each([
    ['exits', 'process.exit(7);', 'MKTS_PLUGIN_EXIT'],
    [
      'throws where nobody listens',
      'setTimeout(() => { throw new Error("x"); }); await new Promise(() => {});',
      'MKTS_PLUGIN_FAILED',
    ],
    ['spins', 'for (;;) {}', 'MKTS_PLUGIN_STUCK'],
  ])('it %s', async (_what, end, code) => {
    // Long enough that one that exits or throws is not taken for stuck before, on a busy machine.
    const host = await run(`${WRITES} ${end}`, { limits: { heartbeatTimeoutMs: 2_500 } });
    const departure = await host.host.gone;
    expect(codeOf(departure)).toBe(code);
    await host.until(() => host.epochs.length === 20_000);
    expect(host.epochs.every((epoch, at) => epoch === 1e9 + at)).toBe(true);
  });

  test('the answer to a call comes after the rows before it', async () => {
    const host = await run(`
      let count = 0;
      const write = () => ctx.write('A/1Sec/OHLCV', { Epoch: [1e9 + count++], Close: [1] });
      while (!ctx.signal.aborted) {
        for (let rows = 0; rows < 500; rows++) await write();
        await ctx.clock.sleep(1).catch(() => {});
      }
      for (let rows = 0; rows < 5000; rows++) await write();
      ctx.log.info('wrote', { count });`);
    await host.until(() => host.epochs.length > 1000);
    await host.host.call('park', (it) => it.park());
    // In the ring now, without a turn in which more could come.
    let inRing = 0;
    const { ring } = host.host;
    for (; ring.peek() !== undefined; inRing++) ring.consume();
    const { count } = await host.said('wrote');
    expect(host.epochs.length + inRing).toBe(count);
  });
});

describe.runIf(process.platform === 'linux')('its memory is its own', () => {
  const LEAKS = [
    [
      'objects',
      'globalThis.kept = []; for (let at = 0; ; at++) kept.push({ at, text: "x" + at });',
    ],
    [
      'a map, at which V8 aborts',
      'globalThis.kept = new Map(); for (let at = 0; ; at++) kept.set(at, at);',
    ],
    [
      'large arrays, at which V8 aborts',
      'globalThis.kept = []; for (;;) kept.push(new Array(1e7).fill(0));',
    ],
    ['buffers', 'globalThis.kept = []; for (;;) kept.push(new Uint8Array(4e6).fill(1));'],
    [
      'buffers, refused and asked for again',
      'globalThis.kept = []; for (;;) try { kept.push(new Uint8Array(4e6).fill(1)); } catch {}',
    ],
  ] as const;

  test.each(LEAKS)('%s', async (_what, leak) => {
    const memorySoftMb = 128;
    // Its silence must not end it before its memory does, however little of a core it gets.
    const limits = { memorySoftMb, heartbeatTimeoutMs: 30_000 };
    const host = await start(`await ctx.clock.sleep(10); ${leak}`, { limits });
    const pid = pidOf(host);
    let peakMb = 0;
    const watching = setInterval(() => {
      peakMb = Math.max(peakMb, processUsage(pid)?.residentMb ?? 0);
    }, 2);
    host.run().catch(() => undefined);
    const departure = await host.host.gone;
    clearInterval(watching);
    expect(codeOf(departure)).toBe('MKTS_PLUGIN_MEMORY');
    // Whatever it does between two samples, the system allows it twice its limit and no more.
    expect(peakMb).toBeLessThan(2 * memorySoftMb + 160);
    await untilDead(pid);
  });

  test('one buffer too large is refused, and the plugin goes on', async () => {
    const host = await run(`
      try { new Uint8Array(2e9).fill(1); } catch (error) { ctx.log.info(error.message); }
      await new Promise(() => {});`);
    await host.said('Array buffer allocation failed');
  });
});

/** Code in the place of the host's: a thread of the process that writes to the line by itself. */
function hostile(text: string): string {
  return `
    const { writeSync } = require('node:fs');
    const send = (channel, payload) => {
      const bytes = Buffer.from(payload);
      const head = Buffer.alloc(5);
      head.writeUInt32LE(bytes.length);
      head[4] = channel;
      const all = Buffer.concat([head, bytes]);
      for (let at = 0; at < all.length; )
        try { at += writeSync(3, all, at); } catch (error) { if (error.code !== 'EAGAIN') throw error; }
    };
    const say = (channel, message) => send(channel, JSON.stringify(message));
    setInterval(() => {}, 1000);
    ${text}`;
}

describe('hostile bytes end the process, and nothing else', () => {
  const { rows, report, call, answer, broker, ended } = FROM_PROCESS;
  const CALL = `{ id: 'x', type: 'APPLY', path: ['log'], argumentList: [] }`;
  const CASES: readonly (readonly [string, string])[] = [
    ['noise', `for (;;) send(Math.random() * 256, require('crypto').randomBytes(500));`],
    ['a length of 4 GB', `writeSync(3, Buffer.from([255, 255, 255, 255, ${call}]));`],
    ['a channel there is none of', `send(77, 'x');`],
    ['rows past the room', `for (;;) send(${rows}, Buffer.alloc(1 << 20, 8));`],
    ['rows that are no frames', `send(${rows}, Buffer.alloc(64, 7));`],
    ['a short report', `send(${report}, 'x');`],
    ['a call that is no JSON', `send(${call}, '{{{');`],
    ['a call of nothing', `say(${call}, null);`],
    ['a call the kernel does not offer', `say(${call}, { ...${CALL}, path: ['constructor'] });`],
    ['a path into the prototype', `say(${call}, { ...${CALL}, path: ['log', 'constructor'] });`],
    [
      'an argument that is a proxy',
      `say(${call}, { ...${CALL}, argumentList: [{ type: 'HANDLER', name: 'proxy', value: 1 }] });`,
    ],
    ['an answer of no shape', `say(${answer}, { id: 5 });`],
    [
      'an answer that is a proxy',
      `say(${answer}, { id: 'x', type: 'HANDLER', name: 'proxy', value: {} });`,
    ],
    ['an end of no shape', `say(${ended}, { exitCode: {}, error: { code: 'toString' } });`],
    ['text where the end goes', `send(${ended}, 'end');`],
  ];

  test.each(CASES)('%s', async (_what, text) => {
    const host = await start('', { hostCode: hostile(text) });
    const departure = await host.host.gone;
    expect(['MKTS_LINE_INVALID', 'MKTS_RING_INVALID']).toContain(codeOf(departure));
    expect(departure.cause.message).toContain('plugin test');
    await untilDead(pidOf(host));
    // The kernel is as it was.
    expect(broker).toBeGreaterThan(0);
  });

  test.each([
    ['load', `{ ok: true, value: { kind: 'bgworker', name: 5 } }`],
    [
      'load',
      `{ ok: false, error: { name: 'constructor', code: 'toString', message: 5, fields: 1 } }`,
    ],
    ['configure', `[{ path: 'x', problem: 'x' }]`],
    ['stop', `undefined`],
  ] as const)('an answer to %s of another shape rejects the call', async (name, value) => {
    const text = `
      const { workerData } = require('node:worker_threads');
      workerData.ports.plugin.on('message', ({ id }) =>
        workerData.ports.plugin.postMessage({ id, type: 'RAW', value: ${value} }));`;
    const host = await start('', { hostCode: hostile(text) });
    const answered = host.host.call<unknown>(name, (it) => it[name]());
    await expect(answered).rejects.toMatchObject({ code: 'MKTS_LINE_INVALID' });
  });

  test('a flood of calls leaves the main thread its turns', async () => {
    const host = await start('', {
      hostCode: hostile(`const flood = ${CALL}; for (;;) say(${call}, flood);`),
    });
    let longestMs = 0;
    for (
      let turns = 0, fromMs = performance.now();
      turns < 200;
      turns++, fromMs = performance.now()
    ) {
      await delay(1);
      longestMs = Math.max(longestMs, performance.now() - fromMs);
    }
    // Where calls are taken as they come, no turn comes at all.
    expect(longestMs).toBeLessThan(2_000);
    await host.end();
  });

  test('files, processes, threads and addons are denied to its threads, sealed or not', async () => {
    const probe = `
      const probes = {
        file: () => require('node:fs').readFileSync('/etc/hostname'),
        process: () => require('node:child_process').execSync('true'),
        thread: () => new (require('node:worker_threads').Worker)('1', { eval: true, execArgv: [] }),
        addon: () => process.dlopen({ exports: {} }, '/x.node'),
      };
      const worked = Object.keys(probes).filter((name) => {
        try { probes[name](); return true; } catch { return false; }
      });
      process.stdout.write('worked: ' + worked.join() + ' env: ' + Object.keys(process.env).join() + '\\n');`;
    const host = await start('', { hostCode: hostile(probe) });
    await host.said('worked:  env: ');
  });
});

test('it reaches the network through the broker, and only what it was granted', async () => {
  const http = createServer((request, response) => response.end(`answer to ${request.url}`));
  const sockets = new WebSocketServer({ server: http });
  sockets.on('connection', (socket) => {
    socket.on('message', (text) => socket.send(`echo ${text}`));
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const address = `127.0.0.1:${(http.address() as AddressInfo).port}`;
  const broker = startBroker();
  try {
    const line = broker.register('test', [address], 1);
    const host = await run(
      `ctx.log.info((await ctx.fetch('http://${address}/x')).text());
       const socket = await ctx.socket('ws://${address}/');
       socket.send('hello');
       for await (const text of socket) { ctx.log.info(text); break; }
       await ctx.fetch('http://elsewhere.example/').catch((error) => ctx.log.info(error.code));
       await ctx.fetch('http://${address}/', { method: 'POST', body: 'x'.repeat(17 << 20) })
         .catch((error) => ctx.log.info(error.code));
       ctx.log.info((await ctx.fetch('http://${address}/still')).text());`,
      { line },
    );
    await host.said('answer to /still');
    expect(host.lines.map(({ message }) => message)).toEqual([
      'answer to /x',
      'echo hello',
      'MKTS_NET_DENIED',
      'MKTS_NET_FAILED',
      'answer to /still',
    ]);
  } finally {
    await broker.stop();
    for (const socket of sockets.clients) socket.terminate();
    http.closeAllConnections();
    http.close();
  }
});
