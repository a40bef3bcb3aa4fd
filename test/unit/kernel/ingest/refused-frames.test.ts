/** Frames whose bucket is not what it was: left out, counted, kept as bytes, and rows again later. */

import { expect, test } from 'vitest';
import type { DeadLetter } from '../../../../kernel/base/dead-letter.ts';
import { FLOAT64, INT32 } from '../../../../kernel/base/element-type.ts';
import { StorageError } from '../../../../kernel/base/errors.ts';
import { refusedBlocks } from '../../../../kernel/base/refused-frame.ts';
import { EPOCH_SHAPE } from '../../../../kernel/base/schema.ts';
import { encodeTexts } from '../../../../kernel/base/state-entry.ts';
import type { Series } from '../../../../kernel/ingest/drain.ts';
import { batchesOf, LetterReplay } from '../../../../kernel/letter-replay.ts';
import { RefusedFrames } from '../../../../kernel/supervisor/refused-frames.ts';
import { encodeEnvelope, envelopeOf } from '../../../../workers/envelope.ts';
import type { RingWriter } from '../../../../workers/ring.ts';
import { closes, type Ingestion, sendFrame, startIngestion } from '../../../support/ingestion.ts';

const JAN_1 = Date.UTC(2021, 0, 1) / 1000;
const SERIES = closes('AAPL/1Min/OHLCV', [{ name: 'Close', type: FLOAT64 }]);
const OTHER = closes('GOOD/1Min/OHLCV', SERIES.schema.columns);
const PRICES = { recordType: 'fixed', columns: [{ name: 'Price', type: FLOAT64 }] } as const;
const ANY = { allows: () => true, text: 'any key' };

/** A ring of a plugin that opened SERIES, whose bucket has other columns by now. */
async function setUp(series: readonly Series[] = [SERIES]) {
  const ingestion: Ingestion = await startIngestion();
  await ingestion.ingest.create(SERIES.key, PRICES, 2021);
  const kept: Omit<DeadLetter, 'id' | 'time'>[] = [];
  const refusedFrames = new RefusedFrames({
    generation: 1,
    series: (id) => series[id],
    add: (letter) => kept.push(letter),
    now: () => 0,
  });
  let rejected = 0;
  const tapped = ingestion.tap(series, (cause, frame) => {
    rejected += refusedFrames.add(cause, frame);
  });
  const letter = (): DeadLetter => {
    refusedFrames.flush();
    const [first] = kept;
    if (first === undefined) throw new Error('a letter was kept');
    return { ...first, id: 1, time: '' };
  };
  return { ...ingestion, ...tapped, letter, rejectedRows: () => rejected };
}

test('the frames behind a refused one are taken, and the plugin is told that all are settled', async () => {
  const { writer, reader, refused, rejectedRows, catalog } = await setUp([SERIES, OTHER]);
  sendFrame(writer, 0, SERIES.schema, [JAN_1, JAN_1 + 60]);
  sendFrame(writer, 1, OTHER.schema, [JAN_1]);
  sendFrame(writer, 0, SERIES.schema, [JAN_1 + 120]);
  await writer.waitForCommitted();
  expect(refused).toEqual([]);
  expect(rejectedRows()).toBe(3);
  expect(reader.gauges().rejectedFrames).toBe(2);
  expect(writer.rejectedFrames).toBe(2);
  expect(catalog.bucket('GOOD/1Min/OHLCV')?.lastRow().rowCount).toBe(1);
  expect(catalog.bucket('AAPL/1Min/OHLCV')?.lastRow().rowCount).toBe(0);
});

test('a plugin of which everything is refused is told so, too', async () => {
  const { writer, rejectedRows } = await setUp();
  for (let at = 0; at < 100; at++) {
    sendFrame(writer, 0, SERIES.schema, [JAN_1 + 60 * at]);
    if (at % 10 === 0) await writer.waitForCommitted();
  }
  await writer.waitForCommitted();
  expect(rejectedRows()).toBe(100);
});

test('frames of one turn are one letter, which holds all their rows', async () => {
  const { writer, letter } = await setUp();
  sendFrame(writer, 0, SERIES.schema, [JAN_1, JAN_1 + 60]);
  sendFrame(writer, 0, SERIES.schema, [JAN_1 + 120]);
  await writer.waitForCommitted();
  const kept = letter();
  expect(kept).toMatchObject({ code: 'MKTS_COLUMN_MISMATCH', rowCount: 3 });
  expect(kept.reason).toContain('Price');
  const epochs = batchesOf(kept).map(({ columns }) => Array.from(columns[0]?.data ?? [], Number));
  expect(epochs).toEqual([[JAN_1, JAN_1 + 60], [JAN_1 + 120]]);
});

/** One row each, and changes of state, as a frame. */
function sendEnvelope(
  writer: RingWriter,
  seriesIds: readonly number[],
  state: Readonly<Record<string, string>>,
): void {
  const blocks = seriesIds.map((seriesId) => ({
    seriesId,
    schema: SERIES.schema,
    rowCount: 1,
    columns: [
      { ...EPOCH_SHAPE, data: BigInt64Array.of(BigInt(JAN_1)) },
      { name: 'Close', type: FLOAT64, data: Float64Array.of(5) },
    ],
  }));
  const changes = Object.entries(state).map(([name, json]) => encodeTexts({ name, json }));
  const envelope = envelopeOf(blocks, changes);
  const target = writer.tryWrite(envelope.bytes);
  if (target === undefined) throw new Error('the ring has room');
  encodeEnvelope(target, envelope);
  writer.commit(seriesIds.length);
}

test('an envelope with one such part is refused as a whole', async () => {
  const { writer, letter, rejectedRows, catalog } = await setUp([SERIES, OTHER]);
  sendEnvelope(writer, [1, 0], {});
  await writer.waitForCommitted();
  expect(rejectedRows()).toBe(2);
  expect(catalog.bucket('GOOD/1Min/OHLCV')).toBeUndefined();
  expect(letter().code).toBe('MKTS_COLUMN_MISMATCH');
  const keys = batchesOf(letter()).map(({ key }) => key.path);
  expect(keys).toEqual(['GOOD/1Min/OHLCV', 'AAPL/1Min/OHLCV']);
});

test('state never passes rows that were refused: what has state behind them is, what has none is not', async () => {
  const { writer, letter, rejectedRows, catalog, states } = await setUp([SERIES, OTHER]);
  sendEnvelope(writer, [1], { cursor: '1' });
  sendEnvelope(writer, [1, 0], { cursor: '2' });
  sendEnvelope(writer, [1], { cursor: '3' });
  sendEnvelope(writer, [], { cursor: '4' });
  sendFrame(writer, 1, OTHER.schema, [JAN_1 + 60, JAN_1 + 120]);
  await writer.waitForCommitted();
  expect(states.taken('test').entries).toEqual([['cursor', '1']]);
  expect(rejectedRows()).toBe(3);
  expect(letter()).toMatchObject({ code: 'MKTS_STATE_REFUSED', rowCount: 3 });
  expect(letter().reason).toContain('Price');
  const rows = await catalog.bucket('GOOD/1Min/OHLCV')?.scan({ fromEnd: false });
  expect(Array.from(rows?.columns[1]?.data ?? [], Number)).toHaveLength(3);
});

test('damage behind a refused part is damage', async () => {
  const { writer, refused, rejectedRows } = await setUp([SERIES]);
  sendEnvelope(writer, [0, 7], { cursor: '1' });
  await expect.poll(() => refused.map(({ code }) => code)).toEqual(['MKTS_FRAME_INVALID']);
  expect(rejectedRows()).toBe(0);
});

test('a replay writes rows once the cause is mended, exactly, and only where the plugin may', async () => {
  const { writer, letter, ingest, catalog } = await setUp();
  sendFrame(writer, 0, SERIES.schema, [JAN_1, JAN_1 + 60]);
  await writer.waitForCommitted();
  const kept = letter();
  const removed: number[] = [];
  const origins: string[] = [];
  const replay = new LetterReplay({
    letters: {
      read: async () => kept,
      remove: async (_plugin, ids) => {
        removed.push(...ids);
      },
    },
    ingest,
    origins: {
      add: ({ name }) => {
        origins.push(name);
        return 0;
      },
    },
  });
  const still = await replay.replay('test', [1], ANY);
  expect(still.refused).toEqual([{ id: 1, reason: expect.stringContaining('unable to match') }]);
  await ingest.destroy('AAPL/1Min/OHLCV');
  const denied = await replay.replay('test', [1], { allows: () => false, text: 'no key' });
  expect(denied.refused[0]?.reason).toBe(
    'AAPL/1Min/OHLCV: plugin test may not write it; it may write no key',
  );
  expect(removed).toEqual([]);
  const answer = { replayed: [{ id: 1, rowCount: 2 }], refused: [] };
  expect(await replay.replay('test', [1, 1], ANY)).toEqual(answer);
  expect(removed).toEqual([1]);
  expect(origins).toEqual(['test']);
  const rows = await catalog.bucket('AAPL/1Min/OHLCV')?.scan({ fromEnd: false });
  expect(Array.from(rows?.columns[1]?.data ?? [], Number)).toEqual([JAN_1, JAN_1 + 60]);
});

test('a letter the disk does not let go of says that its rows are written', async () => {
  const { writer, letter, ingest, catalog } = await setUp();
  sendFrame(writer, 0, SERIES.schema, [JAN_1]);
  await writer.waitForCommitted();
  const kept = letter();
  await ingest.destroy('AAPL/1Min/OHLCV');
  const fields = { operation: 'write', path: 'letters', reason: 'ENOSPC' };
  const replay = new LetterReplay({
    letters: {
      read: async () => kept,
      remove: () => Promise.reject(new StorageError('MKTS_DISK', fields)),
    },
    ingest,
    origins: { add: () => 0 },
  });
  const { replayed, refused } = await replay.replay('test', [1], ANY);
  expect(replayed).toEqual([]);
  expect(refused[0]?.reason).toContain('its rows are written, but write letters: ENOSPC');
  expect(catalog.bucket('AAPL/1Min/OHLCV')?.lastRow().rowCount).toBe(1);
});

test('rows that would only fit with a loss are refused, as they were the first time', async () => {
  const { ingest } = await startIngestion();
  const integers = { recordType: 'fixed', columns: [{ name: 'Close', type: INT32 }] } as const;
  await ingest.create(SERIES.key, integers, 2021);
  const columns = [
    { name: 'Epoch', values: [JAN_1] },
    { name: 'Close', type: 'FLOAT64', values: [1.5] },
  ];
  const letter: DeadLetter = {
    ...{ id: 1, time: '', generation: 1, reason: '', rowCount: 1 },
    rows: [{ key: SERIES.key.path, variable: false, columns }],
  };
  const replay = new LetterReplay({
    letters: { read: async () => letter, remove: async () => undefined },
    ingest,
    origins: { add: () => 0 },
  });
  const answer = await replay.replay('test', [1], ANY);
  expect(answer.refused[0]?.reason).toContain('does not fit type INT32');
});

test('bytes that are no frames are no rows, whatever they say', () => {
  const random = new Uint8Array(4096).map((_, at) => (at * 97 + 13) & 255);
  for (let from = 0; from < 200; from++) {
    const bytes = random.slice(from, from + 64 + 8 * (from % 50));
    for (const { offset, bytes: size } of refusedBlocks(bytes) ?? [])
      expect(offset + size).toBeLessThanOrEqual(bytes.length);
  }
});
