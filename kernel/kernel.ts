/**
 * The composition root: starts the parts in the order in which they need each other, joins them, and
 * stops them in reverse. No logic of its own. Main thread.
 *
 *   lock ▸ catalog ▸ sync thread ▸ dispatcher ▸ recovery ▸ committer, drain, checkpointer ▸ HTTP
 *   ▸ broker ▸ plugins: what a plugin or its venue does delays nothing before it, and nobody
 *
 * A stop goes the other way: clients, feeders, what triggers still owe, triggers; then a last
 * checkpoint, which leaves no log unless triggers ran out of time: it says what they are owed.
 */

import { channel } from 'node:diagnostics_channel';
import { dirname } from 'node:path';
import { loadConfig, type MktsConfig } from '../config/load.ts';
import { Doorbell } from '../workers/doorbell.ts';
import { Backups } from './backups.ts';
import { StorageError } from './base/errors.ts';
import { PLUGIN_DISK_MB, STOP_TIMEOUT_MS } from './base/limits.ts';
import { ConfigReload, freshnessOf } from './config-reload.ts';
import { DiskState } from './disk-state.ts';
import { watchDiskUsage } from './disk-usage.ts';
import { AdminApi } from './frontend/admin-api.ts';
import { DataService, type Readiness } from './frontend/data-service.ts';
import { HttpServer } from './frontend/http.ts';
import { Metrics } from './frontend/metrics.ts';
import { RowDeletion } from './frontend/row-deletion.ts';
import { Rpc } from './frontend/rpc.ts';
import { Checkpointer } from './ingest/checkpointer.ts';
import { Committer } from './ingest/committer.ts';
import { Drain } from './ingest/drain.ts';
import { Ingest } from './ingest/ingest.ts';
import { logDefinitions, Origins } from './ingest/origins.ts';
import { PluginStates } from './ingest/plugin-states.ts';
import { touchedRanges } from './ingest/touched.ts';
import { Watermarks } from './ingest/watermarks.ts';
import { KernelMetrics } from './kernel-metrics.ts';
import { LetterOperator } from './letter-operator.ts';
import type { RootLog } from './log.ts';
import { VERSION } from './package-root.ts';
import { PluginFamilies } from './plugin-families.ts';
import { addPluginMetrics } from './plugin-metrics.ts';
import { PluginOperator } from './plugin-operator.ts';
import { PluginReports } from './plugin-reports.ts';
import { PluginRows } from './plugin-rows.ts';
import { type Recovered, recover } from './recovery.ts';
import { RingSources } from './ring-sources.ts';
import { Catalog } from './storage/catalog.ts';
import { lockDirectory } from './storage/directory-lock.ts';
import { realFilesystem } from './storage/filesystem.ts';
import { startBroker } from './supervisor/broker-thread.ts';
import { startBundleThread } from './supervisor/bundle-thread.ts';
import { Consents } from './supervisor/consents.ts';
import { DeadLetters } from './supervisor/dead-letters.ts';
import { Denials } from './supervisor/denials.ts';
import { FlightRecorder } from './supervisor/flight-recorder.ts';
import { FreshnessWatch } from './supervisor/freshness-watch.ts';
import { pluginFunctions } from './supervisor/plugin-functions.ts';
import { codeOf, PluginJournal } from './supervisor/plugin-journal.ts';
import type { MemoryLook } from './supervisor/process-memory-watch.ts';
import { resolveModule } from './supervisor/resolve-module.ts';
import { Supervisor } from './supervisor/supervisor.ts';
import { Dispatcher } from './triggers/dispatcher.ts';
import { compilePattern, type Matcher } from './triggers/matcher.ts';
import { logPattern, reportPattern } from './triggers/pattern-report.ts';
import { startSyncThread } from './wal/sync-thread.ts';

const MIB = 1024 * 1024;

/** Told of each group that is applied, if anybody listens: `{ writers }`, names of plugins. */
const APPLIED = channel('mkts:applied');

export interface KernelOptions {
  readonly config: MktsConfig;
  readonly log: RootLog;
  /** Entries that start in quarantine, and why: they are held to have killed this process before. */
  readonly quarantined?: ReadonlyMap<string, string>;
  /** See SupervisorOptions. */
  readonly onMemoryLook?: (look: MemoryLook) => void;
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
  /** Operations on plugins. */
  readonly supervisor: Supervisor;
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
export async function startKernel(options: KernelOptions): Promise<Kernel> {
  const { config, log } = options;
  const { rootDirectory: root, zone, compressTicks, tickReadMode, checksums } = config;
  const startedMs = performance.now();
  // Lines about plugins go through it: they are kept, and each plugin has a level of its own.
  const journal = new PluginJournal({ log, now: Date.now });
  for (const { name, logLevel } of config.plugins) journal.setLevel(name, logLevel);
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
      ...{ compressTicks, tickReadMode, checksums },
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
    for (const { name, on, matcher } of triggers) tellPattern(catalog, name, on, matcher);
    return run({ catalog, origins, dispatcher, supervising, recovered });
  }

  function tellPattern(
    catalog: Catalog,
    plugin: string,
    on: readonly string[],
    matcher: Matcher,
  ): void {
    const buckets = catalog
      .buckets()
      .map(({ key, latestYear }) => ({ path: key.path, latestYear }));
    logPattern(log, plugin, reportPattern(on, matcher, buckets));
  }

  async function run(parts: RecoveredParts): Promise<Kernel> {
    const { catalog, origins, dispatcher, supervising, recovered } = parts;
    const { wal, lastSequence, statesFile } = recovered;
    const { promise: done, resolve: ended, reject: broken } = Promise.withResolvers<void>();
    // Who starts us looks at it; until then a failure must not count as unhandled.
    done.catch(() => undefined);
    const watermarks = new Watermarks(lastSequence);
    const metrics = new Metrics();
    const families = new PluginFamilies(metrics);
    const readiness: Readiness = { queryable: false };
    const disk = new DiskState({ log, metrics, readiness });
    const diskBytesOf = (plugin: string): number =>
      MIB * (configReload.entry(plugin)?.budget.diskMb ?? PLUGIN_DISK_MB);
    const states = new PluginStates({ recovered: recovered.states, bytesMaxOf: diskBytesOf });

    // ---- the way of a record ------------------------------------------------------------------
    const committer: Committer = new Committer({
      wal,
      catalog,
      watermarks,
      onState: (originId, change) => states.apply(origins.get(originId).name, change),
      onApplied(group) {
        if (dispatcher.hasTriggers)
          for (const { key, originId, from, to } of touchedRanges(group, catalog))
            dispatcher.applied(key, from, to, dispatcher.originChain(origins.get(originId).name));
        checkpointer.onApplied();
        if (APPLIED.hasSubscribers)
          APPLIED.publish({ writers: Array.from(group.origins, (id) => origins.get(id).name) });
      },
      onRoom: () => ingest.onRoom(),
      onCommitted: (stats) => kernelMetrics.onCommitted(stats),
      onPause(refusal) {
        disk.onPause(refusal);
        // What it frees of the log may be the space that is wanted.
        if (refusal !== undefined) void checkpointer.run();
      },
      onFatal(error) {
        log.fatal(error, 'writes have stopped: what is on disk can only be known by replay');
        broken(error);
      },
    });
    const ingest = new Ingest({
      catalog,
      committer,
      durability: config.durability,
      onLossyCasts: (count) => kernelMetrics.onLossyCasts(count),
      onForgotten: () => kernelMetrics.onForgotten(),
    });
    const checkpointer = new Checkpointer({
      catalog,
      wal,
      committer,
      watermarks,
      intervalMs: config.checkpointIntervalMs,
      owed: () => dispatcher.owed(),
      keepStates: () => statesFile.begin(states),
      onDone(durationMs) {
        kernelMetrics.onCheckpoint(durationMs);
        disk.onCheckpointDone();
      },
      onFailed: (error) => disk.onCheckpointFailed(error),
    });
    const doorbell = new Doorbell();
    const drain = new Drain({
      catalog,
      committer,
      doorbell,
      states,
      isDestroying: (path) => ingest.isDestroying(path),
      pendingLogBytes: () => checkpointer.lateLogBytes,
    });

    // ---- plugins ------------------------------------------------------------------------------
    const rows = new PluginRows();
    const denials = new Denials(journal.log);
    const letters = new DeadLetters({
      root,
      filesystem: realFilesystem,
      log: journal.log,
      bytesLeftOf: (plugin) => diskBytesOf(plugin) - states.bytesOf(plugin),
    });
    const bundler = startBundleThread();
    const broker = startBroker({
      onFailure: (error) => log.error(error),
      onDenied: (denial) => denials.note(denial),
    });
    const places = {
      pluginDirectory: config.pluginDirectory,
      configDirectory: dirname(config.path),
    };
    const sources = new RingSources({
      durability: config.durability,
      ...{ drain, origins, rows, letters },
      reject: (feed, cause) => supervisor.reject(feed, cause),
    });
    const freshness = new FreshnessWatch({
      rowsOf: (plugin) => rows.total(plugin),
      onVerdict: (plugin, reason) => supervisor.concern(plugin, 'freshness', reason),
    });
    for (const entry of config.plugins) freshness.set(entry.name, freshnessOf(entry));
    const configReload: ConfigReload = new ConfigReload({
      config,
      load: () => loadConfig(config.path, process.env, config.workingDirectory),
      log,
      supervisor: () => supervisor,
      dispatcher,
      fire: (plugin, batch) => supervisor.fire(plugin, batch),
      setFreshness: (plugin, bound) => freshness.set(plugin, bound),
      setLogLevel: (plugin, level) => journal.setLevel(plugin, level),
      onRemoved: (plugin) => rows.forget(plugin),
      onPattern: ({ name, on }, matcher) => tellPattern(catalog, name, on, matcher),
    });
    const consents = new Consents({
      root,
      filesystem: realFilesystem,
      log: journal.log,
      isOwn: ({ module }) => resolveModule(module, places).isBuiltIn,
    });
    const supervisor: Supervisor = new Supervisor({
      entries: configReload.entries,
      bundle: async ({ name, module, grants = [] }) =>
        bundler.bundle({ name, file: resolveModule(module, places).file, grants }),
      moduleFiles: ({ module }) => {
        try {
          return [resolveModule(module, places).file];
        } catch {
          // Not found: the error of its build says so.
          return [];
        }
      },
      kernel: () =>
        pluginFunctions(catalog, {
          metric: (plugin, metric) => families.observe(plugin, metric),
          denied: (denial) => denials.note(denial),
          deadLetters: (from, sent, dropped) => letters.take(from, sent, dropped),
        }),
      consents,
      network: broker,
      stateOf: (plugin) => states.taken(plugin),
      doorbell,
      timezone: zone.name,
      log: journal.log,
      guardedPaths: [root, config.path],
      onMemoryLook: options.onMemoryLook,
      ...(options.quarantined === undefined ? {} : { quarantined: options.quarantined }),
      shadows: drain,
      onRing: (feed) => sources.add(feed),
      onGone: (feed) => sources.remove(feed),
      onState(plugin, state) {
        const { kind } = state;
        const { generation } = supervisor.status(plugin);
        journal.entered(plugin, state, kind === 'starting' ? generation + 1 : generation);
        if (kind === 'quarantined') recorder.outOfService(plugin, codeOf(state));
        const runs = kind === 'running' || kind === 'degraded';
        freshness.setRunning(plugin, runs);
        if (!dispatcher.has(plugin)) return;
        if (runs) dispatcher.resume(plugin);
        else dispatcher.pause(plugin);
      },
    });
    supervising.resolve(supervisor);
    const reports: PluginReports = new PluginReports({
      journal,
      rows,
      letters,
      triggers: () => dispatcher.stats,
      diskBytes: (plugin) => states.bytesOf(plugin) + letters.bytesOf(plugin),
      latest: (plugin) => recorder.latest(plugin),
      lastRowAt: (plugin) => recorder.lastRowAt(plugin),
      now: Date.now,
    });
    const recorder: FlightRecorder = new FlightRecorder({
      root,
      journal,
      look: () => supervisor.plugins().map((status) => reports.look(status)),
      report: (plugin) => reports.report(supervisor.status(plugin), supervisor.entry(plugin)),
      log: journal.log,
      now: Date.now,
    });
    const operations = new PluginOperator({
      supervisor,
      journal,
      recorder,
      reports,
      configured: (plugin) => configReload.entry(plugin),
      agreedTo: (plugin) => consents.agreedTo(plugin),
      reloadConfig: async () => (await configReload.reload()).message,
    });
    const kernelMetrics = new KernelMetrics(metrics, {
      catalog,
      wal,
      watermarks,
      triggers: () => dispatcher.stats,
    });
    addPluginMetrics(metrics, {
      plugins: () => supervisor.plugins(),
      rows: () => rows.all(),
      letters: () => letters.totals(),
      lineCount: (plugin) => journal.lineCount(plugin),
      budgets: (status) => reports.budgets(status, supervisor.entry(status.name)),
      denials: () => denials.totals(),
    });

    // ---- clients ------------------------------------------------------------------------------
    log.info('launching rpc data server...');
    const onInternalError = (error: unknown): void =>
      log.error({ error }, 'a request failed for a reason that is not the client’s');
    const deletion = new RowDeletion({ catalog, ingestion: ingest, log });
    const service = new DataService({
      catalog,
      ingestion: ingest,
      deletion,
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
        admin: new AdminApi({
          operations,
          letters: new LetterOperator({ letters, ingest, origins, supervisor, log: journal.log }),
          deletion,
          backups: new Backups({ root, timezone: zone.name, checkpointer, log }),
          token: config.adminToken,
          mask: (text) => log.masked(text),
          onInternalError,
        }),
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
    recorder.start();
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
      supervisor,
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
    freshness.start();
    configReload.watch();
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
      configReload.close();
      freshness.stop();
      await http.close(0);
      committer.finish();
      await supervisor.stop('bgworker');
      await committer.idle();
      await dispatcher.stop(AbortSignal.timeout(STOP_TIMEOUT_MS));
      await supervisor.stop();
      await Promise.all([broker.stop(), bundler.stop(), drain.stop(), recorder.stop()]);
      await letters.close();
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
