/** Who asks for more than was agreed to, what is written down of it, and what is told of denials. */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { DENIAL_LINE_MS } from '../../../../kernel/base/limits.ts';
import { realFilesystem } from '../../../../kernel/storage/filesystem.ts';
import { Consents } from '../../../../kernel/supervisor/consents.ts';
import { Denials } from '../../../../kernel/supervisor/denials.ts';
import { asksBeyond, asksOf } from '../../../../kernel/supervisor/plugin-asks.ts';
import type { PluginEntry } from '../../../../kernel/supervisor/plugin-entry.ts';
import { writeGrants } from '../../../../kernel/supervisor/write-grants.ts';
import type { PluginDescription } from '../../../../workers/protocol.ts';
import { temporaryDirectory } from '../../../support/temporary-directory.ts';

function description(given: Partial<PluginDescription> = {}): PluginDescription {
  return {
    kind: 'bgworker',
    name: 'probe',
    version: '2.0.0',
    api: 1,
    network: [],
    networkFromConfig: [],
    writes: ['BTC/1Min/OHLCV'],
    secrets: [],
    builtins: [],
    configSchema: undefined,
    ...given,
  };
}

function entry(given: Partial<PluginEntry> = {}): PluginEntry {
  return {
    name: 'probe',
    kind: 'bgworker',
    module: 'probe.ts',
    config: {},
    locate: () => '',
    ...given,
  };
}

interface Line {
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

function recordingLog(): { lines: Line[]; log: ConstructorParameters<typeof Denials>[0] } {
  const lines: Line[] = [];
  const note = (fields: Line['fields'], message: string): void => {
    lines.push({ fields, message });
  };
  return { lines, log: { debug: note, info: note, warn: note, error: note } };
}

test('what is asked for is listed, and what the operator wrote down is no ask', () => {
  const asking = description({
    network: ['api.example.com', 'b.example.com:8443'],
    networkFromConfig: ['base_url'],
    secrets: ['api_key'],
    builtins: ['crypto'],
  });
  expect(asksOf(asking, entry())).toEqual([
    'builtin crypto',
    'network api.example.com',
    'network b.example.com:8443',
    'network-from-config base_url',
    'secret api_key',
    'write BTC/1Min/OHLCV',
  ]);
  const given = entry({ network: ['api.example.com'], writes: ['*/*/*'], grants: ['crypto'] });
  expect(asksOf(asking, given)).toEqual([
    'network b.example.com:8443',
    'network-from-config base_url',
    'secret api_key',
  ]);
  expect(asksOf(description({ writes: undefined }), entry())).toEqual(['write any key']);
});

test('less, the same, or a part of what was agreed to is not more', () => {
  expect(asksBeyond(['write BTC/1Min/OHLCV'], ['write any key'])).toEqual([]);
  expect(asksBeyond(['write any key'], ['write BTC/1Min/OHLCV'])).toEqual(['write any key']);
  expect(asksBeyond(['network a.com:443'], ['network a.com'])).toEqual([]);
  expect(asksBeyond(['network a.com:444', 'network a.com'], ['network a.com:443'])).toEqual([
    'network a.com:444',
    'network a.com',
  ]);
  expect(asksBeyond([], ['secret a'])).toEqual([]);
});

test('the first start agrees; more waits, and approval agrees to what was refused', async () => {
  const root = temporaryDirectory();
  const { lines, log } = recordingLog();
  const open = (): Consents =>
    new Consents({ root, filesystem: realFilesystem, log, isOwn: () => false });
  const consents = open();
  expect(await consents.check(entry(), description())).toBeUndefined();
  expect(lines.map(({ fields }) => fields.asks)).toEqual([['write BTC/1Min/OHLCV']]);
  expect(consents.approve('probe')).toBe(false);

  const more = description({ secrets: ['api_key'] });
  const later = open();
  expect(await later.check(entry(), description())).toBeUndefined();
  expect(await later.check(entry(), more)).toMatchObject({
    code: 'MKTS_CONSENT',
    fields: { plugin: 'probe', version: '2.0.0', asks: 'secret api_key' },
  });
  expect(later.approve('probe')).toBe(true);
  expect(later.approve('probe')).toBe(false);
  expect(await later.check(entry(), more)).toBeUndefined();
  expect(await open().check(entry(), more)).toBeUndefined();
  expect(readdirSync(root)).toEqual(['mkts-consent.json']);
});

test('an operator’s own words are consent; another module is another plugin; ours is not asked about', async () => {
  const root = temporaryDirectory();
  const { log } = recordingLog();
  const consents = new Consents({
    root,
    filesystem: realFilesystem,
    log,
    isOwn: ({ module }) => module === 'binancefeeder',
  });
  await consents.check(entry(), description());
  const everything = description({ writes: undefined });
  expect(await consents.check(entry(), everything)).toMatchObject({ code: 'MKTS_CONSENT' });
  expect(await consents.check(entry({ writes: ['*/*/*'] }), everything)).toBeUndefined();
  // What waited is no longer what runs: it cannot be approved any more.
  expect(consents.approve('probe')).toBe(false);
  expect(await consents.check(entry({ module: 'other.ts' }), everything)).toBeUndefined();
  const own = entry({ name: 'binance', module: 'binancefeeder' });
  expect(await consents.check(own, everything)).toBeUndefined();
  expect(consents.agreedTo('binance')).toBeUndefined();
});

test.each(['{', '{"format":2,"plugins":{}}', '{"format":1,"plugins":{"a":{"module":1}}}', '\xff'])(
  'a damaged file is set aside and told, and the start goes on: %j',
  async (text) => {
    const root = temporaryDirectory();
    writeFileSync(join(root, 'mkts-consent.json'), text, 'latin1');
    const { lines, log } = recordingLog();
    const consents = new Consents({ root, filesystem: realFilesystem, log, isOwn: () => false });
    expect(lines).toMatchObject([{ fields: { code: 'MKTS_CATALOG_CORRUPT' } }]);
    expect(readFileSync(join(root, 'mkts-consent.json.damaged'), 'latin1')).toBe(text);
    expect(await consents.check(entry(), description())).toBeUndefined();
  },
);

test('write grants: patterns match whole keys, a year or a slip is refused', () => {
  const { allows } = writeGrants({ writes: ['BTC*/1Min/{OHLCV,TICK}'] }, description());
  expect(allows('BTC-USD/1Min/TICK')).toBe(true);
  expect(allows('XBTC-USD/1Min/TICK')).toBe(false);
  expect(allows('BTC-USD/1Min/TICKS')).toBe(false);
  expect(writeGrants({ writes: undefined }, { writes: undefined }).allows('any/1D/X')).toBe(true);
  expect(() => writeGrants({ writes: ['A/1D/B/2020'] }, description())).toThrow('has no year');
  expect(() => writeGrants({ writes: ['A/1D'] }, description())).toThrow('it has 2 parts');
});

test('denials are all counted, and told now and then', () => {
  const { lines, log } = recordingLog();
  let nowMs = 0;
  const denials = new Denials(log, () => nowMs);
  const denial = { plugin: 'probe', what: 'write', detail: 'A/1D/B', count: 3 } as const;
  for (let at = 0; at < 100; at++) denials.note(denial);
  denials.note({ ...denial, what: 'network', detail: 'example.com:443', count: 1 });
  nowMs = DENIAL_LINE_MS;
  denials.note(denial);
  expect(lines.map(({ fields }) => [fields.what, fields.count, fields.code])).toEqual([
    ['write', 3, 'MKTS_CAPABILITY_DENIED'],
    ['network', 1, 'MKTS_NET_DENIED'],
    ['write', 300, 'MKTS_CAPABILITY_DENIED'],
  ]);
  expect(denials.totals()).toEqual([
    { plugin: 'probe', what: 'write', count: 303 },
    { plugin: 'probe', what: 'network', count: 1 },
  ]);
});
