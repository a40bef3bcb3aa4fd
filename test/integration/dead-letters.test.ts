/**
 * Rows that are refused, on a real server, in both tiers: counted, kept over `kill -9` with what was
 * in them, and written after all when the cause is gone.
 */

import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import type { DeadLetter, LetterList, ReplayAnswer } from '../../kernel/base/dead-letter.ts';
import { callServer, queryServer } from '../../kernel/cli/rpc-client.ts';
import { writeRows } from '../support/rpc-write.ts';
import { ServerProcess } from '../support/server-process.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const MAIN = resolve(import.meta.dirname, '../../kernel/main.ts');
const BASE = Date.UTC(2021, 0, 1) / 1000;
const FED_KEY = 'FED/1Min/PRICE';
const WHOLE_KEY = 'WHOLE/1Min/COUNT';

/**
 * Refused in its worker: a column too many, a key it may not write, a value that is no whole number,
 * a message. Refused by the drain: rows of a bucket that is another one since, together with the
 * state they came with.
 */
const FEEDER = `
export default {
  kind: 'bgworker', name: 'careless', version: '1', api: 1,
  config: { safeParseAsync: async (data) => ({ success: true, data }) },
  capabilities: { writes: ['FED/*/*', 'WHOLE/*/*'] },
  async start(ctx) {
    if (ctx.state.get('done')) return ctx.log.info('begins again', { state: ctx.state.get('turn') });
    const at = (n) => ${BASE} + 60 * n;
    const refused = [];
    const write = (key, rows, options) =>
      ctx.write(key, rows, options).catch((error) => refused.push(error.code));
    await write('${FED_KEY}', { Epoch: [at(0), at(1)], Price: [1, 2] });
    await write('${WHOLE_KEY}', { Epoch: [at(0)], Count: new Int32Array([1]) });
    await write('${FED_KEY}', { Epoch: [at(2), at(3)], Price: [3, 4], Size: [1, 1] });
    await write('OTHER/1Min/PRICE', { Epoch: [at(0)], Price: [9007199254740993n] });
    await write('${WHOLE_KEY}', { Epoch: [at(1), at(2)], Count: [2, 2.5] });
    ctx.deadLetter('no price in it', { raw: 'naught' });
    await ctx.flush();
    ctx.log.info('refused', { codes: refused.join(' ') });
    for (let turn = 1; !ctx.signal.aborted; turn++) {
      await write('${FED_KEY}', { Epoch: [at(10 + turn)], Price: [turn] }, { state: { turn, done: true } });
      await ctx.clock.sleep(10);
    }
  },
};`;

test.each(['worker', 'process'])(
  'a %s whose rows are refused: none is forgotten',
  async (isolation) => {
    const directory = temporaryDirectory();
    const module = join(directory, 'careless.mjs');
    writeFileSync(module, FEEDER);
    const config = {
      root_directory: join(directory, 'data'),
      bgworkers: [{ module, name: 'careless', isolation, reload: { watch: false } }],
    };
    let server = await ServerProcess.start(directory, config);
    const ask = async <T>(path: string, method = 'GET'): Promise<T> => {
      const answer = await fetch(`${server.url}/api/v1/plugins/careless/${path}`, { method });
      const body = (await answer.json()) as T;
      expect(answer.ok, JSON.stringify(body)).toBe(true);
      return body;
    };
    const letters = async () => (await ask<LetterList>('dead-letters')).letters;

    const { codes } = await server.line(({ msg }) => msg === 'refused');
    expect(codes).toBe('MKTS_COLUMN_MISMATCH MKTS_CAPABILITY_DENIED MKTS_COLUMN_LOSSY');
    // The bucket becomes another one under the feeder, which has it open.
    await expect.poll(() => makeAnother(server.url), { timeout: 10_000 }).toBe(true);
    await expect.poll(async () => (await letters()).length, { timeout: 10_000 }).toBeGreaterThan(5);
    await ask('stop', 'POST');

    const counts = await rowCounts(server.url);
    expect(counts.rejected).toBeGreaterThanOrEqual(2 + 1 + 2 + 2);
    expect(counts.sent).toBe(counts.accepted + counts.rejected);
    const before = await letters();
    expect(before.slice(0, 4)).toMatchObject([
      { code: 'MKTS_COLUMN_MISMATCH', rowCount: 2, keys: [FED_KEY], isReplayable: true },
      { code: 'MKTS_CAPABILITY_DENIED', rowCount: 1, keys: ['OTHER/1Min/PRICE'] },
      { code: 'MKTS_COLUMN_LOSSY', rowCount: 2, keys: [WHOLE_KEY] },
      { reason: 'no price in it', rowCount: 0, isReplayable: false, excerpt: '{"raw":"naught"}' },
    ]);
    const [, big] = before;
    const { rows } = await ask<DeadLetter>(`dead-letters/${big?.id}`);
    expect(rows?.[0]?.columns[1]).toMatchObject({ name: 'Price', values: ['9007199254740993'] });
    expect(before.slice(4).every(({ code }) => code === 'MKTS_COLUMN_MISMATCH')).toBe(true);
    // Those the drain refused are frames, those the worker refused are rows: both are taken apart.
    const late = before.slice(4).reduce((count, { rowCount }) => count + rowCount, 0);

    await server.kill();
    server = await ServerProcess.start(directory, config);
    expect(await letters()).toEqual(before);
    // The state is where the rows are: of the last that were accepted, not of those refused.
    const { state } = await server.line(({ msg }) => msg === 'begins again');
    expect(Number(state)).toBeGreaterThan(0);

    const stays = await ask<ReplayAnswer>('dead-letters/replay?all=1', 'POST');
    expect(stays.replayed).toEqual([]);
    expect(stays.refused.map(({ id }) => id)).toEqual(
      before.filter(({ isReplayable }) => isReplayable).map(({ id }) => id),
    );
    await destroy(server.url, FED_KEY);
    const written = await replayByCommand(server.url);
    expect(written).toContain('"replayed"');
    const { replayed } = JSON.parse(written) as ReplayAnswer;
    // What has a column too many makes the bucket anew, and then the others do not fit; so in order.
    expect(replayed.map(({ id }) => id)).toEqual([before[0]?.id]);
    await destroy(server.url, FED_KEY);
    const others = await ask<ReplayAnswer>('dead-letters/replay?all=1', 'POST');
    expect(others.replayed.reduce((count, { rowCount }) => count + rowCount, 0)).toBe(late);
    const [bucket] = await queryServer(server.url, { destination: FED_KEY });
    expect(bucket?.columns[0]?.data.length).toBe(late);
    // Once: they are gone from the list.
    expect((await letters()).map(({ id }) => id)).toEqual(before.slice(1, 4).map(({ id }) => id));
    await ask('dead-letters', 'DELETE');
    expect(await letters()).toEqual([]);
    expect(await server.stop(), server.stderr).toBe(0);
  },
);

async function replayByCommand(url: string): Promise<string> {
  const args = [MAIN, 'plugin', 'replay', 'careless', '--all', '--url', url];
  const run = promisify(execFile)(process.execPath, args);
  // 1: some of them were refused again.
  const failure: unknown = await run.catch((error: unknown) => error);
  expect(failure).toMatchObject({ code: 1 });
  return String(Reflect.get(Object(failure), 'stdout'));
}

/** False: the feeder was faster, and the bucket is what it was. */
async function makeAnother(url: string): Promise<boolean> {
  await destroy(url, FED_KEY);
  const written = writeRows(url, FED_KEY, [
    { name: 'Epoch', type: 'i8', data: new BigInt64Array([BigInt(BASE)]) },
    { name: 'Cost', type: 'i4', data: new Int32Array([7]) },
  ]);
  return written.then(
    () => true,
    () => false,
  );
}

async function destroy(url: string, key: string): Promise<void> {
  await callServer(url, 'Destroy', { requests: [{ key }] });
}

async function rowCounts(
  url: string,
): Promise<{ sent: number; accepted: number; rejected: number }> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const found = text.matchAll(/^mkts_plugin_rows_(\w+?)_total\{([^}]*)\} (\d+)$/gm);
  const counts = { sent: 0, accepted: 0, rejected: 0 };
  for (const [, name = '', , value] of found)
    if (name === 'sent' || name === 'accepted' || name === 'rejected')
      counts[name] += Number(value);
  return counts;
}
