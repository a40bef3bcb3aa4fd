/**
 * `npm run bench`: how many bars a second go from a plugin's ring to disk, and how long a query for
 * the last ten takes meanwhile. Prints a table; asserts nothing, since a number belongs to a machine.
 *
 *   full speed   one plugin, 500 symbols, 64 bars a write, then 1 bar a write; fsync durability
 *   a quarter    250,000 bars/s in both shapes, and 8 connections that ask for the last 10 bars of
 *                random symbols
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ServerProcess } from '../support/server-process.ts';
import { type Probes, probeMachine } from './probes.ts';
import { type Latencies, queryBytes, runQueries } from './query-load.ts';

const SYMBOLS = 500;
const FEEDER = join(import.meta.dirname, 'bench-feeder.ts');
const SECONDS = Number(process.env.MKTS_BENCH_SECONDS ?? 10);
const WARM_UP_MS = 3_000;
const QUARTER_ROWS_PER_SECOND = 250_000;

interface Feed {
  readonly rowsPerWrite: number;
  readonly rowsPerSecond: number;
}

interface Run {
  readonly rowsPerSecond: number;
  readonly groupsPerSecond: number;
  readonly rssMb: number;
  readonly queries: Latencies | undefined;
}

const directory = mkdtempSync(join(process.cwd(), '.bench-'));
try {
  print('probing the machine …');
  const before = await probeMachine(directory);
  const batched = await run({ rowsPerWrite: 64, rowsPerSecond: 0 }, false);
  const single = await run({ rowsPerWrite: 1, rowsPerSecond: 0 }, false);
  const quarter = await run({ rowsPerWrite: 64, rowsPerSecond: QUARTER_ROWS_PER_SECOND }, true);
  const quarterSingle = await run(
    { rowsPerWrite: 1, rowsPerSecond: QUARTER_ROWS_PER_SECOND },
    true,
  );
  const after = await probeMachine(directory);
  report({ batched, single, quarter, quarterSingle }, before, after);
} finally {
  rmSync(directory, { recursive: true, force: true });
}

async function run(feed: Feed, withQueries: boolean): Promise<Run> {
  const root = mkdtempSync(join(directory, 'run-'));
  const server = await ServerProcess.start(
    root,
    {
      root_directory: join(root, 'data'),
      bgworkers: [{ module: FEEDER, name: 'bench', config: { symbols: SYMBOLS, ...feed } }],
    },
    { verify: false },
  );
  try {
    await delay(WARM_UP_MS);
    const begun = await measure(server);
    const untilMs = performance.now() + SECONDS * 1000;
    const { host, port } = new URL(server.url);
    const requests = Array.from({ length: SYMBOLS }, (_, n) =>
      queryBytes(host, `SYM${String(n).padStart(3, '0')}/1Min/OHLCV`, 10),
    );
    const queries = withQueries
      ? await runQueries({ port: Number(port), connections: 8, requests, untilMs })
      : await delay(SECONDS * 1000).then(() => undefined);
    const ended = await measure(server);
    const seconds = (ended.atMs - begun.atMs) / 1000;
    return {
      rowsPerSecond: Math.round((ended.rows - begun.rows) / seconds),
      groupsPerSecond: Math.round((ended.groups - begun.groups) / seconds),
      rssMb: Math.round(ended.rssBytes / 1e6),
      queries,
    };
  } finally {
    await server.stop();
    rmSync(root, { recursive: true, force: true });
  }
}

async function measure(
  server: ServerProcess,
): Promise<{ atMs: number; rows: number; groups: number; rssBytes: number }> {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  const value = (name: string): number =>
    Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)`, 'm').exec(text)?.[1] ?? Number.NaN);
  return {
    atMs: performance.now(),
    rows: value('mkts_rows_committed_total'),
    groups: value('mkts_groups_committed_total'),
    rssBytes: value('process_resident_memory_bytes'),
  };
}

interface Runs {
  readonly batched: Run;
  readonly single: Run;
  readonly quarter: Run;
  readonly quarterSingle: Run;
}

function report(runs: Runs, before: Probes, after: Probes): void {
  const ms = (value: number): string => `${value.toFixed(3)} ms`;
  const probe = (name: keyof Probes): string =>
    `p50 ${ms(before[name].p50Ms)} / ${ms(after[name].p50Ms)}, p99 ${ms(before[name].p99Ms)} / ${ms(after[name].p99Ms)}`;
  const speed = ({ rowsPerSecond, groupsPerSecond, rssMb }: Run): string =>
    `${rowsPerSecond.toLocaleString('en')} bars/s, ${groupsPerSecond} groups/s, RSS ${rssMb} MB`;
  const latency = ({ queries }: Run): string =>
    queries === undefined
      ? ''
      : `p50 ${ms(queries.p50Ms)}, p99 ${ms(queries.p99Ms)}, max ${ms(queries.maxMs)}, ${queries.perSecond} queries/s; p99 / echo p99 = ${(queries.p99Ms / after.loopbackEcho.p99Ms).toFixed(1)}`;
  print(`ring to committed, fsync, ${SYMBOLS} symbols`);
  print(`  64 bars a write           ${speed(runs.batched)}`);
  print(`   1 bar  a write           ${speed(runs.single)}`);
  print('last 10 bars, 8 connections, while the feed runs at a quarter of a million bars/s');
  print(`  64 bars a write           ${speed(runs.quarter)}`);
  print(`                            ${latency(runs.quarter)}`);
  print(`   1 bar  a write           ${speed(runs.quarterSingle)}`);
  print(`                            ${latency(runs.quarterSingle)}`);
  print('the machine, before / after');
  print(`  write + fdatasync 4 KiB   ${probe('fdatasync4K')}`);
  print(`  write + fdatasync 1 MiB   ${probe('fdatasync1M')}`);
  print(`  pread 32 KiB              ${probe('pread32K')}`);
  print(
    `  loopback echo, 8 conn.    ${probe('loopbackEcho')}, ${before.loopbackEcho.perSecond} / ${after.loopbackEcho.perSecond} a second`,
  );
  const bytesPerSecond = runs.batched.rowsPerSecond * 48;
  const probeBytesPerSecond = (1000 / before.fdatasync1M.p50Ms) * 1024 * 1024;
  print(
    `  bytes to the log / bytes of 1 MiB fdatasyncs a second = ${(bytesPerSecond / probeBytesPerSecond).toFixed(3)}`,
  );
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
