import { setImmediate as immediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { PluginError } from '../../../../kernel/base/errors.ts';
import { ORIGIN_CHAIN_MAX, TRIGGER_KEYS_MAX } from '../../../../kernel/base/limits.ts';
import type { TriggerEntry } from '../../../../kernel/triggers/dispatcher.ts';
import { Dispatcher } from '../../../../kernel/triggers/dispatcher.ts';
import { compilePattern } from '../../../../kernel/triggers/matcher.ts';
import type { PlainBatch } from '../../../../workers/protocol.ts';

/** A trigger whose fires end when the test says so. */
class FakeTrigger implements TriggerEntry {
  readonly name: string;
  readonly matcher;
  readonly concurrency?: number;
  readonly open: { batch: PlainBatch; end(): void; fail(error?: Error): void }[] = [];
  readonly batches: PlainBatch[] = [];

  constructor(name: string, on = '*/*/*', concurrency?: number) {
    this.name = name;
    this.matcher = compilePattern(on);
    if (concurrency !== undefined) this.concurrency = concurrency;
  }

  fire(batch: PlainBatch): Promise<void> {
    this.batches.push(batch);
    return new Promise((resolve, reject) => {
      this.open.push({
        batch,
        end: () => resolve(),
        fail: (error = new Error('no')) => reject(error),
      });
    });
  }

  /** Ends the oldest open fire, and waits for what follows from it. */
  async end(): Promise<void> {
    this.open.shift()?.end();
    await immediate();
  }

  async fail(error?: Error): Promise<void> {
    this.open.shift()?.fail(error);
    await immediate();
  }
}

interface LogLine {
  readonly level: string;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly message: string;
}

function dispatcherOf(...triggers: readonly FakeTrigger[]) {
  const lines: LogLine[] = [];
  const note =
    (level: string) =>
    (fields: object, message: string): void => {
      lines.push({ level, fields: { ...fields }, message });
    };
  const tasks: (() => void)[] = [];
  const timers: (() => void)[] = [];
  const dispatcher = new Dispatcher({
    triggers,
    log: { info: note('info'), warn: note('warn'), error: note('error') },
    yearOf: (epochSeconds) => new Date(epochSeconds * 1000).getUTCFullYear(),
    schedule: (task) => tasks.push(task),
    later: (task) => timers.push(task),
  });
  for (const { name } of triggers) dispatcher.resume(name);
  /** What the event loop would do next. */
  const turn = (): void => {
    for (const task of tasks.splice(0)) task();
  };
  turn();
  /** Lets every hold pass. */
  const elapse = (): void => {
    for (const task of timers.splice(0)) task();
  };
  return { dispatcher, lines, turn, tasks, elapse };
}

const CLIENT: readonly string[] = [];
const A = 'A/1Min/OHLCV';
const B = 'B/1Min/OHLCV';

test('applied fires nothing itself, and asks for one turn of the loop', () => {
  const trigger = new FakeTrigger('t');
  const { dispatcher, turn, tasks } = dispatcherOf(trigger);
  dispatcher.applied(A, 0, 60, CLIENT);
  dispatcher.applied(B, 0, 60, CLIENT);
  expect(trigger.batches).toEqual([]);
  expect(tasks).toHaveLength(1);
  turn();
  expect(trigger.batches.map(({ key }) => key)).toEqual([A, B]);
});

test('a trigger is told of what it matches, and of nothing else', () => {
  const minutes = new FakeTrigger('minutes', '*/1Min/*');
  const days = new FakeTrigger('days', '*/1D/*');
  const { dispatcher, turn } = dispatcherOf(minutes, days);
  dispatcher.applied('X/1D/OHLCV', 0, 0, CLIENT);
  turn();
  expect(minutes.batches).toEqual([]);
  expect(days.batches).toEqual([{ key: 'X/1D/OHLCV', ranges: [{ from: 0, to: 0 }] }]);
});

test('a block over the end of a year matches a pattern that names either', () => {
  const year = 'X/1Min/OHLCV/1971';
  const newYear = 31_536_000;
  const trigger = new FakeTrigger('t', year, 9);
  const { dispatcher, turn } = dispatcherOf(trigger);
  dispatcher.applied('X/1Min/OHLCV', 0, 60, CLIENT);
  turn();
  expect(trigger.batches).toEqual([]);
  dispatcher.applied('X/1Min/OHLCV', newYear - 60, newYear, CLIENT);
  turn();
  expect(trigger.batches).toHaveLength(1);
});

test('one fire per key at a time; what comes meanwhile merges into the next', async () => {
  const trigger = new FakeTrigger('t');
  const { dispatcher, turn } = dispatcherOf(trigger);
  dispatcher.applied(A, 0, 0, CLIENT);
  turn();
  for (let minute = 1; minute <= 100; minute++) {
    dispatcher.applied(A, 60 * minute, 60 * minute, CLIENT);
    turn();
  }
  expect(trigger.batches).toHaveLength(1);
  await trigger.end();
  expect(trigger.batches[1]).toEqual({ key: A, ranges: [{ from: 60, to: 6000 }] });
  await trigger.end();
  expect(dispatcher.stats[0]).toMatchObject({ fired: 2, backlogKeys: 0, inFlight: 0 });
});

test('as many keys as concurrency at a time, first come first served', async () => {
  const trigger = new FakeTrigger('t', '*/*/*', 2);
  const { dispatcher, turn } = dispatcherOf(trigger);
  for (const key of ['K1/1D/X', 'K2/1D/X', 'K3/1D/X', 'K1/1D/X', 'K4/1D/X'])
    dispatcher.applied(key, 0, 0, CLIENT);
  turn();
  expect(dispatcher.stats[0]).toMatchObject({ backlogKeys: 4, inFlight: 2 });
  dispatcher.applied('K1/1D/X', 86_400, 86_400, CLIENT);
  for (let fire = 0; fire < 5; fire++) await trigger.end();
  // K1 was touched again while in flight: it waits behind the others.
  expect(trigger.batches.map(({ key }) => key[1])).toEqual(['1', '2', '3', '4', '1']);
});

test('a paused trigger is told when it runs again', () => {
  const trigger = new FakeTrigger('t');
  const { dispatcher, turn } = dispatcherOf(trigger);
  dispatcher.pause('t');
  dispatcher.applied(A, 0, 0, CLIENT);
  turn();
  expect(trigger.batches).toEqual([]);
  dispatcher.resume('t');
  turn();
  expect(trigger.batches).toHaveLength(1);
});

test('a failed batch is tried once more, then parked with one line; the key goes on', async () => {
  const trigger = new FakeTrigger('t');
  const { dispatcher, turn, lines } = dispatcherOf(trigger);
  dispatcher.applied(A, 0, 0, CLIENT);
  turn();
  dispatcher.applied(A, 600, 600, CLIENT);
  await trigger.fail();
  expect(trigger.batches[1], 'the same batch, not merged').toEqual(trigger.batches[0]);
  expect(lines).toEqual([]);
  await trigger.fail(new Error('disk full'));
  expect(lines).toEqual([
    {
      level: 'error',
      fields: {
        plugin: 't',
        key: A,
        ranges: [{ from: 0, to: 0 }],
        reason: 'disk full',
        stack: expect.stringContaining('disk full'),
      },
      message: expect.stringContaining('failed twice'),
    },
  ]);
  expect(trigger.batches[2]).toEqual({ key: A, ranges: [{ from: 600, to: 600 }] });
  await trigger.end();
  expect(dispatcher.stats[0]).toMatchObject({ fired: 1, failed: 2, parked: 1, backlogKeys: 0 });
});

test('a fire that throws at once is a failed one', async () => {
  const trigger = new FakeTrigger('t');
  trigger.fire = () => {
    throw new Error('gone');
  };
  const { dispatcher, turn, lines } = dispatcherOf(trigger);
  dispatcher.applied(A, 0, 0, CLIENT);
  turn();
  await immediate();
  expect(lines).toHaveLength(1);
  expect(dispatcher.stats[0]).toMatchObject({ failed: 2, parked: 1 });
});

const CRASH = new PluginError('MKTS_PLUGIN_EXIT', { plugin: 't', exitCode: 1 });

test('after a crash each batch is tried again alone, when the trigger runs', async () => {
  const trigger = new FakeTrigger('t');
  const { dispatcher, turn, elapse } = dispatcherOf(trigger);
  for (const key of ['K1/1D/X', 'K2/1D/X', 'K3/1D/X']) dispatcher.applied(key, 0, 0, CLIENT);
  turn();
  dispatcher.applied('K4/1D/X', 0, 0, CLIENT);
  // Fires fail at once; that the thread is gone, and the trigger paused, comes later.
  for (const { fail } of trigger.open.splice(0)) fail(CRASH);
  await immediate();
  turn();
  expect(trigger.batches).toHaveLength(3);
  dispatcher.pause('t');
  elapse();
  expect(trigger.batches).toHaveLength(3);
  dispatcher.resume('t');
  turn();
  const inFlight: number[] = [];
  for (const isPoison of [false, true, false]) {
    inFlight.push(trigger.open.length);
    if (!isPoison) {
      await trigger.end();
      continue;
    }
    await trigger.fail(CRASH);
    dispatcher.pause('t');
    dispatcher.resume('t');
    turn();
  }
  expect(inFlight).toEqual([1, 1, 1]);
  expect(trigger.batches.slice(3).map(({ key }) => key[1])).toEqual(['1', '2', '3', '4']);
  expect(dispatcher.stats[0]).toMatchObject({ fired: 2, parked: 1 });
});

test('a trigger that goes on running after such a failure is told again after a while', async () => {
  const trigger = new FakeTrigger('t');
  const { dispatcher, turn, elapse } = dispatcherOf(trigger);
  dispatcher.applied(A, 0, 0, CLIENT);
  turn();
  await trigger.fail(CRASH);
  turn();
  expect(trigger.open).toEqual([]);
  elapse();
  await trigger.end();
  expect(dispatcher.stats[0]).toMatchObject({ fired: 1, failed: 1, parked: 0 });
});

test('keys past the bound are counted as missed, with one warning until the backlog is gone', async () => {
  const trigger = new FakeTrigger('t');
  const { dispatcher, turn, lines } = dispatcherOf(trigger);
  dispatcher.pause('t');
  for (let at = 0; at < TRIGGER_KEYS_MAX; at++) dispatcher.applied(`K${at}/1D/X`, 0, 0, CLIENT);
  expect(dispatcher.stats[0]).toMatchObject({ backlogKeys: TRIGGER_KEYS_MAX, missed: 0 });
  dispatcher.applied('Y/1D/X', 0, 0, CLIENT);
  dispatcher.applied('Z/1D/X', 0, 0, CLIENT);
  dispatcher.applied('K7/1D/X', 86_400, 86_400, CLIENT);
  expect(dispatcher.stats[0]).toMatchObject({ backlogKeys: TRIGGER_KEYS_MAX, missed: 2 });
  expect(lines.map(({ level }) => level)).toEqual(['warn']);
  turn();
});

test('a trigger is not told of what it wrote, and nothing is logged of it', () => {
  const agg = new FakeTrigger('agg', '*/*/OHLCV');
  const other = new FakeTrigger('other', '*/*/OHLCV');
  const { dispatcher, turn, lines } = dispatcherOf(agg, other);
  dispatcher.applied('A/5Min/OHLCV', 0, 0, dispatcher.originChain('agg'));
  turn();
  expect(agg.batches).toEqual([]);
  expect(other.batches).toHaveLength(1);
  expect(dispatcher.stats[0]?.barred).toBe(1);
  expect(lines).toEqual([]);
});

test('a feeder has no chain: nobody can fire it', () => {
  const { dispatcher } = dispatcherOf(new FakeTrigger('agg'));
  expect(dispatcher.originChain('binance')).toEqual([]);
  expect(dispatcher.originChain('agg')).toEqual(['agg']);
});

test('two triggers that feed each other do not go on for ever', async () => {
  const a = new FakeTrigger('a', 'X/1Min/*');
  const b = new FakeTrigger('b', 'X/5Min/*');
  const { dispatcher, turn, lines } = dispatcherOf(a, b);
  const write = (plugin: string, key: string): void => {
    dispatcher.applied(key, 0, 0, dispatcher.originChain(plugin));
    turn();
  };
  for (const _ of [1, 2]) {
    dispatcher.applied('X/1Min/OHLCV', 0, 0, CLIENT);
    turn();
    write('a', 'X/5Min/OHLCV');
    await a.end();
    expect(dispatcher.originChain('b')).toEqual(['a', 'b']);
    await b.end();
    // Rows of the fire that just ended may still be on their way.
    write('b', 'X/1Min/OHLCV');
    expect(a.open).toEqual([]);
  }
  expect(lines.map(({ level, fields }) => [level, fields.chain])).toEqual([['warn', ['a', 'b']]]);
  // What b writes for a client's sake is news to a.
  dispatcher.applied('X/5Min/OHLCV', 0, 0, CLIENT);
  turn();
  write('b', 'X/1Min/OHLCV');
  expect(a.open).toHaveLength(1);
});

test('a batch of several causes, and several batches in flight, carry all their chains', () => {
  const names = ['p', 'q', 'c'];
  const [p, q] = names.map((name) => new FakeTrigger(name, 'none/1D/none'));
  const c = new FakeTrigger('c', '*/1Min/*');
  if (p === undefined || q === undefined) throw new Error('two triggers');
  const { dispatcher, turn } = dispatcherOf(p, q, c);
  dispatcher.applied(A, 0, 0, dispatcher.originChain('p'));
  dispatcher.applied(A, 60, 60, CLIENT);
  dispatcher.applied(B, 0, 0, dispatcher.originChain('q'));
  turn();
  expect(dispatcher.originChain('c')).toEqual(['p', 'q', 'c']);
});

test('a chain of as many triggers as allowed is told on; a longer one is cut, naming them', () => {
  const names = Array.from({ length: ORIGIN_CHAIN_MAX + 1 }, (_, at) => `t${at}`);
  const last = new FakeTrigger('last');
  const { dispatcher, turn, lines } = dispatcherOf(last);
  dispatcher.applied(A, 0, 0, names.slice(1));
  turn();
  expect(last.batches).toHaveLength(1);
  dispatcher.applied(B, 0, 0, names);
  dispatcher.applied(B, 60, 60, names);
  turn();
  expect(last.batches).toHaveLength(1);
  expect(lines).toEqual([
    {
      level: 'error',
      fields: { plugin: 'last', writer: `t${ORIGIN_CHAIN_MAX}`, key: B, chain: names },
      message: expect.stringContaining('the next is not told'),
    },
  ]);
});

test('a stop waits for triggers that feed each other', async () => {
  const a = new FakeTrigger('a', '*/1Min/*');
  const b = new FakeTrigger('b', '*/5Min/*');
  const { dispatcher, turn } = dispatcherOf(a, b);
  dispatcher.applied(A, 0, 0, CLIENT);
  turn();
  let left: number | undefined;
  const stopped = dispatcher.stop(new AbortController().signal).then((keys) => {
    left = keys;
  });
  dispatcher.applied('A/5Min/OHLCV', 0, 0, dispatcher.originChain('a'));
  turn();
  await a.end();
  expect(left).toBeUndefined();
  await b.end();
  await stopped;
  expect(left).toBe(0);
});

test('a stop that runs out of time gives up and says how much', async () => {
  const trigger = new FakeTrigger('t', '*/*/*', 1);
  const { dispatcher, turn, lines } = dispatcherOf(trigger);
  dispatcher.applied(A, 0, 0, CLIENT);
  dispatcher.applied(B, 0, 0, CLIENT);
  turn();
  const deadline = new AbortController();
  const stopped = dispatcher.stop(deadline.signal);
  deadline.abort();
  expect(await stopped).toBe(2);
  expect(lines.map(({ fields }) => fields)).toEqual([{ plugin: 't', keys: 2 }]);
  await trigger.fail();
  dispatcher.applied('C/1D/X', 0, 0, CLIENT);
  turn();
  expect(trigger.batches).toHaveLength(1);
  expect(lines).toHaveLength(1);
});

test('a stop does not wait for a trigger that does not run', async () => {
  const trigger = new FakeTrigger('t');
  const { dispatcher, turn } = dispatcherOf(trigger);
  dispatcher.applied(A, 0, 0, CLIENT);
  turn();
  dispatcher.applied(B, 0, 0, CLIENT);
  const stopped = dispatcher.stop(new AbortController().signal);
  dispatcher.pause('t');
  await trigger.fail();
  expect(await stopped).toBe(2);
});

test('a trigger that comes is told of what is applied from then on', () => {
  const first = new FakeTrigger('first');
  const { dispatcher, turn } = dispatcherOf(first);
  dispatcher.applied(A, 0, 60, CLIENT);
  const late = new FakeTrigger('late', '*/1Min/*');
  expect(dispatcher.has('late')).toBe(false);
  dispatcher.add(late);
  expect(dispatcher.has('late')).toBe(true);
  dispatcher.applied(B, 0, 60, CLIENT);
  turn();
  expect(late.batches).toEqual([]); // It does not run yet.
  dispatcher.resume('late');
  turn();
  expect(late.batches).toEqual([{ key: B, ranges: [{ from: 0, to: 60 }] }]);
  expect(first.batches.map(({ key }) => key)).toEqual([A, B]);
  expect(dispatcher.stats.map(({ name }) => name)).toEqual(['first', 'late']);
});

test('a trigger that goes is told of nothing more, is owed nothing, and holds up no stop', async () => {
  const stays = new FakeTrigger('stays');
  const goes = new FakeTrigger('goes', '*/*/*', 1);
  const { dispatcher, turn } = dispatcherOf(stays, goes);
  dispatcher.applied(A, 0, 0, CLIENT);
  dispatcher.applied(B, 0, 0, CLIENT);
  turn();
  const stopped = dispatcher.stop(new AbortController().signal);
  expect(dispatcher.remove('goes')).toBe(2); // A in flight, B waiting.
  expect(dispatcher.owed().every(({ trigger }) => trigger === 'stays')).toBe(true);
  await goes.end();
  dispatcher.applied(A, 60, 60, CLIENT);
  turn();
  expect(goes.batches).toHaveLength(1);
  for (let fires = 0; fires < 3; fires++) await stays.end();
  expect(await stopped).toBe(0);
  expect(dispatcher.owe({ trigger: 'goes', key: A, ranges: [{ from: 0, to: 0 }] })).toBe(false);
});

test('a stop that waits only for a trigger that goes is over', async () => {
  const goes = new FakeTrigger('goes');
  const { dispatcher, turn } = dispatcherOf(goes);
  dispatcher.applied(A, 0, 0, CLIENT);
  turn();
  const stopped = dispatcher.stop(new AbortController().signal);
  dispatcher.remove('goes');
  expect(await stopped).toBe(0);
  expect(dispatcher.hasTriggers).toBe(false);
});

test('a name that went can come again, and begins afresh', () => {
  const before = new FakeTrigger('t');
  const { dispatcher, turn } = dispatcherOf(before);
  dispatcher.applied(A, 0, 0, CLIENT);
  dispatcher.remove('t');
  const after = new FakeTrigger('t');
  dispatcher.add(after);
  expect(() => dispatcher.add(after)).toThrow(/unique/);
  dispatcher.resume('t');
  dispatcher.applied(B, 0, 0, CLIENT);
  turn();
  expect(before.batches).toEqual([]);
  expect(after.batches.map(({ key }) => key)).toEqual([B]);
});

test('another pattern holds for what is applied from then on; what is owed stays owed', async () => {
  const trigger = new FakeTrigger('t', '*/1Min/*', 1);
  const { dispatcher, turn } = dispatcherOf(trigger);
  dispatcher.applied(A, 0, 0, CLIENT);
  dispatcher.applied(B, 0, 0, CLIENT);
  turn();
  dispatcher.setMatcher('t', compilePattern('*/1D/*'));
  dispatcher.applied(A, 60, 60, CLIENT);
  dispatcher.applied('A/1D/OHLCV', 0, 0, CLIENT);
  for (let fires = 0; fires < 3; fires++) await trigger.end();
  turn();
  expect(trigger.batches.map(({ key, ranges }) => [key, ranges[0]?.from])).toEqual([
    [A, 0],
    [B, 0],
    ['A/1D/OHLCV', 0],
  ]);
});
