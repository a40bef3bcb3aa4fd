/**
 * Our log and recorded ones of a Go server, as `mkts tool wal` tells them. The recordings lie beside
 * the project; without them that part is skipped.
 */

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { FLOAT64, INT64 } from '../../../../kernel/base/element-type.ts';
import { parseTimeBucketKey } from '../../../../kernel/base/time-bucket-key.ts';
import { UTC } from '../../../../kernel/base/zone.ts';
import { realFilesystem } from '../../../../kernel/storage/filesystem.ts';
import { describeLog, type LogItem } from '../../../../kernel/tools/describe-log.ts';
import { CrashFilesystem } from '../../../support/crash-filesystem.ts';
import { ROOT, type SimulatedServer, startSimulated } from '../../../support/simulated-server.ts';
import { temporaryDirectory } from '../../../support/temporary-directory.ts';

const KEY = 'A/1Min/BAR';
const T0 = Date.UTC(2021, 5, 1) / 1000;

async function write(server: SimulatedServer, first: number, count: number): Promise<void> {
  const epochs = Array.from({ length: count }, (_, at) => BigInt(T0 + 60 * (first + at)));
  await server.ingest.write([
    {
      key: parseTimeBucketKey(KEY),
      schema: { recordType: 'fixed', columns: [{ name: 'V', type: FLOAT64 }] },
      columns: [
        { name: 'Epoch', type: INT64, data: BigInt64Array.from(epochs) },
        { name: 'V', type: FLOAT64, data: Float64Array.from(epochs, Number) },
      ],
      rowCount: count,
    },
  ]);
}

function itemsOf(path: string, filesystem: CrashFilesystem): LogItem[] {
  return [...describeLog({ path, filesystem, zone: UTC })];
}

function ofType<T extends LogItem['type']>(
  items: readonly LogItem[],
  type: T,
): Extract<LogItem, { type: T }>[] {
  return items.filter((item): item is Extract<LogItem, { type: T }> => item.type === type);
}

describe('our log', () => {
  async function killed(): Promise<CrashFilesystem> {
    const filesystem = new CrashFilesystem();
    filesystem.makeDirectory(ROOT);
    const server = await startSimulated(filesystem);
    await write(server, 0, 3);
    await server.checkpointer.run();
    await write(server, 3, 2);
    const times = { fromSeconds: T0, fromNanos: 0, toSeconds: T0 + 60, toNanos: 0 };
    await server.ingest.deleteRows([KEY], times);
    const { writer } = server.plugin('feed');
    await writer.write(
      'F/1Min/BAR',
      { Epoch: [T0], V: Float64Array.of(1) },
      { state: { next: 7 } },
    );
    await writer.flush();
    await server.committer.idle();
    filesystem.settle();
    return filesystem.restart(1);
  }

  test('files, records, and what is in them, in order', async () => {
    const filesystem = await killed();
    const items = itemsOf(ROOT, filesystem);
    const [file] = ofType(items, 'file');
    expect(file).toMatchObject({ format: 'mkts', says: expect.stringMatching(/^segment 1, from/) });
    const records = ofType(items, 'record');
    expect(records.map(({ offset }) => offset)).toEqual(
      records.map(({ offset }) => offset).toSorted((a, b) => a - b),
    );
    const parts = records.flatMap((record) => record.parts);
    expect(parts.filter(({ rows }) => rows !== undefined).slice(0, 2)).toEqual([
      { what: 'rows', key: KEY, rows: 3, fromSeconds: T0, toSeconds: T0 + 120, by: 'a client' },
      {
        what: 'rows',
        key: KEY,
        rows: 2,
        fromSeconds: T0 + 180,
        toSeconds: T0 + 240,
        by: 'a client',
      },
    ]);
    expect(parts.find(({ what }) => what === 'rows are deleted')).toEqual({
      what: 'rows are deleted',
      key: KEY,
      fromSeconds: T0,
      toSeconds: T0 + 60,
      by: 'a client',
    });
    const said = parts.map(({ what }) => what).join('\n');
    expect(said).toMatch(/bucket \d+ is fixed: V/);
    expect(said).toMatch(/checkpoint up to \d+ is complete/);
    expect(said).toContain('plugin feed remembers next');
    expect(ofType(items, 'end')[0]).toMatchObject({ waitingGroups: 3, tornBytes: 0, rows: 6 });
    expect(ofType(items, 'damage')).toEqual([]);
  });

  test('a file alone, a torn end, damage in the middle', async () => {
    const filesystem = await killed();
    const [path = ''] = filesystem.files().filter((name) => name.endsWith('.wal'));
    const records = ofType(itemsOf(path, filesystem), 'record');
    const groups = records.filter(({ kind }) => kind === 'group');
    const last = groups.at(-1);
    const middle = groups[0];
    if (last?.bytes === undefined || middle === undefined) throw new Error('there are groups');
    const file = filesystem.open(path, 'read-write');
    file.write(Uint8Array.of(0xff), last.offset + last.bytes - 1);
    const [torn] = ofType(itemsOf(path, filesystem), 'end');
    expect(torn).toMatchObject({ offset: last.offset, tornBytes: last.bytes, waitingGroups: 2 });
    expect(torn?.why).toContain('a crash cut off');
    file.write(Uint8Array.of(0xff), middle.offset + 48);
    const damaged = itemsOf(path, filesystem);
    expect(ofType(damaged, 'damage')).toMatchObject([{ path, offset: middle.offset }]);
    expect(ofType(damaged, 'record')).toHaveLength(records.length - 2);
  });

  test('what is no log is refused', () => {
    const filesystem = new CrashFilesystem();
    filesystem.makeDirectory(ROOT);
    const unknown = expect.objectContaining({ code: 'MKTS_LOG_UNKNOWN' });
    expect(() => itemsOf(ROOT, filesystem)).toThrow(unknown);
    expect(() => itemsOf(`${ROOT}/x.wal`, filesystem)).toThrow(unknown);
    filesystem
      .open(`${ROOT}/x`, 'create')
      .write(Buffer.from('text of somebody, 42 bytes long or so'), 0);
    expect(() => itemsOf(`${ROOT}/x`, filesystem)).toThrow(unknown);
  });
});

const GOLDEN = resolve(import.meta.dirname, '../../../../../shared/golden/wal');
const isMissing = !existsSync(GOLDEN);
const NAMES = isMissing
  ? ['none']
  : readdirSync(GOLDEN).flatMap((name) => /^(.*)\.tar\.gz$/.exec(name)?.[1] ?? []);

interface Recorded {
  readonly at: number;
  readonly kind: 'status' | 'info' | 'tg';
  readonly tgid?: string;
  readonly sets?: number;
  readonly write_sets?: readonly { readonly path: string; readonly index: number }[];
}

describe(`logs of a Go server${isMissing ? ' (skipped: ../shared/golden is not there)' : ''}`, () => {
  test.skipIf(isMissing).each(NAMES)('%s: each message is told where it is', (name) => {
    const directory = temporaryDirectory();
    execFileSync('tar', ['-xzf', join(GOLDEN, `${name}.tar.gz`), '-C', directory]);
    const recorded = JSON.parse(
      gunzipSync(readFileSync(join(GOLDEN, `${name}.json.gz`))).toString(),
    ) as { readonly wal_file: string; readonly wal_messages: readonly Recorded[] };
    const path = join(directory, 'data', recorded.wal_file);
    const items = [...describeLog({ path, filesystem: realFilesystem, zone: UTC })];
    const kinds = { status: 'status', info: 'transaction', tg: 'group' } as const;
    expect(
      ofType(items, 'record').map(({ offset, kind, sequence, parts }) => ({
        offset,
        kind,
        id: sequence === undefined ? undefined : String(sequence),
        places: kind === 'group' ? parts.map(({ key, what }) => `${key} ${what}`) : [],
        count: kind === 'group' ? parts.length : undefined,
      })),
    ).toEqual(
      recorded.wal_messages.map(({ at, kind, tgid, sets, write_sets }) => ({
        offset: at,
        kind: kinds[kind],
        id: kind === 'tg' ? tgid : undefined,
        count: sets,
        // Of a large group the recording has only how many there are.
        places:
          kind !== 'tg'
            ? []
            : (write_sets?.map(({ path: file, index }) => {
                const [, key = '', year = ''] = /^(.*)\/(\d+)\.bin$/.exec(file) ?? [];
                const record = key.endsWith('TICK') ? 'ticks' : 'bar';
                return `${key} ${record} of slot ${index} of ${year}`;
              }) ?? expect.anything()),
      })),
    );
  });
});
