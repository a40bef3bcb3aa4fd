/**
 * The database without threads, sockets or a real disk: the kernel's own parts, composed as kernel.ts
 * composes them, on a disk that forgets. Everything runs on one thread in an order the caller
 * decides, so that a run is repeated by its seed.
 */

import type { LogDurability } from '../../kernel/base/durability.ts';
import type { BucketSchema } from '../../kernel/base/schema.ts';
import { fromPlainSchema, type PlainSchema, toPlainSchema } from '../../kernel/base/schema.ts';
import { parseTimeBucketKey } from '../../kernel/base/time-bucket-key.ts';
import { UTC } from '../../kernel/base/zone.ts';
import { Checkpointer } from '../../kernel/ingest/checkpointer.ts';
import { Committer } from '../../kernel/ingest/committer.ts';
import { Drain } from '../../kernel/ingest/drain.ts';
import { Ingest } from '../../kernel/ingest/ingest.ts';
import { logDefinitions, Origins } from '../../kernel/ingest/origins.ts';
import { PluginStates } from '../../kernel/ingest/plugin-states.ts';
import { Watermarks } from '../../kernel/ingest/watermarks.ts';
import { recover } from '../../kernel/recovery.ts';
import { Catalog } from '../../kernel/storage/catalog.ts';
import { Dispatcher } from '../../kernel/triggers/dispatcher.ts';
import { inProcessLogSync } from '../../kernel/wal/log-sync.ts';
import { Doorbell } from '../../workers/doorbell.ts';
import { KeptState } from '../../workers/kept-state.ts';
import type { OpenedSeries } from '../../workers/protocol.ts';
import { createRing, RingReader, RingWriter } from '../../workers/ring.ts';
import { SeriesWriter } from '../../workers/series-writer.ts';
import type { CrashFilesystem } from './crash-filesystem.ts';

export const ROOT = '/data';
/** Small, so that a run sees many segments. */
const SEGMENT_BYTES = 64 * 1024;

export interface SimulatedServer {
  readonly catalog: Catalog;
  readonly ingest: Ingest;
  readonly committer: Committer;
  readonly checkpointer: Checkpointer;
  readonly states: PluginStates;
  /** What was reported: damage, and what could not go on. */
  readonly reports: readonly Error[];
  /** `ctx.write` of a plugin, with its ring and its drain. */
  plugin(name: string, durability?: LogDurability): SimulatedPlugin;
  /** How often the disk began to refuse writes. */
  readonly pauses: number;
  /** Requests that were answered from memory and refused after that. */
  readonly forgotten: number;
  /** Ends what would go on by itself; touches no disk. */
  abandon(): void;
  /** As a clean stop: everything in the year files, no log left. */
  stop(): Promise<void>;
}

export interface SimulatedPlugin {
  readonly writer: SeriesWriter;
  /** What it remembered when it was made. */
  readonly state: KeptState;
}

/** Starts as the kernel does: replay, a new log, a checkpoint, the old logs away. */
export async function startSimulated(
  filesystem: CrashFilesystem,
  { checksums = false }: { readonly checksums?: boolean } = {},
): Promise<SimulatedServer> {
  const reports: Error[] = [];
  let pauses = 0;
  let forgotten = 0;
  const catalog = Catalog.open({
    root: ROOT,
    filesystem,
    zone: UTC,
    compressTicks: true,
    tickReadMode: 'exact',
    checksums,
    // At once, so that pages turn cold and are written again all the time.
    sumAfterWriteBacks: 1,
    onDamage: (error) => reports.push(error),
  });
  const origins = new Origins();
  const dispatcher = new Dispatcher({
    triggers: [],
    log: SILENT,
    yearOf: (epochSeconds) => UTC.yearOf(epochSeconds),
  });
  const recovered = await recover({
    root: ROOT,
    filesystem,
    zone: UTC,
    catalog,
    sync: inProcessLogSync(filesystem),
    dispatcher,
    log: { ...SILENT, error: (error: unknown) => void reports.push(error as Error) } as never,
    definitions: logDefinitions(catalog, origins),
    segmentBytes: SEGMENT_BYTES,
  });
  const { wal, lastSequence, statesFile } = recovered;
  const states = new PluginStates({ recovered: recovered.states, bytesMaxOf: () => 1024 * 1024 });
  const watermarks = new Watermarks(lastSequence);
  const committer: Committer = new Committer({
    wal,
    catalog,
    watermarks,
    onState: (originId, change) => states.apply(origins.get(originId).name, change),
    onApplied: () => undefined,
    onRoom: () => ingest.onRoom(),
    onFatal: (error) => reports.push(error),
    onPause(refusal) {
      if (refusal === undefined) return;
      pauses++;
      void checkpointer.run();
    },
    retryMs: { first: 0, max: 0 },
  });
  const ingest = new Ingest({
    catalog,
    committer,
    onLossyCasts: () => undefined,
    onForgotten: () => {
      forgotten++;
    },
  });
  const checkpointer = new Checkpointer({
    catalog,
    wal,
    committer,
    watermarks,
    // Only when the run says so.
    intervalMs: 2 ** 30,
    owed: () => [],
    keepStates: () => statesFile.begin(states),
    onFailed: (error) => reports.push(error as Error),
  });
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
  const readers: RingReader[] = [];
  return {
    catalog,
    ingest,
    committer,
    checkpointer,
    states,
    reports,
    get forgotten() {
      return forgotten;
    },
    get pauses() {
      return pauses;
    },
    abandon() {
      // Its timer would keep all of it in memory.
      void checkpointer.stop();
      void drain.stop();
      doorbell.ring();
      // As would a plugin that waits for room or for a commit.
      for (const reader of readers) reader.close();
    },
    plugin(name, durability) {
      const shared = createRing(256 * 1024);
      const reader = new RingReader(shared, name);
      readers.push(reader);
      const opened: { key: ReturnType<typeof parseTimeBucketKey>; schema: BucketSchema }[] = [];
      drain.add({
        plugin: name,
        durability,
        originId: origins.add({ kind: 'plugin', name, generation: 1 }),
        reader,
        series: (id) => opened[id],
        onInvalid: (error) => reports.push(error),
      });
      const open = async (path: string, plain: PlainSchema): Promise<OpenedSeries> => {
        const key = parseTimeBucketKey(path);
        const schema = catalog.known(key.path)?.schema ?? fromPlainSchema(plain);
        if (schema === undefined) throw new Error('a schema of ours is one');
        opened.push({ key, schema });
        return { seriesId: opened.length - 1, schema: toPlainSchema(schema) };
      };
      const ring = new RingWriter(shared, () => doorbell.ring());
      const kept = new KeptState(name);
      kept.reset(states.taken(name));
      return { writer: new SeriesWriter(ring, open, kept), state: kept };
    },
    async stop() {
      await committer.idle();
      await checkpointer.stop();
      await checkpointer.run();
      doorbell.ring();
      await drain.stop();
      await wal.close();
      catalog.close();
    },
  };
}

const SILENT = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};
