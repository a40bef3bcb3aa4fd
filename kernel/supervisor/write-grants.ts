/**
 * Which keys a plugin may write. Pure.
 *
 * Patterns are those of `on:` (kernel/base/glob.ts) without a year, matched whole: `writes` of the
 * entry in mkts.yml if it has any, else what the plugin declares, else every key. An empty list is
 * none at all. Asked once for each series a plugin opens, not for each row.
 */

import type { PluginDescription } from '../../workers/protocol.ts';
import { compileGlob, patternError } from '../base/glob.ts';
import type { PluginEntry } from './plugin-entry.ts';

export interface WriteGrants {
  allows(keyPath: string): boolean;
  /** For messages. */
  readonly text: string;
}

/** Throws MKTS_TRIGGER_PATTERN. */
export function writeGrants(
  entry: Pick<PluginEntry, 'writes'>,
  description: Pick<PluginDescription, 'writes'>,
): WriteGrants {
  const patterns = entry.writes ?? description.writes;
  if (patterns === undefined) return { allows: () => true, text: 'any key' };
  const keys = patterns.map((pattern) => {
    const { key, year } = compileGlob(pattern);
    if (year !== undefined) throw patternError(pattern, 'what may be written has no year');
    return key;
  });
  return {
    allows: (keyPath) => keys.some((key) => key.test(keyPath)),
    text: patterns.length === 0 ? 'no key' : patterns.join(', '),
  };
}
