/**
 * An error as the user of a terminal sees it: a line on stderr for each thing that is wrong, with its
 * code. Stacks are for developers: they come with `log_level: debug`, or where there is no code.
 */

import { MktsError, reasonOf } from '../base/errors.ts';

/** Writes `Error: <text> (<code>)`; a text of several lines has the code on its last. */
export function reportError(thrown: unknown, options: { readonly withStack?: boolean } = {}): void {
  const code = thrown instanceof MktsError ? ` (${thrown.code})` : '';
  const lines = `${reasonOf(thrown)}${code}`.split('\n');
  const stack = options.withStack && thrown instanceof Error ? `${thrown.stack ?? ''}\n` : '';
  process.stderr.write(`${lines.map((line) => `Error: ${line}\n`).join('')}${stack}`);
}
