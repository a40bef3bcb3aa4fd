/**
 * The data directories recorded from the reference server, and what ours must answer from them. The
 * archives are not part of the repository; they are looked for beside it.
 *
 * Ours answers as recorded, except where the reference is wrong (`expectedAnswer`): it calls i1 u1,
 * never returns bars or ticks of Jan 1 from a daily bucket, answers ticks after the end of a range
 * that holds none, and fails where the newest ticks lie in two years.
 */

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { gunzipSync } from 'node:zlib';
import type { Column } from '../../kernel/base/column-series.ts';
import {
  BYTE,
  type ElementType,
  elementTypeOfWire,
  INT32,
  INT64,
} from '../../kernel/base/element-type.ts';
import { referenceTimeOf, ticksOf } from '../../kernel/base/tick-time.ts';
import { parseTimeBucketKey } from '../../kernel/base/time-bucket-key.ts';
import { Zone } from '../../kernel/base/zone.ts';

const ARCHIVES = resolve(import.meta.dirname, '../../../shared/golden/dirs');
const DAY = '1D';
const DAY_SECONDS = 86_400;

/** Empty where the archives are not there. */
export const ARCHIVE_NAMES: readonly string[] = existsSync(ARCHIVES)
  ? readdirSync(ARCHIVES).flatMap((name) => /^(.*)\.tar\.gz$/.exec(name)?.[1] ?? [])
  : [];

export interface RecordedAnswer {
  readonly names: readonly string[];
  readonly types: readonly string[];
  /** Base64 of each column. */
  readonly data: readonly string[];
  readonly length: number;
  readonly startindex: Readonly<Record<string, number>>;
  readonly lengths: Readonly<Record<string, number>>;
}
export interface RecordedQuery {
  readonly name: string;
  readonly timezone?: string;
  readonly request: {
    readonly destination: string;
    readonly epoch_start?: number;
    readonly epoch_start_nanos?: number;
    readonly epoch_end?: number;
    readonly epoch_end_nanos?: number;
    readonly limit_record_count?: number;
    readonly limit_from_start?: boolean;
    readonly columns?: readonly string[];
  };
  /** Absent where the reference failed. */
  readonly result?: RecordedAnswer;
}
export interface RecordedInfo {
  readonly key: string;
  readonly LatestYear: number;
  readonly TimeFrame: number;
  readonly RecordType: number;
  readonly DSV: readonly { readonly Name: string; readonly Type: number }[];
}
export interface RecordedWrite {
  readonly key: string;
  readonly is_variable_length: boolean;
  readonly names: readonly string[];
  readonly types: readonly string[];
  readonly length: number;
  readonly data: readonly string[];
}
export interface Recording {
  readonly name: string;
  /** Keys of mkts.yml. */
  readonly config: {
    readonly timezone?: string;
    readonly disable_variable_compression?: boolean;
    readonly triggers?: readonly unknown[];
  };
  readonly info: readonly RecordedInfo[];
  readonly files: readonly { readonly path: string }[];
  readonly queries: readonly RecordedQuery[];
  readonly writes: readonly RecordedWrite[];
  readonly zone: Zone;
}

export function readRecording(name: string): Recording {
  const read = (file: string): string => gunzipSync(readFileSync(join(ARCHIVES, file))).toString();
  const recording = JSON.parse(read(`${name}.json.gz`)) as Recording;
  const writes = read(`${name}.writes.jsonl.gz`)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as RecordedWrite);
  return { ...recording, writes, zone: new Zone(recording.config.timezone ?? 'UTC') };
}

/** Unpacks an archive below `directory`, once, holes as holes; returns its data root. */
export function unpack(name: string, directory: string): string {
  const target = join(directory, name);
  if (!existsSync(target)) {
    mkdirSync(target, { recursive: true });
    execFileSync('tar', ['-xzf', join(ARCHIVES, `${name}.tar.gz`), '-C', target]);
  }
  return join(target, 'data');
}

export function valuesOf(type: ElementType, base64: string, rowCount: number): Column['data'] {
  const { buffer } = new Uint8Array(Buffer.from(base64, 'base64'));
  return type.view(buffer, 0, rowCount);
}

// ---- what ours must answer ----------------------------------------------------------------------

/** A column's bytes, by row. */
interface Rows {
  readonly widths: readonly number[];
  /** Each row's bytes, of one column after the other; Epoch first. */
  readonly rows: readonly Buffer[];
}

export interface ExpectedAnswer {
  readonly names: readonly string[];
  readonly types: readonly string[];
  /** Bytes of each column. */
  readonly data: readonly Buffer[];
  readonly length: number;
  /** How it differs from the recorded one, for tests to count. */
  readonly deviations: readonly Deviation[];
}
export type Deviation = 'i1' | 'Jan 1' | 'end leak' | 'W22';

export function expectedAnswer(recording: Recording, query: RecordedQuery): ExpectedAnswer {
  const { request, name } = query;
  const deviations: Deviation[] = [];
  const complete = recording.queries.find((other) => other.name === `all ${request.destination}`);
  if (complete?.result === undefined) throw new Error(`${request.destination}: no full answer`);
  const answer = query.result ?? complete.result;
  const bytesTypes = recording.info
    .find(({ key }) => key === request.destination)
    ?.DSV.filter(({ Type }) => Type === BYTE.code)
    .map(({ Name }) => Name);
  const types = answer.types.map((type, at) => {
    if (bytesTypes?.includes(answer.names[at] ?? '') !== true) return type;
    if (type !== 'u1') throw new Error(`${name}: i1 is recorded as ${type}`);
    deviations.push('i1');
    return 'i1';
  });
  const { widths, rows } = rowsOf(answer);
  const wanted = ((): readonly Buffer[] => {
    const limit = request.limit_record_count;
    if (query.result === undefined) {
      // W22. The buckets are asked for their newest ticks, of the whole time.
      deviations.push('W22');
      return rows.slice(-(limit ?? 0));
    }
    if (name.startsWith('end leak')) {
      // All of what the reference answers lies after the end.
      const end = request.epoch_end ?? 0;
      if (rows.some((row) => epochOf(row) <= end)) throw new Error(`${name}: rows up to the end`);
      deviations.push('end leak');
      return [];
    }
    if (!request.destination.includes(`/${DAY}/`)) return rows;
    const isAsked = (row: Buffer): boolean =>
      epochOf(row) >= (request.epoch_start ?? 0) &&
      epochOf(row) <= (request.epoch_end ?? Number.POSITIVE_INFINITY);
    const added = newYearRows(recording, request.destination, answer).filter(isAsked);
    if (added.length === 0) return rows;
    if (limit === undefined) {
      deviations.push('Jan 1');
      return inserted(recording.zone, rows, added);
    }
    // Rows of Jan 1 push others out of a limited answer.
    if (request.epoch_start !== undefined || request.epoch_end !== undefined || request.columns)
      throw new Error(`${name}: not reckoned`);
    const all = inserted(recording.zone, rowsOf(complete.result).rows, added);
    const taken = request.limit_from_start === true ? all.slice(0, limit) : all.slice(-limit);
    if (added.some((row) => taken.includes(row))) deviations.push('Jan 1');
    return taken;
  })();
  let from = 0;
  const data = widths.map((width) => {
    const column = Buffer.concat(wanted.map((row) => row.subarray(from, from + width)));
    from += width;
    return column;
  });
  return { names: answer.names, types, data, length: wanted.length, deviations };
}

function rowsOf({ types, data, length }: RecordedAnswer): Rows {
  const widths = types.map((type) => typeOf(type).bytes);
  const columns = data.map((text) => Buffer.from(text, 'base64'));
  const rows = Array.from({ length }, (_, row) =>
    Buffer.concat(
      columns.map((bytes, at) => {
        const width = widths[at] ?? 0;
        return bytes.subarray(row * width, (row + 1) * width);
      }),
    ),
  );
  return { widths, rows };
}

/** Puts rows of Jan 1 before those of the days that follow. */
function inserted(zone: Zone, rows: readonly Buffer[], added: readonly Buffer[]): Buffer[] {
  const all = [...rows];
  for (const row of added) {
    const nextDay = zone.dayStart(zone.yearOf(epochOf(row)), 1);
    const at = all.findIndex((other) => epochOf(other) >= nextDay);
    all.splice(at < 0 ? all.length : at, 0, row);
  }
  return all;
}

/** Rows of Jan 1 written to a daily bucket, as ours answers them: in the columns of `answer`. */
export function newYearRows(
  { writes, zone }: Recording,
  key: string,
  { names, types }: Pick<RecordedAnswer, 'names' | 'types'>,
): Buffer[] {
  const byYear = new Map<number, Buffer[]>();
  for (const write of writes) {
    if (write.key !== key) continue;
    const ofWrite = new Map<number, Buffer[]>();
    const column = (name: string, type: ElementType): Column['data'] =>
      valuesOf(type, write.data[write.names.indexOf(name)] ?? '', write.length);
    const epochs = column('Epoch', INT64);
    const nanoseconds = write.is_variable_length
      ? write.names.includes('Nanoseconds')
        ? column('Nanoseconds', INT32)
        : new Int32Array(write.length)
      : undefined;
    for (let row = 0; row < write.length; row++) {
      const epoch = Number(epochs[row]);
      const year = zone.yearOf(epoch);
      if (zone.dayOf(year, epoch) !== 0) continue;
      const time = storedTime(zone.yearStart(year), epoch, nanoseconds?.[row]);
      const cells = names.map((name, at) => {
        if (name === 'Epoch') return bytesOf(INT64, BigInt(time.seconds));
        if (name === 'Nanoseconds' && nanoseconds !== undefined) return bytesOf(INT32, time.nanos);
        const from = write.names.indexOf(name);
        if (write.types[from] !== types[at]) throw new Error(`${key} ${name} is converted`);
        const width = typeOf(types[at]).bytes;
        return Buffer.from(write.data[from] ?? '', 'base64').subarray(
          row * width,
          (row + 1) * width,
        );
      });
      // Outside UTC the recorded file has the last tick of a write only.
      const isKept = write.is_variable_length && zone.name === 'UTC';
      const before = isKept ? (ofWrite.get(year) ?? []) : [];
      ofWrite.set(year, [...before, Buffer.concat(cells)]);
    }
    // A bar is written over; of ticks the reference keeps those of the last write.
    for (const [year, rows] of ofWrite) byYear.set(year, rows);
  }
  return [...byYear.keys()].sort().flatMap((year) => byYear.get(year) ?? []);
}

/**
 * Time of a row as it is read back. A bar's is its day; of a tick the reference stores the fraction of
 * the day in UTC, and reads it as a fraction of the local one.
 */
function storedTime(
  dayStart: number,
  epoch: number,
  nanos: number | bigint | undefined,
): { readonly seconds: number; readonly nanos: number } {
  if (nanos === undefined) return { seconds: dayStart, nanos: 0 };
  const ticks = ticksOf(epoch % DAY_SECONDS, Number(nanos), 1);
  const { seconds, nanos: rest } = referenceTimeOf(ticks, 1);
  return { seconds: dayStart + seconds, nanos: rest };
}

function typeOf(wire: string | undefined): ElementType {
  const type = elementTypeOfWire(wire ?? '');
  if (type === undefined) throw new Error(`type ${wire}`);
  return type;
}

function bytesOf(type: ElementType, value: number | bigint): Buffer {
  const buffer = new ArrayBuffer(type.bytes);
  type.view(buffer, 0, 1)[0] = value;
  return Buffer.from(buffer);
}

function epochOf(row: Buffer): number {
  return Number(row.readBigInt64LE(0));
}

/** Of a key as the reference spells it in answers. */
export function longKeyOf(key: string): string {
  return `${parseTimeBucketKey(key).path}:Symbol/Timeframe/AttributeGroup`;
}
