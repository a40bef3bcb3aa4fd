/**
 * Tells the operator of config keys that do nothing: a misspelt one with the key it resembles, one
 * the Go plugin knew and we have no use for with the reason. Neither stops the plugin.
 */

import type { Log } from '../sdk.ts';

export interface KeyNotices {
  readonly known: readonly string[];
  /** Keys of the reference without effect, and why. */
  readonly obsolete?: Readonly<Record<string, string>>;
}

/** Logs one line for each key of `config` that has no effect. */
export function noticeKeys(config: object, notices: KeyNotices, log: Log): void {
  for (const key of Object.keys(config)) {
    if (notices.known.includes(key)) continue;
    const reason = notices.obsolete?.[key];
    if (reason !== undefined) {
      log.info(`config key ${key} has no effect any more: ${reason}`, { key });
      continue;
    }
    const nearest = nearestKey(key, notices.known);
    const hint = nearest === undefined ? '' : `; did you mean ${nearest}?`;
    log.warn(`config key ${key} is not known${hint}`, { key });
  }
}

/** The known key most like `key`, if one is like it at all. */
export function nearestKey(key: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  // Past half of its letters changed, a resemblance is chance.
  let bestDistance = Math.floor(key.length / 2) + 1;
  for (const candidate of known) {
    const distance = editDistance(key.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Insertions, deletions and replacements that make `a` into `b`. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
