/**
 * Real servers with `checksums: true`: what rots on the disk is refused to queries, by name, and
 * everything else is served; the command says the same; and what the log of a Go server means for it.
 */

import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { callServer, queryServer } from '../../kernel/cli/rpc-client.ts';
import { HEADER_BYTES } from '../../kernel/storage/header.ts';
import { flipBit } from '../support/flip-bit.ts';
import { expectIntegrity } from '../support/integrity.ts';
import { writeRows } from '../support/rpc-write.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';
import { startTestServer, type TestServer } from '../support/test-server.ts';

const MAIN = resolve(import.meta.dirname, '../../kernel/main.ts');
const YEAR = Date.UTC(2021, 0, 1) / 1000;
const BARS = 'ROT/1Min/OHLCV';
const TICKS = 'ROT/1Min/TICK';
const WHOLE = 'WHOLE/1Min/OHLCV';

async function write(url: string, key: string, first: number, count: number): Promise<void> {
  const rows = Array.from({ length: count }, (_, at) => first + at);
  const isTicks = key.endsWith('TICK');
  await writeRows(
    url,
    key,
    [
      {
        name: 'Epoch',
        type: 'i8',
        data: BigInt64Array.from(rows, (row) => BigInt(YEAR + 60 * row)),
      },
      { name: 'Close', type: 'f8', data: Float64Array.from(rows, (row) => 100 + row) },
      ...(isTicks ? [{ name: 'Nanoseconds', type: 'i4', data: Int32Array.from(rows) }] : []),
    ],
    { variable: isTicks },
  );
}

async function countOf(url: string, destination: string): Promise<number | undefined> {
  const [bucket] = await queryServer(url, { destination });
  return bucket?.rowCount;
}

async function damageMetric(url: string): Promise<string | undefined> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return /^mkts_damage (\d+)$/m.exec(text)?.[1];
}

function integrity(root: string, ...flags: readonly string[]): { code: number | null; said: Said } {
  const args = [MAIN, 'tool', 'integrity', root, '--json', ...flags];
  const { status, stdout } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  return { code: status, said: JSON.parse(stdout) as Said };
}

interface Said {
  readonly seal?: unknown;
  readonly sums: unknown;
  readonly findings: readonly {
    readonly code: string;
    readonly path: string;
    readonly offset: number;
  }[];
}

test('rot is refused by name, everything else is served, and the command finds and mends it', async () => {
  const root = join(temporaryDirectory(), 'data');
  const start = (): Promise<TestServer> =>
    startTestServer({ root_directory: root, checksums: true });
  const first = await start();
  await write(first.url, BARS, 0, 3000);
  await write(first.url, TICKS, 0, 20);
  await write(first.url, WHOLE, 0, 3000);
  await first.remove();
  expectIntegrity(root);
  const path = `${BARS}/2021.bin`;
  const offset = HEADER_BYTES;
  // A bit of the price of the third minute.
  flipBit(join(root, path), offset + 2 * 16 + 8 + 6, 4);

  const second = await start();
  await expect(queryServer(second.url, { destination: BARS })).rejects.toThrow(
    `year file ${path}: 32768 bytes at offset ${offset}, 2021-01-01T00:00:00Z to`,
  );
  const newest = await queryServer(second.url, { destination: BARS, limit: 100 });
  expect(newest[0]?.rowCount).toBe(100);
  expect([await countOf(second.url, TICKS), await countOf(second.url, WHOLE)]).toEqual([20, 3000]);
  expect(await damageMetric(second.url)).toBe('1');
  // Told once, however many ask.
  await expect(queryServer(second.url, { destination: BARS })).rejects.toThrow('CRC-32');
  expect(second.errors).toMatchObject([{ error: { code: 'MKTS_PAGE_CORRUPT' } }]);
  // Written to all the same; its rows are refused until an operator has looked.
  await write(second.url, BARS, 10, 1);
  await second.remove();

  const third = await start();
  await expect(queryServer(third.url, { destination: BARS })).rejects.toThrow(
    'they were written over what did not match its CRC-32',
  );
  await third.remove();

  const found = integrity(root);
  expect(found.code).toBe(1);
  expect(found.said.findings).toMatchObject([{ code: 'MKTS_PAGE_CORRUPT', path, offset }]);
  expect(integrity(root, '--repair').code).toBe(0);

  const last = await start();
  expect(await countOf(last.url, BARS)).toBe(3000);
  await callServer(last.url, 'Destroy', {
    requests: [{ key: `${WHOLE}:Symbol/Timeframe/AttributeGroup` }],
  });
  await last.remove();
  expect(existsSync(join(root, WHOLE)), 'sums go with their bucket').toBe(false);
  expectIntegrity(root);
});

test('a directory written without checksums is sealed, and loses them when a Go server was there', async () => {
  const root = join(temporaryDirectory(), 'data');
  const before = await startTestServer({ root_directory: root });
  await write(before.url, BARS, 0, 100);
  await write(before.url, TICKS, 0, 20);
  await before.remove();
  expect(existsSync(join(root, BARS, '2021.sums'))).toBe(false);
  const sealed = integrity(root, '--seal');
  expect(sealed).toMatchObject({
    code: 0,
    said: {
      seal: { pages: 2, chunks: 20, leftOut: 0 },
      sums: { files: 2, pages: 2, coveredPages: 2, chunks: 20, coveredChunks: 20 },
    },
  });
  // As a Go server leaves it: bytes changed, their sums not, and its log.
  flipBit(join(root, BARS, '2021.bin'), HEADER_BYTES + 8);
  writeFileSync(join(root, 'WALFile.1600000000000000000.walfile'), '');
  const after = await startTestServer({ root_directory: root });
  expect(await countOf(after.url, BARS)).toBe(100);
  expect(existsSync(join(root, BARS, '2021.sums'))).toBe(false);
  await after.remove();
});
