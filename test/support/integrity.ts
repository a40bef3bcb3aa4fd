/** After a crash suite: is what it left what a server would have written? */

import { expect } from 'vitest';
import { UTC } from '../../kernel/base/zone.ts';
import { type Filesystem, realFilesystem } from '../../kernel/storage/filesystem.ts';
import { checkIntegrity, type IntegrityReport } from '../../kernel/tools/integrity.ts';

/** Fails the test with the findings if anything is damaged; a log may wait to be replayed. */
export function expectIntegrity(
  root: string,
  filesystem: Filesystem = realFilesystem,
): IntegrityReport {
  const report = checkIntegrity({ root, filesystem, zone: UTC });
  const { findings, damageCount } = report;
  const damage = findings.filter(({ severity }) => severity === 'damage');
  expect(damage, 'integrity is clean').toEqual([]);
  expect(damageCount).toBe(0);
  return report;
}
