/**
 * `mkts start`: a small process that does nothing but run the kernel in another, and run it again
 * when it dies.
 *
 *   spawn ─▶ start ─▶ … ready … ─▶ exit 0, or was asked to stop, or exit before ready ─▶ exit code
 *     ▲                       └─▶ died ─▶ too often? ─▶ give up
 *     └────── quarantined ◀── who was it? ◀──┘
 *
 * A kernel that exits before it was ready has told the operator why, and would do so again: it is
 * not started a second time. One that is killed is, ready or not, but not for ever.
 *
 * Invariants: a kernel that was asked to stop is never started again. What a plugin is blamed for
 * holds as long as this process, or until an operator releases it; a new `mkts start` knows nothing
 * of it. If this process goes, the kernel notices and stops in good order (watchdog-line.ts).
 *
 * While a kernel runs, a second process waits *in reserve*: it has loaded all code and holds nothing,
 * neither lock nor port nor settings. A start from there takes a fifth of the time.
 *
 * A signal reaches the kernel as a message, since a terminal and systemd signal both processes: the
 * kernel counts what came which way. Standard input and output are the kernel's own.
 */

import type { ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import { MktsError, PluginError } from '../base/errors.ts';
import {
  KERNEL_DEATHS_MAX,
  KERNEL_DEATHS_WINDOW_MS,
  KERNEL_EXIT_MS,
  KERNEL_RESERVE_MS,
  LAST_WORDS_MS,
} from '../base/limits.ts';
import type { BlackBoxRecord } from '../black-box.ts';
import { type Blame, blame, type Ending } from './blame.ts';
import { removeEmptyDirectoryOf } from './empty-directory.ts';
import type { SignalSource } from './signals.ts';
import type { Death, ToKernel, ToWatchdog } from './watchdog-protocol.ts';

const FAILED = 1;
/** As shells do: the exit code of what a signal ended. */
const SIGNALLED = 128;
/** Signals by which somebody wants a process to end. */
const MEANT: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'];
/** A kernel that does not hear the first two is ended. */
const STOPS_HEARD_MAX = 2;

export interface WatchdogOptions {
  /** Starts the kernel process, with a channel to it. */
  readonly spawn: () => ChildProcess;
  readonly signals: Pick<SignalSource, 'on' | 'off'>;
  /** Tells the operator what the kernel cannot tell any more. */
  readonly report: (error: MktsError) => void;
}

/** One life of the kernel process. */
interface Life {
  readonly ending: Ending;
  readonly wasReady: boolean;
  readonly wasStopping: boolean;
  readonly uptimeMs: number;
  readonly suspect: Blame | undefined;
}

/** Runs until the kernel has ended for good; its exit code. */
export async function runWatchdog(options: WatchdogOptions): Promise<number> {
  const watchdog = new Watchdog(options);
  try {
    return await watchdog.run();
  } finally {
    watchdog.close();
  }
}

class Watchdog {
  readonly #options: WatchdogOptions;
  readonly #quarantined = new Map<string, string>();
  readonly #deathsMs: number[] = [];
  readonly #listeners: readonly (readonly [string, () => void])[];
  #child: ChildProcess | undefined;
  #reserve: ChildProcess | undefined;
  #reserveTimer: NodeJS.Timeout | undefined;
  #stopsAsked = 0;

  constructor(options: WatchdogOptions) {
    this.#options = options;
    this.#listeners = [
      ['SIGINT', () => this.#stop('SIGINT')],
      ['SIGTERM', () => this.#stop('SIGTERM')],
      ['SIGUSR1', () => this.#send({ kind: 'signal', signal: 'SIGUSR1' })],
    ];
    for (const [event, listener] of this.#listeners) options.signals.on(event, listener);
  }

  close(): void {
    clearTimeout(this.#reserveTimer);
    this.#reserve?.kill('SIGKILL');
    for (const [event, listener] of this.#listeners) this.#options.signals.off(event, listener);
  }

  async run(): Promise<number> {
    let death: Death | undefined;
    for (;;) {
      const life = await this.#live(death);
      const { ending, suspect } = life;
      const exitCode = exitCodeOf(ending);
      if (this.#stopsAsked > 0 || life.wasStopping || !isDeath(life)) return exitCode;
      const deaths = this.#countDeath();
      if (deaths >= KERNEL_DEATHS_MAX) {
        const seconds = KERNEL_DEATHS_WINDOW_MS / 1000;
        const fields = { deaths, seconds, ending: endingText(ending) };
        this.#options.report(new MktsError('MKTS_KERNEL_LOOP', fields));
        return exitCode;
      }
      death = { ending: endingText(ending), uptimeMs: life.uptimeMs, deaths, ...suspect };
      if (suspect !== undefined) {
        const { code, message } = new PluginError('MKTS_KERNEL_DIED', {
          ending: endingText(ending),
          evidence: suspect.evidence,
        });
        this.#quarantined.set(suspect.plugin, `${message} (${code})`);
      }
    }
  }

  /** Starts the kernel and waits for its end. */
  async #live(death: Death | undefined): Promise<Life> {
    const startedMs = performance.now();
    let wasReady = false;
    let wasStopping = false;
    let record: BlackBoxRecord | undefined;
    let recordMs = startedMs;
    let said: Ending | undefined;
    let impatience: NodeJS.Timeout | undefined;
    const child = this.#reserve ?? this.#options.spawn();
    this.#reserve = undefined;
    this.#child = child;
    child.on('message', (message: ToWatchdog) => {
      if (message.kind === 'ready') {
        wasReady = true;
        this.#reserveTimer = setTimeout(() => this.#keepReserve(), KERNEL_RESERVE_MS);
      } else if (message.kind === 'stopping') wasStopping = true;
      else if (message.kind === 'stopped') {
        // Node waits for its threads, and one in native code may not end for long, or for ever.
        said = { code: message.exitCode, signal: null };
        impatience = setTimeout(() => child.kill('SIGKILL'), KERNEL_EXIT_MS);
      } else {
        record = message.record;
        recordMs = performance.now();
        // Whoever runs again was released.
        for (const { plugin } of record.workers) this.#quarantined.delete(plugin);
      }
    });
    const ended = endOf(child);
    this.#send({
      kind: 'start',
      quarantined: [...this.#quarantined],
      ...(death === undefined ? {} : { death }),
    });
    const seen = await ended;
    clearTimeout(impatience);
    clearTimeout(this.#reserveTimer);
    this.#child = undefined;
    if (child.pid !== undefined && seen.signal !== null) removeEmptyDirectoryOf(child.pid);
    const ending = said ?? seen;
    const endedMs = performance.now();
    return {
      ending,
      wasReady,
      wasStopping,
      uptimeMs: Math.round(endedMs - startedMs),
      suspect: blame(ending, record, endedMs - recordMs),
    };
  }

  /** A process that has loaded everything, and waits to be told to start. */
  #keepReserve(): void {
    if (this.#reserve !== undefined || this.#stopsAsked > 0) return;
    const reserve = this.#options.spawn();
    const forget = (): void => {
      if (this.#reserve === reserve) this.#reserve = undefined;
    };
    reserve.once('exit', forget);
    reserve.once('error', forget);
    this.#reserve = reserve;
  }

  /** The kernel decides what a first and a second signal mean. */
  #stop(signal: 'SIGINT' | 'SIGTERM'): void {
    this.#stopsAsked++;
    if (this.#stopsAsked > STOPS_HEARD_MAX) this.#child?.kill('SIGKILL');
    else this.#send({ kind: 'signal', signal });
  }

  #send(message: ToKernel): void {
    // One that is gone or going does not hear it: its end says more.
    if (this.#child?.connected === true) this.#child.send(message, () => undefined);
  }

  /** How many there were lately, with this one. */
  #countDeath(): number {
    const nowMs = performance.now();
    this.#deathsMs.push(nowMs);
    while (nowMs - (this.#deathsMs[0] ?? nowMs) > KERNEL_DEATHS_WINDOW_MS) this.#deathsMs.shift();
    return this.#deathsMs.length;
  }
}

/** Resolves when the process has ended and what it said before was read. */
async function endOf(child: ChildProcess): Promise<Ending> {
  const said = new Promise<void>((resolve) => child.once('disconnect', () => resolve()));
  const ending = await new Promise<Ending>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
    // It could not be started at all: there is no process, and no exit.
    child.once('error', () => resolve({ code: FAILED, signal: null }));
  });
  if (!child.connected) return ending;
  const patience = Promise.withResolvers<void>();
  const timer = setTimeout(patience.resolve, LAST_WORDS_MS);
  await Promise.race([said, patience.promise]);
  clearTimeout(timer);
  return ending;
}

/** Before it was ready only a blow from outside counts: one that exits has told the operator why. */
function isDeath({ ending: { code, signal }, wasReady }: Life): boolean {
  if (signal !== null) return !MEANT.includes(signal);
  return wasReady && code !== 0;
}

function exitCodeOf({ code, signal }: Ending): number {
  if (signal !== null) return SIGNALLED + constants.signals[signal];
  return code ?? FAILED;
}

/** To follow "the kernel process …". */
export function endingText({ code, signal }: Ending): string {
  return signal === null ? `ended with exit code ${code ?? FAILED}` : `was ended by ${signal}`;
}
