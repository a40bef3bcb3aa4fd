/**
 * What a pattern means for the buckets there are: logged once when a trigger's entry is loaded, so
 * that a pattern which matches nothing, or less than it did on a Go server, is seen. Pure.
 */

import type { Matcher } from './matcher.ts';
import { referenceMatches } from './matcher.ts';
import type { TriggerLog } from './trigger-queue.ts';

const NAMED_MAX = 5;

export interface PatternReport {
  readonly matchedCount: number;
  /** The first few. */
  readonly matched: readonly string[];
  /** Buckets a Go server would have fired for and this one does not: `on` is anchored here. */
  readonly onlyReferenceCount: number;
  readonly onlyReference: readonly string[];
}

export interface ExistingBucket {
  readonly path: string;
  /** Undefined: it has no year file yet. */
  readonly latestYear: number | undefined;
}

/** Says what a trigger's pattern matches; warns where a Go server would have fired for more. */
export function logPattern(log: TriggerLog, plugin: string, report: PatternReport): void {
  const { matchedCount, matched, onlyReferenceCount, onlyReference } = report;
  log.info(
    { plugin, buckets: matchedCount, first: matched.join(' ') },
    `the trigger's pattern matches ${matchedCount} of the buckets there are`,
  );
  if (onlyReferenceCount > 0)
    log.warn(
      { plugin, buckets: onlyReferenceCount, first: onlyReference.join(' ') },
      'MarketStore would fire for more buckets: there a pattern is not anchored, here it is',
    );
}

export function reportPattern(
  on: string | readonly string[] | undefined,
  matcher: Matcher,
  buckets: Iterable<ExistingBucket>,
): PatternReport {
  const patterns = (typeof on === 'string' ? [on] : (on ?? [''])).filter(
    (pattern) => !pattern.startsWith('re:'),
  );
  const matched: string[] = [];
  const onlyReference: string[] = [];
  for (const { path, latestYear } of buckets) {
    if (matcher.matches(path)) matched.push(path);
    else if (patterns.some((pattern) => referenceMatches(pattern, path, latestYear ?? 1970)))
      onlyReference.push(path);
  }
  return {
    matchedCount: matched.length,
    matched: matched.slice(0, NAMED_MAX),
    onlyReferenceCount: onlyReference.length,
    onlyReference: onlyReference.slice(0, NAMED_MAX),
  };
}
