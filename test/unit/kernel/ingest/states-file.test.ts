import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { CorruptionError } from '../../../../kernel/base/errors.ts';
import { PluginStates } from '../../../../kernel/ingest/plugin-states.ts';
import { StatesFile } from '../../../../kernel/ingest/states-file.ts';
import { STATE_FILE } from '../../../../kernel/storage/file-names.ts';
import { realFilesystem } from '../../../../kernel/storage/filesystem.ts';
import { crashingFilesystem } from '../../../support/crashing-filesystem.ts';
import { temporaryDirectory } from '../../../support/temporary-directory.ts';

const TEXTS = new Map([
  ['coinbase', new Map([['cursor', '{"trade":17}']])],
  [
    'größe',
    new Map([
      ['no json', '{"\u0000'],
      ['', '1'],
    ]),
  ],
]);

function setUp(filesystem = realFilesystem): {
  root: string;
  path: string;
  file: StatesFile;
  reports: CorruptionError[];
  load: () => ReturnType<StatesFile['load']>;
} {
  const root = temporaryDirectory();
  const reports: CorruptionError[] = [];
  const load = (): ReturnType<StatesFile['load']> =>
    new StatesFile(root, realFilesystem).load((error) => reports.push(error));
  const file = new StatesFile(root, filesystem);
  return { root, path: join(root, STATE_FILE), file, reports, load };
}

test('what is written is what is loaded, whatever a plugin called it', async () => {
  const { root, file, load, reports } = setUp();
  expect(load()).toEqual(new Map());
  await file.write(TEXTS);
  expect(load()).toEqual(TEXTS);
  const large = new Map([
    ['p', new Map(Array.from({ length: 40 }, (_, n) => [`n${n}`, `"${'é'.repeat(20_000)}"`]))],
  ]);
  await file.write(large);
  expect(load()).toEqual(large);
  await file.write(new Map());
  expect(load()).toEqual(new Map());
  expect(reports).toEqual([]);
  expect(readdirSync(root)).toEqual([STATE_FILE]);
});

test('its bytes are those of its header comment', async () => {
  const { path, file } = setUp();
  await file.write(new Map([['a', new Map([['cursor', '{"at":1}']])]]));
  expect(readFileSync(path, 'utf8')).toBe(
    '{"version":1,"crc32":"68f00015","states":[\n["a","cursor","{\\"at\\":1}"]\n]}\n',
  );
});

test.each<[string, (bytes: Buffer) => Buffer]>([
  ['cut short', (bytes) => bytes.subarray(0, bytes.length - 3)],
  ['empty', () => Buffer.alloc(0)],
  ['of zeros', (bytes) => Buffer.alloc(bytes.length)],
  ['with a changed byte', (bytes) => Buffer.from(bytes.map((byte, at) => (at === 60 ? 33 : byte)))],
  ['of another version', (bytes) => Buffer.from(bytes.toString().replace(':1,', ':2,'))],
  // Right checksums over something else.
  ['that is no JSON', () => Buffer.from('{"version":1,"crc32":"d202ef8d",\0')],
  ['without states', () => Buffer.from('{"version":1,"crc32":"f92aa350","x":1}')],
])('a file %s is reported and set aside, and the start goes on', async (_what, spoil) => {
  const { root, path, file, reports, load } = setUp();
  for (let n = 1; n <= 2; n++) {
    await file.write(TEXTS);
    writeFileSync(path, spoil(readFileSync(path)));
    expect(load()).toEqual(new Map());
    expect(reports).toHaveLength(n);
    expect(reports[0]).toMatchObject({ code: 'MKTS_STATE_CORRUPT', fields: { path } });
  }
  const names = [`${STATE_FILE}.damaged-1`, `${STATE_FILE}.damaged-2`];
  expect(readdirSync(root).sort()).toEqual(names);
  await file.write(TEXTS);
  expect(load()).toEqual(TEXTS);
});

test('killed at any operation of a write, the old states or the new ones are there', async () => {
  const newer = new Map([['coinbase', new Map([['cursor', '18']])]]);
  for (let killAt = 0; ; killAt++) {
    const { root, path, file, reports, load } = setUp();
    await file.write(TEXTS);
    const disk = crashingFilesystem(killAt);
    await new StatesFile(root, disk).write(newer).catch(() => undefined);
    expect([TEXTS, newer], `${path} ${killAt}`).toContainEqual(load());
    expect(reports).toEqual([]);
    if (!disk.isDead) break;
  }
});

test('it is written only if something changed since, and again if that failed', async () => {
  const { file, load } = setUp();
  const states = new PluginStates({ recovered: TEXTS, bytesMaxOf: () => 1000 });
  await file.begin(states)();
  expect(load()).toEqual(new Map());
  states.apply('coinbase', { name: 'cursor', json: '18' });
  const write = file.begin(states);
  // What comes after the snapshot waits for the next one.
  states.apply('coinbase', { name: 'cursor', json: '19' });
  await write();
  expect(load().get('coinbase')?.get('cursor')).toBe('18');
  await file.begin(states)();
  expect(load().get('coinbase')?.get('cursor')).toBe('19');
});
