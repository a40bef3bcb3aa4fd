import { expect, test } from 'vitest';
import { StorageError } from '../../../kernel/base/errors.ts';
import { createLog, type Level, type RootLog } from '../../../kernel/log.ts';

interface Line {
  readonly level: string;
  readonly timestamp: string;
  readonly msg: string;
  readonly [key: string]: unknown;
}

function recordedLog(level: Level = 'info'): { log: RootLog; lines: string[]; last(): Line } {
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  const log = createLog({ level, format: 'json', stream: 'stdout', write });
  return { log, lines, last: () => JSON.parse(lines.at(-1) ?? '{}') as Line };
}

const diskError = (): StorageError =>
  new StorageError('MKTS_DISK', { operation: 'write', path: 'x.bin', reason: 'EIO' });

test('a line is one JSON object with the keys the Go server writes', () => {
  const { log, lines, last } = recordedLog();
  log.info('enabling query access...');
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(/^\{.*\}\n$/);
  expect(Object.keys(last())).toEqual(['level', 'timestamp', 'msg']);
  expect(last()).toMatchObject({ level: 'info', msg: 'enabling query access...' });
  expect(last().timestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
});

test('every level is written by its word', () => {
  const { log, lines } = recordedLog('debug');
  for (const level of ['debug', 'info', 'warn', 'error', 'fatal'] as const) log[level]('x');
  expect(lines.map((line) => (JSON.parse(line) as Line).level)).toEqual([
    'debug',
    'info',
    'warn',
    'error',
    'fatal',
  ]);
});

test('lines below the level are not written, and a child follows a change of the level', () => {
  const { log, lines } = recordedLog('warn');
  const child = log.child({ plugin: 'binance' });
  log.info('no');
  child.info('no');
  expect(lines).toEqual([]);
  log.level = 'debug';
  child.debug('yes');
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({ plugin: 'binance', msg: 'yes' });
});

test('an error alone is a line with its message, code and fields, and without a stack', () => {
  const { log, last } = recordedLog();
  log.error(diskError());
  expect(last().msg).toBe('write x.bin: EIO');
  expect(last().error).toEqual({
    code: 'MKTS_DISK',
    fields: { operation: 'write', path: 'x.bin', reason: 'EIO' },
  });
});

test('an error among fields keeps its message and its cause; debugging shows its stack', () => {
  const { log, last } = recordedLog();
  const cause = new Error('no space');
  log.error({ error: new StorageError('MKTS_CHECKPOINT', { reason: 'x' }, { cause }) }, 'retry');
  expect(last()).toMatchObject({
    msg: 'retry',
    error: { message: 'checkpoint failed: x', cause: { message: 'no space' } },
  });
  log.level = 'debug';
  log.error({ error: diskError() }, 'again');
  expect(last().error).toMatchObject({ stack: expect.stringContaining('log.test.ts') });
});

test('an error without a code of ours always shows its stack', () => {
  const { log, last } = recordedLog();
  log.fatal(new TypeError('x is undefined'), 'the kernel cannot go on');
  expect(last()).toMatchObject({
    msg: 'the kernel cannot go on',
    error: { name: 'TypeError', message: 'x is undefined', stack: expect.stringContaining('at ') },
  });
});

test('secrets are hidden wherever they are: message, field, nested, error', () => {
  const { log, lines } = recordedLog();
  const child = log.child({ plugin: 'x', config: { api_key: 'hunter2-long' } });
  log.hide(['hunter2-long']);
  child.info({ url: 'https://api.example.com/?k=hunter2-long' }, 'asked with hunter2-long');
  child.error(new Error('401 for hunter2-long'));
  expect(lines.join('')).not.toContain('hunter2');
  expect(lines.join('')).toContain('***');
});

test('a line with a number that is a secret is JSON still', () => {
  const { log, last } = recordedLog();
  log.hide(['12345678', 'a "quoted" secret']);
  log.info({ pin: 12345678, inner: { at: 9123456780 }, text: 'a "quoted" secret' }, '12345678');
  expect(last()).toMatchObject({ msg: '***', pin: '***', inner: { at: '9***0' }, text: '***' });
  expect(log.masked('it is 12345678')).toBe('it is ***');
});

test('a line can be written whatever the level', () => {
  const { log, last } = recordedLog('error');
  log.write('debug', { plugin: 'a' }, 'asked for');
  expect(last()).toMatchObject({ level: 'debug', plugin: 'a', msg: 'asked for' });
});

test('a field named like a key of the line does not make it a second time', () => {
  const { log, lines, last } = recordedLog();
  log.info({ level: 3, msg: 'mine', at: 5n }, 'the message');
  expect(lines[0]?.match(/"level":/g)).toHaveLength(1);
  expect(last()).toMatchObject({
    level: 'info',
    level_: 3,
    msg_: 'mine',
    msg: 'the message',
    at: '5',
  });
});

test('the pretty form is for people: a line, its level and its fields', () => {
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  const log = createLog({ level: 'info', format: 'pretty', stream: 'stdout', write });
  log.warn({ plugin: 'binance' }, 'restarting');
  expect(lines.join('')).toMatch(/^\[[\d: .-]+\] WARN: restarting \{"plugin":"binance"\}\n$/);
});
