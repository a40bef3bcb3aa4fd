/** The one place that chooses what a plugin's worker runs in. Main thread. */

import type { Isolation } from '../../config/entry-settings.ts';
import type { PluginHost, PluginHostOptions } from './plugin-host.ts';
import { PluginProcess } from './plugin-process.ts';
import { PluginWorker } from './plugin-worker.ts';

export interface StartHostOptions extends PluginHostOptions {
  /** Of the entry; default: a thread of this process. */
  readonly isolation: Isolation | undefined;
}

/** Starts a worker. Throws if it cannot be started at all, or if `start` cannot be cloned. */
export function startHost(options: StartHostOptions): PluginHost {
  return options.isolation === 'process' ? new PluginProcess(options) : new PluginWorker(options);
}
