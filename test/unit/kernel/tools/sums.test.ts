import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { INT32 } from '../../../../kernel/base/element-type.ts';
import type { BucketSchema } from '../../../../kernel/base/schema.ts';
import { parseTimeBucketKey } from '../../../../kernel/base/time-bucket-key.ts';
import { UTC } from '../../../../kernel/base/zone.ts';
import { realFilesystem } from '../../../../kernel/storage/filesystem.ts';
import { HEADER_BYTES } from '../../../../kernel/storage/header.ts';
import type { Finding } from '../../../../kernel/tools/findings.ts';
import { checkIntegrity, type IntegrityReport } from '../../../../kernel/tools/integrity.ts';
import { type Repaired, repair } from '../../../../kernel/tools/repair.ts';
import { type Sealed, seal } from '../../../../kernel/tools/seal.ts';
import { flipBit } from '../../../support/flip-bit.ts';
import { blockOfRows, openStore, rowsOf } from '../../../support/store.ts';
import { temporaryDirectory } from '../../../support/temporary-directory.ts';

const BAR: BucketSchema = { recordType: 'fixed', columns: [{ name: 'A', type: INT32 }] };
const TICK: BucketSchema = { recordType: 'variable', columns: [{ name: 'A', type: INT32 }] };
const YEAR = Date.UTC(2021, 0, 1) / 1000;
const BARS = 'A/1H/BAR';
const TICKS = 'A/1H/TICK';
const BAR_FILE = `${BARS}/2021.bin`;
const TICK_FILE = `${TICKS}/2021.bin`;
const BAR_BYTES = 16;
const PAGE = 2048 * BAR_BYTES;

let root: string;
beforeEach(() => {
  root = join(temporaryDirectory(), 'data');
});

/** Two pages of bars, one of cells, 40 chunks. */
async function fill(checksums: boolean): Promise<void> {
  const { catalog } = openStore(root, { checksums });
  const bars = Array.from({ length: 3000 }, (_, at) => [YEAR + at * 3600, at + 1]);
  catalog.declare(parseTimeBucketKey(BARS), BAR).apply(blockOfRows(BAR, bars));
  const ticks = Array.from({ length: 80 }, (_, at) => [YEAR + (at >> 1) * 3600 + at, at, 5]);
  catalog.declare(parseTimeBucketKey(TICKS), TICK).apply(blockOfRows(TICK, ticks));
  await catalog.beginWriteBack().run();
  catalog.close();
}

const options = (): Parameters<typeof checkIntegrity>[0] => ({
  root,
  filesystem: realFilesystem,
  zone: UTC,
});
const check = (): IntegrityReport => checkIntegrity(options());
const mend = (): Repaired => repair({ ...options(), reportPath: join(root, '..', 'report.json') });
const sealAll = (): Sealed => seal(options(), check());
const at = (path: string): string => join(root, path);

async function rowCount(key: string): Promise<number> {
  const { catalog } = openStore(root);
  const series = await catalog.bucket(key)?.scan({ fromEnd: false });
  catalog.close();
  return series === undefined ? 0 : rowsOf(series).length;
}

function damage({ findings }: IntegrityReport): readonly Finding[] {
  return findings.filter(({ severity }) => severity === 'damage');
}

/** Of the first chunk of ticks. */
function firstChunk(): { offset: number; length: number } {
  const cells = readFileSync(at(TICK_FILE));
  return {
    offset: Number(cells.readBigInt64LE(HEADER_BYTES + 8)),
    length: Number(cells.readBigInt64LE(HEADER_BYTES + 16)),
  };
}

function lastByteOfChunk(): number {
  const { offset, length } = firstChunk();
  return offset + length - 1;
}

const ALL = { files: 2, pages: 3, coveredPages: 3, chunks: 40, coveredChunks: 40 };

test('what is covered is counted, and a directory without sums has none', async () => {
  await fill(false);
  expect(check()).toMatchObject({ damageCount: 0, findings: [], sums: { files: 0, pages: 0 } });
  rmSync(root, { recursive: true });
  await fill(true);
  expect(check()).toMatchObject({ damageCount: 0, findings: [], sums: ALL });
});

test('a bit flipped in the value of a bar is found, named, and accepted by a repair that keeps the page', async () => {
  await fill(true);
  flipBit(at(BAR_FILE), HEADER_BYTES + PAGE + 5 * BAR_BYTES + 8);
  const found = damage(check());
  expect(found).toMatchObject([
    {
      code: 'MKTS_PAGE_CORRUPT',
      path: BAR_FILE,
      offset: HEADER_BYTES + PAGE,
      key: BARS,
      fromSeconds: YEAR + 2048 * 3600,
      toSeconds: YEAR + 4096 * 3600,
      isRepairable: true,
    },
  ]);
  await expect(rowCount(BARS)).rejects.toMatchObject({ code: 'MKTS_PAGE_CORRUPT' });
  const before = readFileSync(at(BAR_FILE));
  const { report } = mend();
  expect([report.damageCount, report.sums]).toEqual([0, ALL]);
  expect(readFileSync(at(BAR_FILE)).equals(before), 'its bytes are as they were').toBe(true);
  const written = JSON.parse(readFileSync(join(root, '..', 'report.json'), 'utf8')) as {
    findings: { code: string }[];
    changes: { path: string; offset: number; before: string }[];
  };
  expect(written.findings.map(({ code }) => code)).toEqual(['MKTS_PAGE_CORRUPT']);
  const kept = written.changes.find(({ path }) => path === BAR_FILE);
  expect(kept?.offset).toBe(HEADER_BYTES + PAGE);
  expect(Buffer.from(kept?.before ?? '', 'base64')).toEqual(
    before.subarray(HEADER_BYTES + PAGE, HEADER_BYTES + 2 * PAGE),
  );
  expect(await rowCount(BARS)).toBe(3000);
});

test('a bit flipped in a chunk of ticks is found with its offset and length, and accepted', async () => {
  await fill(true);
  const { offset, length } = firstChunk();
  flipBit(at(TICK_FILE), lastByteOfChunk(), 3);
  const [found] = damage(check());
  expect(found).toMatchObject({
    code: 'MKTS_PAGE_CORRUPT',
    path: TICK_FILE,
    offset,
    key: TICKS,
    fromSeconds: YEAR,
    toSeconds: YEAR + 3600,
    isRepairable: true,
  });
  expect(found?.what).toContain(`${length} bytes`);
  expect(mend().report.sums).toEqual(ALL);
  expect(await rowCount(TICKS)).toBe(80);
});

test('a bit flipped in an index is put right, and the sum proves it', async () => {
  await fill(true);
  flipBit(at(BAR_FILE), HEADER_BYTES + 3 * BAR_BYTES + 2, 4);
  expect(damage(check()).map(({ code, isRepairable }) => [code, isRepairable])).toEqual([
    ['MKTS_CELL_CORRUPT', true],
    ['MKTS_PAGE_CORRUPT', false],
  ]);
  const { report, repaired } = mend();
  expect(report.damageCount).toBe(0);
  expect(repaired.map(({ code }) => code)).toEqual(['MKTS_CELL_CORRUPT']);
  expect(await rowCount(BARS)).toBe(3000);
});

test('what was written over rot stays refused until a repair accepts it', async () => {
  await fill(true);
  const { offset } = firstChunk();
  flipBit(at(TICK_FILE), offset + 1);
  flipBit(at(BAR_FILE), HEADER_BYTES + 8);
  const { catalog } = openStore(root, { checksums: true });
  catalog.declare(parseTimeBucketKey(BARS), BAR).apply(blockOfRows(BAR, [[YEAR + 3600, 7]]));
  catalog.declare(parseTimeBucketKey(TICKS), TICK).apply(blockOfRows(TICK, [[YEAR, 7, 0]]));
  await catalog.beginWriteBack().run();
  catalog.close();
  expect(damage(check()).map(({ code, path }) => [code, path])).toEqual([
    ['MKTS_PAGE_CORRUPT', BAR_FILE],
    ['MKTS_PAGE_CORRUPT', TICK_FILE],
  ]);
  for (const key of [BARS, TICKS])
    await expect(rowCount(key)).rejects.toMatchObject({ code: 'MKTS_PAGE_CORRUPT' });
  const { report } = mend();
  expect([report.damageCount, report.sums]).toEqual([0, ALL]);
  expect(await rowCount(BARS)).toBe(3000);
});

test('a header of sums that rotted is found, and begun anew by a repair', async () => {
  await fill(true);
  flipBit(at(`${BARS}/2021.sums`), 9);
  expect(damage(check())).toMatchObject([
    { code: 'MKTS_SUMS_CORRUPT', path: `${BARS}/2021.sums`, isRepairable: true },
  ]);
  expect(mend().report).toMatchObject({
    damageCount: 0,
    sums: { ...ALL, pages: 3, coveredPages: 1 },
  });
});

test('a seal covers what was written without sums; a bit that flips after it is found', async () => {
  await fill(false);
  expect(sealAll()).toEqual({ pages: 3, chunks: 40, leftOut: 0 });
  expect(check()).toMatchObject({ damageCount: 0, sums: ALL });
  expect(sealAll()).toEqual({ pages: 0, chunks: 0, leftOut: 0 });
  flipBit(at(BAR_FILE), HEADER_BYTES + 8);
  flipBit(at(TICK_FILE), lastByteOfChunk());
  expect(damage(check()).map(({ code, path }) => [code, path])).toEqual([
    ['MKTS_PAGE_CORRUPT', BAR_FILE],
    ['MKTS_PAGE_CORRUPT', TICK_FILE],
  ]);
});

test('a seal adds to what is covered, and leaves year files with damage out', async () => {
  await fill(true);
  const { catalog } = openStore(root, { checksums: false });
  catalog.declare(parseTimeBucketKey(BARS), BAR).apply(blockOfRows(BAR, [[YEAR, 5]]));
  await catalog.beginWriteBack().run();
  catalog.close();
  flipBit(at(TICK_FILE), lastByteOfChunk());
  const report = check();
  expect(report.sums).toEqual({ ...ALL, coveredPages: 2 });
  expect(seal(options(), report)).toEqual({ pages: 1, chunks: 0, leftOut: 1 });
  expect(check().sums).toEqual(ALL);
  expect(damage(check()).map(({ path }) => path)).toEqual([TICK_FILE]);
});

test('sums say nothing where the log of a Go server waits, which the next start drops them for', async () => {
  await fill(true);
  flipBit(at(BAR_FILE), HEADER_BYTES + 8);
  flipBit(at(TICK_FILE), lastByteOfChunk());
  writeFileSync(at('WALFile.1.walfile'), '');
  const report = check();
  expect(damage(report).filter(({ code }) => code === 'MKTS_PAGE_CORRUPT')).toEqual([]);
  expect(report.sums.files).toBe(0);
});

test('nothing is sealed while the log of a Go server waits', async () => {
  await fill(false);
  writeFileSync(at('WALFile.1.walfile'), '');
  expect(sealAll).toThrow(expect.objectContaining({ code: 'MKTS_SEAL' }));
  expect(existsSync(at(`${BARS}/2021.sums`))).toBe(false);
});
