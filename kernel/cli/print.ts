/** Prints lines on stdout, no faster than they are read. */

import { once } from 'node:events';

export async function print(lines: Iterable<string>): Promise<void> {
  for (const line of lines)
    if (!process.stdout.write(`${line}\n`)) await once(process.stdout, 'drain');
}
