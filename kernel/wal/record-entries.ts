/**
 * What an intact record says: its entries, decoded and checked. The record's checksum is right by
 * then, so an entry that is not what its kind says was written so; it is told and left out, and the
 * others count. Nothing throws.
 */

import { ROW_BLOCK_HEADER_BYTES, rowBlockBytes } from '../base/row-block.ts';
import { rowShapesOf } from '../base/schema.ts';
import { decodeState, type StateChange } from '../base/state-entry.ts';
import {
  type BucketDefinition,
  type CheckpointIntent,
  type DeletedTimes,
  decodeBucket,
  decodeCheckpointComplete,
  decodeCheckpointIntent,
  decodeCreateYear,
  decodeDeleteRows,
  decodeDestroy,
  decodeOrigin,
  decodeOwed,
  type Origin,
  type OriginDefinition,
  type OwedEntry,
} from './entries.ts';
import { ENTRY_KINDS, RECORD_HEADER_BYTES } from './format.ts';
import type { AlignedBlock, RecordPlace } from './segment-walk.ts';

/** A row block where it lies. */
export interface LogRows {
  readonly buffer: ArrayBufferLike;
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  /** Where the block begins; a multiple of 8. */
  readonly offset: number;
  readonly rowCount: number;
}

export type LogEntry =
  | {
      readonly kind: 'rows';
      readonly bucket: BucketDefinition;
      /** Undefined: the origin's definition is missing; the rows count all the same. */
      readonly origin: Origin | undefined;
      readonly block: LogRows;
    }
  | { readonly kind: 'state'; readonly plugin: string; readonly change: StateChange }
  | { readonly kind: 'create-year'; readonly bucket: BucketDefinition; readonly year: number }
  | { readonly kind: 'destroy'; readonly path: string }
  | {
      readonly kind: 'delete-rows';
      readonly bucket: BucketDefinition;
      /** As of rows. */
      readonly origin: Origin | undefined;
      readonly times: DeletedTimes;
    };

/** With the size of its newest block: most have as many rows as the one before. */
interface DefinedBucket {
  readonly definition: BucketDefinition;
  readonly columnCount: number;
  rowCount: number;
  blockBytes: number;
  /** What a visitor does with its rows, once it was asked. */
  sink: RowsSink | undefined;
}

/** Ids below this are found by their place: the catalog counts them up from 0. */
const PLACED_IDS = 65_536;

/** Buckets by id. Asked for each row block, where a `Map` is slower than all that is done besides. */
class DefinedBuckets {
  readonly #placed: (DefinedBucket | undefined)[] = [];
  readonly #others = new Map<number, DefinedBucket>();

  get(id: number): DefinedBucket | undefined {
    return id < PLACED_IDS ? this.#placed[id] : this.#others.get(id);
  }

  set(id: number, bucket: DefinedBucket): void {
    if (id >= PLACED_IDS) this.#others.set(id, bucket);
    else {
      // Without holes, which would make it a slow array.
      while (this.#placed.length < id) this.#placed.push(undefined);
      this.#placed[id] = bucket;
    }
  }
}

/** What ids mean in one segment: grows as its records are read. */
export interface SegmentDefinitions {
  readonly buckets: DefinedBuckets;
  readonly origins: Map<number, Origin>;
}

export interface RecordContents {
  /** Without rows if they are only to be counted; empty if a visitor was shown all. */
  readonly entries: LogEntry[];
  rowBlocks: number;
  readonly intents: CheckpointIntent[];
  readonly owed: OwedEntry[];
  /** What it defines for the rest of its segment. */
  readonly buckets: BucketDefinition[];
  readonly origins: OriginDefinition[];
  /** The checkpoint it completes. */
  completed: bigint | undefined;
}

export function newDefinitions(): SegmentDefinitions {
  return { buckets: new DefinedBuckets(), origins: new Map() };
}

/**
 * What becomes of row blocks: `listed`, they are made into entries; `counted`, they are checked all the
 * same; a cursor hands them, and all other entries, to its visitor in their order.
 */
export type RowsWanted = 'listed' | 'counted' | EntryCursor;

/** Everything but rows. */
export type OtherEntry = Exclude<LogEntry, { readonly kind: 'rows' }>;

/** A group by its sequence, and where it begins. */
export interface GroupPlace {
  readonly sequence: bigint;
  readonly path: string;
  readonly offset: number;
}

/** Takes what groups hold one by one, in order: objects for each row block would be most of the work. */
export interface GroupVisitor {
  /** What follows is of this group. */
  onGroup(group: GroupPlace): void;
  /** Asked once in each segment for each bucket there are rows of. */
  sinkOf(bucket: BucketDefinition): RowsSink;
  onEntry(entry: OtherEntry): void;
}

/** Takes the rows of one bucket: no look-up for each block. */
export interface RowsSink {
  /** `rows` is the same object each time: what it says is valid until this returns. */
  take(rows: LogRows): void;
}

/** Shows a visitor the entries of one segment. */
export class EntryCursor {
  readonly #visitor: GroupVisitor;
  readonly #rows: { -readonly [Field in keyof LogRows]: LogRows[Field] };
  #untold: GroupPlace | undefined;

  constructor({ bytes, view, words }: AlignedBlock, visitor: GroupVisitor) {
    this.#visitor = visitor;
    this.#rows = { buffer: bytes.buffer, view, bytes, words, offset: 0, rowCount: 0 };
  }

  /** A record begins; it is a group if an entry follows. */
  begin(group: GroupPlace): void {
    this.#untold = group;
  }

  rows(bucket: DefinedBucket, offset: number, rowCount: number): void {
    if (this.#untold !== undefined) this.#tell(this.#untold);
    this.#rows.offset = offset;
    this.#rows.rowCount = rowCount;
    bucket.sink ??= this.#visitor.sinkOf(bucket.definition);
    bucket.sink.take(this.#rows);
  }

  entry(entry: LogEntry): void {
    if (this.#untold !== undefined) this.#tell(this.#untold);
    if (entry.kind !== 'rows') this.#visitor.onEntry(entry);
  }

  #tell(group: GroupPlace): void {
    this.#untold = undefined;
    this.#visitor.onGroup(group);
  }
}

/** Entries of an intact record. One that is not what its kind says is reported and left out. */
export function decodeRecord(
  block: AlignedBlock,
  { offset, header }: RecordPlace,
  definitions: SegmentDefinitions,
  rowsWanted: RowsWanted,
  onProblem: (offset: number, reason: string) => void,
): RecordContents {
  const contents: RecordContents = {
    entries: [],
    rowBlocks: 0,
    intents: [],
    owed: [],
    buckets: [],
    origins: [],
    completed: undefined,
  };
  const end = offset + RECORD_HEADER_BYTES + header.bodyBytes;
  let at = offset + RECORD_HEADER_BYTES;
  let count = 0;
  for (; at < end; count++) {
    const bytes = block.view.getUint32(at, true);
    if (bytes < 8 || bytes % 8 !== 0 || bytes > end - at) {
      onProblem(at, `an entry of ${bytes} bytes does not fit its record`);
      return contents;
    }
    const problem =
      block.view.getUint16(at + 4, true) === ENTRY_KINDS.rows
        ? takeRows(block, at, bytes, definitions, contents, rowsWanted)
        : takeEntry(block, at, definitions, contents);
    if (problem !== undefined) onProblem(at, problem);
    if (contents.entries.length > 0 && rowsWanted instanceof EntryCursor)
      for (const entry of contents.entries.splice(0)) rowsWanted.entry(entry);
    at += bytes;
  }
  if (count !== header.entryCount)
    onProblem(offset, `it holds ${count} entries and says ${header.entryCount}`);
  return contents;
}

/** Takes an entry that is no row block. Returns why it is not taken. */
function takeEntry(
  block: AlignedBlock,
  at: number,
  { buckets, origins }: SegmentDefinitions,
  contents: RecordContents,
): string | undefined {
  const kind = block.view.getUint16(at + 4, true);
  switch (kind) {
    case ENTRY_KINDS.state:
      return takeState(block, at, origins, contents);
    case ENTRY_KINDS.bucket: {
      const definition = decodeBucket(block, at);
      if (definition === undefined) return 'a bucket definition is not readable';
      buckets.set(definition.id, {
        definition,
        columnCount: rowShapesOf(definition.schema).length,
        rowCount: -1,
        blockBytes: 0,
        sink: undefined,
      });
      contents.buckets.push(definition);
      return undefined;
    }
    case ENTRY_KINDS.origin: {
      const definition = decodeOrigin(block, at);
      if (definition === undefined) return 'an origin definition is not readable';
      origins.set(definition.id, definition.origin);
      contents.origins.push(definition);
      return undefined;
    }
    case ENTRY_KINDS.createYear: {
      const entry = decodeCreateYear(block.view, at);
      const bucket = entry === undefined ? undefined : buckets.get(entry.bucketId)?.definition;
      if (entry === undefined || bucket === undefined) return 'a new year is not readable';
      contents.entries.push({ kind: 'create-year', bucket, year: entry.year });
      return undefined;
    }
    case ENTRY_KINDS.destroy: {
      const path = decodeDestroy(block, at);
      if (path === undefined) return 'a destroyed path is not readable';
      contents.entries.push({ kind: 'destroy', path });
      return undefined;
    }
    case ENTRY_KINDS.deleteRows: {
      const deletion = decodeDeleteRows(block.view, at);
      const bucket = buckets.get(deletion?.bucketId ?? -1)?.definition;
      if (deletion === undefined || bucket === undefined) return 'a deletion is not readable';
      const { originId, times } = deletion;
      contents.entries.push({ kind: 'delete-rows', bucket, origin: origins.get(originId), times });
      return undefined;
    }
    case ENTRY_KINDS.checkpointIntent: {
      const intent = decodeCheckpointIntent(block, at);
      if (intent === undefined) return 'a checkpoint intent is not readable';
      contents.intents.push(intent);
      return undefined;
    }
    case ENTRY_KINDS.checkpointComplete: {
      const sequence = decodeCheckpointComplete(block.view, at);
      if (sequence === undefined) return 'a completed checkpoint is not readable';
      contents.completed = sequence;
      return undefined;
    }
    case ENTRY_KINDS.owed: {
      const owed = decodeOwed(block, at);
      if (owed === undefined) return 'what a trigger is owed is not readable';
      contents.owed.push(owed);
      return undefined;
    }
    default:
      return `an entry is of unknown kind ${kind}`;
  }
}

function takeState(
  block: AlignedBlock,
  at: number,
  origins: ReadonlyMap<number, Origin>,
  contents: RecordContents,
): string | undefined {
  const state = decodeState(block, at);
  if (state === undefined) return 'a change of state is not readable';
  const origin = origins.get(state.originId);
  if (origin?.kind !== 'plugin') return `state of origin ${state.originId}, which is no plugin`;
  const { name, json } = state;
  contents.entries.push({ kind: 'state', plugin: origin.name, change: { name, json } });
  return undefined;
}

function takeRows(
  { view, bytes, words }: AlignedBlock,
  at: number,
  blockBytes: number,
  { buckets, origins }: SegmentDefinitions,
  contents: RecordContents,
  rowsWanted: RowsWanted,
): string | undefined {
  if (blockBytes < ROW_BLOCK_HEADER_BYTES) return 'a row block is shorter than its header';
  const id = view.getUint32(at + 8, true);
  const defined = buckets.get(id);
  if (defined === undefined) return `rows of bucket ${id}, which is not defined`;
  const rowCount = view.getUint32(at + 12, true);
  const columnCount = view.getUint16(at + 6, true);
  if (rowCount !== defined.rowCount && rowCount <= blockBytes / 8) {
    defined.rowCount = rowCount;
    defined.blockBytes = rowBlockBytes(defined.definition.schema, rowCount);
  }
  if (
    columnCount !== defined.columnCount ||
    rowCount !== defined.rowCount ||
    blockBytes !== defined.blockBytes
  )
    return `${rowCount} rows of ${columnCount} columns in ${blockBytes} bytes do not fit ${defined.definition.key.path}`;
  contents.rowBlocks++;
  if (rowsWanted === 'counted') return undefined;
  if (rowsWanted !== 'listed') {
    rowsWanted.rows(defined, at, rowCount);
    return undefined;
  }
  contents.entries.push({
    kind: 'rows',
    bucket: defined.definition,
    origin: origins.get(view.getUint32(at + 16, true)),
    block: { buffer: bytes.buffer, view, bytes, words, offset: at, rowCount },
  });
  return undefined;
}
