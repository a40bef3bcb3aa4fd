/**
 * The composition root: starts the parts in the order in which they need each other, joins them, and
 * stops them in reverse. No logic of its own. Main thread.
 *
 *   lock ▸ catalog ▸ sync thread ▸ dispatcher ▸ recovery ▸ committer, drain, checkpointer ▸ HTTP
 *   ▸ broker ▸ plugins: what a plugin or its venue does delays nothing before it, and nobody
 *
 * A stop goes the other way: clients, then feeders, then what triggers still owe, then triggers, and
 * when nobody writes any more a last checkpoint, after which no log is left, unless triggers ran out
 * of time: then the log says what the next start owes them.
 */

import { dirname } from 'node:path';
import type { MktsConfig } from '../config/load.ts';
import { Doorbell } from '../workers/doorbell.ts';
import { reasonOf, StorageError } from './base/errors.ts';
import { DISK_USAGE_INTERVAL_MS, STOP_TIMEOUT_MS } from './base/limits.ts';
import { diskUsageBytes } from './disk-usage.ts';
import { DataService, type Readiness } from './frontend/data-service.ts';
import { HttpServer } from './frontend/http.ts';
import { Metrics } from './frontend/metrics.ts';
import { Rpc } from './frontend/rpc.ts';
import { Checkpointer } from './ingest/checkpointer.ts';
import { Committer } from './ingest/committer.ts';
import { Drain, type RingSource } from './ingest/drain.ts';
import { Ingest } from './ingest/ingest.ts';
import { logDefinitions, Origins } from './ingest/origins.ts';
import { touchedRanges } from './ingest/touched.ts';
import { Watermarks } from './ingest/watermarks.ts';
import { KernelMetrics } from './kernel-metrics.ts';
import type { Log } from './log.ts';
import { VERSION } from './package-root.ts';
import { PluginFamilies } from './plugin-families.ts';
import { type Recovered, recover } from './recovery.ts';
import { Catalog } from './storage/catalog.ts';
import { lockDirectory } from './storage/directory-lock.ts';
import { realFilesystem } from './storage/filesystem.ts';
import { startBroker } from './supervisor/broker-thread.ts';
import { bundlePlugin } from './supervisor/bundle-plugin.ts';
import type { PluginFeed } from './supervisor/plugin-entry.ts';
import { pluginFunctions } from './supervisor/plugin-functions.ts';
import { resolveModule } from './supervisor/resolve-module.ts';
import { Supervisor } from './supervisor/supervisor.ts';
import { Dispatcher } from './triggers/dispatcher.ts';
import { compilePattern } from './triggers/matcher.ts';
import { logPattern, reportPattern } from './triggers/pattern-report.ts';
import { startSyncThread } from './wal/sync-thread.ts';

export interface KernelOptions {
  readonly config: MktsConfig;
  readonly log: Log;
}

export interface Kernel {
  /** 'http://127.0.0.1:5993' */
  readonly address: string;
  /** Answers "not queryable" from now on, and everything else as before. */
  drain(): void;
  /** Rejects if what is acknowledged could not all be written back; the log then stays for replay. */
  stop(reason: string): Promise<void>;
  /** Settles when the kernel has ended; rejects with why it had to. */
  readonly done: Promise<void>;
}

/** What there is before anything runs. */
interface RecoveredParts {
  readonly catalog: Catalog;
  readonly origins: Origins;
  readonly dispatcher: Dispatcher;
  readonly supervising: PromiseWithResolvers<Supervisor>;
  readonly recovered: Recovered;
}

/** Throws ConfigError or StorageError if it cannot start; then nothing is left running. */
export async function startKernel({ config, log }: KernelOptions): Promise<Kernel> {
  const { rootDirectory: root, zone } = config;
  const startedMs = performance.now();
  log.info('initializing marketstore...');
  const lock = lockDirectory(root);
  const undo: (() => unknown)[] = [() => lock.release()];
  try {
    return await compose();
  } catch (error) {
    for (const step of undo.reverse()) await step();
    throw error;
  }

  async function compose(): Promise<Kernel> {
    const catalog = Catalog.open({
      root,
      filesystem: realFilesystem,
      zone,
      compressTicks: config.compressTicks,
      tickReadMode: config.tickReadMode,
      onDamage: (error) => log.error(error),
    });
    undo.push(() => catalog.close());
    const origins = new Origins();
    const sync = startSyncThread();
    undo.push(() => sync.close());
    log.info('InitializeTriggers');
    const triggers = config.plugins
      .filter(({ kind }) => kind === 'trigger')
      .map(({ name, on }) => ({ name, on, matcher: compilePattern(on) }));
    // Before recovery, which notes in it what triggers are owed. Nothing is fired until they run.
    const supervising = Promise.withResolvers<Supervisor>();
    const dispatcher = new Dispatcher({
      triggers: triggers.map(({ name, matcher }) => ({
        name,
        matcher,
        fire: async (batch) => (await supervising.promise).fire(name, batch),
      })),
      log,
      yearOf: (epochSeconds) => zone.yearOf(epochSeconds),
    });
    log.info('InitializeTriggers - Done');
    const recovered = await recover({
      root,
      filesystem: realFilesystem,
      zone,
      catalog,
      sync,
      dispatcher,
      log,
      definitions: logDefinitions(catalog, origins),
    });
    log.info(`startup time: ${Math.round(performance.now() - startedMs)}ms`);
    for (const { name, on, matcher } of triggers) {
      const buckets = catalog
        .buckets()
        .map(({ key, latestYear }) => ({ path: key.path, latestYear }));
      logPattern(log, name, reportPattern(on, matcher, buckets));
    }
    return run({ catalog, origins, dispatcher, supervising, recovered });
  }

  async function run(parts: RecoveredParts): Promise<Kernel> {
    const { catalog, origins, dispatcher, supervising, recovered } = parts;
    const { wal, lastSequence } = recovered;
    const { promise: done, resolve: ended, reject: broken } = Promise.withResolvers<void>();
    // Who starts us looks at it; until then a failure must not count as unhandled.
    done.catch(() => undefined);
    const watermarks = new Watermarks(lastSequence);
    const metrics = new Metrics();
    const families = new PluginFamilies(metrics);
    const readiness: Readiness = { queryable: false };

    // ---- the way of a record ------------------------------------------------------------------
    const committer: Committer = new Committer({
      wal,
      catalog,
      watermarks,
      durability: config.durability,
      onApplied(group) {
        if (config.plugins.some(({ kind }) => kind === 'trigger'))
          for (const { bucketId, originId, from, to } of touchedRanges(group)) {
            const bucket = catalog.bucketById(bucketId);
            const chain = dispatcher.originChain(origins.get(originId).name);
            if (bucket !== undefined) dispatcher.applied(bucket.key.path, from, to, chain);
          }
        checkpointer.onApplied();
      },
      onRoom: () => ingest.onRoom(),
      onCommitted: (stats) => kernelMetrics.onCommitted(stats),
      onFatal(error) {
        log.fatal(error, 'writes have stopped: what is on disk can only be known by replay');
        broken(error);
      },
    });
    const ingest = new Ingest({
      catalog,
      committer,
      onLossyCasts: (count) => kernelMetrics.onLossyCasts(count),
    });
    const checkpointer = new Checkpointer({
      catalog,
      wal,
      committer,
      watermarks,
      intervalMs: config.checkpointIntervalMs,
      owed: () => dispatcher.owed(),
      onDone: (durationMs) => kernelMetrics.onCheckpoint(durationMs),
      onFailed(error) {
        kernelMetrics.onCheckpointFailed();
        log.error({ error, code: 'MKTS_CHECKPOINT' }, `checkpoint failed: ${reasonOf(error)}`);
      },
    });
    const doorbell = new Doorbell();
    const drain = new Drain({
      catalog,
      committer,
      doorbell,
      isDestroying: (path) => ingest.isDestroying(path),
      pendingLogBytes: () => wal.pendingBytes,
    });

    // ---- plugins ------------------------------------------------------------------------------
    const broker = startBroker({ onFailure: (error) => log.error(error) });
    const sources = new Map<PluginFeed, RingSource>();
    const supervisor: Supervisor = new Supervisor({
      entries: config.plugins,
      bundle: async ({ name, module }) => {
        const places = {
          pluginDirectory: config.pluginDirectory,
          configDirectory: dirname(config.path),
        };
        return bundlePlugin({ name, file: resolveModule(module, places).file });
      },
      kernel: () => pluginFunctions(catalog, (plugin, metric) => families.observe(plugin, metric)),
      network: broker,
      doorbell,
      timezone: zone.name,
      log,
      guardedPaths: [root, config.path],
      onRing(feed) {
        const { plugin, generation, ring } = feed;
        const source: RingSource = {
          plugin,
          originId: origins.add({ kind: 'plugin', name: plugin, generation }),
          reader: ring,
          series: (seriesId) => feed.series(seriesId),
          onInvalid: (error) => supervisor.reject(feed, error),
        };
        sources.set(feed, source);
        drain.add(source);
      },
      onGone(feed) {
        const source = sources.get(feed);
        sources.delete(feed);
        if (source !== undefined) void drain.remove(source);
      },
      onState(plugin, { kind }) {
        if (config.plugins.find(({ name }) => name === plugin)?.kind !== 'trigger') return;
        if (kind === 'running' || kind === 'degraded') dispatcher.resume(plugin);
        else dispatcher.pause(plugin);
      },
    });
    supervising.resolve(supervisor);
    const kernelMetrics = new KernelMetrics(metrics, {
      catalog,
      wal,
      watermarks,
      plugins: () => supervisor.plugins(),
      triggers: () => dispatcher.stats,
    });

    // ---- clients ------------------------------------------------------------------------------
    log.info('launching rpc data server...');
    const onInternalError = (error: unknown): void =>
      log.error({ error }, 'a request failed for a reason that is not the client’s');
    const service = new DataService({
      catalog,
      ingestion: ingest,
      readiness,
      zone,
      version: VERSION,
      now: Date.now,
      onWritten: (seconds) => metrics.observeWrite(seconds),
      onWarning: (message, fields) => log.warn(fields, message),
      onInternalError,
    });
    log.info('launching prometheus metrics server...');
    let http: HttpServer;
    try {
      http = await HttpServer.listen({
        host: config.listenHost,
        port: config.listenPort,
        rpc: new Rpc({ service, onInternalError }),
        metrics,
        readiness,
        gitHash: VERSION,
        version: VERSION,
        onInternalError,
      });
    } catch (error) {
      undo.push(
        () => wal.close(),
        () => broker.stop(),
      );
      throw error;
    }
    drain.start();
    log.info('InitializeBgWorkers');
    await supervisor.start();
    log.info('InitializeBgWorkers Done');
    log.info('enabling query access...');
    readiness.queryable = true;
    const { address: host, port, family } = http.address;
    const address = `http://${family === 'IPv6' ? `[${host}]` : host}:${port}`;
    metrics.setStartupSeconds(performance.now() / 1000);
    log.info({ address }, 'launching tcp listener for all services...');
    const usage = watchDiskUsage(root, (bytes) => metrics.setDiskUsageBytes(bytes));

    let stopping: Promise<void> | undefined;
    const kernel: Kernel = {
      address,
      done,
      drain: () => {
        readiness.queryable = false;
      },
      stop(reason) {
        stopping ??= stop(reason).then(ended, (error: unknown) => {
          broken(error);
          throw error;
        });
        return stopping;
      },
    };
    // From here a stop undoes everything.
    undo.length = 0;
    try {
      await supervisor.requiredRun();
    } catch (error) {
      // Why it does not run is what the operator must know, whatever else the stop finds.
      await kernel.stop('a required plugin does not run').catch(onInternalError);
      throw error;
    }
    return kernel;

    async function stop(reason: string): Promise<void> {
      log.debug({ reason }, 'stopping');
      clearInterval(usage);
      await http.close(0);
      await supervisor.stop('bgworker');
      await committer.idle();
      await dispatcher.stop(AbortSignal.timeout(STOP_TIMEOUT_MS));
      await supervisor.stop();
      await Promise.all([broker.stop(), drain.stop()]);
      log.info('Flushing to WAL...');
      await committer.idle();
      await checkpointer.stop();
      log.info('Flushing to disk...');
      const isWrittenBack = committer.stopped === undefined && (await checkpointer.run());
      const owedKeys = dispatcher.owed().length;
      if (owedKeys > 0)
        log.info(
          { keys: owedKeys },
          'the log stays: it says what triggers are to be told next time',
        );
      await wal.close();
      catalog.close();
      lock.release();
      if (committer.stopped !== undefined) throw committer.stopped;
      if (!isWrittenBack)
        throw new StorageError('MKTS_CHECKPOINT', { reason: 'the log stays for the next start' });
    }
  }
}

/** Measures now and then; returns the timer to clear. */
function watchDiskUsage(root: string, report: (bytes: number) => void): NodeJS.Timeout {
  const measure = (): void => {
    void diskUsageBytes(root).then(report, () => undefined);
  };
  measure();
  return setInterval(measure, DISK_USAGE_INTERVAL_MS).unref();
}
