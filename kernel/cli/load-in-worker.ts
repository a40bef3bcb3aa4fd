/**
 * Loads a plugin as a server does: bundled, in a worker whose realm is stripped. What its module does
 * at import that it cannot do there fails here. It is not started.
 */

import { Doorbell } from '../../workers/doorbell.ts';
import type { PluginDescription } from '../../workers/protocol.ts';
import { PluginError } from '../base/errors.ts';
import { bundlePlugin } from '../supervisor/bundle-plugin.ts';
import type { Network } from '../supervisor/plugin-entry.ts';
import { Supervisor } from '../supervisor/supervisor.ts';
import { EMPTY_KERNEL } from './empty-kernel.ts';

export interface LoadedModule {
  readonly name: string;
  readonly kind: 'bgworker' | 'trigger';
  /** Absolute. */
  readonly file: string;
  /** Builtins it may import. */
  readonly grants: readonly string[];
}

/** What it says of itself. Throws MKTS_PLUGIN_IMPORT, _BUILD, _SHAPE, or what its module throws. */
export async function loadInWorker(module: LoadedModule): Promise<PluginDescription> {
  const { name, kind, file, grants } = module;
  const supervisor = new Supervisor({
    entries: [{ name, kind, module: file, config: {}, locate: () => file }],
    // So it is known, and does not start.
    quarantined: new Map([[name, 'it is only looked at']]),
    bundle: () => bundlePlugin({ name, file, grants }),
    kernel: () => EMPTY_KERNEL,
    network: NO_NETWORK,
    doorbell: new Doorbell(),
    timezone: 'UTC',
    log: SILENT,
    onRing: () => undefined,
    onGone: () => undefined,
  });
  try {
    await supervisor.start();
    return (await supervisor.inspect(name)).description;
  } finally {
    await supervisor.stop();
  }
}

/** A line is for a plugin that starts. */
const NO_NETWORK: Network = {
  register(plugin) {
    throw new PluginError('MKTS_NET_DENIED', { plugin, host: 'any host', allowed: 'no host' });
  },
  unregister: () => undefined,
};

const silence = (): void => undefined;
const SILENT = { debug: silence, info: silence, warn: silence, error: silence };
