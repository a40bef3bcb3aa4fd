/** Dead letters as a person reads them. Pure. */

import type { LetterList, ReplayAnswer } from '../base/dead-letter.ts';
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
    time,
    rowCount === 0 ? '' : String(rowCount),
    code ?? '',
    keys.length > 1 ? `${keys[0]} and ${keys.length - 1} more` : (keys[0] ?? ''),
    short(reason),
    excerpt.replaceAll(/\s+/g, ' ').slice(0, EXCERPT_CHARACTERS),
  ]);
  yield* table([['ID', 'TIME', 'ROWS', 'CODE', 'KEY', 'REASON', 'BEGINS'], ...rows], [0, 2]);
  yield '';
  const shown = letters.length < count ? `, the newest ${letters.length} shown` : '';
  yield `${count} dead letters, ${Math.ceil(bytes / 1024)} KB${shown}${droppedText(dropped)}`;
}

export function* replayLines(name: string, { replayed, refused }: ReplayAnswer): Generator<string> {
  const rows = replayed.reduce((count, { rowCount }) => count + rowCount, 0);
  if (replayed.length === 0 && refused.length === 0) yield `${name}: no dead letter holds rows`;
  else yield `${name}: ${replayed.length} dead letters written, ${rows} rows`;
  for (const { id, reason } of refused) yield `! ${id} stays: ${reason}`;
}

function droppedText(dropped: number): string {
  return dropped === 0 ? '' : `; ${dropped} were not kept since the server started`;
}
