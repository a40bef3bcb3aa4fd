/** What a plugin may reach. Pure. */

import { grantOf } from '../../workers/network-grants.ts';
import type { PluginDescription } from '../../workers/protocol.ts';
import type { PluginEntry } from './plugin-entry.ts';

/** Hosts the plugin asks for, those of URLs in keys it names, and those the operator lists. */
export function grantsOf(
  description: PluginDescription,
  { config, network = [] }: Pick<PluginEntry, 'config' | 'network'>,
): readonly string[] {
  const grants = new Set([...description.network, ...network]);
  for (const key of description.networkFromConfig) {
    const value: unknown =
      typeof config === 'object' && config !== null ? Reflect.get(config, key) : undefined;
    for (const url of Array.isArray(value) ? value : [value]) {
      const grant = typeof url === 'string' ? grantOf(url) : undefined;
      if (grant !== undefined) grants.add(grant);
    }
  }
  return [...grants];
}
