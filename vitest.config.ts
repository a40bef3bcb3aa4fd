import { defineConfig, type ViteUserConfig } from 'vitest/config';

const config: ViteUserConfig = defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/bench/**'],
    // Processes, not threads: tests start worker threads, change directories and end kernels.
    pool: 'forks',
    // Costly assertions are on: see kernel/base/assert.ts.
    env: { MKTS_VERIFY: '1' },
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});

export default config;
