import { describe, expect, test } from 'vitest';
import { FLOAT32, FLOAT64, INT64 } from '../../../kernel/base/element-type.ts';
import { RequestError } from '../../../kernel/base/errors.ts';
import { FRAME_BYTES_MAX, WRITES_PER_TURN } from '../../../kernel/base/limits.ts';
import { decodeRowBlock } from '../../../kernel/base/row-block.ts';
import { type BucketSchema, toPlainSchema } from '../../../kernel/base/schema.ts';
import {
  decodeState,
  ENVELOPE_KIND,
  rowBlockOffsets,
  STATE_KIND,
} from '../../../kernel/base/state-entry.ts';
import { KeptState } from '../../../workers/kept-state.ts';
import { createRing, RingReader, RingWriter } from '../../../workers/ring.ts';
import { type OpenSeries, SeriesWriter } from '../../../workers/series-writer.ts';

interface Setting {
  readonly capacity?: number;
  readonly schema?: BucketSchema;
  readonly stateBytesMax?: number;
}

function setUp(options: Setting = {}) {
  const shared = createRing(options.capacity);
  const reader = new RingReader(shared, 'test');
  const opened: string[] = [];
  const schemas: BucketSchema[] = [];
  const state = new KeptState('test');
  state.reset({ entries: [], bytesMax: options.stateBytesMax ?? 4096 });
  const open: OpenSeries = async (key, plain) => {
    opened.push(key);
    if (key === 'bad') throw new RequestError('MKTS_KEY_INVALID', { key });
    const schema = options.schema === undefined ? plain : toPlainSchema(options.schema);
    return { seriesId: opened.length - 1, schema };
  };
  const refused: { keys: string[]; code: unknown; acceptedRows: number }[] = [];
  const time = { nowMs: 0 };
  const writer = new SeriesWriter(
    new RingWriter(shared, () => {}),
    open,
    state,
    (writes, error, acceptedRows) =>
      refused.push({
        keys: writes.map(({ key }) => key),
        code: Reflect.get(Object(error), 'code'),
        acceptedRows,
      }),
    () => time.nowMs,
  );
  const read = (schema: BucketSchema): (number | bigint)[][] => {
    const rows: (number | bigint)[][] = [];
    for (let frame = reader.peek(); frame !== undefined; frame = reader.peek()) {
      const copy = reader.data.slice(frame.offset, frame.offset + frame.bytes);
      const rowCount = new DataView(copy.buffer).getUint32(12, true);
      const columns = decodeRowBlock(copy.buffer as ArrayBuffer, 0, schema, rowCount);
      for (let row = 0; row < rowCount; row++) rows.push(columns.map(({ data }) => data[row] ?? 0));
      reader.markCommitted(reader.consume());
    }
    return rows;
  };
  return { writer, reader, state, opened, schemas, read, refused, time };
}

const CLOSE: BucketSchema = { recordType: 'fixed', columns: [{ name: 'Close', type: FLOAT64 }] };

describe('SeriesWriter', () => {
  test('a series is opened once, and its rows come in order whoever waited', async () => {
    const { writer, opened, read } = setUp();
    await Promise.all(
      [0, 1, 2, 3].map((at) => writer.write('A/1Min/X', { Epoch: [60 * at], Close: [at] })),
    );
    await writer.write('A/1Min/X', { Epoch: [240], Close: [4] });
    expect(opened).toEqual(['A/1Min/X']);
    expect(read(CLOSE)).toEqual([0, 1, 2, 3, 4].map((at) => [BigInt(60 * at), at]));
  });

  test('a refused key does not hold up the calls behind it, and is asked for again', async () => {
    const { writer, opened, read } = setUp();
    const [bad, good] = await Promise.allSettled([
      writer.write('bad', { Epoch: [0], Close: [1] }),
      writer.write('A/1Min/X', { Epoch: [0], Close: [1] }),
    ]);
    expect(bad.status).toBe('rejected');
    expect(good.status).toBe('fulfilled');
    await expect(writer.write('bad', { Epoch: [0], Close: [1] })).rejects.toThrow(RequestError);
    expect(opened).toEqual(['bad', 'A/1Min/X', 'bad']);
    expect(read(CLOSE)).toHaveLength(1);
  });

  test("columns are brought into the bucket's order and types", async () => {
    const schema: BucketSchema = {
      recordType: 'fixed',
      columns: [
        { name: 'Volume', type: INT64 },
        { name: 'Close', type: FLOAT32 },
      ],
    };
    const { writer, read } = setUp({ schema });
    await writer.write('A/1Min/X', { Close: [1.5], Epoch: [60], Volume: [7] });
    expect(read(schema)).toEqual([[60n, 7n, 1.5]]);
    await expect(
      writer.write('A/1Min/X', { Close: [1], Epoch: [60], Volume: [7.5] }),
    ).rejects.toMatchObject({ code: 'MKTS_COLUMN_LOSSY' });
    await expect(writer.write('A/1Min/X', { Close: [1], Epoch: [60] })).rejects.toMatchObject({
      code: 'MKTS_COLUMN_MISMATCH',
    });
    expect(read(schema)).toEqual([]);
  });

  test('writes that are awaited one after the other leave the event loop its turns', async () => {
    const { writer } = setUp({ capacity: 1 << 20 });
    const good = { Epoch: [60], Close: [1] };
    let turns = 0;
    const timer = setInterval(() => turns++, 0);
    for (let n = 0; n < 4 * WRITES_PER_TURN; n++) await writer.write('A/1Min/X', good);
    for (let n = 0; n < 4 * WRITES_PER_TURN; n++)
      await writer.writeAll([{ key: 'A/1Min/X', rows: good }]);
    clearInterval(timer);
    expect(turns).toBeGreaterThan(1);
  });

  test('each refused call is told once, whether it waited or not', async () => {
    const { writer, refused, reader } = setUp();
    await Promise.allSettled([
      writer.write('bad', { Epoch: [0], Close: [1] }),
      writer.writeAll([
        { key: 'A/1Min/X', rows: { Epoch: [0], Close: [1] } },
        { key: 'bad', rows: { Epoch: [0], Close: [1] } },
      ]),
    ]);
    await writer.write('A/1Min/X', { Epoch: [60], Close: [1] });
    const wrong = { Epoch: [60], Other: [1] };
    await expect(writer.write('A/1Min/X', wrong)).rejects.toThrow();
    await expect(writer.writeAll([{ key: 'A/1Min/X', rows: wrong }])).rejects.toThrow();
    await expect(writer.write('A/1Min/X', { Epoch: [0.5] })).rejects.toThrow();
    expect(refused.map(({ keys, code }) => [keys.join(), code])).toEqual([
      ['bad', 'MKTS_KEY_INVALID'],
      ['A/1Min/X,bad', 'MKTS_KEY_INVALID'],
      ['A/1Min/X', 'MKTS_COLUMN_MISMATCH'],
      ['A/1Min/X', 'MKTS_COLUMN_MISMATCH'],
      ['A/1Min/X', 'MKTS_DATASET_INVALID'],
    ]);
    expect(reader.gauges().rowsHanded).toBe(1);
  });

  test('rows of a call that was cut off are told apart: those in the ring, and the rest', async () => {
    const { writer, reader, refused } = setUp({ capacity: 1 << 20 });
    const rowCount = 200_000;
    const rows = { Epoch: new Float64Array(rowCount), Close: new Float64Array(rowCount) };
    const write = writer.write('A/1Min/X', rows);
    const refusal = expect(write).rejects.toMatchObject({ code: 'MKTS_WRITES_STOPPED' });
    await new Promise((resolve) => setImmediate(resolve));
    reader.close();
    await refusal;
    const { rowsHanded } = reader.gauges();
    expect(rowsHanded).toBeGreaterThan(0);
    expect(refused[0]?.acceptedRows).toBe(rowsHanded);
  });

  test('after the kernel refused a frame, and now and then when rows do not fit, buckets are asked for anew', async () => {
    const { writer, reader, opened, time } = setUp();
    const good = { Epoch: [60], Close: [1] };
    const wrong = { Epoch: [60], Other: [1] };
    await writer.write('A/1Min/X', good);
    await writer.write('A/1Min/X', good);
    expect(opened).toHaveLength(1);
    reader.markRejected();
    await writer.write('A/1Min/X', good);
    await writer.writeAll([{ key: 'A/1Min/X', rows: good }]);
    expect(opened).toHaveLength(2);
    await expect(writer.write('A/1Min/X', wrong)).rejects.toThrow();
    await expect(writer.write('A/1Min/X', wrong)).rejects.toThrow();
    expect(opened).toHaveLength(2);
    time.nowMs = 1_001;
    await expect(writer.write('A/1Min/X', wrong)).rejects.toThrow();
    // Here the bucket is what the first rows after that say.
    await writer.write('A/1Min/X', wrong);
    expect(opened).toHaveLength(3);
  });

  test('a full ring makes a write wait, and a closed one ends the wait with an error', async () => {
    const { writer, reader, read } = setUp({ capacity: 256 });
    let accepted = 0;
    const writes = Array.from({ length: 20 }, (_, at) =>
      writer.write('A/1Min/X', { Epoch: [60 * at], Close: [at] }).then(() => {
        accepted++;
      }),
    );
    await writes[0];
    await writes[1];
    expect(accepted).toBeLessThan(20);
    const rows: (number | bigint)[][] = [];
    while (rows.length < 20) {
      rows.push(...read(CLOSE));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(writes);
    expect(rows.map(([, close]) => close)).toEqual([...Array(20).keys()]);

    const more = Array.from({ length: 20 }, (_, at) =>
      writer.write('A/1Min/X', { Epoch: [60 * at], Close: [at] }),
    );
    const flushed = writer.flush();
    reader.close();
    const outcomes = await Promise.allSettled([...more, flushed]);
    expect(outcomes.at(-1)).toMatchObject({
      status: 'rejected',
      reason: { code: 'MKTS_WRITES_STOPPED' },
    });
    expect(outcomes.some(({ status }) => status === 'fulfilled')).toBe(true);
  });

  test('flush waits for what was accepted before it, not for what comes later', async () => {
    const { writer, reader } = setUp();
    await writer.write('A/1Min/X', { Epoch: [60], Close: [1] });
    let flushed = false;
    const flush = writer.flush().then(() => {
      flushed = true;
    });
    reader.peek();
    const cursor = reader.consume();
    await writer.write('A/1Min/X', { Epoch: [120], Close: [2] });
    expect(flushed).toBe(false);
    reader.markCommitted(cursor);
    await flush;
  });

  test('no rows are no write, and ticks get Nanoseconds', async () => {
    const { writer, opened, read } = setUp();
    await writer.write('A/1Min/X', { Epoch: [], Close: [] });
    expect(opened).toEqual([]);
    await writer.write(
      'A/1Min/TICK',
      { Epoch: [60], Nanoseconds: [1_500_000_000], Close: [1] },
      { variable: true },
    );
    expect(read({ ...CLOSE, recordType: 'variable' })).toEqual([[61n, 1, 500_000_000]]);
  });
});

describe('a call that is one piece', () => {
  /** The entries of each envelope: row values by series, and changes of state. */
  function readEnvelopes(reader: RingReader): unknown[][] {
    const frames: unknown[][] = [];
    for (let frame = reader.peek(); frame !== undefined; frame = reader.peek()) {
      const bytes = reader.data.slice(frame.offset, frame.offset + frame.bytes);
      const view = new DataView(bytes.buffer);
      expect(view.getUint16(4, true)).toBe(ENVELOPE_KIND);
      const entries: unknown[] = [];
      for (let at = 8; at < bytes.length; at += view.getUint32(at, true)) {
        const rowCount = view.getUint32(at + 12, true);
        if (view.getUint16(at + 4, true) === STATE_KIND) {
          const { name, json } = decodeState({ view, bytes }, at) ?? {};
          entries.push([name, json]);
        } else {
          const columns = decodeRowBlock(bytes.buffer as ArrayBuffer, at, CLOSE, rowCount);
          entries.push([view.getUint32(at + 8, true), ...(columns[1]?.data ?? [])]);
        }
      }
      expect(entries).toHaveLength(view.getUint16(6, true));
      frames.push(entries);
      reader.markCommitted(reader.consume());
    }
    return frames;
  }

  test('rows of several keys and state are one frame, and state is there once it is accepted', async () => {
    const { writer, reader, state, opened } = setUp();
    const rows = (close: number) => ({ Epoch: [60], Close: [close] });
    const first = writer.writeAll(
      [
        { key: 'A/1Min/X', rows: rows(1) },
        { key: 'B/1Min/X', rows: rows(2) },
        { key: 'A/1Min/X', rows: rows(3) },
      ],
      { state: { cursor: 3 } },
    );
    // Not before it is accepted: the series are still to be opened.
    expect(state.get('cursor')).toBeUndefined();
    await first;
    expect(state.get('cursor')).toBe(3);
    await writer.write('B/1Min/X', rows(4), { state: { cursor: 4, old: undefined } });
    await writer.writeAll([], { state: { done: true } });
    await writer.writeAll([{ key: 'A/1Min/X', rows: { Epoch: [], Close: [] } }]);
    expect(opened).toEqual(['A/1Min/X', 'B/1Min/X']);
    expect(readEnvelopes(reader)).toEqual([
      [
        [0, 1],
        [1, 2],
        [0, 3],
        ['cursor', '3'],
      ],
      [
        [1, 4],
        ['cursor', '4'],
        ['old', undefined],
      ],
      [['done', 'true']],
    ]);
  });

  test('what is wrong with a part refuses all of it, and sets no state', async () => {
    const { writer, reader, state } = setUp({ schema: CLOSE });
    const good = { key: 'A/1Min/X', rows: { Epoch: [60], Close: [1] } };
    for (const [bad, code] of [
      [{ key: 'bad', rows: good.rows }, 'MKTS_KEY_INVALID'],
      [{ key: 'B/1Min/X', rows: { Epoch: [60], Price: [1] } }, 'MKTS_COLUMN_MISMATCH'],
      [{ key: 'B/1Min/X', rows: { Epoch: [60], Close: [1, 2] } }, 'MKTS_DATASET_INVALID'],
    ] as const)
      await expect(writer.writeAll([good, bad], { state: { a: 1 } })).rejects.toMatchObject({
        code,
      });
    await expect(writer.writeAll([good], { state: { a: 'x'.repeat(5000) } })).rejects.toMatchObject(
      { code: 'MKTS_BUDGET' },
    );
    expect(state.get('a')).toBeUndefined();
    expect(readEnvelopes(reader)).toEqual([]);
  });

  test('one that does not fit a frame is refused with its size; to the byte it fits', async () => {
    const { writer, reader } = setUp({ stateBytesMax: 1 << 20 });
    // 8 envelope, 16 state, 1 name, 2 quotes.
    const room = FRAME_BYTES_MAX - 27;
    await expect(writer.writeAll([], { state: { a: 'x'.repeat(room + 1) } })).rejects.toMatchObject(
      {
        code: 'MKTS_WRITE_TOO_LARGE',
        fields: { bytes: FRAME_BYTES_MAX + 8, maxBytes: FRAME_BYTES_MAX },
      },
    );
    await writer.writeAll([], { state: { a: 'x'.repeat(room) } });
    expect(readEnvelopes(reader)).toHaveLength(1);
  });

  test('calls of both kinds are accepted in the order in which they were made', async () => {
    const { writer, reader, state } = setUp({ capacity: 512 });
    const calls = Array.from({ length: 40 }, (_, at) => {
      const rows = { Epoch: [60 * at], Close: [at] };
      if (at % 3 === 0) return writer.write('A/1Min/X', rows);
      if (at % 3 === 1) return writer.write('A/1Min/X', rows, { state: { cursor: at } });
      return writer.writeAll([{ key: 'A/1Min/X', rows }], { state: { cursor: at } });
    });
    const closes: number[] = [];
    const cursors: string[] = [];
    while (closes.length < calls.length) {
      for (let frame = reader.peek(); frame !== undefined; frame = reader.peek()) {
        const bytes = reader.data.slice(frame.offset, frame.offset + frame.bytes);
        const view = new DataView(bytes.buffer);
        for (const at of rowBlockOffsets(view)) {
          const [, close] = decodeRowBlock(bytes.buffer as ArrayBuffer, at, CLOSE, 1);
          closes.push(Number(close?.data[0]));
          const next = at + view.getUint32(at, true);
          if (at > 0) cursors.push(decodeState({ view, bytes }, next)?.json ?? '');
        }
        reader.markCommitted(reader.consume());
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(calls);
    expect(closes).toEqual([...calls.keys()]);
    expect(cursors).toEqual([...calls.keys()].filter((at) => at % 3 !== 0).map(String));
    expect(state.get('cursor')).toBe(38);
  });
});
