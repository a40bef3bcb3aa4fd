import { expect, test } from 'vitest';
import { StartPolicy } from '../../../../kernel/supervisor/start-policy.ts';

const PROBATION_MS = 10_000;

test('who never ran, or not for long, was not started', () => {
  const policy = new StartPolicy();
  expect(policy.quarantines('quarantine', 0, PROBATION_MS)).toBe(true);
  policy.runs(1_000);
  expect(policy.quarantines('quarantine', 1_000 + PROBATION_MS - 1, PROBATION_MS)).toBe(true);
});

test('who held through a probation once is started for good', () => {
  const policy = new StartPolicy();
  policy.runs(1_000);
  expect(policy.quarantines('quarantine', 1_000 + PROBATION_MS, PROBATION_MS)).toBe(false);
  policy.runs(20_000);
  expect(policy.quarantines('quarantine', 20_001, PROBATION_MS)).toBe(false);
});

test('time between two runs does not count', () => {
  const policy = new StartPolicy();
  policy.runs(0);
  expect(policy.quarantines('quarantine', 1, PROBATION_MS)).toBe(true);
  expect(policy.quarantines('quarantine', 5 * PROBATION_MS, PROBATION_MS)).toBe(true);
});

test.each(['retry', 'exit', undefined] as const)('%s never does', (onStartError) => {
  expect(new StartPolicy().quarantines(onStartError, 0, PROBATION_MS)).toBe(false);
});
