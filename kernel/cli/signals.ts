/**
 * Signals and uncaught errors of the kernel's process.
 *
 *   SIGINT, SIGTERM   first: `stopRequested` resolves; second: the process exits at once with 130
 *   SIGUSR1           a diagnostic report; nothing else changes
 *   uncaught error    `onCrash`, then exit with 1: what is in memory cannot be trusted any more
 *
 * A signal that comes while the server is still starting is kept, and honoured when it has started:
 * to leave in the middle of a replay saves nothing.
 */

import type { Log } from '../log.ts';

const FAILED = 1;
const CUT_SHORT = 130;

/** The part of `process` that is used. */
export interface SignalSource {
  on(event: string, listener: (error: unknown) => void): unknown;
  off(event: string, listener: (error: unknown) => void): unknown;
  exit(code: number): unknown;
}

export interface SignalWatch {
  /** Resolves with the name people know the signal by: `interrupt` or `terminated`. */
  readonly stopRequested: Promise<string>;
  close(): void;
}

export interface SignalOptions {
  readonly log: Log;
  readonly onReport: () => void;
  readonly onCrash: (error: unknown, origin: string) => void;
}

export function watchSignals(source: SignalSource, options: SignalOptions): SignalWatch {
  const stop = Promise.withResolvers<string>();
  let isStopping = false;
  const stopFor = (name: string) => (): void => {
    if (isStopping) {
      options.log.warn(
        `second signal ('${name}'): exiting at once, the next start repairs by replay`,
      );
      source.exit(CUT_SHORT);
      return;
    }
    isStopping = true;
    stop.resolve(name);
  };
  const crash =
    (origin: string) =>
    (error: unknown): void => {
      options.onCrash(error, origin);
      source.exit(FAILED);
    };
  const report = (): void => {
    options.log.info('dumping stack traces due to SIGUSR1 request');
    options.onReport();
  };
  const listeners: readonly (readonly [string, (error: unknown) => void])[] = [
    ['SIGINT', stopFor('interrupt')],
    ['SIGTERM', stopFor('terminated')],
    ['SIGUSR1', report],
    ['uncaughtException', crash('uncaughtException')],
    ['unhandledRejection', crash('unhandledRejection')],
  ];
  for (const [event, listener] of listeners) source.on(event, listener);
  return {
    stopRequested: stop.promise,
    close: () => {
      for (const [event, listener] of listeners) source.off(event, listener);
    },
  };
}

/** As Go prints a duration of whole seconds: `0s`, `1m30s`, `1h0m5s`. */
export function formatDuration(milliseconds: number): string {
  const total = Math.floor(milliseconds / 1000);
  const hours = Math.floor(total / 3600);
  const minutes = Math.floor((total % 3600) / 60);
  const seconds = total % 60;
  if (hours > 0) return `${hours}h${minutes}m${seconds}s`;
  return minutes > 0 ? `${minutes}m${seconds}s` : `${seconds}s`;
}
