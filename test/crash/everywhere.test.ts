/**
 * The power goes anywhere: between any two calls that change the disk, in the middle of work of all
 * kinds, and again while the start after it repairs. What survives of unsynced bytes and names is
 * decided by the seed (test/support/crash-filesystem.ts).
 *
 * A model keeps what was promised. Work is done in rounds; what a round sends is in flight at once.
 * After a cut the store must equal the model after all promised work and *some* beginning of what
 * was in flight: nothing promised missing, nothing twice, no half of a request.
 *
 * MKTS_CRASH_SEEDS=10000 runs more; MKTS_CRASH_SEED=17 runs one, with its story.
 */

import { describe, expect, test } from 'vitest';
import type { Column } from '../../kernel/base/column-series.ts';
import { FLOAT64 as F8 } from '../../kernel/base/element-type.ts';
import { type BucketSchema, EPOCH_SHAPE, NANOSECONDS_SHAPE } from '../../kernel/base/schema.ts';
import { parseTimeBucketKey } from '../../kernel/base/time-bucket-key.ts';
import type { WriteBatch } from '../../kernel/ingest/ingest.ts';
import { CrashFilesystem, PowerCut, randomBy } from '../support/crash-filesystem.ts';
import { expectIntegrity } from '../support/integrity.ts';
import {
  ROOT,
  type SimulatedPlugin,
  type SimulatedServer,
  startSimulated,
} from '../support/simulated-server.ts';

const SEEDS = Number(process.env.MKTS_CRASH_SEEDS ?? 200);
const ONLY = process.env.MKTS_CRASH_SEED;
/** Power cuts in one run, each followed by a start and more work. */
const CUTS = 3;
const ROUNDS = 12;
const CHANGES_BETWEEN_CUTS_MAX = 220;

const BARS = ['A/1Min/OHLCV', 'B/1H/OHLCV', 'C/1D/OHLCV'] as const;
const TICKS = ['T/1Min/TICK', 'U/1H/TICK'] as const;
const FEED = 'FEED/1H/TICK';
const BAR_SCHEMA: BucketSchema = {
  recordType: 'fixed',
  columns: [{ name: 'Value', type: F8 }],
};
const TICK_SCHEMA: BucketSchema = {
  recordType: 'variable',
  columns: [{ name: 'Value', type: F8 }],
};
/** The last minutes of a year and the first of the next, so that requests span two files. */
const YEARS_END = Date.UTC(2021, 0, 1) / 1000;

/** Bars: epoch → value. Ticks: all values, in any order, with their second. */
type Rows = Map<string, number>;
interface Model {
  readonly buckets: Map<string, Rows>;
  /** The next value of the plugin that counts. */
  cursor: number;
}

interface Work {
  readonly what: string;
  /** Sends it; resolves when it is promised. */
  send(server: SimulatedServer, plugin: SimulatedPlugin): Promise<void>;
  /** What it does. */
  apply(model: Model): void;
}

/** From 1: a daily bar of zeros on January 1 is an empty slot on disk (FORMAT.md). */
let nextValue = 1;

function bars(random: () => number): Work {
  const batches = pick(random, 3, BARS).map((path) => {
    const count = 1 + Math.floor(random() * 20);
    const seconds = path.includes('1D') ? 86_400 : path.includes('1H') ? 3_600 : 60;
    const first = YEARS_END + seconds * Math.floor((random() - 0.5) * 40);
    const epochs = Array.from({ length: count }, (_, at) => first + at * seconds);
    return { path, epochs, values: epochs.map(() => nextValue++) };
  });
  return {
    what: `bars ${batches.map(({ path, epochs }) => `${path} ${epochs.length}`).join(', ')}`,
    send: ({ ingest }) =>
      ingest.write(batches.map(({ path, epochs, values }) => batchOf(path, epochs, values))),
    apply({ buckets }) {
      for (const { path, epochs, values } of batches)
        for (const [at, epoch] of epochs.entries())
          rowsIn(buckets, path).set(String(epoch), values[at] ?? 0);
    },
  };
}

function ticks(random: () => number): Work {
  const [path = TICKS[0]] = pick(random, 1, TICKS);
  const count = 1 + Math.floor(random() * 30);
  const second = YEARS_END + Math.floor((random() - 0.5) * 10);
  const values = Array.from({ length: count }, () => nextValue++);
  const epochs = values.map(() => second);
  return {
    what: `ticks ${path} ${count}`,
    send: ({ ingest }) => ingest.write([batchOf(path, epochs, values, true)]),
    apply({ buckets }) {
      for (const value of values) rowsIn(buckets, path).set(`${second} ${value}`, value);
    },
  };
}

function destroy(path: string): Work {
  return {
    what: `destroy ${path}`,
    send: ({ ingest }) => ingest.destroy(path),
    apply: ({ buckets }) => void buckets.delete(path),
  };
}

/** Rows of a plugin and its cursor, in one piece: the rows are the cursor's history. */
function counted(from: number, count: number): Work {
  const values = Array.from({ length: count }, (_, at) => from + at);
  const rows = {
    Epoch: values.map((value) => YEARS_END + Math.floor(value / 10)),
    Value: Float64Array.from(values),
    Nanoseconds: Int32Array.from(values, (value) => value % 10),
  };
  return {
    what: `plugin ${from} to ${from + count - 1}`,
    async send(_server, { writer }) {
      await writer.write(FEED, rows, { variable: true, state: { next: from + count } });
      await writer.flush();
    },
    apply(model) {
      model.cursor = from + count;
      for (const value of values)
        rowsIn(model.buckets, FEED).set(`${YEARS_END + Math.floor(value / 10)} ${value}`, value);
    },
  };
}

function pick<T>(random: () => number, atMost: number, from: readonly T[]): T[] {
  const left = [...from];
  return Array.from(
    { length: 1 + Math.floor(random() * atMost) },
    () => left.splice(Math.floor(random() * left.length), 1)[0],
  ).filter((each) => each !== undefined);
}

function rowsIn(buckets: Map<string, Rows>, path: string): Rows {
  let rows = buckets.get(path);
  if (rows === undefined) {
    rows = new Map();
    buckets.set(path, rows);
  }
  return rows;
}

function batchOf(
  path: string,
  epochs: readonly number[],
  values: readonly number[],
  isTick = false,
): WriteBatch {
  const columns: Column[] = [
    { ...EPOCH_SHAPE, data: BigInt64Array.from(epochs, BigInt) },
    { name: 'Value', type: F8, data: Float64Array.from(values) },
  ];
  if (isTick)
    columns.push({ ...NANOSECONDS_SHAPE, data: Int32Array.from(values, (value) => value % 1000) });
  return {
    key: parseTimeBucketKey(path),
    schema: isTick ? TICK_SCHEMA : BAR_SCHEMA,
    columns,
    rowCount: epochs.length,
  };
}

/** All of the store, as the model would say it. */
async function contents(server: SimulatedServer): Promise<Model> {
  const buckets = new Map<string, Rows>();
  for (const { key, schema } of server.catalog.buckets()) {
    const series = await server.catalog.bucket(key.path)?.scan({ fromEnd: false });
    const rows = rowsIn(buckets, key.path);
    const columnOf = (name: string): ArrayLike<number | bigint> =>
      series?.columns.find((column) => column.name === name)?.data ?? [];
    const [epochs, values] = [columnOf('Epoch'), columnOf('Value')];
    for (let row = 0; row < (series?.rowCount ?? 0); row++) {
      const value = Number(values[row]);
      const name = schema.recordType === 'fixed' ? `${epochs[row]}` : `${epochs[row]} ${value}`;
      expect(rows.has(name), `${key.path} has ${name} once`).toBe(false);
      rows.set(name, value);
    }
  }
  const cursor = JSON.parse(server.states.snapshot().get('counter')?.get('next') ?? '0') as number;
  return { buckets, cursor };
}

function sayable({ buckets, cursor }: Model): string {
  const named = [...buckets]
    .filter(([, rows]) => rows.size > 0)
    .map(([path, rows]) => [path, [...rows].sort(([a], [b]) => (a < b ? -1 : 1))])
    .sort(([a], [b]) => (String(a) < String(b) ? -1 : 1));
  return JSON.stringify({ cursor, named });
}

function copyOf({ buckets, cursor }: Model): Model {
  return { cursor, buckets: new Map([...buckets].map(([path, rows]) => [path, new Map(rows)])) };
}

interface Tally {
  cuts: number;
  promised: number;
  inFlight: number;
  checkpoints: number;
  cutsInStart: number;
}

async function run(seed: number, tally: Tally, tell: (line: string) => void): Promise<void> {
  const random = randomBy(seed);
  nextValue = 1;
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
      server = await startSimulated(filesystem);
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
    expectIntegrity(ROOT, filesystem);
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
    const tally: Tally = { cuts: 0, promised: 0, inFlight: 0, checkpoints: 0, cutsInStart: 0 };
    for (let at = 0; at < seeds; at++) {
      const seed = ONLY === undefined ? at : Number(ONLY);
      const story: string[] = [];
      try {
        await run(seed, tally, (line) => story.push(line));
      } catch (error) {
        throw new Error(`seed ${seed}:\n${story.slice(-40).join('\n')}`, { cause: error });
      }
    }
    await annotate(JSON.stringify(tally));
    expect(tally.cuts).toBeGreaterThan(0);
  });
});
