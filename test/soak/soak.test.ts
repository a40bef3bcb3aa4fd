/**
 * A server under a steady load (a feeder, clients that query and write, mkts.yml changed again and
 * again, checkpoints) neither grows nor gathers descriptors or log, and loses nothing of it.
 *
 * MKTS_SOAK_SECONDS=3600 for the long form; needs /proc, and says so elsewhere.
 */

import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { queryServer } from '../../kernel/cli/rpc-client.ts';
import { expectIntegrity } from '../support/integrity.ts';
import { writeRows } from '../support/rpc-write.ts';
import { ServerProcess } from '../support/server-process.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const SECONDS = Number(process.env.MKTS_SOAK_SECONDS ?? 30);
const SYMBOLS = 50;
const SAMPLE_MS = 250;
const CHANGE_MS = 3_000;
/** More than this the log may not take: a few segments of 32 MiB, with those that are about to go. */
const LOG_BYTES_MAX = 4 * 32 * 1024 * 1024;
/** RSS of the last third over that of the second: what garbage collection makes of the same load. */
const GROWTH_MAX = 1.15;
const KEY = 'CLIENT/1Min/COUNT';

interface Sample {
  readonly rssMb: number;
  readonly descriptors: number;
  readonly logBytes: number;
}

test.skipIf(!existsSync('/proc/self/fd'))(
  `${SECONDS} s of load: memory, descriptors and log stay flat (needs /proc)`,
  { timeout: SECONDS * 1_000 + 120_000 },
  async ({ annotate }) => {
    const directory = temporaryDirectory();
    const root = join(directory, 'data');
    const config = (round: number) => ({
      root_directory: root,
      log_format: 'json',
      checkpoint_interval: '2s',
      bgworkers: [
        {
          module: join(import.meta.dirname, 'wrapping-feeder.ts'),
          name: 'wrapping',
          config: { symbols: SYMBOLS, round },
          reload: { probation: '500ms' },
        },
      ],
    });
    const server = await ServerProcess.start(directory, config(0), { verify: false });
    const samples: Sample[] = [];
    const endMs = performance.now() + SECONDS * 1_000;
    const isOver = (): boolean => performance.now() > endMs;
    let written = 0;
    let rounds = 0;
    try {
      for (const destination of ['S0/1Min/OHLCV', 'TRADES/1Min/TICK'])
        await expect
          .poll(() => queryServer(server.url, { destination, limit: 1 }).catch(() => []), {
            timeout: 20_000,
          })
          .toHaveLength(1);
      await Promise.all([
        every(SAMPLE_MS, isOver, async () => {
          samples.push(sampleOf(server.pid, root));
        }),
        every(5, isOver, async () => {
          const at = BigInt(60 * (written % 10_000));
          await writeRows(server.url, KEY, [
            { name: 'Epoch', type: 'i8', data: BigInt64Array.of(at) },
            { name: 'Count', type: 'f8', data: Float64Array.of(written) },
          ]);
          written++;
        }),
        every(5, isOver, async () => {
          for (const destination of [`S${written % SYMBOLS}/1Min/OHLCV`, 'TRADES/1Min/TICK'])
            await queryServer(server.url, { destination, limit: 100 });
        }),
        every(CHANGE_MS, isOver, async () => {
          rounds++;
          const text = { listen_port: 0, ...config(rounds) };
          writeFileSync(join(directory, 'mkts.yml'), JSON.stringify(text, null, 2));
        }),
      ]);
      const swaps = server.lines.filter(({ msg }) => msg === 'plugin is swapped').length;
      expect(swaps).toBeGreaterThan(rounds / 2);
      const [trades] = await queryServer(server.url, { destination: 'TRADES/1Min/TICK' });
      const numbers = trades?.columns.find(({ name }) => name === 'Number')?.data ?? [];
      expect(Array.from(numbers, Number), 'each trade once, over all swaps').toEqual(
        Array.from({ length: numbers.length }, (_, at) => at),
      );
      const [counts] = await queryServer(server.url, { destination: KEY, limit: 1 });
      expect(counts?.columns[0]?.data.length).toBe(1);
      expect(
        server.lines.filter(({ level, msg }) => level === 'error' || /degraded/.test(msg)),
      ).toEqual([]);
      const third = Math.floor(samples.length / 3);
      const middle = samples.slice(third, 2 * third);
      const last = samples.slice(2 * third);
      const median = (of: readonly Sample[], name: keyof Sample): number =>
        of.map((sample) => sample[name]).sort((a, b) => a - b)[Math.floor(of.length / 2)] ?? 0;
      await annotate(
        JSON.stringify({
          written,
          swaps,
          rssMb: [middle, last].map((of) => median(of, 'rssMb')),
          descriptors: [middle, last].map((of) => median(of, 'descriptors')),
          logMb: Math.max(...samples.map(({ logBytes }) => logBytes)) / 1024 / 1024,
        }),
      );
      expect(median(last, 'rssMb') / median(middle, 'rssMb')).toBeLessThan(GROWTH_MAX);
      expect(median(last, 'descriptors') - median(middle, 'descriptors')).toBeLessThan(4);
      for (const { logBytes } of samples) expect(logBytes).toBeLessThan(LOG_BYTES_MAX);
    } finally {
      expect(await server.stop(), server.stderr).toBe(0);
    }
    expectIntegrity(root);
  },
);

/** Calls `task` again and again, so often, until it is over. */
async function every(ms: number, isOver: () => boolean, task: () => Promise<void>): Promise<void> {
  while (!isOver()) {
    await task();
    await new Promise((resolve) => setTimeout(resolve, ms));
  }
}

function sampleOf(pid: number, root: string): Sample {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const kb = Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]);
  let logBytes = 0;
  for (const name of readdirSync(root).filter((each) => each.endsWith('.wal')))
    logBytes += statSync(join(root, name), { throwIfNoEntry: false })?.size ?? 0;
  return { rssMb: kb / 1024, descriptors: readdirSync(`/proc/${pid}/fd`).length, logBytes };
}
