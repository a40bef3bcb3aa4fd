/**
 * Makes tests of faults: what is promised of every fault of faults.ts is that it costs the plugin that
 * has it, and nobody else; see run-fault.ts for what is checked. Each run is a server in a process of
 * its own.
 *
 * The most telling ones run; MKTS_FAULTS=all runs all, and `npm run faults` writes README's table.
 */

import { expect, test } from 'vitest';
import { temporaryDirectory } from '../support/temporary-directory.ts';
import { FAULTS, TIERS } from './faults.ts';
import { runFault } from './run-fault.ts';

const RUN = { quietMs: 100, faultMs: 200, clients: 1 };
const isAll = process.env.MKTS_FAULTS === 'all';

/** Groups of faults that take all of a core, or of the memory: nothing else runs beside their tests. */
export const GREEDY: ReadonlySet<string> = new Set(['time', 'memory', 'floods']);

/** What a process adds is that it can always be ended, and measured from outside. */
const IN_A_PROCESS: readonly string[] = [
  'loops for ever',
  'leaks small objects in a loop',
  'hands over a wild length',
];

/** A test for each fault of the groups that are wanted. */
export function testFaults(isWanted: (group: string) => boolean): void {
  const faults = FAULTS.filter(
    ({ group, always }) => isWanted(group) && (isAll || always === true),
  );
  const cases = faults.flatMap((fault) =>
    TIERS.filter((tier) => isAll || tier === 'worker' || IN_A_PROCESS.includes(fault.name)).map(
      (tier) => ({ name: fault.name, tier, fault }),
    ),
  );
  test.for(cases)('$tier: $name', { timeout: 120_000 }, async ({ fault, tier }, { annotate }) => {
    const { code, endedMs, recoveredMs, during } = await runFault(
      fault,
      tier,
      temporaryDirectory(),
      RUN,
    );
    await annotate(
      `${code} ended after ${endedMs?.toFixed()} ms, worked again after ${recoveredMs?.toFixed()} ms; ` +
        `queries p99 ${during.queryP99.toFixed(1)} ms`,
    );
    expect(during.queryP99).not.toBeNaN();
  });
}
