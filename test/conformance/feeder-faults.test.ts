/**
 * Feeders in bad weather: whatever fails, in whatever order (requests, streams, commits, the plugin
 * itself), once it is over every bar is there, as the venue has it.
 */

import fc from 'fast-check';
import { describe, test } from 'vitest';
import { FakeKernel } from '../../plugins/testing/fake-kernel.ts';
import { expectWhole, START, subjects, WORLD_NOW_MS } from '../support/feeder-subjects.ts';

const RUNS = 12;

const fault = fc.record({
  afterMs: fc.integer({ min: 0, max: 400_000 }),
  forMs: fc.integer({ min: 0, max: 200_000 }),
  what: fc.constantFrom(
    'network',
    'status 500',
    'limit',
    'not JSON',
    'deaf',
    'disconnect',
    'commit',
    'write',
    'restart',
  ),
});

describe.each(subjects)('$name', (subject) => {
  test('loses nothing to any sequence of faults', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fault, { minLength: 1, maxLength: 6 }),
        fc.constantFrom(1, 30),
        async (faults, pace) => {
          const world = new FakeKernel({ nowMs: WORLD_NOW_MS });
          const venue = subject.venue(world, { pace });
          const config = { ...subject.config, symbols: subject.symbols };
          const start = () =>
            world.start(subject.plugin, { query_start: '2026-11-23 13:30', ...config });
          let run = start();
          for (const { afterMs, forMs, what } of faults) {
            await world.clock.advance(afterMs);
            let isOver = false;
            const fail = (): void => {
              if (!isOver) throw new Error(what);
            };
            venue.interfere = () => {
              if (isOver) return undefined;
              if (what === 'network') return new Error('connection reset');
              if (what === 'status 500') return { status: 500 };
              if (what === 'limit') return { status: 429, headers: { 'retry-after': '11' } };
              return what === 'not JSON' ? { body: '<html>' } : undefined;
            };
            if (what === 'deaf') venue.isStreamDeaf = true;
            if (what === 'disconnect') for (const socket of world.sockets) socket.end();
            if (what === 'commit') world.onFlush = fail;
            if (what === 'write') world.onWrite = fail;
            if (what === 'restart') await run.stop();
            await world.clock.advance(forMs);
            isOver = true;
            venue.isStreamDeaf = false;
            if (what === 'restart') run = start();
          }
          const soon = Math.floor(venue.nowSeconds / 60) * 60 + 1_800 * Math.max(1, pace / 10);
          const lastOf = (key: string): number => world.epochs(key).at(-1) ?? 0;
          await world.until(() => subject.keys.every((key) => lastOf(key) >= soon));
          for (const key of subject.keys) expectWhole(world, key, START, lastOf(key));
          await run.stop();
        },
      ),
      { numRuns: RUNS },
    );
  });
});
