/**
 * Logs a Go server left behind after kill -9, and 29 damaged versions of one: what we make of them.
 * The recordings lie beside the project (golden/README.md, part B); without them this is skipped.
 */

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { type ColumnSeries, columnBytes } from '../../kernel/base/column-series.ts';
import type { TickReadMode } from '../../kernel/base/tick-time.ts';
import { UTC } from '../../kernel/base/zone.ts';
import type { Catalog } from '../../kernel/storage/catalog.ts';
import { realFilesystem } from '../../kernel/storage/filesystem.ts';
import {
  type ReferenceReplayReport,
  replayReferenceLogs,
  retireReferenceLogs,
} from '../../kernel/wal/reference-log.ts';
import { openStore } from '../support/store.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const GOLDEN = resolve(import.meta.dirname, '../../../shared/golden/wal');
const isMissing = !existsSync(GOLDEN);
const skipped = isMissing ? ' (skipped: ../shared/golden is not there)' : '';

interface Answer {
  readonly names: readonly string[];
  readonly length: number;
  readonly data: readonly string[];
}

interface Recording {
  readonly wal_file: string;
  readonly keys: readonly string[];
  readonly wal_messages: readonly {
    readonly at: number;
    readonly len: number;
    readonly kind: string;
    readonly tgid?: string;
    readonly write_sets?: readonly {
      readonly path: string;
      readonly index: number;
      readonly data: string;
    }[];
  }[];
  readonly answers_of_the_primary_files_alone: readonly Query[];
  readonly after_replay: {
    readonly queries: readonly Query[];
    readonly files_after_stop: readonly { path: string; size: number; sha256: string }[];
  };
}

interface Query {
  readonly request: { readonly destination: string };
  readonly result?: Answer;
}

interface Write {
  readonly key: string;
  readonly is_variable_length: boolean;
  readonly length: number;
  readonly data: readonly string[];
  readonly answer: string;
}

function readJson<T>(name: string): T {
  return JSON.parse(gunzipSync(readFileSync(join(GOLDEN, `${name}.json.gz`))).toString()) as T;
}

function readWrites(name: string): Write[] {
  const text = gunzipSync(readFileSync(join(GOLDEN, `${name}.writes.jsonl.gz`))).toString();
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Write);
}

function unpack(name: string): string {
  const directory = temporaryDirectory();
  execFileSync('tar', ['-xzf', join(GOLDEN, `${name}.tar.gz`), '-C', directory]);
  return join(directory, 'data');
}

function replayInto(
  root: string,
  mode: TickReadMode,
): { catalog: Catalog; report: ReferenceReplayReport } {
  const { catalog } = openStore(root, { tickReadMode: mode });
  const report = replayReferenceLogs({
    root,
    filesystem: realFilesystem,
    catalog,
    zone: UTC,
    onReport: () => undefined,
  });
  return { catalog, report };
}

async function start(
  root: string,
  mode: TickReadMode = 'reference',
): Promise<{ catalog: Catalog; report: ReferenceReplayReport }> {
  const started = replayInto(root, mode);
  await started.catalog.beginWriteBack().run();
  retireReferenceLogs(root, realFilesystem, started.report.logs);
  return started;
}

/** Rows as text, one a row, every value by its bytes. */
function rowsOfColumns(columns: readonly Uint8Array[], length: number): string[] {
  return Array.from({ length }, (_, row) =>
    columns
      .map((bytes) => {
        const width = bytes.length / length;
        return Buffer.from(bytes.subarray(row * width, (row + 1) * width)).toString('hex');
      })
      .join(' '),
  );
}

function rowsOfAnswer(answer: Pick<Answer, 'data' | 'length'> | undefined): string[] {
  if (answer === undefined) return [];
  return rowsOfColumns(
    answer.data.map((column) => Buffer.from(column, 'base64')),
    answer.length,
  );
}

async function rowsIn(catalog: Catalog, path: string): Promise<string[]> {
  const bucket = catalog.bucket(path);
  if (bucket === undefined) return [];
  const series: ColumnSeries = await bucket.scan({ fromEnd: false });
  return rowsOfColumns(
    series.columns.map(({ data }) => columnBytes(data)),
    series.rowCount,
  );
}

function lengthOf(queries: readonly Query[], key: string): number {
  return queries.find(({ request }) => request.destination === key)?.result?.length ?? 0;
}

function logsLeft(root: string): string[] {
  return readdirSync(root).filter((name) => name.startsWith('WALFile.'));
}

describe.skipIf(isMissing)(`logs after kill -9${skipped}`, () => {
  for (const name of ['powerloss-fixed', 'killed-fixed', 'checkpointed'])
    test(`${name}: bars are what the Go server made of them, answers and files`, async () => {
      const recording = readJson<Recording>(name);
      const root = unpack(name);
      const { catalog, report } = await start(root);
      expect(report.damage).toEqual([]);
      for (const { request, result } of recording.after_replay.queries) {
        if (request.destination.endsWith('/TICK')) continue;
        expect(await rowsIn(catalog, request.destination)).toEqual(rowsOfAnswer(result));
      }
      expect(logsLeft(root)).toEqual([]);
      catalog.close();
      for (const { path, sha256 } of recording.after_replay.files_after_stop)
        if (/\/OHLCV\/\d+\.bin$/.test(path)) {
          const hash = createHash('sha256').update(readFileSync(join(root, path)));
          expect(hash.digest('hex'), path).toBe(sha256);
        }
    });

  for (const name of ['powerloss-ticks', 'killed-ticks', 'checkpointed'])
    test(`${name}: every acknowledged tick is there once, and every logged one`, async () => {
      const recording = readJson<Recording>(name);
      const writes = readWrites(name);
      const root = unpack(name);
      const { catalog, report } = await start(root, 'exact');
      expect(report.damage).toEqual([]);
      expect(report.presentTicks).toBeGreaterThan(0);
      for (const key of recording.keys.filter((path) => path.endsWith('/TICK'))) {
        const found = await rowsIn(catalog, key);
        const ofKey = writes.filter((write) => write.key === key);
        const inFiles = lengthOf(recording.answers_of_the_primary_files_alone, key);
        const doubled = lengthOf(recording.after_replay.queries, key);
        // The Go server adds what it replays to what is there; files and log overlap.
        expect(found.length, key).toBe(Math.max(inFiles, doubled - inFiles));
        const acknowledged = ofKey.filter(({ answer }) => answer === 'ok');
        const isWholeRequestLogged =
          found.length === ofKey.reduce((rows, { length }) => rows + length, 0);
        const wanted = isWholeRequestLogged ? ofKey : acknowledged;
        expect(found.map(withoutTime).sort()).toEqual(
          wanted.flatMap(rowsOfAnswer).map(withoutTime).sort(),
        );
        expect(nanosOfRows(found)).toSatisfy((times: bigint[]) =>
          within(times, nanosOfRows(wanted.flatMap(rowsOfAnswer)), key.includes('1Min') ? 14n : 1n),
        );
      }
      expect(logsLeft(root)).toEqual([]);
    });

  test.each(['powerloss-ticks', 'killed-ticks', 'checkpointed', 'killed-fixed'])(
    '%s: a crash between checkpoint and removal of the log changes nothing',
    async (name) => {
      const recording = readJson<Recording>(name);
      const root = unpack(name);
      const first = replayInto(root, 'reference');
      const before = await Promise.all(recording.keys.map((key) => rowsIn(first.catalog, key)));
      await first.catalog.beginWriteBack().run();
      first.catalog.close();
      const second = await start(root);
      const after = await Promise.all(recording.keys.map((key) => rowsIn(second.catalog, key)));
      expect(after).toEqual(before);
      if (name.endsWith('-ticks')) expect(second.report.rows).toBe(0);
      const third = await start(root);
      expect(third.report).toMatchObject({ logs: [], groups: 0, rows: 0 });
    },
  );

  test('a log of a server that was stopped cleanly replays nothing and goes', async () => {
    const directory = temporaryDirectory();
    execFileSync('tar', ['-xzf', resolve(GOLDEN, '../dirs/ondiskagg.tar.gz'), '-C', directory]);
    const root = join(directory, 'data');
    expect(logsLeft(root).length).toBeGreaterThan(0);
    const { report } = await start(root);
    expect(report).toMatchObject({ groups: 0, rows: 0, damage: [], tornBytes: 0 });
    expect(logsLeft(root)).toEqual([]);
  });
});

interface Mutation {
  readonly op: 'truncate' | 'xor' | 'append' | 'zero' | 'delete_file';
  readonly size?: number;
  readonly at?: number | readonly number[];
  readonly mask?: number;
  readonly bytes?: string;
  readonly length?: number;
  readonly path?: string;
}

interface Mutations {
  readonly cases: readonly {
    readonly mutation: Mutation;
    readonly what: string;
    readonly wal_sha256: string;
    readonly reference: { readonly started: boolean; readonly queries?: readonly Query[] };
  }[];
}

function mutate(log: Buffer, mutation: Mutation): Buffer {
  const bytes = Buffer.from(log);
  const at = [mutation.at ?? 0].flat();
  switch (mutation.op) {
    case 'truncate':
      return bytes.subarray(0, mutation.size);
    case 'append':
      return Buffer.concat([bytes, Buffer.from(mutation.bytes ?? '', 'base64')]);
    case 'zero':
      return bytes.fill(0, at[0], (at[0] ?? 0) + (mutation.length ?? 0));
    case 'xor':
      for (const place of at) bytes[place] = (bytes[place] ?? 0) ^ (mutation.mask ?? 0);
      return bytes;
    case 'delete_file':
      return bytes;
  }
}

describe.skipIf(isMissing)(`damaged logs${skipped}`, () => {
  const base = isMissing ? undefined : readJson<Recording>('powerloss-fixed');
  const { cases } = isMissing ? { cases: [] } : readJson<Mutations>('mutations');

  test.each(cases)('$what', async ({ mutation, wal_sha256, what, reference }) => {
    if (base === undefined) return;
    const root = unpack('powerloss-fixed');
    const path = join(root, base.wal_file);
    const original = readFileSync(path);
    const log = mutate(original, mutation);
    expect(createHash('sha256').update(log).digest('hex')).toBe(wal_sha256);
    writeFileSync(path, log);
    if (mutation.path !== undefined) rmSync(join(root, mutation.path));

    const { catalog, report } = await start(root);
    const expected = expectedRows(base, original, log, mutation);
    for (const [key, rows] of expected) expect(await rowsIn(catalog, key), key).toEqual(rows);
    for (const { request, result } of reference.queries ?? [])
      expect((await rowsIn(catalog, request.destination)).length).toBeGreaterThanOrEqual(
        result?.length ?? 0,
      );

    const isDamaged =
      (mutation.op === 'xor' && !/state|status/.test(what)) ||
      /owner|unknown bytes|repeated/.test(what);
    expect(report.damage.length > 0).toBe(isDamaged);
    expect(logsLeft(root)).toEqual(isDamaged ? [`${base.wal_file}.tmp`] : []);
    if (isDamaged) expect(readFileSync(`${path}.tmp`)).toEqual(log);
    expect((await start(root)).report).toMatchObject({ logs: [], rows: 0 });
  });

  /** Rows of the year files, and over them those of every group that is whole, in order. */
  function expectedRows(
    recording: Recording,
    original: Buffer,
    log: Buffer,
    mutation: Mutation,
  ): Map<string, string[]> {
    const rows = new Map<string, Map<string, string>>();
    for (const { request, result } of recording.answers_of_the_primary_files_alone) {
      const isGone = mutation.path?.startsWith(`${request.destination}/`) === true;
      const ofBucket = new Map<string, string>();
      for (const row of isGone ? [] : rowsOfAnswer(result)) ofBucket.set(epochOf(row), row);
      rows.set(request.destination, ofBucket);
    }
    // Only the last case with a checkpoint has one: it names the sixth group.
    const groups = recording.wal_messages.filter(({ kind }) => kind === 'tg');
    const isCheckpoint = mutation.op === 'append' && log.length === original.length + 22;
    for (const { at, len, write_sets } of isCheckpoint ? groups.slice(6) : groups) {
      const end = at + len;
      // The checksum covers all but the message id.
      const isWhole =
        end <= log.length && log.subarray(at + 1, end).equals(original.subarray(at + 1, end));
      if (!isWhole) continue;
      for (const { path, index, data } of write_sets ?? []) {
        const [, key = '', timeframe = '', year = ''] =
          /^(.+\/(.+)\/.+)\/(\d+)\.bin$/.exec(path) ?? [];
        const seconds = timeframe === '1H' ? 3600 : 60;
        const epoch = Buffer.alloc(8);
        epoch.writeBigInt64LE(BigInt(Date.UTC(Number(year), 0, 1) / 1000 + (index - 1) * seconds));
        const widths = catalogWidths(recording, key);
        const packed = Buffer.from(data, 'base64');
        let from = 0;
        const columns = widths.map((width) => {
          from += width;
          return packed.subarray(from - width, from).toString('hex');
        });
        rows.get(key)?.set(epoch.toString('hex'), [epoch.toString('hex'), ...columns].join(' '));
      }
    }
    return new Map(
      [...rows].map(([key, ofBucket]) => [
        key,
        [...ofBucket.values()].sort((a, b) => epochNumber(a) - epochNumber(b)),
      ]),
    );
  }
});

function catalogWidths(recording: Recording, key: string): number[] {
  const answer = recording.answers_of_the_primary_files_alone.find(
    ({ request }) => request.destination === key,
  )?.result;
  if (answer === undefined) return [];
  return answer.data.slice(1).map((column) => Buffer.from(column, 'base64').length / answer.length);
}

function epochOf(row: string): string {
  return row.slice(0, 16);
}

function epochNumber(row: string): number {
  return Number(Buffer.from(epochOf(row), 'hex').readBigInt64LE());
}

/** A tick's values without Epoch and Nanoseconds. */
function withoutTime(row: string): string {
  return row.split(' ').slice(1, -1).join(' ');
}

function nanosOfRows(rows: readonly string[]): bigint[] {
  return rows
    .map((row) => {
      const nanos = Buffer.from(row.split(' ').at(-1) ?? '', 'hex').readInt32LE();
      return BigInt(epochNumber(row)) * 1_000_000_000n + BigInt(nanos);
    })
    .sort((a, b) => (a < b ? -1 : 1));
}

/** True if both have the same times, up to one tick. */
function within(times: readonly bigint[], wanted: readonly bigint[], nanos: bigint): boolean {
  return (
    times.length === wanted.length &&
    times.every((time, at) => {
      const difference = time - (wanted[at] ?? 0n);
      return difference <= nanos && -difference <= nanos;
    })
  );
}
