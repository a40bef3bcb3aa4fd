/** The way of a record without a server: store, log and committer over a temporary directory. */

import { onTestFinished } from 'vitest';
import type { MktsError } from '../../kernel/base/errors.ts';
import { encodeRowBlock, rowBlockBytes } from '../../kernel/base/row-block.ts';
import { type BucketSchema, EPOCH_SHAPE } from '../../kernel/base/schema.ts';
import { parseTimeBucketKey } from '../../kernel/base/time-bucket-key.ts';
import { UTC } from '../../kernel/base/zone.ts';
import { Committer } from '../../kernel/ingest/committer.ts';
import { Drain, type RingSource, type Series } from '../../kernel/ingest/drain.ts';
import { Ingest } from '../../kernel/ingest/ingest.ts';
import { logDefinitions, Origins } from '../../kernel/ingest/origins.ts';
import { PluginStates } from '../../kernel/ingest/plugin-states.ts';
import { Watermarks } from '../../kernel/ingest/watermarks.ts';
import { Catalog } from '../../kernel/storage/catalog.ts';
import { realFilesystem } from '../../kernel/storage/filesystem.ts';
import { inProcessLogSync, type LogSync } from '../../kernel/wal/log-sync.ts';
import { WalWriter } from '../../kernel/wal/writer.ts';
import { Doorbell } from '../../workers/doorbell.ts';
import { createRing, RingReader, RingWriter } from '../../workers/ring.ts';
import type { CrashFilesystem } from './crash-filesystem.ts';
import { temporaryDirectory } from './temporary-directory.ts';

export interface Ingestion {
  readonly root: string;
  readonly catalog: Catalog;
  readonly wal: WalWriter;
  readonly watermarks: Watermarks;
  readonly committer: Committer;
  readonly ingest: Ingest;
  readonly drain: Drain;
  readonly states: PluginStates;
  readonly origins: Origins;
  readonly fatal: Error[];
  /** Why the disk refused writes, and undefined for each end of it. */
  readonly pauses: (string | undefined)[];
  /** A plugin's ring the drain reads; `refused` is what it made of it, unless `onRefused` is told. */
  tap(
    series: readonly Series[],
    onRefused?: RingSource['onRefused'],
  ): {
    writer: RingWriter;
    reader: RingReader;
    refused: MktsError[];
  };
}

export interface IngestionOptions {
  /** Default: the real one, with a temporary directory. */
  readonly filesystem?: CrashFilesystem;
  readonly segmentBytes?: number;
}

/** `wrap` may put something between the log and the disk. */
export async function startIngestion(
  wrap: (sync: LogSync) => LogSync = (sync) => sync,
  options: IngestionOptions = {},
): Promise<Ingestion> {
  const { filesystem = realFilesystem, ...logOptions } = options;
  const root = filesystem === realFilesystem ? temporaryDirectory() : '/data';
  filesystem.makeDirectory(root);
  const catalog = Catalog.open({
    root,
    filesystem,
    zone: UTC,
    compressTicks: true,
    tickReadMode: 'exact',
    onDamage: (error) => {
      throw error;
    },
  });
  const origins = new Origins();
  const wal = await WalWriter.open({
    root,
    sync: wrap(inProcessLogSync(filesystem)),
    filesystem,
    nextSequence: 1n,
    definitions: logDefinitions(catalog, origins),
    ...logOptions,
  });
  const watermarks = new Watermarks(0n);
  const fatal: Error[] = [];
  const pauses: (string | undefined)[] = [];
  const states = new PluginStates({ recovered: new Map(), bytesMaxOf: () => 4096 });
  const committer: Committer = new Committer({
    wal,
    catalog,
    watermarks,
    onState: (originId, change) => states.apply(origins.get(originId).name, change),
    onApplied: () => undefined,
    onRoom: () => ingest.onRoom(),
    onFatal: (error) => fatal.push(error),
    onPause: (refusal) => pauses.push(refusal?.message),
  });
  const ingest = new Ingest({ catalog, committer, onLossyCasts: () => undefined });
  const doorbell = new Doorbell();
  const drain = new Drain({
    catalog,
    committer,
    doorbell,
    states,
    isDestroying: (path) => ingest.isDestroying(path),
    pendingLogBytes: () => wal.pendingBytes,
  });
  drain.start();
  onTestFinished(async () => {
    doorbell.ring();
    await drain.stop();
    catalog.close();
  });
  return {
    root,
    catalog,
    wal,
    watermarks,
    committer,
    ingest,
    drain,
    states,
    origins,
    fatal,
    pauses,
    tap(series, onRefused) {
      const shared = createRing(1024 * 1024);
      const refused: MktsError[] = [];
      const reader = new RingReader(shared, 'test');
      const source: RingSource = {
        plugin: 'test',
        originId: origins.add({ kind: 'plugin', name: 'test', generation: 1 }),
        reader,
        series: (id) => series[id],
        onInvalid: (error) => refused.push(error),
        onRefused: onRefused ?? ((error) => refused.push(error)),
      };
      drain.add(source);
      return { writer: new RingWriter(shared, () => doorbell.ring()), reader, refused };
    },
  };
}

/** A series of bars with one f8 column, `Close`. */
export function closes(path: string, columns: BucketSchema['columns']): Series {
  return { key: parseTimeBucketKey(path), schema: { recordType: 'fixed', columns } };
}

/** Puts a frame into a ring; `spoil` may change its bytes before they are handed over. */
export function sendFrame(
  writer: RingWriter,
  seriesId: number,
  schema: BucketSchema,
  epochs: readonly number[],
  spoil: (view: DataView, offset: number) => void = () => undefined,
): void {
  const bytes = rowBlockBytes(schema, epochs.length);
  const target = writer.tryWrite(bytes);
  if (target === undefined) throw new Error('the ring has room');
  const columns = [
    { name: 'Epoch', data: BigInt64Array.from(epochs, BigInt) },
    ...schema.columns.map(({ name }) => ({ name, data: Float64Array.from(epochs) })),
  ].map((column, at) => ({
    ...column,
    type: at === 0 ? EPOCH_SHAPE.type : (schema.columns[at - 1]?.type ?? EPOCH_SHAPE.type),
  }));
  encodeRowBlock(target, seriesId, 0, columns, { from: 0, to: epochs.length });
  spoil(target.view, target.offset);
  writer.commit(epochs.length);
}
