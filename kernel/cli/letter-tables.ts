/** Dead letters as a person reads them. Pure. */

import type { DeadLetter, LetterList, ReplayAnswer } from '../base/dead-letter.ts';
import { short, table } from './plugin-tables.ts';

const EXCERPT_CHARACTERS = 60;

export function* letterLines(name: string, list: LetterList): Generator<string> {
  const { letters, count, bytes, dropped } = list;
  if (count === 0) {
    yield `${name} has no dead letters${droppedText(dropped)}`;
    return;
  }
  const rows = letters.map(({ id, time, rowCount, code, keys, reason, excerpt }) => [
    String(id),
    time.replace(/\.\d+Z$/, 'Z'),
    rowCount === 0 ? '' : String(rowCount),
    code ?? '',
    keys.length > 1 ? `${keys[0]} and ${keys.length - 1} more` : (keys[0] ?? ''),
    short(reason),
    excerpt.replaceAll(/\s+/g, ' ').slice(0, EXCERPT_CHARACTERS),
  ]);
  yield* table([['ID', 'TIME', 'ROWS', 'CODE', 'KEY', 'REASON', 'BEGINS'], ...rows], [0, 2]);
  yield '';
  const shown = letters.length < count ? `, the newest ${letters.length} shown` : '';
  yield `${lettersText(count)}, ${Math.ceil(bytes / 1024)} KB${shown}${droppedText(dropped)}`;
  yield `\`mkts plugin letters ${name} <id>\` shows one in full${
    letters.some(({ isReplayable }) => isReplayable)
      ? `, \`mkts plugin replay ${name} --id <id>\` writes its rows once the cause is mended`
      : ''
  }`;
}

/** One in full: JSON, with the values of a column on one line. */
export function letterText(letter: DeadLetter): string {
  const text = JSON.stringify(letter, undefined, 2);
  // In the text of a value there is no line break.
  return text.replaceAll(/\[\n[^[\]{}]*\n *\]/g, (list) =>
    list.replaceAll(/\n */g, ' ').replace('[ ', '[').replace(/ \]$/, ']'),
  );
}

export function* replayLines(name: string, { replayed, refused }: ReplayAnswer): Generator<string> {
  const rows = replayed.reduce((count, { rowCount }) => count + rowCount, 0);
  if (replayed.length === 0 && refused.length === 0)
    yield `${name}: no dead letter holds rows that could be written`;
  else if (replayed.length === 0) yield `${name}: nothing was written`;
  else yield `${name}: ${countOf(rows, 'row')} of ${lettersText(replayed.length)} written`;
  for (const { id, reason } of refused) yield `! ${id}: ${reason}`;
}

function lettersText(count: number): string {
  return countOf(count, 'dead letter');
}

function droppedText(dropped: number): string {
  if (dropped === 0) return '';
  return `; ${dropped} more ${dropped === 1 ? 'was' : 'were'} dropped since the server started`;
}

function countOf(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}
