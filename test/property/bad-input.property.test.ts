/**
 * Bytes nobody wrote, in any file of a data directory whose log still waits: the server starts, serves
 * what it can, takes writes or refuses them with a code, and starts again. Where rows are missing
 * somebody was told. What was readable after one start is so after the next: a replay is repeated
 * without a change.
 */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FLOAT64, INT64 } from '../../kernel/base/element-type.ts';
import { MktsError } from '../../kernel/base/errors.ts';
import { type BucketSchema, NANOSECONDS_SHAPE } from '../../kernel/base/schema.ts';
import { parseTimeBucketKey } from '../../kernel/base/time-bucket-key.ts';
import { UTC } from '../../kernel/base/zone.ts';
import type { WriteBatch } from '../../kernel/ingest/ingest.ts';
import { checkIntegrity } from '../../kernel/tools/integrity.ts';
import { CrashFilesystem } from '../support/crash-filesystem.ts';
import { ROOT, type SimulatedServer, startSimulated } from '../support/simulated-server.ts';

const RUNS = Number(process.env.MKTS_BAD_INPUT_RUNS ?? 80);
const BAR = 'A/1H/BAR';
const TICK = 'B/1H/TICK';
const COLUMNS = [{ name: 'Value', type: FLOAT64 }];
const SCHEMAS: Readonly<Record<string, BucketSchema>> = {
  [BAR]: { recordType: 'fixed', columns: COLUMNS },
  [TICK]: { recordType: 'variable', columns: COLUMNS },
};
const YEAR = Date.UTC(2021, 0, 1) / 1000;
const ROWS = 40;

function batch(path: string, first: number, count: number): WriteBatch {
  const numbers = Array.from({ length: count }, (_, at) => first + at);
  const epochs = BigInt64Array.from(numbers, (number) => BigInt(YEAR + 3600 * number));
  const schema = SCHEMAS[path] ?? { recordType: 'fixed', columns: [] };
  const columns = [
    { name: 'Epoch', type: INT64, data: epochs },
    { name: 'Value', type: FLOAT64, data: Float64Array.from(numbers) },
  ];
  const nanos = { ...NANOSECONDS_SHAPE, data: new Int32Array(count) };
  return {
    key: parseTimeBucketKey(path),
    schema,
    columns: schema.recordType === 'fixed' ? columns : [...columns, nanos],
    rowCount: count,
  };
}

/** Half of the rows in year files, half in the log; killed. */
async function killed(): Promise<CrashFilesystem> {
  const filesystem = new CrashFilesystem();
  filesystem.makeDirectory(ROOT);
  const server = await startSimulated(filesystem);
  for (let at = 0; at < ROWS; at += 5) {
    await server.ingest.write([batch(BAR, at, 5)]);
    await server.ingest.write([batch(TICK, at, 5)]);
    if (at === ROWS / 2) await server.checkpointer.run();
  }
  filesystem.settle();
  return filesystem.restart(0);
}

async function hours(server: SimulatedServer, path: string): Promise<ReadonlySet<number>> {
  const series = await server.catalog.bucket(path)?.scan({ fromEnd: false });
  const epochs = series?.columns.find(({ name }) => name === 'Epoch')?.data ?? new Float64Array(0);
  return new Set(Array.from<number | bigint, number>(epochs, (at) => (Number(at) - YEAR) / 3600));
}

/** True if no hour is missing before one that is there; ticks and bars are all of one year. */
function isBeginning(found: ReadonlySet<number>): boolean {
  return Array.from({ length: found.size }, (_, hour) => hour).every((hour) => found.has(hour));
}

type Damage = (filesystem: CrashFilesystem, path: string) => void;

/** Never zeros: an index of zeros is an empty slot, and no damage anybody could see. */
const bytes = fc.uint8Array({ minLength: 1, maxLength: 600, min: 1 });
const patched: fc.Arbitrary<Damage> = fc
  .tuple(bytes, fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }))
  .map(([patch, share]) => (filesystem, path) => {
    const file = filesystem.open(path, 'read-write');
    file.write(patch, Math.floor(share * Math.min(file.size(), 40_000)));
    file.datasyncBlocking();
    file.close();
  });
const replaced: fc.Arbitrary<Damage> = bytes.map((content) => (filesystem, path) => {
  const file = filesystem.open(path, 'create');
  file.write(content, 0);
  file.datasyncBlocking();
  file.close();
});
const truncated: fc.Arbitrary<Damage> = fc
  .nat({ max: 40_000 })
  .map((size) => (filesystem, path) => {
    const file = filesystem.open(path, 'read-write');
    file.truncate(Math.min(size, file.size()));
    file.datasyncBlocking();
    file.close();
  });
const removed: fc.Arbitrary<Damage> = fc.constant((filesystem: CrashFilesystem, path: string) => {
  filesystem.remove(path);
});

const KINDS: readonly (readonly [string, RegExp])[] = [
  ['the log', /\.wal$/],
  ['a year file', /\.bin$/],
  ['a category file', /category_name$/],
  ['a log of a Go server', /\.walfile$/],
  ['what plugins keep', /mkts-state\.json$/],
];

describe('bytes nobody wrote', () => {
  test.each(KINDS)('as %s', { timeout: 120_000 }, async (_name, pattern) => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(patched, replaced, truncated, removed),
        fc.nat(),
        async (damage, which) => {
          const filesystem = await killed();
          const extra = filesystem.open(`${ROOT}/WALFile.1700000000000000000.walfile`, 'create');
          extra.write(Buffer.alloc(11), 0);
          extra.close();
          const state = filesystem.open(`${ROOT}/mkts-state.json`, 'create');
          state.write(Buffer.from('{}'), 0);
          state.close();
          const files = filesystem
            .files()
            .filter((path) => pattern.test(path))
            .sort();
          const path = files[which % files.length] ?? '';
          damage(filesystem, path);
          checkIntegrity({ root: ROOT, filesystem, zone: UTC });

          const server = await startSimulated(filesystem);
          const seen = await Promise.all([BAR, TICK].map((key) => hours(server, key)));
          // The end of a log that was cut, or a year file that is gone with its name, leaves nothing
          // that could say so: then rows are missing from the end on, or all of a year.
          const isCut = /\.(wal|bin)$/.test(path) && seen.every(isBeginning);
          if (seen.some(({ size }) => size !== ROWS) && !isCut)
            expect(server.reports.length, 'rows are missing in silence').toBeGreaterThan(0);
          for (const error of server.reports) expect(error).toBeInstanceOf(MktsError);

          for (const key of [BAR, TICK]) {
            const written = server.ingest.write([batch(key, ROWS, 3)]);
            await written.catch((error: unknown) => expect(error).toBeInstanceOf(MktsError));
          }
          await server.checkpointer.run();
          const before = await Promise.all([BAR, TICK].map((key) => hours(server, key)));
          const again = await startSimulated(filesystem);
          const after = await Promise.all([BAR, TICK].map((key) => hours(again, key)));
          expect(after, 'the next start finds the same').toEqual(before);
          await again.stop();
          const quiet = await startSimulated(filesystem);
          expect(await Promise.all([BAR, TICK].map((key) => hours(quiet, key)))).toEqual(before);
        },
      ),
      { numRuns: Math.ceil(RUNS / KINDS.length) },
    );
  });
});
