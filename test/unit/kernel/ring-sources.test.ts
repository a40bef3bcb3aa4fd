/** A plugin's ring joined to the drain, to the counts of its rows and to its dead letters. */

import { expect, onTestFinished, test } from 'vitest';
import { FLOAT64 } from '../../../kernel/base/element-type.ts';
import { PluginRows } from '../../../kernel/plugin-rows.ts';
import { RingSources } from '../../../kernel/ring-sources.ts';
import { realFilesystem } from '../../../kernel/storage/filesystem.ts';
import { DeadLetters } from '../../../kernel/supervisor/dead-letters.ts';
import type { PluginFeed } from '../../../kernel/supervisor/plugin-entry.ts';
import { createRing, RingReader, RingWriter } from '../../../workers/ring.ts';
import { closes, sendFrame, startIngestion } from '../../support/ingestion.ts';
import { temporaryDirectory } from '../../support/temporary-directory.ts';

const SERIES = closes('AAPL/1Min/OHLCV', [{ name: 'Close', type: FLOAT64 }]);

test('a damaged frame costs the worker, is kept as evidence, and no row goes uncounted', async () => {
  const { drain, origins } = await startIngestion();
  const letters = new DeadLetters({
    root: temporaryDirectory(),
    filesystem: realFilesystem,
    log: { debug() {}, info() {}, warn() {}, error() {} },
    bytesLeftOf: () => 1 << 20,
  });
  onTestFinished(() => letters.close());
  const rows = new PluginRows();
  const rejected: unknown[] = [];
  const sources = new RingSources({
    ...{ drain, origins, rows, letters },
    durability: 'fsync',
    reject: (_feed, cause) => rejected.push(Reflect.get(cause, 'code')),
  });
  const shared = createRing();
  const feed: PluginFeed = {
    plugin: 'test',
    generation: 4,
    ring: new RingReader(shared, 'test'),
    series: (id) => (id === 0 ? SERIES : undefined),
  };
  sources.add(feed);
  const writer = new RingWriter(shared, () => undefined);
  const send = (rowCount: number, spoil?: Parameters<typeof sendFrame>[4]): void =>
    sendFrame(
      writer,
      0,
      SERIES.schema,
      Array.from({ length: rowCount }, (_, at) => 60 * at),
      spoil,
    );
  send(3);
  send(5, (view, offset) => view.setUint32(offset + 8, 99, true));
  // Behind damage nothing is believed.
  send(7);
  await expect.poll(() => rejected).toEqual(['MKTS_FRAME_INVALID']);
  await sources.remove(feed);
  expect(rows.counts('test')).toEqual({ sent: 15, accepted: 3, rejected: 12 });
  const { letters: list } = await letters.list('test', 10);
  expect(list).toHaveLength(1);
  expect(list[0]).toMatchObject({ generation: 4, code: 'MKTS_FRAME_INVALID', isReplayable: false });
  const { frames } = await letters.read('test', list[0]?.id ?? 0);
  expect(Buffer.from(frames ?? '', 'base64').readUInt32LE(8)).toBe(99);
});
