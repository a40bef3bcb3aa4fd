/**
 * The log's reading side, at start and in tools: finds what is intact, and says what is not.
 *
 * Nothing found on a disk makes this throw: whatever is not exactly what the writer makes ends up
 * in `damage`, or is the torn tail every crash may leave. Which of the two is decided by what comes
 * after a record that is not intact:
 *
 *   - nothing intact, or only records that were not yet known to be on the device together with
 *     it → torn tail. Nobody was promised it; the log ends there. Not even an intact later record
 *     counts, so that what is replayed is always a prefix of what was committed.
 *   - a segment that begins with the very sequence expected → nothing is missing.
 *   - anything else → damage in the middle: reported, and reading goes on behind it.
 *
 * The first pass checks everything and keeps positions only; `groups` and `visitGroups` read the
 * segments again, one at a time, so that a long log does not have to fit in memory. Keeping them instead
 * would not be faster: fresh memory costs as much as reading and checking once more.
 */

import { CorruptionError, reasonOf } from '../base/errors.ts';
import type { Filesystem } from '../storage/filesystem.ts';
import { isRefusal } from '../storage/refusal.ts';
import type { CellImage, CheckpointIntent, OwedBatch, OwedEntry } from './entries.ts';
import {
  decodeSegmentHeader,
  isRecordIntact,
  RECORD_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
} from './format.ts';
import { type LostRows, lostRows, lostText } from './lost-rows.ts';
import {
  decodeRecord,
  EntryCursor,
  type GroupPlace,
  type GroupVisitor,
  type LogEntry,
  newDefinitions,
  type RecordContents,
  type RowsWanted,
  type SegmentDefinitions,
} from './record-entries.ts';
import {
  type AlignedBlock,
  findIntact,
  type Gap,
  type OpenSegment,
  type RecordPlace,
  readAligned,
  readHeader,
  SegmentMemory,
  walkSegment,
} from './segment-walk.ts';
import { listSegments, type SegmentFile } from './segments.ts';

export interface LogGroup extends GroupPlace {
  readonly entries: readonly LogEntry[];
}

/** A record with all it says, definitions and checkpoints too. */
export interface LogRecord extends LogGroup {
  /** Of the record in the file. */
  readonly bytes: number;
  readonly synced: bigint;
  readonly contents: RecordContents;
}

export interface SegmentReport {
  readonly path: string;
  readonly number: number;
  /** Something in it could not be read: kept for repair when the log goes. */
  readonly isDamaged: boolean;
}

export interface LogContents {
  /**
   * Groups in order, also those a checkpoint covers. May be iterated again; reads from disk. The rows
   * of a group lie in memory that a later group may use: they are valid until the next is asked for.
   */
  readonly groups: Iterable<LogGroup>;
  /**
   * As `groups`, of those past a sequence, without lists of their entries, and in the memory the first
   * pass has used: not to be called by its own visitor.
   */
  visitGroups(after: bigint, visitor: GroupVisitor): void;
  readonly groupCount: number;
  /** Path of each bucket the log destroys → sequence of the last group that does. */
  readonly destroyed: ReadonlyMap<string, bigint>;
  /** All intact records in order; as `groups`. */
  readonly records: Iterable<LogRecord>;
  readonly damage: readonly CorruptionError[];
  /** Whose rows the damage took, as far as that can be told; by the path and offset it is reported with. */
  readonly lost: readonly (LostRows & { readonly path: string; readonly offset: number })[];
  /** Sequence of the last record; 0 for no log. */
  readonly lastSequence: bigint;
  /** Groups up to this one are in the year files. */
  readonly checkpointed: bigint;
  /** What triggers were still to be told of those groups when the newest completed checkpoint was. */
  readonly owed: readonly OwedBatch[];
  /** What a checkpoint that did not complete may have overwritten, as it was before. */
  readonly interruptedCells: readonly CellImage[];
  /** Bytes of the record a crash cut off, as far as they can be told. */
  readonly tornBytes: number;
  /** What was read and may be in the page cache only: the end of the last segment, if anything. */
  readonly unsynced: LogRange | undefined;
  /** All segment files, also unused ones, ascending. */
  readonly segments: readonly SegmentReport[];
}

/** Bytes [from, to) of a segment. */
export interface LogRange {
  readonly path: string;
  readonly from: number;
  readonly to: number;
}

interface ReadState {
  readonly memory: SegmentMemory;
  readonly destroyed: Map<string, bigint>;
  readonly lost: (LostRows & { readonly path: string; readonly offset: number })[];
  readonly gaps: (Gap & { readonly path: string })[];
  readonly damage: CorruptionError[];
  readonly damagedPaths: Set<string>;
  readonly intents: CheckpointIntent[];
  /** Of a checkpoint whose completion was not read yet. */
  owedUnderWay: OwedEntry[];
  owed: readonly OwedBatch[];
  groupCount: number;
  checkpointed: bigint;
  firstSequence: bigint;
  tornBytes: number;
}

interface IndexedSegment {
  readonly file: SegmentFile;
  readonly records: readonly RecordPlace[];
}

/**
 * Reads all segments of `root`. Never throws for what is on disk, but for what the disk refuses to
 * show (storage/refusal.ts): that is no damage, and another attempt may see it.
 */
export function readLog(root: string, filesystem: Filesystem): LogContents {
  const damage: CorruptionError[] = [];
  const files = listOrReport(root, filesystem, damage);
  return readSegments(files, filesystem, damage);
}

/** As `readLog`, of these files, ascending by number; `damage` is what is wrong already. */
export function readSegments(
  files: readonly SegmentFile[],
  filesystem: Filesystem,
  damage: CorruptionError[] = [],
): LogContents {
  const state: ReadState = {
    memory: new SegmentMemory(),
    destroyed: new Map(),
    lost: [],
    damage,
    damagedPaths: new Set(),
    intents: [],
    owedUnderWay: [],
    owed: [],
    gaps: [],
    groupCount: 0,
    checkpointed: 0n,
    firstSequence: 0n,
    tornBytes: 0,
  };
  const indexed: IndexedSegment[] = [];
  let expected: bigint | undefined;
  let current = nextUsed(files, 0, 0n, filesystem, state, undefined);
  state.firstSequence = current?.segment.firstSequence ?? 0n;
  while (current !== undefined) {
    const { segment, at } = current;
    expected ??= segment.firstSequence;
    if (segment.firstSequence < expected)
      report(state, segment.file.path, 0, `it begins with record ${segment.firstSequence} again`);
    const next = nextUsed(files, at + 1, expected, filesystem, state, segment.block);
    const { block, file } = segment;
    const definitions = newDefinitions();
    const walked = walkSegment(segment, expected, next?.segment.firstSequence, {
      onRecord: (place) => takeRecord(block, place, definitions, state, file.path),
      onDamage: (offset, end, reason) => {
        const lost = lostRows(block, offset, end, definitions);
        for (const rows of lost) state.lost.push({ ...rows, path: file.path, offset });
        report(state, file.path, offset, reason, lostText(lost));
      },
    });
    if (walked.gap !== undefined) state.gaps.push({ ...walked.gap, path: file.path });
    state.tornBytes += walked.tornBytes;
    indexed.push({ file, records: walked.records });
    expected = walked.expected;
    current = next;
  }
  // Segments are removed without a sync, so a power cut can bring one of several back: what is
  // missing behind it is no loss as long as a checkpoint covers it.
  for (const { path, offset, reason, until } of state.gaps)
    if (until > state.checkpointed) report(state, path, offset, reason);
  const interrupted = interruptedCells(state);
  return {
    groups: { [Symbol.iterator]: () => iterateGroups(indexed, filesystem) },
    visitGroups: (after, visitor) => visitGroups(indexed, filesystem, state.memory, after, visitor),
    records: { [Symbol.iterator]: () => iterateRecords(indexed, filesystem) },
    groupCount: state.groupCount,
    destroyed: state.destroyed,
    damage: state.damage,
    lost: state.lost,
    lastSequence: expected === undefined ? 0n : expected - 1n,
    checkpointed: state.checkpointed,
    owed: state.owed,
    interruptedCells: interrupted,
    tornBytes: state.tornBytes,
    unsynced: unsyncedOf(indexed.at(-1)),
    segments: files.map(({ path, number }) => ({
      path,
      number,
      isDamaged: state.damagedPaths.has(path),
    })),
  };
}

/**
 * A segment is synced before the next one is begun, so only the last one has such records: those
 * after the newest that one of its records knows to be on the device. With the first goes the header.
 */
function unsyncedOf(last: IndexedSegment | undefined): LogRange | undefined {
  const records = last?.records ?? [];
  const newest = records.at(-1);
  if (last === undefined || newest === undefined) return undefined;
  const at = records.findIndex(({ header }) => header.sequence > newest.header.synced);
  const to = newest.offset + RECORD_HEADER_BYTES + newest.header.bodyBytes;
  return { path: last.file.path, from: at <= 0 ? 0 : (records[at]?.offset ?? 0), to };
}

// ---- segments -----------------------------------------------------------------------------------

function listOrReport(
  root: string,
  filesystem: Filesystem,
  damage: CorruptionError[],
): readonly SegmentFile[] {
  try {
    return listSegments(root, filesystem);
  } catch (cause) {
    if (isRefusal(cause)) throw cause;
    const reason = reasonOf(cause);
    damage.push(new CorruptionError('MKTS_WAL_CORRUPT', { path: root, offset: 0, reason }));
    return [];
  }
}

/** The first segment at or after `from` that was used in this life of its file; `keep` is still read. */
function nextUsed(
  files: readonly SegmentFile[],
  from: number,
  expected: bigint,
  filesystem: Filesystem,
  state: ReadState,
  keep: AlignedBlock | undefined,
): { readonly segment: OpenSegment; readonly at: number } | undefined {
  for (const [at, file] of files.entries()) {
    if (at < from) continue;
    try {
      const segment = openSegment(file, expected, filesystem, state, keep);
      if (segment !== undefined) return { segment, at };
    } catch (cause) {
      if (isRefusal(cause)) throw cause;
      report(state, file.path, 0, reasonOf(cause));
    }
  }
  return undefined;
}

function openSegment(
  file: SegmentFile,
  expected: bigint,
  filesystem: Filesystem,
  state: ReadState,
  keep: AlignedBlock | undefined,
): OpenSegment | undefined {
  const header = decodeSegmentHeader(readHeader(file.path, filesystem));
  if (header === 'unused') return undefined;
  // A file under a new name with its old header waits to be used again: stale, all of it.
  if (header !== undefined && header.number !== file.number) return undefined;
  const block = readAligned(file.path, filesystem, state.memory, keep);
  if (header !== undefined) {
    if (header.checkpointed > state.checkpointed) state.checkpointed = header.checkpointed;
    return { file, block, logId: header.logId, firstSequence: header.firstSequence };
  }
  report(state, file.path, 0, 'its header is not readable');
  // Records of an earlier use of the file have lower sequences.
  const first = findIntact(block, SEGMENT_HEADER_BYTES, ({ sequence }) => sequence >= expected);
  if (first === undefined) return undefined;
  const { logId, sequence } = first.header;
  return { file, block, logId, firstSequence: sequence };
}

function report(
  state: ReadState,
  path: string,
  offset: number,
  reason: string,
  lost?: string,
): void {
  state.damage.push(new CorruptionError('MKTS_WAL_CORRUPT', { path, offset, reason, lost }));
  state.damagedPaths.add(path);
}

// ---- records ------------------------------------------------------------------------------------

function takeRecord(
  block: AlignedBlock,
  place: RecordPlace,
  definitions: SegmentDefinitions,
  state: ReadState,
  path: string,
): void {
  const contents = decodeRecord(block, place, definitions, 'counted', (offset, reason) =>
    report(state, path, offset, reason),
  );
  if (contents.entries.length + contents.rowBlocks > 0) state.groupCount++;
  for (const entry of contents.entries)
    if (entry.kind === 'destroy') state.destroyed.set(entry.path, place.header.sequence);
  state.intents.push(...contents.intents);
  state.owedUnderWay.push(...contents.owed);
  const { completed } = contents;
  if (completed === undefined) return;
  if (completed > state.checkpointed) state.checkpointed = completed;
  // What is owed lies before its completion, and each completion says all that is. By their order,
  // not by their sequence: a server that is idle completes the same sequence again.
  state.owed = state.owedUnderWay
    .filter(({ sequence }) => sequence === completed)
    .map(({ batch }) => batch);
  state.owedUnderWay = [];
}

function* iterateGroups(
  indexed: readonly IndexedSegment[],
  filesystem: Filesystem,
): Generator<LogGroup, void> {
  for (const record of iterateRecords(indexed, filesystem))
    if (record.entries.length > 0) yield record;
}

function* iterateRecords(
  indexed: readonly IndexedSegment[],
  filesystem: Filesystem,
): Generator<LogRecord, void> {
  const memory = new SegmentMemory();
  for (const { file, records } of indexed) {
    const block = readAligned(file.path, filesystem, memory);
    const definitions = newDefinitions();
    for (const place of records) {
      const contents = readAgain(block, place, definitions, 'listed', file.path);
      const { offset, header } = place;
      const { sequence, synced, bodyBytes } = header;
      const bytes = RECORD_HEADER_BYTES + bodyBytes;
      const { entries } = contents;
      yield { sequence, path: file.path, offset, entries, bytes, synced, contents };
    }
  }
}

function visitGroups(
  indexed: readonly IndexedSegment[],
  filesystem: Filesystem,
  memory: SegmentMemory,
  after: bigint,
  visitor: GroupVisitor,
): void {
  for (const { file, records } of indexed) {
    const newest = records.at(-1)?.header.sequence ?? 0n;
    if (newest <= after) continue;
    const block = readAligned(file.path, filesystem, memory);
    const definitions = newDefinitions();
    const cursor = new EntryCursor(block, visitor);
    for (const place of records) {
      const { offset, header } = place;
      cursor.begin({ sequence: header.sequence, path: file.path, offset });
      // Records before that define what later ones use.
      const rowsWanted = header.sequence > after ? cursor : 'counted';
      readAgain(block, place, definitions, rowsWanted, file.path);
    }
  }
}

/** A record the first pass found intact. */
function readAgain(
  block: AlignedBlock,
  place: RecordPlace,
  definitions: SegmentDefinitions,
  rowsWanted: RowsWanted,
  path: string,
): RecordContents {
  if (!isRecordIntact(block, place.offset, place.header))
    throw new CorruptionError('MKTS_WAL_CORRUPT', {
      path,
      offset: place.offset,
      reason: 'it changed while it was read',
    });
  // What is not readable was reported by the first pass.
  return decodeRecord(block, place, definitions, rowsWanted, () => undefined);
}

/**
 * Pre-images of checkpoints that did not complete. Of two of the same cell the older counts: the
 * newer may have been taken after the first attempt had overwritten it.
 */
function interruptedCells(state: ReadState): readonly CellImage[] {
  // Segments only go once a checkpoint is complete, so one whose groups are gone is.
  for (const { sequence, previous } of state.intents)
    if (
      previous > 0n &&
      state.firstSequence > previous + 1n &&
      sequence > state.checkpointed &&
      state.damage.length === 0
    )
      state.checkpointed = sequence;
  const cells = new Map<string, CellImage>();
  for (const intent of state.intents) {
    if (intent.sequence <= state.checkpointed) continue;
    for (const cell of intent.cells) {
      const place = `${cell.path}:${cell.offset}`;
      if (!cells.has(place)) cells.set(place, cell);
    }
  }
  return [...cells.values()];
}
