/**
 * `kill -9` while feeders of ticks run that know where they are by `ctx.state` alone. After each
 * start every tick is there exactly once, none that was promised is missing, the keys of one call
 * have the same ticks, and the feeder goes on where its committed rows end.
 */

import { join } from 'node:path';
import { expect, test } from 'vitest';
import { queryServer } from '../../kernel/cli/rpc-client.ts';
import { expectIntegrity } from '../support/integrity.ts';
import { ServerProcess } from '../support/server-process.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const ROUNDS = Number(process.env.MKTS_KILL_ROUNDS ?? 20);
const FEEDER = join(import.meta.dirname, 'cursor-feeder.ts');
const FEEDERS = [
  { name: 'one', keys: ['ONE/1Min/TRADE'] },
  { name: 'two', keys: ['TWO-A/1Min/TRADE', 'TWO-B/1Min/TRADE'] },
];

/** The values of a bucket; a bucket nobody has written to holds none. */
async function valuesOf(url: string, key: string): Promise<number[]> {
  const [bucket] = await queryServer(url, { destination: key }).catch((error: unknown) => {
    if (/no files returned from query parse/.test(String(error))) return [];
    throw error;
  });
  return Array.from(bucket?.columns.find(({ name }) => name === 'Value')?.data ?? [], Number);
}

test(`${ROUNDS} kills leave every tick exactly once, by the cursor in the state alone`, async () => {
  const directory = temporaryDirectory();
  const config = (isFeeding: boolean): Record<string, unknown> => ({
    root_directory: join(directory, 'data'),
    checkpoint_interval: '60ms',
    bgworkers: isFeeding
      ? FEEDERS.map(({ name, keys }) => ({ module: FEEDER, name, config: { keys, batch: 7 } }))
      : [],
  });
  const promised = new Map(FEEDERS.map(({ name }) => [name, 0]));

  /** What a start has found; with feeders running, and with more by the time it is read. */
  const check = async (url: string, what: string): Promise<void> => {
    for (const { name, keys } of FEEDERS) {
      let least = promised.get(name) ?? 0;
      for (const key of keys) {
        const values = await valuesOf(url, key);
        expect(values, `${what} ${key}: each tick once, in order`).toEqual([...values.keys()]);
        expect(values.length, `${what} ${key}`).toBeGreaterThanOrEqual(least);
        // The next key has at least the same: both are of one call.
        least = values.length;
      }
    }
  };

  for (let round = 0; round < ROUNDS; round++) {
    const server = await ServerProcess.start(directory, config(true));
    try {
      const said = (message: string, plugin: string): number[] =>
        server.lines
          .filter((line) => line.msg === message && line.plugin === plugin)
          .map((line) => Number(line.next ?? line.rows));
      await check(server.url, `round ${round}`);
      const commits = 1 + ((round * 7) % 23);
      await server.until(() =>
        FEEDERS.every(({ name }) => said('committed', name).length >= commits) ? true : undefined,
      );
      await server.kill();
      for (const { name } of FEEDERS) {
        const [begun = Number.NaN] = said('begins', name);
        expect(begun, `round ${round} ${name}`).toBeGreaterThanOrEqual(promised.get(name) ?? 0);
        promised.set(name, Math.max(...said('committed', name)));
      }
      expectIntegrity(join(directory, 'data'));
    } finally {
      await server.kill();
    }
  }

  // A clean stop takes the log away: now only the file says where the feeders are.
  const last = await ServerProcess.start(directory, config(true));
  await last.until(() => last.lines.find(({ msg }) => msg === 'committed'));
  expect(await last.stop(), last.stderr).toBe(0);
  const again = await ServerProcess.start(directory, config(true));
  await again.until(() => again.lines.find(({ msg }) => msg === 'committed'));
  expect(await again.stop(), again.stderr).toBe(0);

  const quiet = await ServerProcess.start(directory, config(false));
  await check(quiet.url, 'at the end');
  const [one, two] = await Promise.all(
    ['TWO-A', 'TWO-B'].map((symbol) => valuesOf(quiet.url, `${symbol}/1Min/TRADE`)),
  );
  expect(one).toEqual(two);
  expect(await quiet.stop(), quiet.stderr).toBe(0);
  expectIntegrity(join(directory, 'data'));
  expect(Math.min(...promised.values())).toBeGreaterThan(ROUNDS * 10);
}, 300_000);
