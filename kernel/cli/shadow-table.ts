/** A shadow's rows against those of what serves, as a person reads them. Pure. */

import type { ShadowReport, ShadowSample, ShadowValues } from '../base/plugin-report.ts';

/** What it is and how it compares; then the first differences, value by value. */
export function* shadowLines(shadow: ShadowReport): Generator<string> {
  const { counts, lagMs, batches, refused, promoteAfterRows, version } = shadow;
  yield `shadow: generation ${shadow.generation}${version === undefined ? '' : ` (${version})`}, ${shadow.state}, begun ${shadow.seconds} s ago`;
  if (shadow.reason !== undefined) yield `  ${printable(shadow.reason)}`;
  yield `  equal       ${counts.equal}${promoteAfterRows === undefined ? '' : ` of ${promoteAfterRows}, then it takes over if none differs`}`;
  yield `  different   ${counts.different}`;
  yield `  disputed    ${counts.disputed}: both wrote it, not the same so far`;
  yield `  only old    ${counts.onlyOld}`;
  yield `  only new    ${counts.onlyNew}`;
  yield `  waiting     ${counts.waiting} for the row of the other`;
  if (counts.atStart > 0) yield `  at start    ${counts.atStart} of one of them only: not counted`;
  if (counts.uncompared > 0) yield `  uncompared  ${counts.uncompared}: nothing is known of them`;
  if (refused !== undefined)
    yield `  refused     ${refused.count}; the first: ${printable(refused.reason)}`;
  if (lagMs !== undefined) yield `  later by    ${lagMs.median} ms, p99 ${lagMs.p99} ms`;
  if (batches !== undefined)
    yield `  batches     ${batches.fired} done, ${batches.failed} failed, ${batches.missed} missed`;
  for (const sample of shadow.samples) yield `  ${printable(sampleText(sample))}`;
}

/** `different AAPL/1Min/OHLCV 2021-01-01T00:00:00Z: Close 1 → 2` */
function sampleText({ what, key, epoch, nanoseconds, old, new: fresh }: ShadowSample): string {
  const time = new Date(1000 * epoch).toISOString().replace('.000Z', '');
  const fraction = nanoseconds === undefined ? '' : `.${String(nanoseconds).padStart(9, '0')}`;
  const values =
    old !== undefined && fresh !== undefined ? changes(old, fresh) : listed(old ?? fresh ?? {});
  return `${what}  ${key}  ${time}${fraction}Z: ${values}`;
}

function changes(old: ShadowValues, fresh: ShadowValues): string {
  const names = [...new Set([...Object.keys(old), ...Object.keys(fresh)])];
  const changed = names.filter((name) => !Object.is(old[name], fresh[name]));
  // Bytes of a number that is not one may differ and mean the same.
  if (changed.length === 0) return 'the same values in other bytes';
  return changed
    .map((name) => `${name} ${old[name] ?? 'absent'} → ${fresh[name] ?? 'absent'}`)
    .join(', ');
}

function listed(values: ShadowValues): string {
  return Object.entries(values)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ');
}

/** Values may be texts of others: nothing in them moves the cursor of a terminal. */
function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, '');
}
