/**
 * What a plugin's own process costs beside a thread: rows per second through its ring, the round trip
 * of a call, start, end, and what the kernel sees of a leak.
 *
 *   node test/bench/isolation.bench.ts [seconds per measurement]
 */

import { setImmediate as turn } from 'node:timers/promises';
import type { PluginHost } from '../../kernel/supervisor/plugin-host.ts';
import { HostBench, pluginText } from '../support/host-bench.ts';

const seconds = Number(process.argv[2] ?? 2);

const FLOOD = (bars: number): string => `
  const Epoch = Float64Array.from({ length: ${bars} }, (_, at) => 1700000000 + 60 * at);
  const price = new Float64Array(${bars}).fill(1.5);
  const rows = { Epoch, Open: price, High: price, Low: price, Close: price, Volume: price };
  while (!ctx.signal.aborted) await ctx.write('A/1Min/OHLCV', rows);`;

const PING = `
  const times = [];
  for (let at = 0; at < 5000; at++) {
    const from = performance.now();
    await ctx.lastRow('A/1Min/OHLCV');
    times.push(performance.now() - from);
  }
  times.sort((a, b) => a - b);
  ctx.log.info('round trip', { p50: times[2500], p99: times[4950] });`;

for (const isolation of ['worker', 'process'] as const) {
  for (const bars of [64, 1]) {
    const bench = await HostBench.start(isolation, pluginText(FLOOD(bars)));
    bench.run().catch(() => undefined);
    const perSecond = await bench.rowsPerSecond(seconds);
    say(isolation, `${bars} bars a write`, `${(perSecond / 1e6).toFixed(2)} M rows/s`);
    await bench.end();
  }
  const ping = await HostBench.start(isolation, pluginText(PING));
  await ping.run();
  const { p50, p99 } = await ping.said('round trip');
  say(isolation, 'round trip', `p50 ${micros(p50)}, p99 ${micros(p99)}`);
  await ping.end();

  const starts: number[] = [];
  const ends: number[] = [];
  for (let round = 0; round < 10; round++) {
    const from = performance.now();
    const busy = await HostBench.start(isolation, pluginText('for (;;) {}'));
    starts.push(performance.now() - from);
    busy.run().catch(() => undefined);
    await spinning(busy.host);
    const killed = performance.now();
    await busy.end();
    ends.push(performance.now() - killed);
  }
  say(isolation, 'start to loaded', `median ${median(starts).toFixed(1)} ms`);
  say(isolation, 'end of a busy one', `median ${median(ends).toFixed(1)} ms`);
}
process.exit();

/** Until its heartbeat has stood still for a while. */
async function spinning(host: PluginHost): Promise<void> {
  let heartbeat = -1;
  for (let stillSinceMs = performance.now(); performance.now() - stillSinceMs < 200; ) {
    const now = host.ring.gauges().heartbeat;
    if (now !== heartbeat) stillSinceMs = performance.now();
    heartbeat = now;
    await turn();
  }
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

function micros(ms: unknown): string {
  return `${(1000 * Number(ms)).toFixed(0)} µs`;
}

function say(isolation: string, what: string, result: string): void {
  process.stdout.write(`${isolation.padEnd(8)} ${what.padEnd(18)} ${result}\n`);
}
