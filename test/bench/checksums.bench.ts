/**
 * `npm run bench:checksums`: what it costs to hold what is read against its checksums. The same scan,
 * bars and ticks, of a store that has sums and of one that has none, in turns; the files are in the
 * page cache and no page is in memory. In the processor's time, which a busy machine changes less; the
 * ratio is the median of those of the rounds. Beside it what the machine takes to read the same bytes,
 * and to sum them. Asserts nothing, since a number belongs to a machine.
 */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import type { Column } from '../../kernel/base/column-series.ts';
import { FLOAT64, INT32, INT64 } from '../../kernel/base/element-type.ts';
import { encodeRowBlock, rowBlockBytes } from '../../kernel/base/row-block.ts';
import type { BucketSchema } from '../../kernel/base/schema.ts';
import { parseTimeBucketKey } from '../../kernel/base/time-bucket-key.ts';
import { UTC } from '../../kernel/base/zone.ts';
import { Catalog } from '../../kernel/storage/catalog.ts';
import { realFilesystem } from '../../kernel/storage/filesystem.ts';

const ROUNDS = Number(process.env.MKTS_BENCH_ROUNDS ?? 15);
const YEAR = Date.UTC(2021, 0, 1) / 1000;
const COLUMNS = ['Open', 'High', 'Low', 'Close', 'Volume'].map((name) => ({ name, type: FLOAT64 }));
const MIB = 1024 * 1024;

interface Shape {
  readonly key: string;
  readonly schema: BucketSchema;
  readonly rowCount: number;
  readonly secondsOf: (row: number) => number;
}

const SHAPES: readonly Shape[] = [
  {
    key: 'A/1Min/OHLCV',
    schema: { recordType: 'fixed', columns: COLUMNS },
    rowCount: 500_000,
    secondsOf: (row) => row * 60,
  },
  {
    key: 'A/1Min/TICK',
    schema: { recordType: 'variable', columns: COLUMNS.slice(0, 2) },
    rowCount: 500_000,
    secondsOf: (row) => row * 3,
  },
];

const directory = mkdtempSync(join(process.cwd(), '.bench-'));
try {
  for (const shape of SHAPES) await run(shape);
} finally {
  rmSync(directory, { recursive: true, force: true });
}

async function run(shape: Shape): Promise<void> {
  const roots = [false, true].map((checksums) => join(directory, `${checksums}`));
  for (const [at, root] of roots.entries()) await fill(root, shape, at === 1);
  const times: number[][] = [[], []];
  const reads: number[] = [];
  const sums: number[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    for (const at of round % 2 === 0 ? [0, 1] : [1, 0]) {
      const ms = await scan(roots[at] ?? '', shape);
      // The first round warms the code and the page cache.
      if (round > 0) times[at]?.push(ms);
    }
    let startedMs = performance.now();
    const bytes = readFileSync(join(roots[0] ?? '', shape.key, '2021.bin'));
    reads.push(performance.now() - startedMs);
    startedMs = performance.now();
    crc32(bytes);
    sums.push((performance.now() - startedMs) / (bytes.length / MIB));
  }
  const ratios = (times[1] ?? []).map((ms, round) => ms / (times[0]?.[round] ?? Number.NaN));
  const [without = Number.NaN, with_ = Number.NaN] = times.map(median);
  process.stdout.write(
    `${shape.key}: ${without.toFixed(1)} ms without, ${with_.toFixed(1)} ms with, ratio ${median(ratios).toFixed(3)}; ` +
      `the file is read in ${median(reads).toFixed(1)} ms, crc32 takes ${median(sums).toFixed(3)} ms per MiB\n`,
  );
}

async function scan(root: string, { key, rowCount }: Shape): Promise<number> {
  const catalog = open(root, false);
  const before = process.cpuUsage();
  const series = await catalog.bucket(key)?.scan({ fromEnd: false });
  const { user, system } = process.cpuUsage(before);
  const ms = (user + system) / 1000;
  if (series?.rowCount !== rowCount) throw new Error(`${series?.rowCount} of ${rowCount} rows`);
  catalog.close();
  return ms;
}

async function fill(root: string, shape: Shape, checksums: boolean): Promise<void> {
  const { key, schema, rowCount, secondsOf } = shape;
  const catalog = open(root, checksums);
  const rows = Array.from({ length: rowCount }, (_, row) => row);
  const columns: Column[] = [
    {
      name: 'Epoch',
      type: INT64,
      data: BigInt64Array.from(rows, (row) => BigInt(YEAR + secondsOf(row))),
    },
    ...schema.columns.map(({ name, type }, at) => ({
      name,
      type,
      data: Float64Array.from(rows, (row) => 100 + at + (row % 997) / 100),
    })),
  ];
  if (schema.recordType === 'variable')
    columns.push({ name: 'Nanoseconds', type: INT32, data: new Int32Array(rowCount) });
  const buffer = new ArrayBuffer(rowBlockBytes(schema, rowCount));
  const block = {
    buffer,
    view: new DataView(buffer),
    bytes: new Uint8Array(buffer),
    words: new Int32Array(buffer),
    offset: 0,
    rowCount,
  };
  encodeRowBlock(block, 1, 1, columns, { from: 0, to: rowCount });
  catalog.declare(parseTimeBucketKey(key), schema).apply(block);
  await catalog.beginWriteBack().run();
  catalog.close();
}

function open(root: string, checksums: boolean): Catalog {
  return Catalog.open({
    root,
    filesystem: realFilesystem,
    zone: UTC,
    compressTicks: true,
    tickReadMode: 'exact',
    checksums,
    onDamage: (error) => {
      throw error;
    },
  });
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}
