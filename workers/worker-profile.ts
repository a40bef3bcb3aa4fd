/**
 * A CPU profile of one worker thread while it runs: V8 samples it from outside, also in a loop that
 * never gives its turn back, and no other thread is slowed down. Main thread, the kernel's or that of a
 * plugin's process.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';
import { PluginError, reasonOf } from '../kernel/base/errors.ts';
import { PROFILE_ANSWER_MS } from '../kernel/base/limits.ts';

export interface ProfileRequest {
  readonly plugin: string;
  readonly milliseconds: number;
  /** Ends it early: nobody wants it any more. */
  readonly signal: AbortSignal;
  /** Settles when the worker is gone. */
  readonly gone: Promise<unknown>;
}

/** The text of a .cpuprofile. Rejects with MKTS_PROFILE. */
export async function profileWorker(
  worker: Worker,
  { plugin, milliseconds, signal, gone }: ProfileRequest,
): Promise<string> {
  const failed = (reason: string, cause?: unknown): PluginError =>
    new PluginError('MKTS_PROFILE', { plugin, reason }, { cause });
  if (typeof worker.startCpuProfile !== 'function')
    throw failed(`it needs Node 24.8 or newer, this is ${process.version}`);
  const over = new AbortController();
  const ended = gone.then(() => Promise.reject(failed('its worker ended meanwhile')));
  ended.catch(() => undefined);
  /** Native code answers nothing until it returns, and then it may be too late. */
  const answered = <T>(call: Promise<T>): Promise<T> => {
    const late = sleep(PROFILE_ANSWER_MS, undefined, { signal: over.signal, ref: false }).then(() =>
      Promise.reject(failed('its worker does not answer')),
    );
    late.catch(() => undefined);
    return Promise.race([call, ended, late]);
  };
  try {
    const profile = await answered(worker.startCpuProfile());
    await Promise.race([
      sleep(milliseconds, undefined, { signal, ref: false }).catch(() => undefined),
      ended,
    ]);
    return await answered(profile.stop());
  } catch (cause) {
    throw cause instanceof PluginError ? cause : failed(reasonOf(cause), cause);
  } finally {
    over.abort();
  }
}
