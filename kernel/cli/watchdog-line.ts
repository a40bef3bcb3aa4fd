/**
 * The kernel's end of the line to its watchdog: what it is told at its start, what it tells, and
 * signals that come both ways.
 *
 * A terminal's Ctrl-C, and systemd's stop, go to both processes, and the watchdog passes on what it
 * gets: the kernel would hear one as two, of which the second means "at once". So what came directly
 * and what was passed on are counted apart, and the larger count is how often it was meant.
 *
 * If the watchdog goes, the kernel stops in good order: nobody would start it again.
 */

import { EventEmitter } from 'node:events';
import type { TellRecord } from '../black-box.ts';
import type { SignalSource } from './signals.ts';
import type { Death, ToKernel, ToWatchdog } from './watchdog-protocol.ts';

const STOPS: readonly string[] = ['SIGINT', 'SIGTERM'];

/** The part of `process` that is used. */
export interface WatchedProcess extends SignalSource {
  readonly connected?: boolean;
  send?(message: ToWatchdog, handle: undefined, options: object, done: () => void): boolean;
}

export interface WatchdogLine {
  readonly death: Death | undefined;
  readonly quarantined: ReadonlyMap<string, string>;
  /** Of the process and the watchdog together. */
  readonly signals: SignalSource;
  readonly tell: TellRecord;
  ready(): void;
  stopping(): void;
  stopped(exitCode: number): void;
}

/**
 * Resolves when the watchdog has said what to start with: for a process in reserve that may be days
 * later. Undefined if it went without a word: there is nothing to do, and nobody to do it for.
 */
export async function connectWatchdog(
  own: WatchedProcess = process,
): Promise<WatchdogLine | undefined> {
  if (own.send === undefined) throw new Error('no watchdog started this process');
  const tell = (message: ToWatchdog, done: () => void = () => undefined): void => {
    if (own.connected === true) own.send?.(message, undefined, {}, done);
  };
  const signals = new WatchedSignals(own, (exitCode) => tell({ kind: 'stopped', exitCode }));
  const started = Promise.withResolvers<(ToKernel & { readonly kind: 'start' }) | undefined>();
  own.on('message', (value) => {
    const message = value as ToKernel;
    if (message.kind === 'start') started.resolve(message);
    else signals.passedOn(message.signal);
  });
  own.on('disconnect', () => {
    signals.watchdogGone();
    started.resolve(undefined);
  });
  const start = await started.promise;
  if (start === undefined) return undefined;
  const { death, quarantined } = start;
  return {
    death,
    quarantined: new Map(quarantined),
    signals,
    tell: (record, done) => tell({ kind: 'record', record }, done),
    ready: () => tell({ kind: 'ready' }),
    stopping: () => tell({ kind: 'stopping' }),
    stopped: (exitCode) => tell({ kind: 'stopped', exitCode }),
  };
}

/** Signals of a process that gets some of them twice. */
class WatchedSignals implements SignalSource {
  readonly #own: SignalSource;
  readonly #onExit: (exitCode: number) => void;
  readonly #told = new EventEmitter();
  /** Meant, and told to nobody yet. */
  readonly #waiting: string[] = [];
  #direct = 0;
  #passedOn = 0;
  #meant = 0;

  constructor(own: SignalSource, onExit: (exitCode: number) => void) {
    this.#own = own;
    this.#onExit = onExit;
    for (const signal of STOPS)
      own.on(signal, () => {
        this.#direct++;
        this.#mean(signal);
      });
  }

  on(event: string, listener: (error: unknown) => void): void {
    this.#told.on(event, listener);
    if (!STOPS.includes(event)) this.#own.on(event, listener);
    // Later, when whoever listens has said all it listens to.
    queueMicrotask(() => this.#tell());
  }

  off(event: string, listener: (error: unknown) => void): void {
    this.#told.off(event, listener);
    if (!STOPS.includes(event)) this.#own.off(event, listener);
  }

  exit(code: number): void {
    this.#onExit(code);
    this.#own.exit(code);
  }

  passedOn(signal: string): void {
    if (STOPS.includes(signal)) {
      this.#passedOn++;
      this.#mean(signal);
    } else this.#told.emit(signal);
  }

  /** As if asked to stop, unless it was already. */
  watchdogGone(): void {
    this.#passedOn = Math.max(1, this.#passedOn);
    this.#mean('SIGTERM');
  }

  #mean(signal: string): void {
    for (; this.#meant < Math.max(this.#direct, this.#passedOn); this.#meant++)
      this.#waiting.push(signal);
    this.#tell();
  }

  #tell(): void {
    while (this.#told.listenerCount('SIGTERM') > 0) {
      const signal = this.#waiting.shift();
      if (signal === undefined) return;
      this.#told.emit(signal);
    }
  }
}
