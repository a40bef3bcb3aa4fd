/**
 * `mkts start`: settings, log, data directory, kernel, and then signals until the end.
 *
 *   loadConfig ─▶ log ─▶ root_directory ─▶ empty cwd ─▶ startKernel ─▶ … signal … ─▶ drain ─▶ grace ─▶ stop
 *
 * What is wrong before the kernel runs is the operator's to mend and goes to stderr, a line each. An
 * error nobody caught later means that the state of the kernel is not known: it is logged with its
 * stack, and the process ends. Everything acknowledged is in the log, and replay repairs.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { loadConfig, type MktsConfig } from '../../config/load.ts';
import { formatRemark } from '../../config/position.ts';
import { prepareRootDirectory } from '../../config/root-directory.ts';
import { MktsError } from '../base/errors.ts';
import { BlackBox } from '../black-box.ts';
import type { Kernel, KernelOptions } from '../kernel.ts';
import { createLog, type Log, type RootLog } from '../log.ts';
import { diagnosticReport } from './diagnostic-report.ts';
import { enterEmptyDirectory } from './empty-directory.ts';
import { reportError } from './report-error.ts';
import { formatDuration, type SignalSource, watchSignals } from './signals.ts';
import type { WatchdogLine } from './watchdog-line.ts';
import type { Death } from './watchdog-protocol.ts';

export interface StartOptions {
  readonly configPath: string;
  /** Undefined: nobody starts this process again. */
  readonly watchdog?: WatchdogLine;
  /** Instead of this process and the real kernel, for tests. */
  readonly signals?: SignalSource;
  readonly startKernel?: (options: KernelOptions) => Promise<Kernel>;
  readonly createLog?: typeof createLog;
}

const FAILED = 1;

/** Runs the server until it ends; the exit code. Throws what keeps it from starting. */
export async function runStart(options: StartOptions): Promise<number> {
  const config = loadConfig(options.configPath);
  const log = (options.createLog ?? createLog)({
    level: config.logLevel,
    format: config.logFormat,
    stream: 'stdout',
  });
  log.hide(config.secrets);
  const { watchdog } = options;
  const source = options.signals ?? watchdog?.signals ?? process;
  const signals = watchSignals(source, {
    onReport: () => log.info({ report: diagnosticReport() }, 'diagnostic report'),
    onCrash: (error, origin) => log.fatal({ error, origin }, 'the kernel cannot go on'),
    log,
  });
  let leaveEmptyDirectory = (): void => undefined;
  try {
    log.info(`using ${options.configPath} for configuration`);
    if (watchdog?.death !== undefined) logDeath(watchdog.death, log);
    for (const warning of config.warnings) log.warn(formatRemark(warning));
    prepareRootDirectory(config);
    log.info(
      { rootDirectory: config.rootDirectory, written: config.rootDirectoryWritten },
      `Root Directory: ${config.rootDirectory}`,
    );
    // Order: after the last relative path was resolved, before the first worker starts.
    leaveEmptyDirectory = enterEmptyDirectory(log);
    const startKernel = options.startKernel ?? (await import('../kernel.ts')).startKernel;
    const kernel = await startKernel({ config, log, ...watched(watchdog) });
    watchdog?.ready();
    void signals.stopRequested.then(() => watchdog?.stopping());
    return await runUntilEnd(kernel, signals.stopRequested, config, log);
  } catch (thrown) {
    // A coded error says what to do; of any other the stack is all there is.
    if (!(thrown instanceof MktsError)) log.fatal({ error: thrown }, 'the server does not start');
    reportError(thrown, { withStack: log.level === 'debug' });
    return FAILED;
  } finally {
    leaveEmptyDirectory();
    signals.close();
  }
}

/** What a watchdog wants to know, and what it knows of the process before. */
function watched(
  watchdog: WatchdogLine | undefined,
): Pick<KernelOptions, 'quarantined' | 'onMemoryLook'> {
  if (watchdog === undefined) return {};
  const { tell, quarantined } = watchdog;
  const blackBox = new BlackBox(tell);
  return { quarantined, onMemoryLook: (look) => blackBox.observe(look) };
}

function logDeath({ ending, ...fields }: Death, log: Log): void {
  log.error(fields, `the kernel process ${ending}; it is started again, and the log is replayed`);
}

async function runUntilEnd(
  kernel: Kernel,
  stopRequested: Promise<string>,
  config: MktsConfig,
  log: RootLog,
): Promise<number> {
  const ended = kernel.done.then(
    () => undefined,
    (error: unknown) => ({ error }),
  );
  const signal = await Promise.race([stopRequested, ended]);
  if (typeof signal !== 'string') return endedByItself(signal?.error, log);

  log.info(`initiating graceful shutdown due to '${signal}' request`);
  kernel.drain();
  log.info(`waiting a grace period of ${formatDuration(config.stopGracePeriodMs)} to shutdown...`);
  if (config.stopGracePeriodMs > 0) await Promise.race([sleep(config.stopGracePeriodMs), ended]);
  try {
    await kernel.stop(signal);
    const failure = await ended;
    if (failure !== undefined) throw failure.error;
  } catch (error) {
    log.fatal({ error }, 'the stop failed; the next start repairs by replay');
    return FAILED;
  }
  log.info('exiting...');
  return 0;
}

function endedByItself(error: unknown, log: Log): number {
  log.fatal({ error }, 'the kernel ended by itself');
  return FAILED;
}
