import { describe, expect, test } from 'vitest';
import { FLOAT32, FLOAT64, INT64 } from '../../../kernel/base/element-type.ts';
import { RequestError } from '../../../kernel/base/errors.ts';
import { decodeRowBlock } from '../../../kernel/base/row-block.ts';
import { type BucketSchema, toPlainSchema } from '../../../kernel/base/schema.ts';
import { createRing, RingReader, RingWriter } from '../../../workers/ring.ts';
import { SeriesWriter } from '../../../workers/series-writer.ts';

function setUp(options: { capacity?: number; schema?: BucketSchema } = {}) {
  const shared = createRing(options.capacity);
  const reader = new RingReader(shared, 'test');
  const opened: string[] = [];
  const schemas: BucketSchema[] = [];
  const writer = new SeriesWriter(new RingWriter(shared, () => {}), async (key, plain) => {
    opened.push(key);
    if (key === 'bad') throw new RequestError('MKTS_KEY_INVALID', { key });
    const schema = options.schema === undefined ? plain : toPlainSchema(options.schema);
    return { seriesId: opened.length - 1, schema };
  });
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
  return { writer, reader, opened, schemas, read };
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
