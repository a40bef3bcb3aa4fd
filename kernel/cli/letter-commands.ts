/**
 * `mkts plugin letters|replay`: the dead letters of a plugin of a running server, listed, read,
 * written after all, removed.
 */

import { type Command, InvalidArgumentError } from 'commander';
import type { DeadLetter, LetterList, ReplayAnswer } from '../base/dead-letter.ts';
import type { OperateOptions } from './plugin-operate.ts';
import { NAME, optionsOf, parseCount, type ServerFlags } from './server-flags.ts';

interface LettersFlags extends ServerFlags {
  readonly limit?: number;
  readonly clear?: boolean;
}
interface ReplayFlags extends ServerFlags {
  readonly id?: readonly number[];
  readonly all?: boolean;
}

export function addLetterCommands(
  command: (name: string, description: string) => Command,
  done: (exitCode: number) => void,
): void {
  command('letters', 'dead letters of a plugin: rows that were refused, messages it could not read')
    .argument('<name>', NAME)
    .argument('[id]', 'prints this one in full', parseCount)
    .option('-n, --limit <count>', 'at most so many, the newest', parseCount)
    .option('--clear', 'remove all of them')
    .action(async (name: string, id: number | undefined, flags: LettersFlags, self: Command) => {
      if (flags.clear === true && id !== undefined)
        self.error('error: --clear removes all of them');
      await runLetters(await optionsOf(flags), name, { id, ...flags });
      done(0);
    });

  command('replay', 'write the rows of dead letters after all; those that are written are removed')
    .argument('<name>', NAME)
    .option('--id <ids...>', 'of these letters', collectIds)
    .option(
      '--all',
      'of all that hold rows, but for those the plugin sends again (MKTS_STATE_REFUSED)',
    )
    .action(async (name: string, flags: ReplayFlags, self: Command) => {
      const { id = [], all = false } = flags;
      if (all === id.length > 0) self.error('error: name letters by --id, or say --all');
      done(await runReplay(await optionsOf(flags), name, all ? undefined : id));
    });
}

async function runLetters(
  { server, json }: OperateOptions,
  name: string,
  { id, limit, clear = false }: LettersFlags & { readonly id: number | undefined },
): Promise<void> {
  const { askAdmin } = await import('./admin-client.ts');
  const { print } = await import('./print.ts');
  const { letterLines, letterText } = await import('./letter-tables.ts');
  const path = ['plugins', name, 'dead-letters'];
  if (clear) {
    const answer = (await askAdmin(server, { method: 'DELETE', path })) as { removed: number };
    await print([
      json ? JSON.stringify(answer) : `${name}: ${answer.removed} dead letters removed`,
    ]);
    return;
  }
  if (id !== undefined) {
    const letter = (await askAdmin(server, { path: [...path, String(id)] })) as DeadLetter;
    await print([json ? JSON.stringify(letter) : letterText(letter)]);
    return;
  }
  const query = { limit: limit?.toString() };
  const list = (await askAdmin(server, { path, query })) as LetterList;
  await print(json ? [JSON.stringify(list)] : letterLines(name, list));
}

/** 1: some of them were refused again. */
async function runReplay(
  { server, json }: OperateOptions,
  name: string,
  ids: readonly number[] | undefined,
): Promise<number> {
  const { askAdmin } = await import('./admin-client.ts');
  const { print } = await import('./print.ts');
  const { replayLines } = await import('./letter-tables.ts');
  const answer = (await askAdmin(server, {
    method: 'POST',
    path: ['plugins', name, 'dead-letters', 'replay'],
    query: ids === undefined ? { all: '1' } : { id: ids.map(String) },
  })) as ReplayAnswer;
  await print(json ? [JSON.stringify(answer)] : replayLines(name, answer));
  return answer.refused.length > 0 ? 1 : 0;
}

/** `--id 3 4`, `--id 3,4` and `--id 3 --id 4` are the same. */
function collectIds(text: string, before: readonly number[] = []): readonly number[] {
  const ids = text.split(',').map(parseCount);
  if (ids.length === 0) throw new InvalidArgumentError('expected numbers of letters.');
  return [...before, ...ids];
}
