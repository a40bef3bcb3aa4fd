/**
 * The order of the test files: those that take longest begin first, so that what is left at the end is
 * short and both workers end together. Where Vitest remembers a run it would know by itself; after a
 * clean install it only knows how large the files are.
 */

import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Of ten seconds and more, the longest first. A file that is not named here comes after them. */
export const LONG: readonly string[] = [
  'crash/kill',
  'integration/authoring',
  'integration/bad-input',
  'crash/everywhere',
  'integration/backup',
  'soak/soak',
  'faults/faults',
  'integration/shadow',
  'integration/config-reload',
  'crash/owed',
  'conformance/golden-directories',
  'integration/first-light',
  'integration/plugin-host',
  'integration/package',
  'conformance/golden-logs',
  'integration/plugin-process',
  'crash/faulty-disk',
  'integration/cli',
  'integration/operations',
  'integration/full-disk',
  'integration/ring-terminate',
  'integration/watchdog-stop',
];

export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    // Stable: within a group of projects, and among the files that are not named, the order stays.
    return sorted.sort((a, b) => groupOf(a) - groupOf(b) || rankOf(a) - rankOf(b));
  }
}

function groupOf({ project }: TestSpecification): number {
  return project.config.sequence.groupOrder;
}

function rankOf({ moduleId }: TestSpecification): number {
  const rank = LONG.findIndex((name) => moduleId.endsWith(`/test/${name}.test.ts`));
  return rank < 0 ? LONG.length : rank;
}
