/**
 * What a plugin asks for, as lines an operator can read and two versions can be compared by. Pure.
 *
 *   network api.example.com:443      network-from-config base_url
 *   write BTC-USD/1Min/OHLCV         secret api_key                  builtin crypto
 *
 * What the operator wrote into mkts.yml is granted by that, and is no ask: hosts in `network`,
 * patterns in `writes` (which take the place of the plugin's own), builtins in `grants`.
 */

import type { PluginDescription } from '../../workers/protocol.ts';
import type { PluginEntry } from './plugin-entry.ts';

const ANY_KEY = 'write any key';

/** Sorted, each once. */
export function asksOf(
  description: PluginDescription,
  { network = [], writes, grants = [] }: Pick<PluginEntry, 'network' | 'writes' | 'grants'>,
): readonly string[] {
  const asks = new Set<string>();
  for (const host of description.network) if (!network.includes(host)) asks.add(`network ${host}`);
  for (const key of description.networkFromConfig) asks.add(`network-from-config ${key}`);
  if (writes === undefined) {
    if (description.writes === undefined) asks.add(ANY_KEY);
    for (const pattern of description.writes ?? []) asks.add(`write ${pattern}`);
  }
  for (const secret of description.secrets) asks.add(`secret ${secret}`);
  for (const builtin of description.builtins)
    if (!grants.some((granted) => granted === builtin)) asks.add(`builtin ${builtin}`);
  return [...asks].sort();
}

/** Those of `asks` that go beyond what was agreed to. */
export function asksBeyond(asks: readonly string[], agreed: readonly string[]): readonly string[] {
  const known = new Set(agreed);
  return asks.filter((ask) => !known.has(ask) && !isWithin(ask, known));
}

/** Any key covers each pattern; a host, meaning its two usual ports, covers either of them. */
function isWithin(ask: string, agreed: ReadonlySet<string>): boolean {
  if (ask.startsWith('write ')) return agreed.has(ANY_KEY);
  const host = /^(network .+):(80|443)$/.exec(ask)?.[1];
  return host !== undefined && agreed.has(host);
}
