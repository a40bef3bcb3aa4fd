/**
 * From whatever a stop left behind to a log that takes writes: replays our log and those of a Go
 * server, begins a new log, writes what was replayed into the year files, and only then lets the old
 * logs go. A crash anywhere on this way is repaired by the next start (wal/replay.ts says why).
 * Main thread, before anything is written or answered.
 *
 * What is replayed may have been applied before without its triggers, so they are told of it again;
 * of what a checkpoint covers they are told what it says to be owed. The checkpoint here ends the
 * replay of both, so it has to write down all of it again. The same holds for what plugins remember:
 * what the log says of it is set over what the last checkpoint wrote.
 */

import { StorageError } from './base/errors.ts';
import type { StateChange } from './base/state-entry.ts';
import type { Zone } from './base/zone.ts';
import { changeText, type StateTexts } from './ingest/plugin-states.ts';
import { StatesFile } from './ingest/states-file.ts';
import type { Log } from './log.ts';
import type { Catalog } from './storage/catalog.ts';
import type { Filesystem } from './storage/filesystem.ts';
import type { Dispatcher } from './triggers/dispatcher.ts';
import { NO_ORIGINS } from './triggers/origin-chain.ts';
import type { LogSync } from './wal/log-sync.ts';
import {
  listReferenceLogs,
  replayReferenceLogs,
  retireReferenceLogs,
} from './wal/reference-log.ts';
import { type AppliedRows, removeLog, replay } from './wal/replay.ts';
import { type Definitions, type OwedBatch, WalWriter } from './wal/writer.ts';

export interface RecoveryOptions {
  readonly root: string;
  readonly filesystem: Filesystem;
  readonly zone: Zone;
  readonly catalog: Catalog;
  readonly sync: LogSync;
  readonly definitions: Definitions;
  /** Notes what triggers are owed: of what is replayed, and of what the log says to be owed. */
  readonly dispatcher: Dispatcher;
  readonly log: Log;
  /** Of the new log; default WAL_SEGMENT_BYTES. */
  readonly segmentBytes?: number;
}

export interface Recovered {
  readonly wal: WalWriter;
  /** Of the last group the log held. */
  readonly lastSequence: bigint;
  /** What plugins remember: plugin → name → JSON text. */
  readonly states: StateTexts;
  readonly statesFile: StatesFile;
}

/** Throws StorageError if a disk fails; damage never throws. */
export async function recover(options: RecoveryOptions): Promise<Recovered> {
  const { root, filesystem, zone, catalog, sync, definitions, dispatcher, log } = options;
  const { segmentBytes } = options;
  const onReport = (error: Error): void => log.error(error);
  const onRows = ({ key, fromSeconds, toSeconds }: AppliedRows): void =>
    dispatcher.applied(key, fromSeconds, toSeconds, NO_ORIGINS);
  const statesFile = new StatesFile(root, filesystem);
  const states = statesFile.load(onReport);
  let stateChanges = 0;
  const onState = (plugin: string, change: StateChange): void => {
    changeText(states, plugin, change);
    stateChanges++;
  };
  // Order: before a year file is looked into. It wrote there without these sums.
  if (listReferenceLogs(root, filesystem).length > 0) catalog.dropSums();
  const own = replay({ root, filesystem, catalog, onReport, onRows, onState });
  const reference = replayReferenceLogs({ root, filesystem, catalog, zone, onReport, onRows });
  for (const { path } of reference.logs)
    log.info({ path }, `Found a WALFILE: ${path}, entering replay...`);
  if (own.segments.length > 0 || reference.logs.length > 0)
    log.info(
      {
        groups: own.groups + reference.groups,
        rows: own.rows + reference.rows,
        tornBytes: own.tornBytes + reference.tornBytes,
        restoredCells: own.restoredCells,
        damaged: own.damage.length + reference.damage.length,
      },
      'replayed the write-ahead log',
    );

  giveBack(own.owed, dispatcher, log);

  const { lastSequence } = own;
  const wal = await WalWriter.open({
    root,
    sync,
    filesystem,
    nextSequence: lastSequence + 1n,
    definitions,
    ...(segmentBytes === undefined ? {} : { segmentBytes }),
  });
  // Order: the new log's intent is on disk before the first year file changes, and the old logs go
  // after the last one has.
  const writeBack = catalog.beginWriteBack({ afterCrash: true });
  await wal.checkpointIntent(lastSequence, writeBack.cells);
  try {
    await writeBack.run();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new StorageError('MKTS_CHECKPOINT', { reason }, { cause });
  }
  if (stateChanges > 0) await statesFile.write(states);
  await wal.checkpointComplete(lastSequence, dispatcher.owed());
  removeLog(root, filesystem, own.segments);
  retireReferenceLogs(root, filesystem, reference.logs);
  return { wal, lastSequence, states, statesFile };
}

/** What is owed to a trigger that was renamed, removed or given another pattern is dropped. */
function giveBack(owed: readonly OwedBatch[], dispatcher: Dispatcher, log: Log): void {
  const dropped = new Map<string, number>();
  for (const batch of owed)
    if (!dispatcher.owe(batch)) dropped.set(batch.trigger, (dropped.get(batch.trigger) ?? 0) + 1);
  for (const [plugin, keys] of dropped)
    log.info({ plugin, keys }, 'the log owes keys to a trigger that is not told of them any more');
}
