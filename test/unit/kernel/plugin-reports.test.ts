import { expect, test } from 'vitest';
import type { StateChange } from '../../../kernel/base/plugin-report.ts';
import { troubleSince } from '../../../kernel/plugin-reports.ts';

const START_MS = Date.UTC(2026, 0, 1, 3);

/** States with the seconds after START_MS at which they began. */
function states(...changes: readonly (readonly [string, number])[]): readonly StateChange[] {
  return changes.map(([state, seconds]) => ({ state, time: at(seconds), generation: 1 }));
}

function at(seconds: number): string {
  return new Date(START_MS + 1000 * seconds).toISOString();
}

test('a plugin that fails again and again is in trouble since its first failure', () => {
  const crashes = states(
    ['starting', 0],
    ['running', 1],
    ['backoff', 500],
    ['starting', 502],
    ['running', 503],
    ['backoff', 510],
    ['starting', 515],
    ['running', 516],
    ['quarantined', 517],
  );
  expect(troubleSince(crashes, START_MS + 9_000_000)).toBe(at(500));
});

test('what was over before does not count: it ran for a minute, or was stopped', () => {
  const recovered = states(['backoff', 0], ['running', 10], ['backoff', 70]);
  expect(troubleSince(recovered, START_MS + 80_000)).toBe(at(70));
  const stopped = states(['quarantined', 0], ['stopped', 10], ['starting', 11], ['failed', 12]);
  expect(troubleSince(stopped, START_MS + 80_000)).toBe(at(12));
});

test('a plugin without a bad state is in no trouble of its own', () => {
  expect(troubleSince(states(['starting', 0], ['running', 1]), START_MS + 5000)).toBeUndefined();
  expect(troubleSince([], START_MS)).toBeUndefined();
});
