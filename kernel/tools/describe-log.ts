/**
 * `mkts tool wal`: what logs say, ours and a Go server's, as items to print: each file, each record or
 * message in order, what is damaged, where the log ends and why. Reads with the log's own readers,
 * as a start would, a segment at a time.
 */

import { basename } from 'node:path';
import { type CorruptionError, MktsError } from '../base/errors.ts';
import { epochAt, ROW_BLOCK_HEADER_BYTES } from '../base/row-block.ts';
import { tickBytesOf } from '../base/schema.ts';
import { YearGrid } from '../base/year-grid.ts';
import type { Zone } from '../base/zone.ts';
import type { Filesystem } from '../storage/filesystem.ts';
import { readOnly } from '../storage/read-only-filesystem.ts';
import { keyOf } from '../wal/entries.ts';
import { decodeSegmentHeader, SEGMENT_HEADER_BYTES } from '../wal/format.ts';
import { type LogRecord, readSegments } from '../wal/reader.ts';
import type { LogEntry } from '../wal/record-entries.ts';
import {
  parseReferenceLog,
  type ReferenceMessage,
  type WriteSet,
} from '../wal/reference-format.ts';
import { listReferenceLogs, readReferenceLog } from '../wal/reference-log.ts';
import { readHeader } from '../wal/segment-walk.ts';
import { listSegments, type SegmentFile, segmentNumber } from '../wal/segments.ts';

/** Rows of a bucket, or whatever else a group says, in words. */
export interface LogPart {
  readonly what: string;
  readonly key?: string;
  readonly rows?: number;
  /** Unix seconds of the first and the last row. */
  readonly fromSeconds?: number;
  readonly toSeconds?: number;
  /** Who wrote them: `client`, or a plugin and its generation. */
  readonly by?: string;
}

export type LogItem =
  | {
      readonly type: 'file';
      readonly path: string;
      readonly format: 'mkts' | 'reference';
      readonly says: string;
    }
  | {
      readonly type: 'record';
      readonly path: string;
      readonly offset: number;
      readonly bytes?: number;
      readonly kind: 'group' | 'checkpoint' | 'definitions' | 'transaction' | 'status';
      /** Of our record, or of a Go server's group. */
      readonly sequence?: bigint;
      readonly parts: readonly LogPart[];
    }
  | {
      readonly type: 'damage';
      readonly path: string;
      readonly offset: number;
      readonly what: string;
    }
  | {
      readonly type: 'end';
      readonly path: string;
      readonly offset: number;
      readonly why: string;
      readonly groups: number;
      readonly rows: number;
      /** Groups no checkpoint covers: what a start applies. */
      readonly waitingGroups: number;
      readonly tornBytes: number;
    };

export interface DescribeOptions {
  /** A log's file, or a data directory: then all its logs. */
  readonly path: string;
  readonly filesystem: Filesystem;
  readonly zone: Zone;
}

/** Throws MKTS_LOG_UNKNOWN, or StorageError. Damage is an item. */
export function* describeLog(options: DescribeOptions): Generator<LogItem> {
  const filesystem = readOnly(options.filesystem);
  const { path, zone } = options;
  if (!filesystem.exists(path)) throw unknown(path, 'it is not there');
  if (isDirectory(path, filesystem)) {
    const segments = listSegments(path, filesystem);
    const references = listReferenceLogs(path, filesystem);
    if (segments.length + references.length === 0)
      throw unknown(path, 'the directory holds no log; after a clean stop there is none');
    if (segments.length > 0) yield* describeSegments(segments, filesystem);
    for (const reference of references) yield* describeReference(reference, filesystem, zone);
    return;
  }
  const header = headerOf(path, filesystem);
  const named = segmentNumber(basename(path));
  const isOurs = named !== undefined || typeof header === 'object';
  if (!isOurs) yield* describeReference(path, filesystem, zone);
  else {
    const number = named ?? (typeof header === 'object' ? header.number : 0);
    yield* describeSegments([{ path, number }], filesystem);
  }
}

function unknown(path: string, reason: string): MktsError {
  return new MktsError('MKTS_LOG_UNKNOWN', { path, reason });
}

function isDirectory(path: string, filesystem: Filesystem): boolean {
  try {
    filesystem.list(path);
    return true;
  } catch {
    return false; // A file; if it is neither, reading it says so.
  }
}

function headerOf(path: string, filesystem: Filesystem): ReturnType<typeof decodeSegmentHeader> {
  return decodeSegmentHeader(readHeader(path, filesystem));
}

// ---- ours ---------------------------------------------------------------------------------------

function* describeSegments(
  files: readonly SegmentFile[],
  filesystem: Filesystem,
): Generator<LogItem> {
  const log = readSegments(files, filesystem);
  let rows = 0;
  let groups = 0;
  let waitingGroups = 0;
  let last: LogRecord | undefined;
  let next = 0;
  for (const record of log.records) {
    const { path, sequence, offset, bytes } = record;
    // Those before it that hold no record too.
    while (next < files.length && files[next - 1]?.path !== path)
      yield fileItem(files[next++]?.path ?? '', filesystem);
    last = record;
    if (record.entries.length > 0) {
      groups++;
      if (sequence > log.checkpointed) waitingGroups++;
    }
    const parts = partsOf(record);
    rows += parts.reduce((sum, part) => sum + (part.rows ?? 0), 0);
    yield { type: 'record', path, offset, bytes, kind: kindOf(record), sequence, parts };
  }
  for (const { path } of files.slice(next)) yield fileItem(path, filesystem);
  for (const { fields } of log.damage as readonly CorruptionError[])
    yield {
      type: 'damage',
      path: String(fields.path),
      offset: Number(fields.offset),
      what: String(fields.reason),
    };
  const { tornBytes, checkpointed, lastSequence } = log;
  yield {
    type: 'end',
    path: last?.path ?? files.at(-1)?.path ?? '',
    offset: last === undefined ? SEGMENT_HEADER_BYTES : last.offset + last.bytes,
    why:
      tornBytes > 0
        ? `a crash cut off the record after ${lastSequence}: ${tornBytes} bytes, nobody was promised them`
        : `record ${lastSequence} is the last; checkpoint ${checkpointed} is the newest complete one`,
    groups,
    rows,
    waitingGroups,
    tornBytes,
  };
}

function fileItem(path: string, filesystem: Filesystem): LogItem {
  const header = headerOf(path, filesystem);
  const says =
    header === undefined
      ? 'its header is not readable'
      : header === 'unused'
        ? 'prepared, and not used yet'
        : `segment ${header.number}, from record ${header.firstSequence}, checkpoint ${header.checkpointed}, log ${header.logId.toString(16)}`;
  return { type: 'file', path, format: 'mkts', says };
}

function kindOf({ entries, contents }: LogRecord): 'group' | 'checkpoint' | 'definitions' {
  if (entries.length > 0) return 'group';
  const { intents, owed, completed } = contents;
  return intents.length + owed.length > 0 || completed !== undefined ? 'checkpoint' : 'definitions';
}

function partsOf({ entries, contents }: LogRecord): readonly LogPart[] {
  const { buckets, origins, intents, owed, completed } = contents;
  return [
    ...buckets.map(({ id, key, schema }): LogPart => {
      const columns = schema.columns.map(({ name, type }) => `${name} ${type.name}`).join(', ');
      return { what: `bucket ${id} is ${schema.recordType}: ${columns}`, key: key.path };
    }),
    ...origins.map(({ id, origin }): LogPart => ({ what: `origin ${id} is ${byOf(origin)}` })),
    ...entries.map(partOf),
    ...intents.map(
      ({ sequence, cells }): LogPart => ({
        what: `checkpoint up to ${sequence} begins; ${cells.length} index cells as they were`,
      }),
    ),
    ...owed.map(
      ({ sequence, batch }): LogPart => ({
        what: `trigger ${batch.trigger} is owed ${batch.ranges.length} ranges up to ${sequence}`,
        key: batch.key,
        ...spanOf(batch.ranges.flatMap(({ from, to }) => [from, to])),
      }),
    ),
    ...(completed === undefined ? [] : [{ what: `checkpoint up to ${completed} is complete` }]),
  ];
}

function partOf(entry: LogEntry): LogPart {
  switch (entry.kind) {
    case 'rows': {
      const { view, offset, rowCount } = entry.block;
      const first = offset + ROW_BLOCK_HEADER_BYTES;
      const epochs = Array.from({ length: rowCount }, (_, row) => epochAt(view, first + 8 * row));
      return {
        what: 'rows',
        key: entry.bucket.key.path,
        rows: rowCount,
        ...spanOf(epochs),
        by: entry.origin === undefined ? 'unknown' : byOf(entry.origin),
      };
    }
    case 'state': {
      const { name, json } = entry.change;
      const what = json === undefined ? 'forgets' : 'remembers';
      return { what: `plugin ${entry.plugin} ${what} ${name}` };
    }
    case 'create-year':
      return { what: `year ${entry.year} is made`, key: entry.bucket.key.path };
    case 'destroy':
      return { what: 'destroyed', key: entry.path };
    case 'delete-rows': {
      const { fromSeconds, toSeconds } = entry.times;
      return {
        what: 'rows are deleted',
        key: entry.bucket.key.path,
        ...spanOf([fromSeconds, toSeconds]),
        by: entry.origin === undefined ? 'unknown' : byOf(entry.origin),
      };
    }
  }
}

function byOf(origin: {
  readonly kind: string;
  readonly name: string;
  readonly generation: number;
}): string {
  return origin.kind === 'client'
    ? 'a client'
    : `plugin ${origin.name} (generation ${origin.generation})`;
}

function spanOf(seconds: readonly number[]): Pick<LogPart, 'fromSeconds' | 'toSeconds'> {
  if (seconds.length === 0) return {};
  return {
    fromSeconds: seconds.reduce((least, each) => Math.min(least, each)),
    toSeconds: seconds.reduce((most, each) => Math.max(most, each)),
  };
}

// ---- a Go server's --------------------------------------------------------------------------------

function* describeReference(path: string, filesystem: Filesystem, zone: Zone): Generator<LogItem> {
  const bytes = readReferenceLog(path, filesystem);
  const log = parseReferenceLog(bytes);
  if (log.messages.length === 0 && bytes.length > 0)
    throw unknown(path, 'nothing in it can be read as a log');
  yield { type: 'file', path, format: 'reference', says: `${bytes.length} bytes` };
  let rows = 0;
  let groups = 0;
  for (const message of log.messages) {
    const parts = referenceParts(message, zone);
    rows += parts.reduce((sum, part) => sum + (part.rows ?? 0), 0);
    const { kind, offset } = message;
    if (kind === 'group') {
      groups++;
      yield { type: 'record', path, offset, kind, sequence: message.group.id, parts };
    } else yield { type: 'record', path, offset, kind, parts };
  }
  for (const { offset, reason } of log.problems)
    yield { type: 'damage', path, offset, what: reason };
  yield {
    type: 'end',
    path,
    offset: bytes.length - log.tornBytes,
    why:
      log.tornBytes > 0
        ? `its last ${log.tornBytes} bytes are no whole message: what a crash leaves`
        : 'it is read to its last byte',
    groups,
    rows,
    waitingGroups: log.groups.length,
    tornBytes: log.tornBytes,
  };
}

function referenceParts(message: ReferenceMessage, zone: Zone): readonly LogPart[] {
  if (message.kind === 'status') {
    const { file, replay, owner } = message.status;
    return [{ what: `file status ${file}, replay state ${replay}, owner ${owner}` }];
  }
  if (message.kind === 'transaction') {
    const { id, destination, status } = message;
    return [{ what: `${destination} of ${id}: ${STATUS[status] ?? status}` }];
  }
  return message.group.sets.map((set) => setPart(set, zone));
}

const STATUS: readonly string[] = ['preparing', 'commit intended', 'complete'];

/** The time of a write set is that of its slot, as far as its path tells the timeframe. */
function setPart(set: WriteSet, zone: Zone): LogPart {
  const { directory, year, index, recordType, columns, data } = set;
  const key = keyOf(directory);
  const grid = key === undefined ? undefined : new YearGrid(zone, key.timeframeSeconds, year);
  const isInYear =
    grid !== undefined && index - 1 >= grid.firstPosition && index - 1 < grid.endPosition;
  const start = isInYear ? grid.startOf(index - 1) : undefined;
  const rows =
    recordType === 'fixed'
      ? 1
      : columns === undefined
        ? undefined
        : data.length / tickBytesOf({ recordType, columns });
  return {
    what: `${recordType === 'fixed' ? 'bar' : 'ticks'} of slot ${index} of ${year}`,
    key: directory,
    ...(rows === undefined ? {} : { rows }),
    ...(start === undefined ? {} : { fromSeconds: start, toSeconds: start }),
  };
}
