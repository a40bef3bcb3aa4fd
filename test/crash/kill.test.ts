/**
 * `kill -9` under load, restart, compare with what was acknowledged. Bars and ticks come from
 * concurrent clients and from a feeder's worker; the directory is kept from round to round, so every
 * round also proves that what the rounds before wrote is still there, once.
 */

import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type AnsweredBucket, queryServer } from '../../kernel/cli/rpc-client.ts';
import { expectIntegrity } from '../support/integrity.ts';
import { writeRows } from '../support/rpc-write.ts';
import { type LogLine, ServerProcess } from '../support/server-process.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const ROUNDS = Number(process.env.MKTS_KILL_ROUNDS ?? 20);
const WRITERS = 4;
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
  const expected = Array.from({ length: found.length }, (_, value) => value);
  expect(found, `${promised.key}: each value once, in order`).toEqual(expected);
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
  test(`${ROUNDS} rounds lose nothing acknowledged and double nothing`, async () => {
    const directory = temporaryDirectory();
    const config = {
      root_directory: join(directory, 'data'),
      checkpoint_interval: '150ms',
      bgworkers: [
        { module: FEEDER, name: 'bars', config: { key: 'FEED/1Min/COUNT', variable: false } },
        { module: FEEDER, name: 'ticks', config: { key: 'FEED/1Sec/TICK', variable: true } },
      ],
    };
    const writers = Array.from({ length: WRITERS }, (_, writer) => [
      { promised: { key: `W${writer}/1Min/COUNT`, acknowledged: 0, sent: 0 }, variable: false },
      { promised: { key: `W${writer}/1Sec/TICK`, acknowledged: 0, sent: 0 }, variable: true },
    ]).flat();
    const fed = [
      { key: 'FEED/1Min/COUNT', acknowledged: 0, sent: Number.MAX_SAFE_INTEGER },
      { key: 'FEED/1Sec/TICK', acknowledged: 0, sent: Number.MAX_SAFE_INTEGER },
    ];

    let acknowledgedRows = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const server = await ServerProcess.start(directory, config);
      try {
        for (const { promised } of writers) await check(server.url, promised);
        for (const promised of fed) await check(server.url, promised);
        const before = server.lines.length;
        const running = writers.map(({ promised, variable }) =>
          keepWriting(server.url, promised, variable).catch((error: unknown) => {
            // The kill ends a writer; a refused write is a failure of the test.
            if (!/no answer from the server/.test(String(error))) throw error;
          }),
        );
        // Kill at a place that moves from round to round: after so many commits of a feeder.
        const commits = 3 + ((round * 7) % 23);
        await server.until(() =>
          server.lines.slice(before).filter((line) => feederCount(line) !== undefined).length >=
          commits
            ? true
            : undefined,
        );
        await server.kill();
        await Promise.all(running);
        for (const promised of fed)
          promised.acknowledged = Math.max(
            promised.acknowledged,
            ...server.lines
              .filter((line) => line.key === promised.key)
              .map((line) => feederCount(line) ?? 0),
          );
        for (const promised of fed) promised.sent = Number.MAX_SAFE_INTEGER;
        expectIntegrity(config.root_directory);
      } finally {
        await server.kill();
      }
      acknowledgedRows = [...writers.map(({ promised }) => promised), ...fed].reduce(
        (sum, { acknowledged }) => sum + acknowledged,
        0,
      );
    }

    const server = await ServerProcess.start(directory, config);
    for (const { promised } of writers) await check(server.url, promised);
    for (const promised of fed) await check(server.url, promised);
    expect(await server.stop(), server.stderr).toBe(0);
    expectIntegrity(config.root_directory);
    expect(acknowledgedRows).toBeGreaterThan(ROUNDS * WRITERS);
  }, 300_000);
});
