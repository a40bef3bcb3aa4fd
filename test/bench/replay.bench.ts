/**
 * `npm run bench:replay`: how fast a log is replayed into the store, in megabytes of log a second,
 * beside what the machine does with the same bytes: reading them, and their checksum. Prints a table;
 * asserts nothing, since a number belongs to a machine.
 *
 * MKTS_BENCH_MEGABYTES is the length of each log.
 */

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
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
import { inProcessLogSync } from '../../kernel/wal/log-sync.ts';
import { replay } from '../../kernel/wal/replay.ts';
import { GROUP_HEADER_BYTES, WalWriter } from '../../kernel/wal/writer.ts';

const MEGABYTE = 1e6;
const LOG_BYTES = Number(process.env.MKTS_BENCH_MEGABYTES ?? 200) * MEGABYTE;
const SYMBOLS = 500;
const GROUP_BYTES = 2 * MEGABYTE;
const T0 = Date.UTC(2021, 0, 4) / 1000;
const COLUMNS = ['Open', 'High', 'Low', 'Close', 'Volume'].map((name) => ({ name, type: FLOAT64 }));
const ROUNDS = 3;
/** One shape, by its place. */
const ONLY = process.env.MKTS_BENCH_SHAPE;

interface Shape {
  readonly name: string;
  readonly schema: BucketSchema;
  readonly rowsPerBlock: number;
}

const SHAPES: readonly Shape[] = [
  { name: 'bars, 64 a block', schema: { recordType: 'fixed', columns: COLUMNS }, rowsPerBlock: 64 },
  { name: 'bars, 1 a block', schema: { recordType: 'fixed', columns: COLUMNS }, rowsPerBlock: 1 },
  {
    name: 'ticks, 64 a block',
    schema: { recordType: 'variable', columns: COLUMNS.slice(0, 2) },
    rowsPerBlock: 64,
  },
];

const directory = mkdtempSync(join(process.cwd(), '.bench-'));
try {
  for (const [at, shape] of SHAPES.entries())
    if (ONLY === undefined || at === Number(ONLY)) await run(shape, join(directory, String(at)));
} finally {
  rmSync(directory, { recursive: true, force: true });
}

async function run({ name, schema, rowsPerBlock }: Shape, root: string): Promise<void> {
  mkdirSync(root);
  const rows = await writeLog(root, schema, rowsPerBlock);
  const logs = readdirSync(root).filter((file) => file.endsWith('.wal'));
  const bytes = LOG_BYTES;
  const rates: number[] = [];
  /** By the processor's time, which a busy machine does not change much. */
  const perCpu: number[] = [];
  const read: number[] = [];
  const checksum: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    let startedMs = performance.now();
    const files = logs.map((file) => readFileSync(join(root, file)));
    const length = files.reduce((sum, file) => sum + file.length, 0);
    read.push(length / (performance.now() - startedMs));
    startedMs = performance.now();
    for (const file of files) crc32(file);
    checksum.push(length / (performance.now() - startedMs));
    const catalog = open(root);
    startedMs = performance.now();
    const usedBefore = process.cpuUsage();
    const report = replay({ root, filesystem: realFilesystem, catalog, onReport: raise });
    rates.push(bytes / (performance.now() - startedMs));
    const { user, system } = process.cpuUsage(usedBefore);
    perCpu.push(bytes / ((user + system) / 1000));
    if (report.rows !== rows) throw new Error(`${report.rows} of ${rows} rows replayed`);
    catalog.close();
  }
  const best = (each: readonly number[]): string => `${Math.round(Math.max(...each) / 1000)} MB/s`;
  process.stdout.write(
    `${name.padEnd(20)} replayed ${best(rates).padStart(9)}, ${best(perCpu)} of processor time; ${rows} rows` +
      `   the machine: read ${best(read)}, crc32 ${best(checksum)}\n`,
  );
}

function open(root: string): Catalog {
  return Catalog.open({
    root,
    filesystem: realFilesystem,
    zone: UTC,
    compressTicks: true,
    tickReadMode: 'exact',
    onDamage: raise,
  });
}

function raise(error: Error): never {
  throw error;
}

/** Groups of blocks of all symbols in turn, as a feeder of bars makes them. */
async function writeLog(root: string, schema: BucketSchema, rowsPerBlock: number): Promise<number> {
  const path = (symbol: number): string => `SYM${symbol}/1Min/OHLCV`;
  const wal = await WalWriter.open({
    root,
    sync: inProcessLogSync(realFilesystem),
    filesystem: realFilesystem,
    nextSequence: 1n,
    definitions: {
      bucket: (id) => ({ path: path(id), schema }),
      origin: () => ({ kind: 'client', name: '', generation: 0 }),
    },
  });
  for (let symbol = 0; symbol < SYMBOLS; symbol++) parseTimeBucketKey(path(symbol));
  const blockBytes = rowBlockBytes(schema, rowsPerBlock);
  let symbol = 0;
  let round = 0;
  let rows = 0;
  for (let written = 0; written < LOG_BYTES; ) {
    const buffer = new SharedArrayBuffer(GROUP_BYTES);
    const view = new DataView(buffer);
    const bytes = new Uint8Array(buffer);
    let at = GROUP_HEADER_BYTES;
    let entryCount = 0;
    const buckets = new Set<number>();
    for (; at + blockBytes <= GROUP_BYTES; entryCount++) {
      const columns = columnsOf(schema, rowsPerBlock, round);
      const range = { from: 0, to: rowsPerBlock };
      at += encodeRowBlock({ view, bytes, offset: at }, symbol, 0, columns, range);
      buckets.add(symbol);
      rows += rowsPerBlock;
      symbol = (symbol + 1) % SYMBOLS;
      if (symbol === 0) round++;
    }
    const group = { buffer, bytes: at, entryCount, buckets, origins: new Set([0]) };
    await wal.append({ ...group, durability: 'wal' });
    written += at;
  }
  await wal.close();
  return rows;
}

function columnsOf(schema: BucketSchema, count: number, round: number): readonly Column[] {
  // Bars of minutes that follow each other; ticks of one second.
  const isFixed = schema.recordType === 'fixed';
  const step = isFixed ? 60 : 0;
  const first = T0 + (isFixed ? 60 * count : 1) * round;
  const epochs = BigInt64Array.from({ length: count }, (_, at) => BigInt(first + step * at));
  const values = Float64Array.from({ length: count }, (_, at) => 100 + (round % 7) + at / 64);
  return [
    { name: 'Epoch', type: INT64, data: epochs },
    ...schema.columns.map(({ name, type }) => ({ name, type, data: values })),
    ...(isFixed ? [] : [{ name: 'Nanoseconds', type: INT32, data: new Int32Array(count).fill(5) }]),
  ];
}
