/**
 * A feeder of 10,000 messages a second is swapped again and again, one build in ten broken: no message
 * is lost, none is there twice, and nothing of an old generation stays. The server is a process of its
 * own (swapping/swap-run.ts), which also says how long the gaps were; no test asserts times.
 *
 * MKTS_SWAPS=1000 for the long form.
 */

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { temporaryDirectory } from '../support/temporary-directory.ts';
import type { SwapReport } from './swapping/swap-run.ts';

const SWAPS = Number(process.env.MKTS_SWAPS ?? 40);
const RUN = join(import.meta.dirname, 'swapping/swap-run.ts');

test(`${SWAPS} swaps under load`, { timeout: 3_600_000 }, async ({ annotate }) => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [RUN, temporaryDirectory(), String(SWAPS)],
    // With the arenas of malloc that `mkts start` gives a server: each thread that comes and goes would
    // leave one behind else.
    { maxBuffer: 256 * 1024 * 1024, env: { ...process.env, MALLOC_ARENA_MAX: '2' } },
  );
  const report = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as SwapReport;
  await annotate(JSON.stringify({ ...report, errors: report.errors.length }));
  expect(report).toMatchObject({ swaps: SWAPS, lost: 0, twice: 0, errors: [] });
  const broken = Object.values(report.broken).reduce((sum, count) => sum + count, 0);
  expect(broken).toBe(Math.floor(SWAPS / 10));
  expect(report.rows).toBeGreaterThan(0);
  expect(report.generations).toBeGreaterThan(SWAPS - broken);
  const { generations, rings, workers, ports } = report.after;
  expect({ generations, rings, workers, ports }, 'as before the first swap').toEqual(report.before);
});
