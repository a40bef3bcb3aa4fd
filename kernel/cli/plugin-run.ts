/**
 * `mkts plugin run`: one plugin in its real worker, with its real ring and network, and no database.
 * The rows it would write are printed, a line each: a table on a terminal, JSON lines in a pipe.
 *
 * The store it sees is empty, so a feeder begins where it begins on a new server. It ends when the
 * plugin does, when it fails (no restarts: the first error is what one wants to see), or by Ctrl-C.
 */

import { once } from 'node:events';
import { dirname, resolve } from 'node:path';
import { loadConfig, type MktsConfig } from '../../config/load.ts';
import { moduleName } from '../../config/plugin-entries.ts';
import { Doorbell } from '../../workers/doorbell.ts';
import type { Column } from '../base/column-series.ts';
import { DRAIN_IDLE_POLL_MS } from '../base/limits.ts';
import { decodeRowBlock } from '../base/row-block.ts';
import { EPOCH_SHAPE } from '../base/schema.ts';
import { secretValues } from '../base/secrets.ts';
import { rowBlockOffsets } from '../base/state-entry.ts';
import type { Log } from '../log.ts';
import { startBroker } from '../supervisor/broker-thread.ts';
import { bundlePlugin } from '../supervisor/bundle-plugin.ts';
import { NetworkRecorder } from '../supervisor/network-recorder.ts';
import type { Network, PluginEntry, PluginFeed } from '../supervisor/plugin-entry.ts';
import { resolveModule } from '../supervisor/resolve-module.ts';
import { Supervisor } from '../supervisor/supervisor.ts';
import { TapeMask } from '../supervisor/tape-mask.ts';
import { enterEmptyDirectory } from './empty-directory.ts';
import { EMPTY_KERNEL } from './empty-kernel.ts';
import { TapeFile } from './tape-file.ts';

export interface PluginRun {
  /** Name of an entry of mkts.yml, or a module. */
  readonly module: string;
  readonly configPath: string | undefined;
  readonly log: Log;
  /** Write the network traffic to a tape, and do not print the rows. */
  readonly record?: Recording | undefined;
}

export interface Recording {
  readonly path: string;
  /** Undefined: until a signal. */
  readonly forMs: number | undefined;
}

/** Runs until the plugin ends or a signal asks to stop. Returns the exit code. */
export async function runPlugin(options: PluginRun): Promise<number> {
  const { module, configPath, log, record } = options;
  const config = configPath === undefined ? undefined : loadConfig(configPath);
  const entry =
    config?.plugins.find(({ name }) => name === module) ??
    config?.plugins.find((listed) => moduleName(listed.module) === moduleName(module)) ??
    bareEntry(module);
  const places = {
    pluginDirectory: config?.pluginDirectory,
    configDirectory: config === undefined ? process.cwd() : dirname(config.path),
  };
  const { promise: ended, resolve: end } = Promise.withResolvers<number>();
  const startedMs = Date.now();
  const tape =
    record &&
    new TapeFile({
      path: resolve(record.path),
      plugin: entry.name,
      startedMs,
      onEnd(reason) {
        log.warn({ reason }, 'the tape ends');
        end(0);
      },
    });
  // As the server does: what the plugin could read there it could read here.
  const leaveEmptyDirectory = enterEmptyDirectory(log);
  const doorbell = new Doorbell();
  const broker = startBroker({ onFailure: (error) => log.error(error) });
  const feeds: PluginFeed[] = [];
  const supervisor = new Supervisor({
    entries: [entry],
    bundle: ({ name }) => bundlePlugin({ name, file: resolveModule(entry.module, places).file }),
    kernel: () => EMPTY_KERNEL,
    network: tape === undefined ? broker : recorderOf(broker, tape, startedMs, entry, config),
    doorbell,
    timezone: config?.zone.name ?? 'UTC',
    log,
    onRing: (feed) => feeds.push(feed),
    onGone: () => undefined,
    onState(_plugin, { kind }) {
      if (kind === 'stopped') end(0);
      else if (kind === 'failed' || kind === 'backoff' || kind === 'quarantined') end(1);
    },
  });
  const onSignal = (): void => end(0);
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
  // A reader that has seen enough (`| head`) ends the run as a signal does.
  process.stdout.once('error', onSignal);
  let isRunning = true;
  const printed = printRows(feeds, doorbell, () => isRunning, record === undefined);
  await supervisor.start();
  const timer = record?.forMs === undefined ? undefined : setTimeout(() => end(0), record.forMs);
  const exitCode = await ended;
  clearTimeout(timer);
  await supervisor.stop();
  isRunning = false;
  doorbell.ring();
  const rowCount = await printed;
  await broker.stop();
  process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  leaveEmptyDirectory();
  tape?.close();
  if (tape !== undefined)
    log.info({ tape: tape.path, entries: tape.entryCount }, 'what passed the network is recorded');
  log.info({ rows: rowCount }, `${entry.name} would have written ${rowCount} rows`);
  return exitCode;
}

/** Secrets are those of mkts.yml, of its `config` by their names. */
function recorderOf(
  network: Network,
  tape: TapeFile,
  startedMs: number,
  entry: PluginEntry,
  config: MktsConfig | undefined,
): Network {
  const secrets = [...(config?.secrets ?? []), ...secretValues(entry.config)];
  return new NetworkRecorder({
    network,
    mask: new TapeMask(secrets),
    nowMs: () => Date.now() - startedMs,
    onEntry: (taped) => tape.write(taped),
  });
}

function bareEntry(module: string): PluginEntry {
  // A path is meant from here, a bare name is looked up.
  const isPath = module.startsWith('.') || module.includes('/');
  return {
    name: moduleName(module),
    kind: 'bgworker',
    module: isPath ? resolve(module) : module,
    config: {},
    locate: () => '(no mkts.yml: --config names one)',
  };
}

/** Takes frames as the drain does, and says they are committed when they are printed. */
async function printRows(
  feeds: readonly PluginFeed[],
  doorbell: Doorbell,
  isRunning: () => boolean,
  isShown: boolean,
): Promise<number> {
  let rowCount = 0;
  for (;;) {
    const wasRunning = isRunning();
    let frames = 0;
    for (const feed of feeds) {
      const { ring } = feed;
      for (let frame = ring.peek(); frame !== undefined; frame = ring.peek()) {
        const block = ring.data.slice(frame.offset, frame.offset + frame.bytes);
        const cursor = ring.consume();
        for (const offset of rowBlockOffsets(new DataView(block.buffer)))
          rowCount += await printBlock(feed, block, offset, isShown);
        ring.markCommitted(cursor);
        frames++;
      }
    }
    if (frames > 0) continue;
    if (!wasRunning) return rowCount;
    await doorbell.wait(DRAIN_IDLE_POLL_MS);
  }
}

async function printBlock(
  feed: PluginFeed,
  block: Uint8Array,
  offset: number,
  isShown: boolean,
): Promise<number> {
  const view = new DataView(block.buffer);
  const series = feed.series(view.getUint32(offset + 8, true));
  if (series === undefined) return 0;
  const rowCount = view.getUint32(offset + 12, true);
  if (!isShown) return rowCount;
  const columns = decodeRowBlock(block.buffer, offset, series.schema, rowCount);
  const format = process.stdout.isTTY ? tableLine : jsonLine;
  for (let row = 0; row < rowCount; row++) {
    const line = format(series.key.path, columns, row);
    if (process.stdout.writable && !process.stdout.write(`${line}\n`))
      await once(process.stdout, 'drain').catch(() => undefined);
  }
  return rowCount;
}

function jsonLine(key: string, columns: readonly Column[], row: number): string {
  const values = columns.map(({ name, type, data }) => [name, Number(data[row * type.lanes] ?? 0)]);
  return JSON.stringify({ key, ...Object.fromEntries(values) });
}

function tableLine(key: string, columns: readonly Column[], row: number): string {
  const cells = columns.map(({ name, type, data }) => {
    const value = Number(data[row * type.lanes] ?? 0);
    if (name !== EPOCH_SHAPE.name) return `${name} ${value}`;
    return new Date(value * 1000).toISOString().replace('.000Z', 'Z');
  });
  return `${key}  ${cells.join('  ')}`;
}
