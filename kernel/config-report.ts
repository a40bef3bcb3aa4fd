/**
 * What came of reading mkts.yml again, and how it is told: in the log, and to the operator who asked.
 */

import type { ChangedEntry, ConfigChange } from '../config/change.ts';
import type { PluginEntry } from '../config/plugin-entries.ts';

/** What came of a reload. */
export interface ConfigReport {
  /** For people. */
  readonly message: string;
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly changed: readonly string[];
  /** Plugins that did not follow, and why. */
  readonly failed: readonly NotFollowed[];
  /** Keys that take effect at the next start. */
  readonly later: readonly string[];
}

export interface NotFollowed {
  readonly plugin: string;
  readonly reason: string;
}

/** 'added a; removed b; changed c (config, resources)' */
export function describeChange({ added, removed, changed }: Omit<ConfigChange, 'keys'>): string {
  const names = (entries: readonly PluginEntry[]): string =>
    entries.map(({ name }) => name).join(', ');
  const changes = changed.map(
    ({ after, keys }: ChangedEntry) => `${after.name} (${keys.join(', ')})`,
  );
  return [
    ...(added.length === 0 ? [] : [`added ${names(added)}`]),
    ...(removed.length === 0 ? [] : [`removed ${names(removed)}`]),
    ...(changes.length === 0 ? [] : [`changed ${changes.join(', ')}`]),
  ].join('; ');
}

export function reportMessage(
  what: string,
  failed: readonly NotFollowed[],
  later: readonly string[],
): string {
  const parts = [
    ...(what === '' ? [] : [what]),
    ...failed.map(({ plugin, reason }) => `${plugin} does not follow: ${reason}`),
    ...(later.length === 0 ? [] : [`${later.join(', ')}: at the next start of the server`]),
  ];
  return parts.length === 0 ? 'mkts.yml is what it was' : parts.join('; ');
}
