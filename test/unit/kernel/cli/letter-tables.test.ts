import { expect, test } from 'vitest';
import type { LetterInfo } from '../../../../kernel/base/dead-letter.ts';
import { letterLines, letterText, replayLines } from '../../../../kernel/cli/letter-tables.ts';

const LETTER: LetterInfo = {
  id: 7,
  time: '2026-01-05T00:00:00.123Z',
  generation: 1,
  code: 'MKTS_COLUMN_LOSSY',
  reason: 'column N: value 1.5 does not fit type INT32',
  rowCount: 2,
  keys: ['A/1Min/X', 'B/1Min/X'],
  bytes: 1500,
  isReplayable: true,
  excerpt: 'Epoch 60,\nN 1.5',
};

test('a list says what was refused, why, how much there is, and what to do', () => {
  const lines = [...letterLines('feed', { letters: [LETTER], count: 3, bytes: 5000, dropped: 1 })];
  expect(lines[1]).toMatch(
    /^ 7 +2026-01-05T00:00:00Z +2 +MKTS_COLUMN_LOSSY +A\/1Min\/X and 1 more +column N: .* +Epoch 60, N 1.5$/,
  );
  expect(lines.slice(-2)).toEqual([
    '3 dead letters, 5 KB, the newest 1 shown; 1 more was dropped since the server started',
    '`mkts plugin letters feed <id>` shows one in full, `mkts plugin replay feed --id <id>` writes its rows once the cause is mended',
  ]);
  const none = { letters: [], count: 0, bytes: 0, dropped: 0 };
  expect([...letterLines('feed', none)]).toEqual(['feed has no dead letters']);
});

test('one in full has the values of a column on a line, and stays the same JSON', () => {
  const columns = [
    { name: 'Epoch', type: 'INT64', values: ['60', '120'] },
    { name: 'T', values: ['[ "a\\n  b" ]', '{ } ,  x', null] },
  ];
  const letter = {
    ...{ id: 7, time: '', generation: 1, reason: 'it [ is ] { so }', rowCount: 2 },
    rows: [{ key: 'A/1Min/X', variable: false, columns }],
  };
  const text = letterText(letter);
  expect(text).toContain('"values": ["60", "120"]');
  expect(JSON.parse(text)).toEqual(letter);
});

test('a replay says what was written, and of each other letter why not', () => {
  const refused = [{ id: 9, reason: 'plugin feed has no dead letter 9' }];
  const replayed = [{ id: 7, rowCount: 1 }];
  expect([...replayLines('feed', { replayed, refused })]).toEqual([
    'feed: 1 row of 1 dead letter written',
    '! 9: plugin feed has no dead letter 9',
  ]);
  expect([...replayLines('feed', { replayed: [], refused })][0]).toBe('feed: nothing was written');
  expect([...replayLines('feed', { replayed: [], refused: [] })]).toEqual([
    'feed: no dead letter holds rows that could be written',
  ]);
});
