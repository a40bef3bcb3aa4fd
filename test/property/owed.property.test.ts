/**
 * What a dispatcher says to be owed, against a model: every time that was applied and whose fire has
 * not ended well, unless it failed twice; at any moment, also after a stop.
 */

import { setImmediate as immediate } from 'node:timers/promises';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Dispatcher } from '../../kernel/triggers/dispatcher.ts';
import { compilePattern } from '../../kernel/triggers/matcher.ts';
import type { PlainBatch } from '../../workers/protocol.ts';

const KEYS = ['A/1Min/OHLCV', 'B/1Min/OHLCV', 'C/1D/OHLCV'];

type Step =
  | { readonly kind: 'apply'; readonly key: number; readonly minute: number }
  | { readonly kind: 'end' | 'fail'; readonly fire: number }
  | { readonly kind: 'pause' | 'resume' | 'stop' };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('apply' as const),
      key: fc.nat(2),
      minute: fc.nat(40),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constantFrom('end' as const, 'fail' as const),
      fire: fc.nat(3),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constantFrom('pause' as const, 'resume' as const) }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: 'stop' as const }) },
);

interface Fire {
  readonly batch: PlainBatch;
  /** What was applied before it began, of its key. */
  readonly times: readonly number[];
  readonly settle: (error?: Error) => void;
}

test('what was applied and not fired is owed, given back it is owed again', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const waiting = new Map(KEYS.map((key) => [key, new Set<number>()]));
      const failed = new Set<string>();
      const open: Fire[] = [];
      const trigger = {
        name: 't',
        matcher: compilePattern('*/1Min/*'),
        fire: (batch: PlainBatch) =>
          new Promise<void>((resolve, reject) => {
            const isRetry = failed.has(batch.key);
            const times = isRetry ? [] : [...(waiting.get(batch.key) ?? [])];
            if (!isRetry) waiting.get(batch.key)?.clear();
            const settle = (error?: Error): void => (error ? reject(error) : resolve());
            open.push({ batch, times: isRetry ? (retried.get(batch.key) ?? []) : times, settle });
          }),
      };
      const retried = new Map<string, readonly number[]>();
      const dispatcher = dispatcherOf([trigger]);
      let isStopped = false;
      for (const made of steps) {
        if (made.kind === 'apply') {
          const key = KEYS[made.key] ?? '';
          dispatcher.applied(key, 60 * made.minute, 60 * made.minute, []);
          if (key.includes('1Min')) waiting.get(key)?.add(60 * made.minute);
        } else if (made.kind === 'end' || made.kind === 'fail') {
          const [fire] = open.splice(made.fire % Math.max(1, open.length), 1);
          if (fire !== undefined) {
            const { key } = fire.batch;
            const isSecond = failed.delete(key);
            retried.delete(key);
            if (made.kind === 'fail' && (!isSecond || isStopped)) {
              failed.add(key);
              retried.set(key, fire.times);
            }
            fire.settle(made.kind === 'fail' ? new Error('no') : undefined);
          }
        } else if (made.kind === 'stop') {
          isStopped = true;
          await dispatcher.stop(AbortSignal.abort());
        } else dispatcher[made.kind]('t');
        await immediate();
        const wanted = KEYS.flatMap((key) => [
          ...[...(waiting.get(key) ?? [])].map((time) => `${key} ${time}`),
          ...(retried.get(key) ?? []).map((time) => `${key} ${time}`),
          ...open
            .filter(({ batch }) => batch.key === key && !retried.has(key))
            .flatMap(({ times }) => times.map((time) => `${key} ${time}`)),
        ]);
        const covered = timesOf(dispatcher);
        for (const time of wanted) expect(covered).toContain(time);
        // Minutes lie next to each other or not at all: nothing that nobody applied is owed.
        expect(new Set(covered)).toEqual(new Set(wanted));
      }
      const next = dispatcherOf([trigger]);
      for (const batch of dispatcher.owed()) expect(next.owe(batch)).toBe(true);
      expect(next.owed().toSorted(byKey)).toEqual(dispatcher.owed().toSorted(byKey));
    }),
    { numRuns: 200 },
  );
});

test('only the trigger that is named is given back, and only what it matches', () => {
  const fire = async (): Promise<void> => undefined;
  const dispatcher = dispatcherOf([
    { name: 'a', matcher: compilePattern('*/1Min/*'), fire },
    { name: 'b', matcher: compilePattern('*/1Min/*'), fire },
  ]);
  const ranges = [{ from: 0, to: 60 }];
  expect(dispatcher.owe({ trigger: 'a', key: 'A/1Min/OHLCV', ranges })).toBe(true);
  expect(dispatcher.owe({ trigger: 'a', key: 'A/1D/OHLCV', ranges })).toBe(false);
  expect(dispatcher.owe({ trigger: 'gone', key: 'A/1Min/OHLCV', ranges })).toBe(false);
  expect(dispatcher.owed()).toEqual([{ trigger: 'a', key: 'A/1Min/OHLCV', ranges }]);
});

function dispatcherOf(
  triggers: ConstructorParameters<typeof Dispatcher>[0]['triggers'],
): Dispatcher {
  const nothing = (): void => undefined;
  return new Dispatcher({
    triggers,
    log: { info: nothing, warn: nothing, error: nothing },
    yearOf: () => 1970,
    schedule: (task) => queueMicrotask(task),
    later: nothing,
  });
}

function timesOf(dispatcher: Dispatcher): string[] {
  return dispatcher.owed().flatMap(({ key, ranges }) =>
    ranges.flatMap(({ from, to }) => {
      const times: string[] = [];
      for (let time = from; time <= to; time += 60) times.push(`${key} ${time}`);
      return times;
    }),
  );
}

function byKey(a: { readonly key: string }, b: { readonly key: string }): number {
  return a.key < b.key ? -1 : 1;
}
