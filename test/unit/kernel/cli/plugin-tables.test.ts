import { expect, test } from 'vitest';
import type { PluginDetail, PluginReport } from '../../../../kernel/base/plugin-report.ts';
import {
  ago,
  inspectLines,
  lineText,
  listLines,
  recordingLines,
  statusLines,
} from '../../../../kernel/cli/plugin-tables.ts';

const since = new Date(Date.now() - 300_000).toISOString();
const STEADY: PluginReport = {
  name: 'steady',
  kind: 'bgworker',
  module: 'steady.ts',
  version: '1.2.0',
  isolation: 'worker',
  state: 'running',
  isHealthy: true,
  since,
  stateSeconds: 300,
  generation: 3,
  restarts: 1,
  logLevel: 'info',
  memoryMb: 21.5,
  cpuPercent: 4,
  rowsPerSecond: 120,
  rowsSent: 36_002,
  rowsAccepted: 36_000,
  rowsRejected: 2,
  deadLetters: 1,
  lastRowAt: new Date().toISOString(),
};
const BROKEN: PluginReport = {
  ...STEADY,
  name: 'broken',
  state: 'quarantined',
  isHealthy: false,
  wrongSince: since,
  reason: 'boom\nand more',
  code: 'MKTS_PLUGIN_FAILED',
  rowsPerSecond: 0,
  lastRowAt: undefined,
};
const DETAIL: PluginDetail = {
  ...STEADY,
  config: { api_key: '***', symbols: ['ETH'] },
  asks: ['network api.example.com', 'write ETH/1Min/OHLCV'],
  waitsFor: ['write ETH/1Min/OHLCV'],
  may: { network: ['api.example.com'], writes: undefined, secrets: ['api_key'], builtins: [] },
  budgets: [
    { budget: 'memory', used: 22, limit: 256, unit: 'MB' },
    { budget: 'records', used: 120, limit: undefined, unit: 'rows/s' },
  ],
  ring: { usedBytes: 0, highWaterBytes: 4096, capacityBytes: 4_194_304, rejectedFrames: 0 },
  zombies: 0,
  history: [
    { time: since, state: 'backoff', generation: 2, reason: 'boom', code: 'MKTS_PLUGIN_FAILED' },
    { time: since, state: 'running', generation: 3 },
  ],
  lastError: {
    time: since,
    code: 'MKTS_PLUGIN_FAILED',
    message: 'boom',
    stack: 'Error: boom\n  at x\n  at start ([worker eval]:1:2)',
  },
  configSchema: {
    properties: {
      api_key: { type: 'string', description: 'of the venue' },
      base_timeframe: { type: 'string', default: '1Min' },
    },
    required: ['api_key', 'base_timeframe'],
  },
};

function text(lines: Iterable<string>): string {
  return [...lines].join('\n');
}

test('list shows what is wrong first, and says since when and why below', () => {
  const lines = [...listLines([STEADY, BROKEN])];
  expect(lines[0]).toMatch(/NAME +KIND +STATE +FOR/);
  expect(lines[1]).toMatch(/^! {2}broken +bgworker +quarantined +5 min/);
  expect(lines[2]).toMatch(
    /^ {3}steady +bgworker +running +5 min +3 +1 +120 +[0-9] s +21.5 MB +4 %$/,
  );
  expect(lines.slice(-2)).toEqual([
    '  steady has 1 dead letter: `mkts plugin letters steady` lists them',
    '  broken has 1 dead letter: `mkts plugin letters broken` lists them',
  ]);
  expect(lines.at(-3)).toMatch(
    /^! broken: quarantined, wrong since .*UTC \(5 min\), 1 restart: boom \(MKTS_PLUGIN_FAILED\)$/,
  );
});

test('list says that nothing is wrong, or that there is nothing', () => {
  const fine = { ...STEADY, deadLetters: 0 };
  expect([...listLines([fine])].at(-1)).toBe('1 plugin, nothing wrong');
  expect([...listLines([])]).toEqual(['mkts.yml has no plugins']);
});

test('status shows use against bounds, and what happened lately', () => {
  const shown = text(statusLines(DETAIL));
  expect(shown).toContain('steady: running for 5 min');
  expect(shown).toMatch(/memory +22 of 256 MB/);
  expect(shown).toMatch(/records +120 rows\/s, no bound/);
  expect(shown).toMatch(/backoff +generation 2 +boom \(MKTS_PLUGIN_FAILED\)/);
  expect(shown).toContain('last error');
});

test('inspect shows what it asks for, may do and uses, and its settings', () => {
  const shown = text(inspectLines(DETAIL));
  expect(shown).toContain('steady: bgworker steady.ts 1.2.0, running');
  expect(shown).toContain('write ETH/1Min/OHLCV   (new: `mkts plugin approve` agrees)');
  expect(shown).toMatch(/reach +api\.example\.com/);
  expect(shown).toMatch(/write +any key/);
  expect(shown).toMatch(/know the secrets +api_key/);
  expect(shown).toMatch(/api_key +text, required, of the venue/);
  expect(shown).toMatch(/base_timeframe +text, default "1Min"/);
  expect(shown).toContain('"api_key": "***"');
  expect(shown).toContain('Error: boom\n    at x');
  expect(shown).not.toContain('worker eval');
  expect(text(inspectLines({ ...DETAIL, asks: undefined }))).toContain('it does not load');
});

test('a line of a log cannot move the cursor of the terminal it is read on', () => {
  const shown = lineText({
    sequence: 1,
    time: '2026-01-01T03:12:07.120Z',
    level: 'warn',
    message: 'odd \u001b[2Jthing',
    fields: { rows: 3, text: 'a\u0007b', stack: 'Error: x\n  at y' },
  });
  expect(shown).toBe('03:12:07.120 WARN  odd [2Jthing  rows=3 text=ab\nError: x\n  at y');
});

test('recordings are listed, or it is said when there will be one', () => {
  const file = 'mkts-flight-a-20260101T000000000Z.json';
  expect(text(recordingLines([{ file, time: since, bytes: 5000 }]))).toContain(`5 KB  ${file}`);
  expect(text(recordingLines([]))).toContain('quarantine');
});

test('times are as long as one needs', () => {
  expect([0, 119, 120, 7199, 7200, 172_799, 180_000].map(ago)).toEqual([
    '0 s',
    '119 s',
    '2 min',
    '119 min',
    '2 h 0 min',
    '47 h 59 min',
    '2 d 2 h',
  ]);
});
