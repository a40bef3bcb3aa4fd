/**
 * `kill -9` under load, restart, compare with what was acknowledged. Bars and ticks come from 1, 4 and
 * 16 concurrent clients and from two feeders' workers; the directory is kept from round to round, so
 * every round also proves that what the rounds before wrote is still there, once.
 *
 * MKTS_KILL_ROUNDS=100 kills more often; MKTS_KILL_SEED=17 repeats the moments of a run.
 */

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { type AnsweredBucket, queryServer } from '../../kernel/cli/rpc-client.ts';
import { randomBy } from '../support/crash-filesystem.ts';
import { expectIntegrity } from '../support/integrity.ts';
import { writeRows } from '../support/rpc-write.ts';
import { type LogLine, ServerProcess } from '../support/server-process.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const ROUNDS = Number(process.env.MKTS_KILL_ROUNDS ?? 20);
const SEED = Number(process.env.MKTS_KILL_SEED ?? Date.now() % 1_000_000);
/** Concurrent clients, from round to round. */
const WRITER_COUNTS: readonly number[] = [1, 4, 16];
/** After the first commit of a feeder in a round it is killed within this time. */
const KILL_WITHIN_MS = 400;
const ROUND_TIMEOUT_MS = 20_000;
const FEEDER = join(import.meta.dirname, 'counting-feeder.ts');
const BASE = Date.UTC(2021, 0, 1) / 1000;

/** What each bucket must hold: values 0 … acknowledged-1, each once; in flight at most one batch more. */
interface Promised {
  readonly key: string;
  acknowledged: number;
  sent: number;
}

/** Writes batches of one bucket, one after the other, until the server is gone. */
async function keepWriting(url: string, promised: Promised, variable: boolean): Promise<void> {
  const batch = 7;
  for (;;) {
    const first = promised.sent;
    const numbers = Array.from({ length: batch }, (_, at) => first + at);
    promised.sent = first + batch;
    const step = variable ? 1 : 60;
    const columns = [
      {
        name: 'Epoch',
        type: 'i8',
        data: BigInt64Array.from(numbers, (n) =>
          BigInt(BASE + Math.floor(n / (variable ? 5 : 1)) * step),
        ),
      },
      { name: 'Value', type: 'i8', data: BigInt64Array.from(numbers, BigInt) },
      ...(variable
        ? [
            {
              name: 'Nanoseconds',
              type: 'i4',
              data: Int32Array.from(numbers, (n) => (n % 5) * 100_000_000),
            },
          ]
        : []),
    ];
    await writeRows(url, promised.key, columns, { variable });
    promised.acknowledged = promised.sent;
  }
}

function valuesOf({ columns }: AnsweredBucket): number[] {
  return Array.from(columns.find(({ name }) => name === 'Value')?.data ?? [], Number);
}

/** Throws unless the bucket holds 0 … n-1, each once, with acknowledged <= n <= sent. */
async function check(url: string, promised: Promised): Promise<void> {
  // Before its first commit a bucket does not exist: then it holds nothing, which is checked too.
  const [bucket] = await queryServer(url, { destination: promised.key }).catch((error: unknown) => {
    if (/no files returned from query parse/.test(String(error))) return [];
    throw error;
  });
  const found = bucket === undefined ? [] : valuesOf(bucket);
  const wrong = found.findIndex((value, at) => value !== at);
  expect(wrong, `${promised.key}: each value once, in order; at ${wrong} is ${found[wrong]}`).toBe(
    -1,
  );
  expect(found.length, `${promised.key}: nothing acknowledged is lost`).toBeGreaterThanOrEqual(
    promised.acknowledged,
  );
  expect(found.length, `${promised.key}: nothing appears from nowhere`).toBeLessThanOrEqual(
    promised.sent,
  );
  // What was in flight may have been committed or not; from here it is known.
  promised.acknowledged = found.length;
  promised.sent = found.length;
}

function feederCount(line: LogLine): number | undefined {
  return line.msg === 'committed' && typeof line.rows === 'number' ? line.rows : undefined;
}

describe('kill -9 under load', () => {
  test(`${ROUNDS} rounds lose nothing acknowledged and double nothing (seed ${SEED})`, {
    timeout: 60_000 + ROUNDS * ROUND_TIMEOUT_MS,
  }, async ({ annotate }) => {
    const random = randomBy(SEED);
    const directory = temporaryDirectory();
    const config = {
      root_directory: join(directory, 'data'),
      checkpoint_interval: '150ms',
      bgworkers: [
        { module: FEEDER, name: 'bars', config: { key: 'FEED/1Min/COUNT', variable: false } },
        { module: FEEDER, name: 'ticks', config: { key: 'FEED/1Sec/TICK', variable: true } },
      ],
    };
    const writers = Array.from({ length: Math.max(...WRITER_COUNTS) }, (_, writer) => ({
      promised: {
        // The index of a year of seconds is 750 MB of holes, read by every look; the feeder has one.
        key: writer % 2 === 0 ? `W${writer}/1Min/COUNT` : `W${writer}/1Min/TICK`,
        acknowledged: 0,
        sent: 0,
      },
      variable: writer % 2 === 1,
    }));
    const fed = ['FEED/1Min/COUNT', 'FEED/1Sec/TICK'].map((key) => ({
      key,
      acknowledged: 0,
      sent: Number.MAX_SAFE_INTEGER,
    }));
    const all: readonly Promised[] = [...writers.map(({ promised }) => promised), ...fed];

    for (let round = 0; round < ROUNDS; round++) {
      // In turns, so that sums also meet a server that makes none.
      const checksums = round % 2 === 0;
      const server = await ServerProcess.start(directory, { ...config, checksums });
      try {
        for (const promised of all) await check(server.url, promised);
        for (const promised of fed) promised.sent = Number.MAX_SAFE_INTEGER;
        const before = server.lines.length;
        const active = writers.slice(0, WRITER_COUNTS[round % WRITER_COUNTS.length]);
        const running = active.map(({ promised, variable }) =>
          keepWriting(server.url, promised, variable).catch((error: unknown) => {
            // The kill ends a writer; a refused write is a failure of the test.
            if (!/no answer from the server/.test(String(error))) throw error;
          }),
        );
        await server.until(() =>
          server.lines.slice(before).some((line) => feederCount(line) !== undefined)
            ? true
            : undefined,
        );
        await sleep(KILL_WITHIN_MS * random());
        await server.kill();
        await Promise.all(running);
        for (const promised of fed)
          promised.acknowledged = Math.max(
            promised.acknowledged,
            ...server.lines
              .filter((line) => line.key === promised.key)
              .map((line) => feederCount(line) ?? 0),
          );
        expectIntegrity(config.root_directory);
      } finally {
        await server.kill();
      }
    }

    const acknowledged = all.reduce((sum, promised) => sum + promised.acknowledged, 0);
    const server = await ServerProcess.start(directory, config);
    for (const promised of all) await check(server.url, promised);
    expect(await server.stop(), server.stderr).toBe(0);
    expectIntegrity(config.root_directory);
    expect(acknowledged).toBeGreaterThan(ROUNDS * Math.max(...WRITER_COUNTS));
    await annotate(`${ROUNDS} kills, ${acknowledged} rows acknowledged, 0 lost, 0 twice`);
  });
});
