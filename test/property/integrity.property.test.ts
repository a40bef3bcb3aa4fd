/**
 * Whatever bytes of a data directory are damaged: looking at it never throws and never writes, a
 * repair takes no row that was seen before and changes none, and after it either nothing is damaged
 * or what is left is said to be beyond repair. What a server reports, integrity finds.
 */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { ColumnSeries } from '../../kernel/base/column-series.ts';
import { INT32 } from '../../kernel/base/element-type.ts';
import type { BucketSchema } from '../../kernel/base/schema.ts';
import { parseTimeBucketKey } from '../../kernel/base/time-bucket-key.ts';
import { UTC } from '../../kernel/base/zone.ts';
import { realFilesystem } from '../../kernel/storage/filesystem.ts';
import { HEADER_BYTES } from '../../kernel/storage/header.ts';
import { checkIntegrity } from '../../kernel/tools/integrity.ts';
import { repair } from '../../kernel/tools/repair.ts';
import { blockOfRows, openStore, rowsOf } from '../support/store.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const RUNS = Number(process.env.MKTS_INTEGRITY_RUNS ?? 60);
const COLUMNS = [{ name: 'A', type: INT32 }];
const SCHEMAS: readonly (readonly [string, BucketSchema])[] = [
  ['A/6H/BAR', { recordType: 'fixed', columns: COLUMNS }],
  ['A/1D/BAR', { recordType: 'fixed', columns: COLUMNS }],
  ['B/6H/TICK', { recordType: 'variable', columns: COLUMNS }],
];
const YEAR = Date.UTC(2021, 0, 1) / 1000;

/** Where, as a part of the file's interesting bytes, and what is there then. */
const damaged = fc.record({
  file: fc.nat(),
  place: fc.oneof(fc.nat({ max: 400 }), fc.nat({ max: 40_000 }), fc.nat()),
  fromSlots: fc.boolean(),
  bytes: fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 40 }),
    fc.constantFrom(1, 8, 24, 512).map((count) => new Uint8Array(count)),
  ),
});

async function makeStore(root: string, checksums: boolean): Promise<void> {
  const { catalog } = openStore(root, { checksums });
  for (const [path, schema] of SCHEMAS) {
    const rows = Array.from({ length: 60 }, (_, at) => {
      const epoch = YEAR + (at - 30) * (path.includes('1D') ? 86_400 : 21_600);
      return [epoch, at + 1, at];
    });
    catalog.declare(parseTimeBucketKey(path), schema).apply(blockOfRows(schema, rows));
  }
  await catalog.beginWriteBack().run();
  catalog.close();
}

async function seen(root: string): Promise<{ rows: Set<string>; damage: number }> {
  const { catalog, damage } = openStore(root);
  const rows = new Set<string>();
  for (const { key } of catalog.buckets()) {
    let series: ColumnSeries | undefined;
    try {
      series = await catalog.bucket(key.path)?.scan({ fromEnd: false });
    } catch (error) {
      // Refused, and told: the checksums say that it is not what was written.
      expect(error).toMatchObject({ code: 'MKTS_PAGE_CORRUPT' });
    }
    for (const row of series === undefined ? [] : rowsOf(series))
      rows.add(`${key.path} ${row.join(' ')}`);
  }
  catalog.close();
  return { rows, damage: damage.length };
}

function filesOf(root: string): readonly string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true, encoding: 'utf8' })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
    .sort();
}

test.each([
  ['without checksums', false],
  ['with checksums', true],
] as const)(`${RUNS} damaged directories %s`, { timeout: 300_000 }, async (_name, checksums) => {
  const root = join(temporaryDirectory(), 'data');
  await makeStore(root, checksums);
  const files = filesOf(root);
  const whole = new Map(files.map((path) => [path, readFileSync(path)]));
  const options = { root, filesystem: realFilesystem, zone: UTC };
  await fc.assert(
    fc.asyncProperty(fc.array(damaged, { minLength: 1, maxLength: 5 }), async (damages) => {
      for (const path of filesOf(root)) writeFileSync(path, whole.get(path) ?? '');
      for (const { file, place, fromSlots, bytes } of damages) {
        const path = files[file % files.length] ?? '';
        const content = readFileSync(path);
        const first = fromSlots && content.length > HEADER_BYTES ? HEADER_BYTES : 0;
        const at = Math.min(first + place, content.length - 1) % content.length;
        content.set(bytes.subarray(0, content.length - at), at);
        writeFileSync(path, content);
      }
      const before = await seen(root);
      const found = checkIntegrity(options);
      if (before.damage > 0) expect(found.damageCount).toBeGreaterThan(0);
      const { report } = repair({ ...options, reportPath: join(root, '../report.json') });
      const after = await seen(root);
      const gone = [...before.rows].filter((row) => !after.rows.has(row));
      expect(gone, 'a repair takes no row').toEqual([]);
      expect(report.findings.filter(({ isRepairable }) => isRepairable)).toEqual([]);
      if (report.damageCount === 0) expect(after.damage).toBe(0);
    }),
    { numRuns: RUNS },
  );
});
