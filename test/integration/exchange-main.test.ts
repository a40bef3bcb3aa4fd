/** The local exchange as a person starts it. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const MAIN = fileURLToPath(new URL('../support/exchange/main.ts', import.meta.url));

test('it prints its addresses, serves, and stops when told', async () => {
  const start = '2021-02-20T00:00:00Z';
  const child = spawn(process.execPath, [MAIN, '--speed', '60', '--start', start]);
  const exited = once(child, 'exit');
  let printed = '';
  for await (const chunk of child.stdout) {
    printed += String(chunk);
    if (printed.includes('clock')) break;
  }
  const url = /http:\S+api\/v3\/klines\S+/.exec(printed)?.[0] ?? '';
  const rows = (await (await fetch(url)).json()) as [number][];
  expect(rows).toHaveLength(5);
  expect(rows[4]?.[0]).toBeGreaterThanOrEqual(Date.parse(start));
  child.kill('SIGTERM');
  expect(await exited).toEqual([0, null]);
});
