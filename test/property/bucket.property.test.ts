/**
 * A bucket against the plainest model: a Map from slot to row (FIXED), or a sorted list of ticks
 * (VARIABLE). Whatever is applied, deleted, written back, forgotten and opened again in whatever order,
 * also while a write-back is under way or after one that failed, any range with any limit from either end answers as the model does.
 */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FLOAT64, INT16 } from '../../kernel/base/element-type.ts';
import type { BucketSchema } from '../../kernel/base/schema.ts';
import { nanosOf, ticksOf } from '../../kernel/base/tick-time.ts';
import { parseTimeBucketKey } from '../../kernel/base/time-bucket-key.ts';
import { YearGrid } from '../../kernel/base/year-grid.ts';
import { UTC, Zone } from '../../kernel/base/zone.ts';
import { blockOfRows, openStore, rowsOf, temporaryRoot } from '../support/store.ts';

const newYork = new Zone('America/New_York');
const SECOND = 1_000_000_000;

interface Row {
  readonly epoch: number;
  readonly nanos: number;
  readonly value: number;
}
/** Both ends included. */
interface Deletion {
  readonly kind: 'delete';
  readonly from: number;
  readonly fromNanos: number;
  readonly to: number;
  readonly toNanos: number;
}
/** What changes a bucket. */
type Change = { readonly kind: 'apply'; readonly rows: readonly Row[] } | Deletion;
type Step =
  | Change
  | { readonly kind: 'write-back' | 'reopen' | 'abandon' }
  /** A change while a write-back is under way. */
  | { readonly kind: 'meanwhile'; readonly change: Change };

interface World {
  readonly zone: Zone;
  readonly timeframe: string;
  /** Instants the rows lie around, so that they meet. */
  readonly around: readonly number[];
}

const worlds: readonly World[] = [UTC, newYork].flatMap((zone) =>
  ['1Min', '1H', '1D'].map((timeframe) => ({
    zone,
    timeframe,
    around: [
      zone.yearStart(2020),
      zone.yearStart(2021),
      zone.midnight(2020, 1, 29),
      zone.midnight(2020, 2, 8),
      zone.midnight(2020, 10, 1),
    ],
  })),
);

const row = (world: World): fc.Arbitrary<Row> =>
  fc.record({
    epoch: fc
      .tuple(fc.constantFrom(...world.around), fc.integer({ min: -200_000, max: 200_000 }))
      .map(([around, delta]) => around + Math.trunc(delta / 37) * 30),
    nanos: fc.constantFrom(0, 1_000_000, 500_000_000, 999_000_000),
    value: fc.integer({ min: 1, max: 30_000 }),
  });

/** From a row on, as far as some rows reach, or for ever. */
const deletion = (world: World): fc.Arbitrary<Deletion> =>
  fc
    .record({
      start: row(world),
      seconds: fc.constantFrom(0, 29, 3_600, 100_000, 40_000_000),
      toNanos: fc.constantFrom(0, 500_000_000, 999_999_999),
      isOnTheHour: fc.boolean(),
    })
    .map(({ start: { epoch, nanos }, seconds, toNanos, isOnTheHour }) => {
      const from = isOnTheHour ? epoch - (epoch % 3_600) : epoch;
      const fromNanos = isOnTheHour ? 0 : nanos;
      const isEmpty = seconds === 0 && toNanos < fromNanos;
      const to = from + seconds;
      return { kind: 'delete', from, fromNanos, to, toNanos: isEmpty ? fromNanos : toNanos };
    });

const change = (world: World): fc.Arbitrary<Change> =>
  fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant('apply' as const),
        rows: fc.array(row(world), { minLength: 1, maxLength: 20 }),
      }),
    },
    { weight: 1, arbitrary: deletion(world) },
  );

const steps = (world: World): fc.Arbitrary<Step[]> =>
  fc.array(
    fc.oneof(
      { weight: 4, arbitrary: change(world) },
      {
        weight: 1,
        arbitrary: fc.record({
          kind: fc.constantFrom('write-back' as const, 'reopen' as const, 'abandon' as const),
        }),
      },
      {
        weight: 1,
        arbitrary: fc.record({ kind: fc.constant('meanwhile' as const), change: change(world) }),
      },
    ),
    { maxLength: 10 },
  );

interface Question {
  readonly from: number | undefined;
  readonly to: number | undefined;
  readonly limit: number | undefined;
  readonly fromEnd: boolean;
}

const question = (world: World): fc.Arbitrary<Question> =>
  fc.record({
    from: fc.option(
      row(world).map(({ epoch }) => epoch + 7),
      { nil: undefined },
    ),
    to: fc.option(
      row(world).map(({ epoch }) => epoch - 7),
      { nil: undefined },
    ),
    limit: fc.option(fc.integer({ min: 1, max: 12 }), { nil: undefined }),
    fromEnd: fc.boolean(),
  });

const scenario = fc.constantFrom(...worlds).chain((world) =>
  fc.record({
    world: fc.constant(world),
    steps: steps(world),
    questions: fc.array(question(world), { minLength: 1, maxLength: 6 }),
  }),
);

async function run(
  recordType: 'fixed' | 'variable',
  { world, steps: todo, questions }: { world: World; steps: Step[]; questions: Question[] },
  expected: (changes: readonly Change[], asked: Question, world: World) => number[][],
): Promise<void> {
  const schema: BucketSchema = {
    recordType,
    columns: [
      { name: 'A', type: INT16 },
      { name: 'B', type: FLOAT64 },
    ],
  };
  const key = parseTimeBucketKey(`X/${world.timeframe}/Y`);
  const scratch = temporaryRoot();
  try {
    let store = openStore(scratch.root, { zone: world.zone });
    const changes: Change[] = [];
    const make = (made: Change): void => {
      changes.push(made);
      if (made.kind === 'delete') {
        const { from, fromNanos, to, toNanos } = made;
        const times = { fromSeconds: from, fromNanos, toSeconds: to, toNanos };
        store.catalog.bucket(key.path)?.deleteRows(times);
        return;
      }
      const rows = made.rows.map(({ epoch, nanos, value }) => [epoch, value, value / 4, nanos]);
      store.catalog.declare(key, schema).apply(blockOfRows(schema, rows));
    };
    for (const step of todo) {
      if (step.kind === 'apply' || step.kind === 'delete') {
        make(step);
        continue;
      }
      const writeBack = store.catalog.beginWriteBack();
      if (step.kind === 'abandon') {
        writeBack.abandon();
        continue;
      }
      if (step.kind === 'meanwhile') {
        make(step.change);
        await writeBack.run();
        continue;
      }
      await writeBack.run();
      expect(store.catalog.dirtyBytes).toBe(0);
      if (step.kind === 'write-back') continue;
      store.catalog.close();
      store = openStore(scratch.root, { zone: world.zone });
    }
    const bucket = store.catalog.bucket(key.path);
    expect(bucket === undefined).toBe(!changes.some(({ kind }) => kind === 'apply'));
    for (const asked of questions) {
      const { from, to, limit, fromEnd } = asked;
      const found = await bucket?.scan({
        fromEnd,
        ...(from === undefined ? {} : { fromSeconds: from }),
        ...(to === undefined ? {} : { toSeconds: to }),
        ...(limit === undefined ? {} : { limit }),
      });
      const rows = found === undefined ? [] : rowsOf(found);
      expect(rows).toEqual(limited(expected(changes, asked, world), asked));
      const counted = await bucket?.count({
        fromSeconds: from ?? Number.NEGATIVE_INFINITY,
        toSeconds: to ?? Number.POSITIVE_INFINITY,
      });
      const all = expected(changes, { ...asked, limit: undefined }, world);
      if (counted !== undefined)
        expect(counted).toEqual({ rows: all.length, first: all[0]?.[0], last: all.at(-1)?.[0] });
    }
    if (bucket !== undefined) {
      const everything = { from: undefined, to: undefined, limit: 1, fromEnd: true };
      expect(rowsOf(bucket.lastRow())).toEqual(
        limited(expected(changes, everything, world), everything),
      );
    }
    expect(store.damage).toEqual([]);
    store.catalog.close();
  } finally {
    scratch.remove();
  }
}

function limited(rows: number[][], { limit, fromEnd }: Question): number[][] {
  if (limit === undefined) return rows;
  return fromEnd ? rows.slice(-limit) : rows.slice(0, limit);
}

function slotStart({ zone, timeframe }: World, epoch: number): number {
  const { timeframeSeconds } = parseTimeBucketKey(`X/${timeframe}/Y`);
  const grid = new YearGrid(zone, timeframeSeconds, zone.yearOf(epoch));
  return grid.startOf(grid.positionOf(epoch));
}

test('FIXED: the last row of a slot stays; the lower bound is floored to its slot', async () => {
  await fc.assert(
    fc.asyncProperty(scenario, (given) =>
      run('fixed', given, (changes, { from, to }, world) => {
        const model = new Map<number, number[]>();
        for (const made of changes) {
          if (made.kind === 'apply')
            for (const { epoch, value } of made.rows) {
              const start = slotStart(world, epoch);
              model.set(start, [start, value, value / 4]);
            }
          else {
            const low = slotStart(world, made.from);
            for (const start of [...model.keys()])
              if (start >= low && start <= made.to) model.delete(start);
          }
        }
        const low = from === undefined ? Number.NEGATIVE_INFINITY : slotStart(world, from);
        return [...model.values()]
          .filter(([epoch = 0]) => epoch >= low && epoch <= (to ?? Number.POSITIVE_INFINITY))
          .sort(([a = 0], [b = 0]) => a - b);
      }),
    ),
    { numRuns: 60 },
  );
});

test('VARIABLE: every tick stays, in order of time, then of arrival; bounds are exact', async () => {
  await fc.assert(
    fc.asyncProperty(scenario, (given) =>
      run('variable', given, (changes, { from, to }, world) => {
        const { timeframeSeconds } = parseTimeBucketKey(`X/${world.timeframe}/Y`);
        const low = from ?? Number.NEGATIVE_INFINITY;
        const high = to ?? Number.POSITIVE_INFINITY;
        const tickOf = ({ epoch, nanos, value }: Row) => {
          const start = slotStart(world, epoch);
          const ticks = ticksOf(epoch - start, nanos, 86_400 / timeframeSeconds);
          const read = nanosOf(ticks, timeframeSeconds * SECOND);
          const seconds = start + Math.floor(read / SECOND);
          return { start, ticks, tick: [seconds, value, value / 4, read % SECOND] };
        };
        let kept: ReturnType<typeof tickOf>[] = [];
        for (const made of changes)
          if (made.kind === 'apply') kept.push(...made.rows.map(tickOf));
          else
            kept = kept.filter(({ tick: [seconds = 0, , , nanos = 0] }) => {
              const isBefore = seconds - made.from || nanos - made.fromNanos;
              const isAfter = seconds - made.to || nanos - made.toNanos;
              return isBefore < 0 || isAfter > 0;
            });
        return kept
          .filter(({ tick: [seconds = 0, , , nanos = 0] }) => {
            return seconds >= low && (seconds < high || (seconds === high && nanos === 0));
          })
          .sort((a, b) => a.start - b.start || a.ticks - b.ticks)
          .map(({ tick }) => tick);
      }),
    ),
    { numRuns: 60 },
  );
});
