/**
 * One worker of one plugin, whatever it runs in: a thread of this process (plugin-worker.ts) or a
 * process of its own (plugin-process.ts). Who drives a plugin sees this and not which it is;
 * start-host.ts makes the one its entry asks for. Types only.
 *
 * Invariant: every call settles, at the latest when the worker is gone, and `gone` always settles.
 */

import type { Isolation } from '../../config/entry-settings.ts';
import type { PluginShape, WorkerStart } from '../../workers/protocol.ts';
import type { RingReader } from '../../workers/ring.ts';
import type { KernelApi } from './kernel-api.ts';
import type { SupervisorLimits } from './plugin-entry.ts';
import type { ProcessMemoryWatch } from './process-memory-watch.ts';

/** What a worker is told at its start, besides the memory and ports it is reached by. */
export type PluginStart = Omit<WorkerStart, 'ring' | 'doorbell' | 'ports'>;

export interface PluginHostOptions {
  readonly plugin: string;
  /** Of host-bundle.ts. */
  readonly hostCode: string;
  /** Plain data: it is cloned. */
  readonly start: PluginStart;
  readonly doorbell: SharedArrayBuffer;
  readonly api: KernelApi;
  readonly limits: SupervisorLimits;
  readonly processMemory: ProcessMemoryWatch;
  /** A line the worker printed by itself, not by `ctx.log`. */
  readonly onOutput: (line: string) => void;
  /** It is late with its heartbeat, or no longer. */
  readonly onLate: (isLate: boolean) => void;
  /** It is slowed down steadily for want of CPU budget, or no longer. */
  readonly onThrottled?: ((isThrottled: boolean) => void) | undefined;
}

/** How a worker ended. */
export interface Departure {
  readonly cause: Error;
  /** It hangs in native code and was left behind: a thread cannot always be ended, a process can. */
  readonly isZombie: boolean;
}

export interface PluginHost {
  readonly isolation: Isolation;
  /** Readable after the worker has ended, until all it handed over is consumed. */
  readonly ring: RingReader;
  /** Never rejects. */
  readonly gone: Promise<Departure>;
  /** Megabytes, as of the last sample. */
  readonly memoryMb: number;
  /**
   * Calls the plugin. Rejects with MKTS_PLUGIN_TIMEOUT after `timeoutMs` (undefined: waits for ever),
   * and with the cause of its end if the worker goes first.
   */
  call<T>(
    name: keyof PluginShape,
    invoke: (plugin: PluginShape) => Promise<T>,
    timeoutMs?: number,
  ): Promise<T>;
  /** The text of a .cpuprofile. Rejects with MKTS_PROFILE. */
  profile(milliseconds: number, signal: AbortSignal): Promise<string>;
  /** Ends it; returns at once. `gone` tells when it is over, with `cause` if it is the first. */
  terminate(cause: Error): void;
}
