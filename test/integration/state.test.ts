/**
 * A plugin's state over the ends of its worker, on a real server: it crashes right after a write it
 * did not wait for, and goes on where its accepted rows end.
 */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { queryServer } from '../../kernel/cli/rpc-client.ts';
import { ServerProcess } from '../support/server-process.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

/** Writes three ticks a turn, and throws in its fifth, or spins until it is terminated. */
const FEEDER = `
const BASE = ${Date.UTC(2021, 0, 1) / 1000};
export default {
  kind: 'bgworker', name: 'crashing', version: '1', api: 1,
  config: { safeParseAsync: async (data) => ({ success: true, data }) },
  async start(ctx) {
    let next = ctx.state.get('cursor') ?? 0;
    const lives = (ctx.state.get('lives') ?? 0) + 1;
    await ctx.state.set('lives', lives);
    ctx.log.info('begins', { next, lives });
    for (let turn = 0; turn < 5; turn++) {
      const numbers = [next, next + 1, next + 2];
      next += 3;
      await ctx.writeAll(
        ['A/1Min/TICK', 'B/1Min/TICK'].map((key) => ({
          key,
          variable: true,
          rows: {
            Epoch: numbers.map(() => BASE),
            Nanoseconds: Int32Array.from(numbers, (n) => n * 1000),
            Value: Float64Array.from(numbers),
          },
        })),
        { state: { cursor: next } },
      );
    }
    if (lives < 3) throw new Error('crashed on purpose');
    await ctx.flush();
    const refused = await ctx.state.set('large', 'x'.repeat(1100000)).catch((error) => error.code);
    const tooMuch = [];
    for (let n = 0; n < 4; n++)
      tooMuch.push(await ctx.state.set('part' + n, 'x'.repeat(400000)).catch((error) => error.code));
    ctx.log.info('ends', { next, refused, tooMuch: tooMuch.join(' ') });
  },
};`;

test.each(['worker', 'process'])(
  'a %s that crashes is followed by one that knows what it had written',
  async (isolation) => {
    const directory = temporaryDirectory();
    const module = join(directory, 'crashing.mjs');
    writeFileSync(module, FEEDER);
    const server = await ServerProcess.start(directory, {
      root_directory: join(directory, 'data'),
      bgworkers: [{ module, name: 'crashing', isolation, resources: { disk_mb: 1 } }],
    });
    try {
      const ends = await server.until(() => server.lines.find(({ msg }) => msg === 'ends'));
      expect(server.lines.filter(({ msg }) => msg === 'begins').map((line) => line.next)).toEqual([
        0, 15, 30,
      ]);
      expect(ends).toMatchObject({ next: 45, refused: 'MKTS_WRITE_TOO_LARGE' });
      expect(ends.tooMuch).toBe('  MKTS_BUDGET MKTS_BUDGET');
      for (const destination of ['A/1Min/TICK', 'B/1Min/TICK']) {
        const [bucket] = await queryServer(server.url, { destination });
        const values = bucket?.columns.find(({ name }) => name === 'Value')?.data;
        expect(Array.from(values ?? [], Number)).toEqual(Array.from({ length: 45 }, (_, n) => n));
      }
    } finally {
      expect(await server.stop(), server.stderr).toBe(0);
    }
  },
);
