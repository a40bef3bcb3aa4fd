/**
 * A server in a process of its own in which a feeder is swapped again and again, measured from
 * within: what the kernel holds, and when rows are committed, is not seen from outside.
 *
 *   node swap-run.ts <directory> <swaps>     prints a SwapReport as its last line
 */

import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { queryObjects } from 'node:v8';
import { Worker } from 'node:worker_threads';
import { loadConfig } from '../../../config/load.ts';
import { prepareRootDirectory } from '../../../config/root-directory.ts';
import { queryServer } from '../../../kernel/cli/rpc-client.ts';
import { type Kernel, startKernel } from '../../../kernel/kernel.ts';
import { createLog } from '../../../kernel/log.ts';
import { Generation } from '../../../kernel/supervisor/generation.ts';
import type { PluginStatus } from '../../../kernel/supervisor/plugin-state.ts';
import { RingReader } from '../../../workers/ring.ts';
import { CommitGaps, quantile, slope } from './measures.ts';
import {
  BREAKAGES,
  type Breakage,
  FED_KEY,
  feederText,
  isFoundBefore,
  MESSAGES_PER_SECOND,
  STEADY_KEY,
  STEADY_TEXT,
} from './versions.ts';

/** Before the swaps, for comparison: 50 ms for each, at most 5 s. */
const QUIET_MS_MAX = 5_000;
const QUIET_MS_PER_SWAP = 50;
const PROBATION_MS = 200;
const DEADLINE_MS = 20_000;
const RECENT_LINES = 12;
/** How often what is held is looked at, a second apart, before it counts as left behind. */
const LOOKS_MAX = 10;
/** Every so many swaps one is broken. */
const BROKEN_EVERY = 10;
/** Every so many swaps one is asked for by `reload`, not by a changed file. */
const ASKED_EVERY = 4;
/** Part of the swaps after which the process has found its size. */
const WARM_FRACTION = 0.3;

/** Texts of log lines that swaps and broken builds cause. */
const EXPECTED: readonly string[] = [
  'a new version of the plugin does not take over',
  'a new generation failed in its probation',
];

/** What the kernel holds, live objects only. */
export interface Held {
  readonly generations: number;
  readonly rings: number;
  readonly workers: number;
  readonly ports: number;
}

export interface SwapReport {
  readonly swaps: number;
  readonly broken: Readonly<Record<string, number>>;
  readonly rolledBack: number;
  readonly generations: number;
  readonly rows: number;
  readonly lost: number;
  readonly twice: number;
  readonly messagesPerSecond: number;
  /** Milliseconds between commits of the feeder's rows: the longest of each swap. */
  readonly gapMs: { readonly median: number; readonly p99: number; readonly worst: number };
  readonly quietGapMs: { readonly median: number; readonly worst: number };
  /** Milliseconds from a write to its commit, of another plugin. */
  readonly othersP99Ms: { readonly quiet: number; readonly swapping: number };
  readonly othersP50Ms: { readonly quiet: number; readonly swapping: number };
  readonly pauseMs: { readonly median: number; readonly p99: number; readonly worst: number };
  readonly rssMb: { readonly first: number; readonly last: number; readonly perSwap: number };
  readonly before: Held;
  readonly after: Held;
  readonly seconds: number;
  readonly errors: readonly string[];
}

/** The log's last lines: what a wait that was in vain is explained by. */
const recent: string[] = [];
/** What the kernel says of the feeder at that time. */
let explain: () => string = () => '';

async function run(home: string, swaps: number): Promise<SwapReport> {
  const file = join(home, 'fed.ts');
  writeFileSync(file, feederText(0));
  writeFileSync(join(home, 'steady.ts'), STEADY_TEXT);
  const originMs = Math.ceil(Date.now() / 1000) * 1000;
  const pauses: number[] = [];
  const errors: string[] = [];
  const kernel = await start(home, originMs, (line) => {
    recent.push(JSON.stringify(line));
    if (recent.length > RECENT_LINES) recent.shift();
    if (line.msg === 'plugin is swapped') pauses.push(Number(line.pauseMs));
    if (!EXPECTED.some((text) => String(line.msg).includes(text)) && line.level !== 'info')
      errors.push(JSON.stringify(line));
  });
  const { supervisor } = kernel;
  const gaps = new CommitGaps('fed');
  const status = (): PluginStatus => supervisor.status('fed');
  explain = () => JSON.stringify(status());
  await until(() => status().state === 'running' && Date.now() > originMs + 1_000);

  const quietGaps: number[] = [];
  const quietFrom = Date.now() / 1000;
  const quietMs = Math.min(QUIET_MS_MAX, QUIET_MS_PER_SWAP * swaps);
  for (let at = 0; at < quietMs / 200; at++) {
    gaps.longest();
    await pause(200);
    quietGaps.push(gaps.longest());
  }
  const before = held();
  // Looking collected garbage, which held up everything.
  await pause(500);
  const swappingFrom = Date.now() / 1000;

  const broken: Record<string, number> = {};
  let rolledBack = 0;
  const longest: number[] = [];
  const rss: number[] = [];
  const startedMs = performance.now();
  for (let swap = 1; swap <= swaps; swap++) {
    const breakage: Breakage | undefined =
      swap % BROKEN_EVERY === 0 ? BREAKAGES[(swap / BROKEN_EVERY) % BREAKAGES.length] : undefined;
    const { swaps: swapsBefore, hash } = status();
    gaps.longest();
    // As an editor saves: whole, under another name, then renamed.
    writeFileSync(`${file}.new`, feederText(swap, breakage));
    renameSync(`${file}.new`, file);
    if (swap % ASKED_EVERY === 0) await supervisor.reload('fed').catch(() => undefined);
    if (breakage === undefined) {
      await until(() => status().swaps > swapsBefore);
    } else {
      broken[breakage] = (broken[breakage] ?? 0) + 1;
      await until(() => {
        const { candidate } = status();
        return candidate?.state === 'failed';
      });
      if (!isFoundBefore(breakage)) rolledBack++;
      // Whoever came before goes on, with its own code.
      await until(() => status().state === 'running' && status().hash === hash);
    }
    // The commit after the hand-over ends the gap.
    await pause(10);
    longest.push(gaps.longest());
    rss.push(process.memoryUsage.rss() / 1024 / 1024);
    if (swap % 100 === 0)
      process.stderr.write(
        `${swap} swaps, ${Math.round(rss.at(-1) ?? 0)} MB, gap ${quantile(longest, 0.5).toFixed(1)} ms median\n`,
      );
  }
  const seconds = (performance.now() - startedMs) / 1000;
  const swappingTo = Date.now() / 1000;
  await until(() => status().parkedGeneration === undefined);
  // The last worker may still be on its way out.
  let after = held();
  for (let look = 0; look < LOOKS_MAX && !isDeepStrictEqual(after, before); look++) {
    await pause(1_000);
    after = held();
  }
  gaps.stop();
  const { generation } = status();
  await supervisor.stopOne('fed');
  const numbers = await verify(kernel.address, originMs / 1000);
  const quiet = await latencies(kernel.address, quietFrom, swappingFrom - 1);
  const swapping = await latencies(kernel.address, swappingFrom, swappingTo);
  await kernel.stop('the test is over');
  const warm = rss.slice(Math.floor(WARM_FRACTION * rss.length));
  return {
    swaps,
    broken,
    rolledBack,
    generations: generation,
    ...numbers,
    messagesPerSecond: MESSAGES_PER_SECOND,
    gapMs: {
      median: quantile(longest, 0.5),
      p99: quantile(longest, 0.99),
      worst: quantile(longest, 1),
    },
    quietGapMs: { median: quantile(quietGaps, 0.5), worst: quantile(quietGaps, 1) },
    othersP99Ms: { quiet: quantile(quiet, 0.99), swapping: quantile(swapping, 0.99) },
    othersP50Ms: { quiet: quantile(quiet, 0.5), swapping: quantile(swapping, 0.5) },
    pauseMs: {
      median: quantile(pauses, 0.5),
      p99: quantile(pauses, 0.99),
      worst: quantile(pauses, 1),
    },
    rssMb: { first: warm[0] ?? 0, last: warm.at(-1) ?? 0, perSwap: slope(warm) },
    before,
    after,
    seconds,
    errors,
  };
}

interface Line {
  readonly level: string;
  readonly msg: string;
  readonly pauseMs?: number;
}

async function start(
  home: string,
  originMs: number,
  onLine: (line: Line) => void,
): Promise<Kernel> {
  const path = join(home, 'mkts.yml');
  const entry = (name: string, config: unknown) => ({
    name,
    module: join(home, `${name}.ts`),
    config,
    reload: { probation: `${PROBATION_MS}ms` },
  });
  writeFileSync(
    path,
    JSON.stringify({
      root_directory: join(home, 'data'),
      listen_host: '127.0.0.1',
      listen_port: 0,
      checkpoint_interval: '5s',
      bgworkers: [entry('fed', { originMs }), entry('steady', {})],
    }),
  );
  // What plugins could read if they could read: an empty directory.
  const empty = join(home, 'empty');
  mkdirSync(empty);
  process.chdir(empty);
  const config = loadConfig(path);
  prepareRootDirectory(config);
  const log = createLog({
    level: 'info',
    format: 'json',
    stream: 'stdout',
    write: (line) => {
      if (process.env.SWAP_LOG) process.stderr.write(line);
      onLine(JSON.parse(line) as Line);
    },
  });
  return startKernel({ config, log });
}

/** Live objects: asking collects garbage first. */
function held(): Held {
  const resources = process.getActiveResourcesInfo();
  const count = (name: string): number => resources.filter((each) => each === name).length;
  return {
    generations: queryObjects(Generation, { format: 'count' }),
    rings: queryObjects(RingReader, { format: 'count' }),
    workers: queryObjects(Worker, { format: 'count' }),
    ports: count('MessagePort'),
  };
}

/** Every message there should be, once. */
async function verify(
  url: string,
  originSeconds: number,
): Promise<Pick<SwapReport, 'rows' | 'lost' | 'twice'>> {
  const STEP_SECONDS = 20;
  let rows = 0;
  let lost = 0;
  let twice = 0;
  let next = 0;
  for (let from = originSeconds; ; from += STEP_SECONDS) {
    const [bucket] = await queryServer(url, {
      destination: FED_KEY,
      fromSeconds: from,
      toSeconds: from + STEP_SECONDS,
    });
    const column = (name: string) => bucket?.columns.find((each) => each.name === name)?.data ?? [];
    const epochs = column('Epoch');
    const numbers = column('Number');
    // The end is inclusive to the nanosecond: its first message is also that of the next step.
    const count = Array.from(epochs as ArrayLike<number | bigint>, Number).filter(
      (epoch) => epoch < from + STEP_SECONDS,
    ).length;
    if (count === 0) break;
    rows += count;
    for (let row = 0; row < count; row++) {
      const number = Number(numbers[row]);
      if (number < next) twice++;
      else lost += number - next;
      next = Math.max(next, number + 1);
    }
  }
  return { rows, lost, twice };
}

/** Milliseconds, of rows of the plugin that nobody swaps. */
async function latencies(url: string, from: number, to: number): Promise<Float64Array> {
  const [bucket] = await queryServer(url, {
    destination: STEADY_KEY,
    fromSeconds: Math.ceil(from),
    toSeconds: Math.floor(to),
  });
  const micros = bucket?.columns.find(({ name }) => name === 'Micros')?.data ?? [];
  return Float64Array.from(micros as ArrayLike<number>, (each) => Number(each) / 1000);
}

/** Looks again and again, often, since what it waits for is measured. */
async function until(condition: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + DEADLINE_MS;
  while (!condition()) {
    if (performance.now() > deadlineMs)
      throw new Error(`in vain: ${condition}\n${recent.join('\n')}\n${explain()}`);
    await pause(2);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

const [directory = '', swapCount = '0'] = process.argv.slice(2);
const report = await run(directory, Number(swapCount));
process.stdout.write(`${JSON.stringify(report)}\n`);
