/** Errors of plugins name the files and lines their author wrote, in both tiers, wherever they are thrown. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { sourceNames } from '../../kernel/supervisor/source-names.ts';
import { writeRows } from '../support/rpc-write.ts';
import { ServerProcess } from '../support/server-process.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const HELPER = `export interface Reason {
  readonly text: string;
}

export function fail({ text }: Reason): never {
  throw new Error(text);
}
`;
const feeder = (start: string): string => `import { defineBgWorker, z } from 'mkts/sdk';
import { fail } from './helper.ts';
type Unused = { a: string };
export default defineBgWorker({
  name: 'thrower', version: '1', api: 1, config: z.object({}),
  async start(ctx) {
    ${start}
  },
});
`;
const TRIGGER = `import { defineTrigger, z } from 'mkts/sdk';
import { fail } from './helper.ts';
export default defineTrigger({
  name: 'thrower', version: '1', api: 1, config: z.object({}),
  async fire(ctx, batch) {
    fail({ text: 'in fire' });
  },
});
`;

test.each(['worker', 'process'])('a %s', async (isolation) => {
  const directory = temporaryDirectory();
  writeFileSync(join(directory, 'helper.ts'), HELPER);
  writeFileSync(join(directory, 'starter.ts'), feeder("fail({ text: 'in start' });"));
  writeFileSync(
    join(directory, 'timer.ts'),
    feeder("setTimeout(() => fail({ text: 'in a timer' })); await new Promise(() => {});"),
  );
  writeFileSync(join(directory, 'firer.ts'), TRIGGER);
  const entry = (name: string) => ({ module: join(directory, `${name}.ts`), name, isolation });
  const server = await ServerProcess.start(directory, {
    root_directory: join(directory, 'data'),
    triggers: [{ ...entry('firer'), on: '*/1Min/PRICE' }],
    bgworkers: [entry('starter'), entry('timer')],
  });
  const stackOf = async (text: string): Promise<string[]> => {
    const line = await server.line(({ stack }) => String(stack).startsWith(`Error: ${text}`));
    return String(line.stack).split('\n');
  };
  try {
    await server.line(({ plugin, msg }) => plugin === 'firer' && msg === 'plugin is running');
    await writeRows(server.url, 'A/1Min/PRICE', [
      { name: 'Epoch', type: 'i8', data: new BigInt64Array([60n]) },
      { name: 'Price', type: 'f8', data: new Float64Array([1]) },
    ]);
    const thrown = expect.stringContaining(`${join(directory, 'helper.ts')}:6:9)`);
    for (const [text, file, place] of [
      ['in start', 'starter.ts', '7:5'],
      ['in a timer', 'timer.ts', '7:22'],
      ['in fire', 'firer.ts', '6:5'],
    ] as const) {
      const [, first, second] = await stackOf(text);
      expect(first).toEqual(thrown);
      expect(second).toContain(`${join(directory, file)}:${place}`);
    }
  } finally {
    expect(await server.stop(), server.stderr).toBe(0);
  }
});

test('a text of a build without a map, or of another, stays as it is', () => {
  const name = sourceNames({ code: 'nothing', filename: '/a/b (1)+.cjs' });
  for (const text of ['at f (/a/b (1)+.cjs:1:2)', 'at f (/a/c.cjs:1:2)', ''])
    expect(name(text)).toBe(text);
  const map = Buffer.from('{"version":3,"sources":[1],"mappings":7}').toString('base64');
  const code = `x\n//# sourceMappingURL=data:application/json;base64,${map}\n`;
  expect(sourceNames({ code, filename: '/a/b.cjs' })('/a/b.cjs:1:1')).toBe('/a/b.cjs:1:1');
});
