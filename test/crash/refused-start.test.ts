/**
 * A start that the disk does not let read everything: no descriptors, no permission. What could not be
 * read is not damaged; a server that went on without it would have lost acknowledged rows.
 */

import { expect, test } from 'vitest';
import { CrashFilesystem, type DiskCall, randomBy } from '../support/crash-filesystem.ts';
import { bars, contents, type Model, sayable, ticks } from '../support/crash-model.ts';
import { ROOT, startSimulated } from '../support/simulated-server.ts';

test('a start that cannot read a file fails, and the next one has everything', async () => {
  let filesystem = new CrashFilesystem();
  filesystem.makeDirectory(ROOT);
  filesystem.settle();
  const random = randomBy(1);
  const model: Model = { buckets: new Map(), cursor: 0 };
  const server = await startSimulated(filesystem);
  const plugin = server.plugin('none');
  for (let round = 0; round < 20; round++) {
    const work = round % 2 === 0 ? bars(random) : ticks(random);
    await work.send(server, plugin);
    work.apply(model);
    // So that some of it is in year files, and some in the log.
    if (round === 10) await server.checkpointer.run();
  }
  server.abandon();
  filesystem = filesystem.killed();

  let refused = 0;
  for (const fault of ['EMFILE', 'EACCES'] as const)
    for (let call = 1; ; call++) {
      let left = call;
      const isRefused = ({ operation }: DiskCall): boolean => operation === 'open' && --left <= 0;
      filesystem.fail((each) => (isRefused(each) ? fault : undefined));
      const started = await startSimulated(filesystem).catch((error: unknown) => error);
      if (!(started instanceof Error)) break;
      expect(started.message).toContain(fault);
      refused++;
      filesystem = filesystem.killed();
      const next = await startSimulated(filesystem);
      expect(next.reports).toEqual([]);
      expect(sayable(await contents(next))).toBe(sayable(model));
      next.abandon();
      filesystem = filesystem.killed();
    }
  expect(refused).toBeGreaterThan(20);
});
