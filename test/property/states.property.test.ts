/**
 * A feeder of ticks with its cursor in its state, on a store that is killed in the middle of any
 * operation on the disk, also while it recovers: after every start the cursor is the number of the
 * next tick, each tick is there once, and nothing acknowledged is missing.
 */

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FLOAT64, INT32, INT64 } from '../../kernel/base/element-type.ts';
import { encodeRowBlock, rowBlockBytes } from '../../kernel/base/row-block.ts';
import type { BucketSchema } from '../../kernel/base/schema.ts';
import { encodeState, encodeTexts, stateEntryBytes } from '../../kernel/base/state-entry.ts';
import { parseTimeBucketKey } from '../../kernel/base/time-bucket-key.ts';
import { UTC } from '../../kernel/base/zone.ts';
import { Checkpointer } from '../../kernel/ingest/checkpointer.ts';
import { Committer } from '../../kernel/ingest/committer.ts';
import { logDefinitions, Origins } from '../../kernel/ingest/origins.ts';
import { PluginStates } from '../../kernel/ingest/plugin-states.ts';
import { Watermarks } from '../../kernel/ingest/watermarks.ts';
import type { Log } from '../../kernel/log.ts';
import { recover } from '../../kernel/recovery.ts';
import type { Catalog } from '../../kernel/storage/catalog.ts';
import type { Filesystem } from '../../kernel/storage/filesystem.ts';
import { Dispatcher } from '../../kernel/triggers/dispatcher.ts';
import { inProcessLogSync } from '../../kernel/wal/log-sync.ts';
import { crashingFilesystem } from '../support/crashing-filesystem.ts';
import { openStore, rowsOf } from '../support/store.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const RUNS = Number(process.env.MKTS_STATE_RUNS ?? 40);
const KEY = 'FEED/1H/TICK';
const SCHEMA: BucketSchema = {
  recordType: 'variable',
  columns: [{ name: 'Value', type: FLOAT64 }],
};
const T0 = Date.UTC(2021, 0, 1) / 1000;

type Step =
  | { readonly kind: 'ticks'; readonly count: number }
  | { readonly kind: 'note'; readonly text: string | undefined }
  | { readonly kind: 'checkpoint' };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('ticks' as const),
      count: fc.integer({ min: 1, max: 9 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('note' as const),
      text: fc.option(fc.string({ maxLength: 40, unit: 'grapheme' }), { nil: undefined }),
    }),
  },
  { weight: 2, arbitrary: fc.constant({ kind: 'checkpoint' as const }) },
);
const life = fc.record({
  steps: fc.array(step, { minLength: 1, maxLength: 12 }),
  killAt: fc.integer({ min: 0, max: 80 }),
});

interface Store {
  readonly catalog: Catalog;
  readonly states: PluginStates;
  readonly committer: Committer;
  readonly checkpointer: Checkpointer;
  readonly originId: number;
}

/** A start as the kernel makes it. */
async function start(root: string, filesystem: Filesystem): Promise<Store> {
  const fail = (error: unknown): void => {
    throw error;
  };
  const { catalog } = openStore(root, { filesystem });
  const nothing = (): void => undefined;
  const log = { info: nothing, warn: nothing, error: fail } as unknown as Log;
  const dispatcher = new Dispatcher({ triggers: [], log, yearOf: () => 2021 });
  const origins = new Origins();
  const {
    wal,
    lastSequence,
    states: recovered,
    statesFile,
  } = await recover({
    root,
    filesystem,
    zone: UTC,
    catalog,
    sync: inProcessLogSync(filesystem),
    definitions: logDefinitions(catalog, origins),
    dispatcher,
    log,
    segmentBytes: 4096,
  });
  const originId = origins.add({ kind: 'plugin', name: 'feeder', generation: 1 });
  const states = new PluginStates({ recovered, bytesMaxOf: () => 1 << 20 });
  const watermarks = new Watermarks(lastSequence);
  const committer: Committer = new Committer({
    wal,
    catalog,
    watermarks,
    onState: (id, change) => states.apply(origins.get(id).name, change),
    onApplied: nothing,
    onRoom: nothing,
    onFatal: nothing,
  });
  const checkpointer = new Checkpointer({
    catalog,
    wal,
    committer,
    watermarks,
    intervalMs: 1_000_000,
    owed: () => [],
    keepStates: () => statesFile.begin(states),
    onFailed: nothing,
  });
  return { catalog, states, committer, checkpointer, originId };
}

/** Ticks from `first` on and changes of state, in one group. Resolves when it is acknowledged. */
function write(
  { catalog, committer, originId }: Store,
  ticks: { readonly first: number; readonly count: number },
  changes: Readonly<Record<string, string | undefined>>,
): Promise<void> {
  const group = committer.filling;
  group.origins.add(originId);
  if (ticks.count > 0) {
    const bucket = catalog.declare(parseTimeBucketKey(KEY), SCHEMA);
    const numbers = Array.from({ length: ticks.count }, (_, at) => ticks.first + at);
    const columns = [
      {
        name: 'Epoch',
        type: INT64,
        data: BigInt64Array.from(numbers, (n) => BigInt(T0 + 900 * (n >> 2))),
      },
      { name: 'Value', type: FLOAT64, data: Float64Array.from(numbers) },
      { name: 'Nanoseconds', type: INT32, data: Int32Array.from(numbers, (n) => (n & 3) * 1000) },
    ];
    const target = { view: group.view, bytes: group.bytes, offset: group.end };
    encodeRowBlock(target, bucket.id, originId, columns, { from: 0, to: ticks.count });
    group.buckets.add(bucket.id);
    group.push(rowBlockBytes(SCHEMA, ticks.count), ticks.count);
  }
  for (const [name, json] of Object.entries(changes)) {
    const state = encodeTexts({ name, json });
    const target = { view: group.view, bytes: group.bytes, offset: group.end };
    encodeState(target, originId, state);
    group.push(stateEntryBytes(state), 0);
  }
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  group.onEnd({ applied: () => resolve(), failed: reject });
  committer.kick();
  return promise;
}

/** What is there: ticks in order, and what the plugin remembers. */
async function found({
  catalog,
  states,
}: Store): Promise<{ values: number[]; state: Map<string, string> }> {
  const rows = await catalog.bucket(KEY)?.scan({ fromEnd: false });
  return {
    values: rows === undefined ? [] : rowsOf(rows).map(([, value = Number.NaN]) => value),
    state: new Map(states.taken('feeder').entries),
  };
}

test('rows and state stay together, wherever the process is killed', async () => {
  let kills = 0;
  let recoveriesKilled = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(life, { minLength: 2, maxLength: 6 }), async (lives) => {
      const root = temporaryDirectory();
      let acknowledged = 0;
      /** Notes that may be there: the acknowledged one, or the one under way. */
      let notes: (string | undefined)[] = [undefined];
      const check = async (store: Store): Promise<number> => {
        const { values, state } = await found(store);
        expect(values).toEqual(values.map((_, at) => at));
        expect(Number(state.get('cursor') ?? 0)).toBe(values.length);
        expect(values.length).toBeGreaterThanOrEqual(acknowledged);
        expect(notes).toContain(state.get('note'));
        notes = [state.get('note')];
        return values.length;
      };
      for (const { steps, killAt } of lives) {
        const disk = crashingFilesystem(killAt);
        let isStarted = false;
        try {
          const store = await start(root, disk);
          isStarted = true;
          let next = await check(store);
          for (const made of steps) {
            if (made.kind === 'checkpoint') {
              await store.checkpointer.run();
              continue;
            }
            const isNote = made.kind === 'note';
            const note = isNote ? { note: jsonOf(made.text) } : undefined;
            if (note !== undefined) notes.push(note.note);
            const count = isNote ? 0 : made.count;
            const after = next + count;
            await write(store, { first: next, count }, note ?? { cursor: String(after) });
            next = after;
            acknowledged = next;
            if (note !== undefined) notes = [note.note];
          }
          await store.checkpointer.stop();
        } catch (error) {
          if (!disk.isDead) throw error;
          kills++;
          if (!isStarted) recoveriesKilled++;
        }
      }
      // Twice: a replay of a replay changes nothing.
      const { values } = await found(await startAndCheck(root, check));
      expect((await found(await startAndCheck(root, check))).values).toEqual(values);
    }),
    { numRuns: RUNS },
  );
  expect(kills).toBeGreaterThan(RUNS / 2);
  expect(recoveriesKilled).toBeGreaterThan(RUNS / 20);
}, 120_000);

async function startAndCheck(
  root: string,
  check: (store: Store) => Promise<number>,
): Promise<Store> {
  const store = await start(root, crashingFilesystem(Number.POSITIVE_INFINITY));
  await check(store);
  return store;
}

function jsonOf(text: string | undefined): string | undefined {
  return text === undefined ? undefined : JSON.stringify(text);
}
