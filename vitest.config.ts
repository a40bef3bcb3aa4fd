import { defineConfig, type ViteUserConfig } from 'vitest/config';
import { LongestFirst } from './test/support/longest-first.ts';

/** What these show is spoilt by a neighbour that takes the processor: they run one after the other. */
const ALONE: readonly string[] = [
  'test/faults/greedy.test.ts',
  'test/integration/swap.test.ts',
  'test/integration/watchdog.test.ts',
  'test/integration/budgets.test.ts',
];
const NOT_TESTS = 'test/bench/**';

const config: ViteUserConfig = defineConfig({
  test: {
    // Processes, not threads: tests start worker threads, change directories and end kernels.
    pool: 'forks',
    // Costly assertions are on: see kernel/base/assert.ts.
    env: { MKTS_VERIFY: '1' },
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Of `expect.poll`: a second, as it would be, is nothing where other work has the processors.
    expect: { poll: { timeout: 20_000 } },
    globalSetup: './test/support/compile-cache.ts',
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        extends: true,
        test: {
          name: 'together',
          include: ['test/**/*.test.ts'],
          exclude: [NOT_TESTS, ...ALONE],
          // Most of their time is waiting: for a server's start, a timer, a disk.
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'alone',
          include: [...ALONE],
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});

export default config;
