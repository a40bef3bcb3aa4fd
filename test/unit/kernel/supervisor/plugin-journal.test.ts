import { expect, test } from 'vitest';
import { PluginError } from '../../../../kernel/base/errors.ts';
import { JOURNAL_CHARACTERS_MAX, JOURNAL_LINES_MAX } from '../../../../kernel/base/limits.ts';
import type { JournalLine } from '../../../../kernel/base/plugin-report.ts';
import { createLog, type Level, type RootLog } from '../../../../kernel/log.ts';
import { PluginJournal } from '../../../../kernel/supervisor/plugin-journal.ts';

interface Written {
  readonly level: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

function journalOf(level: Level = 'info'): {
  readonly journal: PluginJournal;
  readonly log: RootLog;
  readonly written: Written[];
} {
  const written: Written[] = [];
  const log = createLog({
    level,
    format: 'json',
    stream: 'stdout',
    write: (line) => written.push(JSON.parse(line) as Written),
  });
  let nowMs = Date.UTC(2026, 0, 1);
  return { journal: new PluginJournal({ log, now: () => nowMs++ }), log, written };
}

test('lines are kept by plugin, and go on to the log as before', () => {
  const { journal, written } = journalOf();
  journal.log.info({ plugin: 'a', rows: 3 }, 'wrote');
  journal.log.warn({ plugin: 'b' }, 'odd');
  journal.log.info({ rows: 1 }, 'nobody’s');
  expect(written.map(({ msg }) => msg)).toEqual(['wrote', 'odd', 'nobody’s']);
  expect(journal.lines('a', 10)).toEqual([
    {
      sequence: 1,
      time: '2026-01-01T00:00:00.000Z',
      level: 'info',
      message: 'wrote',
      fields: { rows: 3 },
    },
  ]);
  expect(journal.lines('b', 10)).toHaveLength(1);
  expect(journal.lines('c', 10)).toEqual([]);
});

test('a line below the level is kept and not written; the level of a plugin is its own', () => {
  const { journal, log, written } = journalOf('info');
  journal.log.debug({ plugin: 'a' }, 'detail');
  expect(written).toEqual([]);
  expect(journal.lines('a', 10)).toEqual([]);
  expect(journal.lines('a', 10, 'debug').map(({ message }) => message)).toEqual(['detail']);

  journal.setLevel('a', 'debug');
  journal.log.debug({ plugin: 'a' }, 'louder');
  journal.log.debug({ plugin: 'b' }, 'not asked for');
  expect(written.map(({ msg }) => msg)).toEqual(['louder']);

  journal.setLevel('b', 'error');
  journal.log.warn({ plugin: 'b' }, 'hushed');
  journal.log.error({ plugin: 'b' }, 'heard');
  expect(written.map(({ msg }) => msg)).toEqual(['louder', 'heard']);

  journal.setLevel('a', undefined);
  expect(journal.levelOf('a')).toBe('info');
  log.level = 'warn';
  expect(journal.levelOf('a')).toBe('warn');
});

test('the newest lines are given, in order, whatever their level', () => {
  const { journal } = journalOf();
  for (let at = 0; at < 6; at++) {
    journal.log.debug({ plugin: 'a' }, `d${at}`);
    journal.log.info({ plugin: 'a' }, `i${at}`);
  }
  expect(journal.lines('a', 2).map(({ message }) => message)).toEqual(['i4', 'i5']);
  expect(journal.lines('a', 3, 'debug').map(({ message }) => message)).toEqual(['i4', 'd5', 'i5']);
});

test('a flood of debug lines does not push a warning out', () => {
  const { journal } = journalOf();
  journal.log.warn({ plugin: 'a' }, 'important');
  for (let at = 0; at < 3 * JOURNAL_LINES_MAX; at++) journal.log.debug({ plugin: 'a' }, `d${at}`);
  expect(journal.lines('a', 10).map(({ message }) => message)).toEqual(['important']);
  expect(journal.lines('a', 1e6, 'debug')).toHaveLength(JOURNAL_LINES_MAX + 1);
});

test('at the bound the oldest line goes, one past it too, and long lines count for more', () => {
  const { journal } = journalOf();
  for (let at = 0; at < JOURNAL_LINES_MAX; at++) journal.log.info({ plugin: 'a' }, `${at}`);
  expect(journal.lines('a', 1e6)).toHaveLength(JOURNAL_LINES_MAX);
  journal.log.info({ plugin: 'a' }, 'one more');
  const kept = journal.lines('a', 1e6);
  expect(kept).toHaveLength(JOURNAL_LINES_MAX);
  expect(kept[0]?.message).toBe('1');

  for (let at = 0; at < 500; at++) journal.log.info({ plugin: 'b' }, 'x'.repeat(8000));
  const characters = journal.lines('b', 1e6).reduce((sum, line) => sum + line.message.length, 0);
  expect(characters).toBeLessThanOrEqual(JOURNAL_CHARACTERS_MAX);
  expect(characters).toBeGreaterThan(JOURNAL_CHARACTERS_MAX - 20_000);
});

test('what is kept is masked, numbers and names of fields too, and is still JSON', () => {
  const { journal, log } = journalOf();
  log.hide(['hunter2-secret', '12345678', 'sesame-key']);
  journal.log.info(
    {
      plugin: 'a',
      text: 'it is hunter2-secret',
      number: 12345678,
      inner: { deep: 'hunter2-secret' },
    },
    'with hunter2-secret',
  );
  journal.log.info({ plugin: 'a', 'sesame-key': 1 }, 'a name');
  const lines = journal.lines('a', 10);
  expect(lines[0]).toMatchObject({
    message: 'with ***',
    fields: { text: 'it is ***', number: '***', inner: { deep: '***' } },
  });
  expect(JSON.stringify(lines)).not.toMatch(/hunter2|12345678|sesame/);
});

test('a line with fields that are too long is kept without them', () => {
  const { journal } = journalOf();
  journal.log.info({ plugin: 'a', long: 'x'.repeat(100_000) }, 'm'.repeat(100_000));
  const [line] = journal.lines('a', 1);
  expect(line?.fields).toEqual({ leftOut: true });
  expect(line?.message.length).toBeLessThan(10_000);
});

test('who follows hears lines from then on, until it has heard enough', () => {
  const { journal } = journalOf();
  journal.log.info({ plugin: 'a' }, 'before');
  const heard: JournalLine[] = [];
  const unfollow = journal.follow('a', 'warn', (line) => heard.push(line));
  journal.log.info({ plugin: 'a' }, 'too quiet');
  journal.log.warn({ plugin: 'b' }, 'another’s');
  journal.log.warn({ plugin: 'a' }, 'heard');
  unfollow();
  journal.log.error({ plugin: 'a' }, 'after');
  expect(heard.map(({ message }) => message)).toEqual(['heard']);
});

test('states are remembered with why, and the last error with the stack of the plugin', () => {
  const { journal, log } = journalOf();
  log.hide(['hunter2-secret']);
  journal.entered('a', { kind: 'starting' }, 1);
  journal.entered('a', { kind: 'running' }, 1);
  const thrown = new Error('boom hunter2-secret');
  const cause = new PluginError(
    'MKTS_PLUGIN_FAILED',
    { plugin: 'a', reason: thrown.message },
    { cause: thrown },
  );
  journal.entered('a', { kind: 'quarantined', cause }, 1);
  expect(journal.states('a').map(({ state, code }) => [state, code])).toEqual([
    ['starting', undefined],
    ['running', undefined],
    ['quarantined', 'MKTS_PLUGIN_FAILED'],
  ]);
  expect(journal.lastError('a')).toMatchObject({ code: 'MKTS_PLUGIN_FAILED' });
  expect(journal.lastError('a')?.message).toContain('boom ***');
  expect(journal.lastError('a')?.stack).toContain('plugin-journal.test.ts');
  journal.entered('a', { kind: 'running' }, 2);
  expect(journal.lastError('a')?.message).toContain('boom ***');
});
