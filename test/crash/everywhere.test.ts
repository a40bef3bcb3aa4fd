/**
 * The power goes anywhere: between any two calls that change the disk, in the middle of work of all
 * kinds, and again while the start after it repairs. What survives of unsynced bytes and names is
 * decided by the seed (test/support/crash-filesystem.ts).
 *
 * A model keeps what was promised. Work is done in rounds; what a round sends is in flight at once.
 * After a cut the store must equal the model after all promised work and *some* beginning of what
 * was in flight: nothing promised missing, nothing twice, no half of a request.
 *
 * Every other seed runs with checksums, and now and then without them for one start: none may be found
 * that is not that of the bytes it stands for.
 *
 * MKTS_CRASH_SEEDS=10000 runs more; MKTS_CRASH_SEED=17 runs one, with its story.
 */

import { describe, expect, test } from 'vitest';
import { Committer } from '../../kernel/ingest/committer.ts';
import { collectGarbage } from '../support/collect-garbage.ts';
import { CrashFilesystem, PowerCut, randomBy } from '../support/crash-filesystem.ts';
import {
  bars,
  contents,
  copyOf,
  counted,
  deletion,
  destroy,
  FEED,
  type Model,
  pick,
  restartValues,
  sayable,
  ticks,
  type Work,
} from '../support/crash-model.ts';
import { expectIntegrity } from '../support/integrity.ts';
import { ROOT, type SimulatedServer, startSimulated } from '../support/simulated-server.ts';

/** Seeds between two collections of garbage. */
const COLLECT_EVERY = 20;
const SEEDS = Number(process.env.MKTS_CRASH_SEEDS ?? 200);
const ONLY = process.env.MKTS_CRASH_SEED;
/** Power cuts in one run, each followed by a start and more work. */
const CUTS = 3;
const ROUNDS = 12;
const CHANGES_BETWEEN_CUTS_MAX = 220;

interface Tally {
  cuts: number;
  promised: number;
  inFlight: number;
  checkpoints: number;
  cutsInStart: number;
  /** Pages and chunks that had sums after a cut. */
  covered: number;
}

async function run(seed: number, tally: Tally, tell: (line: string) => void): Promise<void> {
  const random = randomBy(seed);
  restartValues();
  let filesystem = new CrashFilesystem();
  filesystem.makeDirectory(ROOT);
  filesystem.settle();
  /** What may be so: after a cut in the middle of a start, still all beginnings. */
  let possible: Model[] = [{ buckets: new Map(), cursor: 0 }];
  for (let cut = 0; cut <= CUTS; cut++) {
    const isLast = cut === CUTS;
    if (!isLast) filesystem.crashAt(1 + Math.floor(random() * CHANGES_BETWEEN_CUTS_MAX));
    let server: SimulatedServer | undefined;
    /** What was promised, once the start was found to be right. */
    let model: Model | undefined;
    const inFlight: Work[] = [];
    try {
      server = await startSimulated(filesystem, {
        checksums: seed % 2 === 1 && random() < 0.8,
      });
      expect(server.reports.map(String).join('\n'), 'no damage').toBe('');
      const found = await contents(server);
      const match = possible.find((model) => sayable(model) === sayable(found));
      if (match === undefined)
        expect(JSON.parse(sayable(found))).toEqual(JSON.parse(sayable(possible[0] ?? found)));
      model = copyOf(match ?? found);
      possible = [model];
      const plugin = server.plugin('counter');
      expect(plugin.state.get('next') ?? 0).toBe(model.cursor);
      let cursor = model.cursor;
      for (let round = 0; round < ROUNDS; round++) {
        inFlight.length = 0;
        const destroyed = random() < 0.15 ? [...model.buckets.keys()] : [];
        const [victim] = pick(random, 1, destroyed);
        if (victim !== undefined && victim !== FEED) inFlight.push(destroy(victim));
        else {
          const count = 1 + Math.floor(random() * 4);
          for (let at = 0; at < count; at++)
            inFlight.push(random() < 0.5 ? bars(random) : ticks(random));
          // Of a bucket that is there: one without rows may be gone, which is not to be seen by its rows.
          const filled = [...model.buckets].flatMap(([path, { size }]) => (size > 0 ? path : []));
          const [reduced] = pick(random, 1, filled);
          if (reduced !== undefined && reduced !== FEED && random() < 0.4)
            inFlight.splice(Math.floor(random() * count), 0, deletion(random, reduced));
        }
        if (random() < 0.5 && victim === undefined) {
          // Alone: frames and requests meet in a group in an order of their own.
          inFlight.length = 0;
          const rows = 1 + Math.floor(random() * 25);
          inFlight.push(counted(cursor, rows));
          cursor += rows;
        }
        for (const { what } of inFlight) tell(`  round ${round}: ${what}`);
        const checkpoint = random() < 0.3 ? server.checkpointer.run() : undefined;
        if (checkpoint !== undefined) tell('  checkpoint');
        const current = server;
        const sent = inFlight.map((work) => work.send(current, plugin));
        const settled = Promise.allSettled(sent);
        const outcomes = await orCut(settled, filesystem);
        for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
        const done = model;
        for (const work of inFlight) {
          work.apply(done);
          tally.promised++;
        }
        if (checkpoint !== undefined) {
          tally.checkpoints++;
          if (random() < 0.5) await orCut(checkpoint, filesystem);
        }
      }
      inFlight.length = 0;
      if (isLast) {
        await server.stop();
        break;
      }
      // No cut came: a stop in good order, and then the power goes anyway.
      if (random() < 0.5) await orCut(server.stop(), filesystem);
    } catch (error) {
      if (!filesystem.isOff) throw error;
      if (model === undefined) tally.cutsInStart++;
    } finally {
      server?.abandon();
    }
    tally.cuts++;
    tell(`cut ${cut}: ${inFlight.length} in flight`);
    tally.inFlight += inFlight.length;
    if (model !== undefined) {
      possible = [model];
      const next = copyOf(model);
      for (const work of inFlight) {
        work.apply(next);
        possible.push(copyOf(next));
      }
    }
    filesystem = filesystem.restart(Math.floor(random() * 2 ** 32));
    // As the cut left it, before anything is replayed.
    const { coveredPages, coveredChunks } = expectIntegrity(ROOT, filesystem).sums;
    tally.covered += coveredPages + coveredChunks;
  }
  const last = await startSimulated(filesystem);
  expect(sayable(await contents(last))).toBe(sayable(possible[0] as Model));
  const logs = filesystem.files().filter((path) => path.includes('.wal'));
  expect(logs.length, 'the new log, and nothing of the old').toBeLessThanOrEqual(2);
  await last.stop();
  expectIntegrity(ROOT, filesystem);
}

/** Work that hangs because the power went never settles. */
async function orCut<T>(work: Promise<T>, filesystem: CrashFilesystem): Promise<T> {
  let isDone = false;
  const done = work.finally(() => {
    isDone = true;
  });
  done.catch(() => undefined);
  while (!isDone) {
    await new Promise<void>((resolve) => setImmediate(resolve));
    if (filesystem.isOff) throw new PowerCut('while it worked');
  }
  return done;
}

describe('the power goes anywhere', () => {
  const seeds = ONLY === undefined ? SEEDS : 1;
  test(`${seeds} seeds`, { timeout: 3_600_000 }, async ({ annotate }) => {
    const tally: Tally = {
      cuts: 0,
      promised: 0,
      inFlight: 0,
      checkpoints: 0,
      cutsInStart: 0,
      covered: 0,
    };
    for (let at = 0; at < seeds; at++) {
      const seed = ONLY === undefined ? at : Number(ONLY);
      if (at % COLLECT_EVERY === 0)
        expect(collectGarbage(Committer), 'servers that are gone are gone').toBeLessThan(10);
      const story: string[] = [];
      try {
        await run(seed, tally, (line) => story.push(line));
      } catch (error) {
        throw new Error(`seed ${seed}:\n${story.slice(-40).join('\n')}`, { cause: error });
      }
    }
    await annotate(JSON.stringify(tally));
    expect(tally.cuts).toBeGreaterThan(0);
    if (seeds > 1) expect(tally.covered).toBeGreaterThan(0);
  });
});
