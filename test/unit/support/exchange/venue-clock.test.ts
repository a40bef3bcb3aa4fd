/** The two clocks of the local exchange. */

import { expect, test } from 'vitest';
import { HandClock, runningClock } from '../../../support/exchange/venue-clock.ts';

test('a hand-turned clock fires timers in order, each at its own time', async () => {
  const clock = new HandClock(0);
  const fired: string[] = [];
  const note = (name: string) => () => fired.push(`${name}@${clock.now()}`);
  clock.at(20, note('b'));
  clock.at(10, () => {
    note('a')();
    clock.at(15, note('nested'));
  });
  const cancel = clock.at(12, note('cancelled'));
  clock.at(40, note('later'));
  cancel();
  await clock.advance(30);
  expect(fired).toEqual(['a@10', 'nested@15', 'b@20']);
  expect(clock.now()).toBe(30);
});

test('a running clock runs as fast as told, and its timers fire when it is time', async () => {
  const clock = runningClock({ startMs: 1000, speed: 10_000 });
  const firedAt = await new Promise<number>((resolve) => {
    clock.at(61_000, () => resolve(clock.now()));
    // The clock's own timers do not keep a process: something here has to.
    const keep = setTimeout(() => {}, 5_000);
    clock.at(61_000, () => clearTimeout(keep));
  });
  expect(firedAt).toBeGreaterThanOrEqual(61_000);
});
