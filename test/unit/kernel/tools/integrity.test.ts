import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { INT32 } from '../../../../kernel/base/element-type.ts';
import type { BucketSchema } from '../../../../kernel/base/schema.ts';
import { parseTimeBucketKey } from '../../../../kernel/base/time-bucket-key.ts';
import { UTC } from '../../../../kernel/base/zone.ts';
import { realFilesystem } from '../../../../kernel/storage/filesystem.ts';
import { HEADER_BYTES } from '../../../../kernel/storage/header.ts';
import type { Finding } from '../../../../kernel/tools/findings.ts';
import { checkIntegrity, type IntegrityReport } from '../../../../kernel/tools/integrity.ts';
import { type Repaired, repair } from '../../../../kernel/tools/repair.ts';
import { blockOfRows, openStore, rowsOf } from '../../../support/store.ts';
import { temporaryDirectory } from '../../../support/temporary-directory.ts';

const BAR: BucketSchema = { recordType: 'fixed', columns: [{ name: 'A', type: INT32 }] };
const TICK: BucketSchema = { recordType: 'variable', columns: [{ name: 'A', type: INT32 }] };
const YEAR = Date.UTC(2021, 0, 1) / 1000;
const BARS = 'A/1H/BAR';
const TICKS = 'A/1H/TICK';
const BAR_BYTES = 16;
const CELL_BYTES = 24;
const REPORT = 'report.json';

let root: string;
beforeEach(async () => {
  root = join(temporaryDirectory(), 'data');
  const { catalog } = openStore(root);
  const hours = Array.from({ length: 40 }, (_, at) => YEAR - 20 * 3600 + at * 3600);
  catalog.declare(parseTimeBucketKey(BARS), BAR).apply(
    blockOfRows(
      BAR,
      hours.map((epoch, at) => [epoch, at + 1]),
    ),
  );
  catalog.declare(parseTimeBucketKey(TICKS), TICK).apply(
    blockOfRows(
      TICK,
      hours.flatMap((epoch, at) => [
        [epoch, at, 5],
        [epoch + 9, at, 6],
      ]),
    ),
  );
  await catalog.beginWriteBack().run();
  catalog.close();
});

const options = (): Parameters<typeof checkIntegrity>[0] => ({
  root,
  filesystem: realFilesystem,
  zone: UTC,
});
const check = (): IntegrityReport => checkIntegrity(options());
const mend = (): Repaired => repair({ ...options(), reportPath: join(root, '..', REPORT) });

/** The part of a finding that is said of it, for short comparisons. */
function short({ code, path, offset, key, isRepairable }: Finding): unknown {
  return [code, path, offset, key, isRepairable];
}

function damage({ findings }: IntegrityReport): readonly Finding[] {
  return findings.filter(({ severity }) => severity === 'damage');
}

function patch(path: string, offset: number, bytes: Uint8Array): void {
  const whole = readFileSync(join(root, path));
  whole.set(bytes, offset);
  writeFileSync(join(root, path), whole);
}

async function rows(key: string): Promise<number[][]> {
  const { catalog } = openStore(root);
  const series = await catalog.bucket(key)?.scan({ fromEnd: false });
  catalog.close();
  return series === undefined ? [] : rowsOf(series);
}

/** Every file with its bytes and times. */
function everything(): unknown {
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((name) => {
      const { mtimeMs, ctimeMs, size } = statSync(join(root, name));
      return { name, mtimeMs, ctimeMs, size };
    });
}

test('a directory as a server leaves it is clean, and not a byte of it is touched', () => {
  const before = everything();
  expect(check()).toMatchObject({ findings: [], damageCount: 0, yearFiles: 4, slots: 80 });
  expect(everything()).toEqual(before);
});

describe('what is wrong is named, and put right where that is safe', () => {
  test('a bit flipped in the index of a bar: the bar is back', async () => {
    const all = await rows(BARS);
    patch(`${BARS}/2021.bin`, HEADER_BYTES + 3 * BAR_BYTES + 2, Uint8Array.of(0x10));
    expect(await rows(BARS)).toHaveLength(all.length - 1);
    const [found] = damage(check());
    expect(found).toMatchObject({
      code: 'MKTS_CELL_CORRUPT',
      path: `${BARS}/2021.bin`,
      offset: HEADER_BYTES + 3 * BAR_BYTES,
      key: BARS,
      fromSeconds: YEAR + 3 * 3600,
      toSeconds: YEAR + 4 * 3600,
      isRepairable: true,
    });
    expect(mend().report.damageCount).toBe(0);
    expect(await rows(BARS)).toEqual(all);
  });

  test('bars that are not of their place: neighbours are one finding, emptied, and kept', async () => {
    const at = HEADER_BYTES + 5 * BAR_BYTES;
    const garbage = new Uint8Array(3 * BAR_BYTES).fill(0xab);
    patch(`${BARS}/2021.bin`, at, garbage);
    const seen = await rows(BARS);
    const found = damage(check());
    expect(found.map(short)).toEqual([['MKTS_CELL_CORRUPT', `${BARS}/2021.bin`, at, BARS, true]]);
    expect(found[0]).toMatchObject({ toSeconds: YEAR + 8 * 3600 });
    expect(mend()).toMatchObject({ changeCount: 1, report: { damageCount: 0 } });
    expect(await rows(BARS)).toEqual(seen);
    const { changes } = JSON.parse(readFileSync(join(root, '..', REPORT), 'utf8'));
    expect(changes).toEqual([
      {
        path: `${BARS}/2021.bin`,
        offset: at,
        before: Buffer.from(garbage).toString('base64'),
        after: Buffer.alloc(garbage.length).toString('base64'),
      },
    ]);
  });

  test('an index that is gone leaves values without one', () => {
    patch(`${BARS}/2021.bin`, HEADER_BYTES + 2 * BAR_BYTES, new Uint8Array(8));
    expect(damage(check())[0]?.what).toBe('there are values, and no index');
    expect(mend().report.damageCount).toBe(0);
  });

  test('a cell whose index is wrong leads to its ticks again', async () => {
    const all = await rows(TICKS);
    patch(`${TICKS}/2021.bin`, HEADER_BYTES + 4 * CELL_BYTES, new Uint8Array(8).fill(7));
    patch(`${TICKS}/2021.bin`, HEADER_BYTES + 9 * CELL_BYTES, new Uint8Array(8));
    expect(damage(check()).map(({ isRepairable }) => isRepairable)).toEqual([true, true]);
    expect(mend().report.damageCount).toBe(0);
    expect(await rows(TICKS)).toEqual(all);
  });

  test('a cell that copies another is emptied: its chunk has an owner', async () => {
    const whole = readFileSync(join(root, TICKS, '2021.bin'));
    const copied = whole.subarray(HEADER_BYTES, HEADER_BYTES + CELL_BYTES);
    patch(`${TICKS}/2021.bin`, HEADER_BYTES + 500 * CELL_BYTES, copied);
    const all = await rows(TICKS);
    expect(mend().report.damageCount).toBe(0);
    expect(await rows(TICKS)).toEqual(all);
  });

  test('a file cut short: the cells that lead past its end are emptied', async () => {
    const path = join(root, TICKS, '2021.bin');
    truncateSync(path, statSync(path).size - 1);
    const found = damage(check());
    expect(found).toHaveLength(1);
    expect(found[0]?.what).toContain('is not in the file');
    const seen = await rows(TICKS);
    expect(mend().report.damageCount).toBe(0);
    expect(await rows(TICKS)).toEqual(seen);
  });

  test('a chunk that does not decode is told and left as it is', () => {
    const path = join(root, TICKS, '2021.bin');
    const chunkAt = Number(readFileSync(path).readBigInt64LE(HEADER_BYTES + 4 * CELL_BYTES + 8));
    patch(`${TICKS}/2021.bin`, chunkAt, Uint8Array.of(0xff, 0xff, 0xff));
    const before = readFileSync(path);
    const { repaired, report } = mend();
    expect(repaired).toEqual([]);
    expect(damage(report).map(({ isRepairable }) => isRepairable)).toEqual([false]);
    expect(damage(report)[0]?.what).toContain('neither a snappy block');
    expect(readFileSync(path).equals(before)).toBe(true);
    expect(existsSync(join(root, '..', REPORT)), 'no change, no report').toBe(false);
  });

  test('chunks that share bytes', () => {
    const path = `${TICKS}/2021.bin`;
    const whole = readFileSync(join(root, path));
    // The cell of the second hour, its own index, leads to the chunk of the first.
    const places = whole.subarray(HEADER_BYTES + 8, HEADER_BYTES + CELL_BYTES);
    patch(path, HEADER_BYTES + CELL_BYTES + 8, Uint8Array.from(places));
    const [found] = damage(check());
    expect(found?.what).toContain('shares bytes');
    expect(found?.isRepairable).toBe(false);
  });

  test('a damaged header is written again from that of another year', async () => {
    const all = await rows(BARS);
    patch(`${BARS}/2020.bin`, 270, new Uint8Array(600).fill(0x5a));
    expect(await rows(BARS)).toHaveLength(20);
    const [found] = damage(check());
    expect(found).toMatchObject({ code: 'MKTS_YEAR_FILE_CORRUPT', isRepairable: true });
    expect(mend().report.damageCount).toBe(0);
    expect(await rows(BARS)).toEqual(all);
  });

  test('a header is not invented for slots that do not bear it out', () => {
    patch(`${BARS}/2020.bin`, 296, Uint8Array.of(24));
    const slot = HEADER_BYTES + BAR_BYTES * 8000;
    patch(`${BARS}/2020.bin`, slot, Uint8Array.of(1, 2, 3));
    expect(mend().report.damageCount).toBe(1);
  });

  test.each([
    ['', 'garbage'],
    ['A', ''],
    ['A/1H', '\0\0\0\0'],
    [BARS, 'Symbol!'],
  ])(
    'a category file of %j that holds %j hides what is below it, until it is repaired',
    async (at, text) => {
      const all = [await rows(BARS), await rows(TICKS)];
      writeFileSync(join(root, at, 'category_name'), text);
      patch(`${BARS}/2021.bin`, HEADER_BYTES + 3 * BAR_BYTES + 2, Uint8Array.of(0x10));
      expect(damage(check())[0]).toMatchObject({
        code: 'MKTS_CATALOG_CORRUPT',
        isRepairable: true,
      });
      const { report, repaired } = mend();
      expect(report.damageCount).toBe(0);
      expect(repaired.map(({ code }) => code)).toContain('MKTS_CELL_CORRUPT');
      expect([await rows(BARS), await rows(TICKS)]).toEqual(all);
    },
  );
});

test('strays are named: those a Go server would take for its own are damage', () => {
  const put = (path: string): void => writeFileSync(join(root, path), 'x');
  mkdirSync(join(root, BARS, 'old'));
  put('other.walfile');
  put(`${BARS}/backup.bin`);
  put('A/notes.txt');
  put('mkts-state.json.new');
  put(`${BARS}/2021.bin.damaged-1`);
  put('mkts-0000000000000007.wal.damaged');
  const found = check().findings.map(({ severity, path }) => `${severity} ${path}`);
  expect(found.sort()).toEqual([
    'damage A/1H/BAR/backup.bin',
    'damage A/1H/BAR/old',
    'damage other.walfile',
    'note A/1H/BAR/2021.bin.damaged-1',
    'note A/notes.txt',
    'note mkts-0000000000000007.wal.damaged',
    'note mkts-state.json.new',
  ]);
});

test('files of plugins: states, what was agreed to, letters', () => {
  writeFileSync(join(root, 'mkts-state.json'), '{"version":1,"crc32":"00000000","states":[]}');
  writeFileSync(join(root, 'mkts-consent.json'), '{"format":9}');
  writeFileSync(join(root, 'mkts-letters-p.jsonl'), '{"removed":[1]}\nnot a letter\n{"remov');
  expect(check().findings.map(short)).toEqual([
    ['MKTS_STATE_CORRUPT', 'mkts-state.json', undefined, undefined, false],
    ['MKTS_CATALOG_CORRUPT', 'mkts-consent.json', undefined, undefined, false],
    ['MKTS_LETTERS_CORRUPT', 'mkts-letters-p.jsonl', 16, undefined, false],
    ['MKTS_LETTERS_CORRUPT', 'mkts-letters-p.jsonl', 29, undefined, false],
  ]);
  expect(check().damageCount, 'a torn last line is what a crash leaves').toBe(3);
});

test('a repair that fails half way can be made again', async () => {
  const all = await rows(BARS);
  const path = `${BARS}/2021.bin`;
  for (const hour of [3, 9]) patch(path, HEADER_BYTES + hour * BAR_BYTES + 2, Uint8Array.of(0x10));
  const copy = join(root, '../copy');
  cpSync(root, copy, { recursive: true });
  let writes = 0;
  const failing: typeof realFilesystem = {
    ...realFilesystem,
    open(name, mode) {
      const file = realFilesystem.open(name, mode);
      if (!name.endsWith('.bin')) return file;
      return {
        path: file.path,
        read: (target, offset) => file.read(target, offset),
        write(source, offset) {
          if (++writes === 2) throw new Error('the disk fails');
          file.write(source, offset);
        },
        size: () => file.size(),
        truncate: (bytes) => file.truncate(bytes),
        datasyncBlocking: () => file.datasyncBlocking(),
        datasync: () => file.datasync(),
        close: () => file.close(),
      };
    },
  };
  const reportPath = join(root, '..', REPORT);
  expect(() => repair({ ...options(), filesystem: failing, reportPath })).toThrow('the disk fails');
  const { changes } = JSON.parse(readFileSync(reportPath, 'utf8'));
  expect(changes, 'what was overwritten is in the report already').toHaveLength(2);
  expect(mend().report.damageCount).toBe(0);
  expect(await rows(BARS)).toEqual(all);
  rmSync(copy, { recursive: true });
});
