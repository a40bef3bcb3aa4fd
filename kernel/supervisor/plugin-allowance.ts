/** What an entry of mkts.yml allows its worker (see WorkerAllowance), and which texts it hides. Pure. */

import type { PlainSecrets, WorkerAllowance } from '../../workers/protocol.ts';
import { LOG_LINES_PER_SECOND_MAX } from '../base/limits.ts';
import { hideSecrets, secretValues } from '../base/secrets.ts';
import type { PluginEntry } from './plugin-entry.ts';

export function allowanceOf({
  grants = [],
  budget = {},
}: Pick<PluginEntry, 'grants' | 'budget'>): WorkerAllowance {
  return {
    grants,
    cpuPercent: budget.cpuPercent,
    logLinesPerSecond: budget.logLinesPerSecond ?? LOG_LINES_PER_SECOND_MAX,
  };
}

/** Secrets the entry gives and the plugin declares. */
export function secretsOf(
  { secrets = {} }: Pick<PluginEntry, 'secrets'>,
  declared: readonly string[],
): PlainSecrets {
  return Object.fromEntries(Object.entries(secrets).filter(([name]) => declared.includes(name)));
}

/** Hides the secrets of an entry in a text: those of its settings, and those it gives by name. */
export function secretsMask({
  config,
  secrets = {},
}: Pick<PluginEntry, 'config' | 'secrets'>): (text: string) => string {
  return hideSecrets([...secretValues(config), ...Object.values(secrets)]);
}
