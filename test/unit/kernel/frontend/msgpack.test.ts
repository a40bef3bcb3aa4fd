import fc from 'fast-check';
import { pack, unpack } from 'msgpackr';
import { describe, expect, test } from 'vitest';
import { RequestError } from '../../../../kernel/base/errors.ts';
import { MESSAGE_DEPTH_MAX } from '../../../../kernel/base/limits.ts';
import { Real } from '../../../../kernel/frontend/fields.ts';
import { MsgpackReader } from '../../../../kernel/frontend/msgpack-reader.ts';
import { MsgpackWriter } from '../../../../kernel/frontend/msgpack-writer.ts';

const read = (bytes: Uint8Array): unknown => new MsgpackReader(Buffer.from(bytes)).value();
const readHex = (hex: string): unknown => read(Buffer.from(hex, 'hex'));

function written(write: (writer: MsgpackWriter) => void): Buffer {
  const writer = new MsgpackWriter();
  write(writer);
  return Buffer.concat(writer.finish());
}

describe('the reader', () => {
  test.each([
    ['07', 7],
    ['d007', 7],
    ['cc07', 7],
    ['cd0007', 7],
    ['ce00000007', 7],
    ['cf0000000000000007', 7],
    ['d30000000000000007', 7],
    ['ff', -1],
    ['d1ffff', -1],
    ['d2ffffffff', -1],
    ['d3ffffffffffffffff', -1],
    ['cf8000000000000000', 2n ** 63n],
    ['d38000000000000000', -(2n ** 63n)],
    ['d37ffffff1886e08ff', 9_223_371_974_719_179_007n],
  ])('%s is the integer %s', (hex, value) => {
    expect(readHex(hex)).toBe(value);
  });

  test('a float is never taken for an integer', () => {
    expect(readHex('cb4000000000000000')).toEqual(new Real(2));
    expect(readHex('ca40000000')).toEqual(new Real(2));
  });

  test('a str whose bytes are no text keeps them', () => {
    expect(readHex('a2c328')).toEqual(Buffer.from('c328', 'hex'));
    const long = Buffer.concat([Buffer.from('d928', 'hex'), Buffer.alloc(40, 0xff)]);
    expect(read(long)).toEqual(Buffer.alloc(40, 0xff));
    expect(readHex('a468c3a921')).toBe('hé!');
  });

  test.each([
    'c1',
    'd40000',
    'c7000000',
    '81',
    '81a1',
    '8101c0',
    'dd7fffffff',
    'df7fffffff',
    'c6ffffffff',
    'db7fffffff61',
  ])('%s is refused, whatever size it claims', (hex) => {
    expect(() => readHex(hex)).toThrow(RequestError);
  });

  test('every cut of a message is refused', () => {
    const whole = pack({
      requests: [{ destination: 'A/1Min/X', limit: 70_000, data: Buffer.alloc(9) }],
    });
    for (let length = 0; length < whole.length; length++)
      expect(() => read(whole.subarray(0, length)), `${length} bytes`).toThrow(RequestError);
  });

  test('nesting is bounded: at the bound it reads, past it it refuses', () => {
    const nested = (depth: number) => Buffer.concat([Buffer.alloc(depth, 0x91), Buffer.of(0xc0)]);
    expect(Array.isArray(read(nested(MESSAGE_DEPTH_MAX)))).toBe(true);
    expect(() => read(nested(MESSAGE_DEPTH_MAX + 1))).toThrow('nests deeper');
    expect(() => read(nested(1_000_000))).toThrow('nests deeper');
  });

  test('what msgpackr packs is read as it was', () => {
    const value = fc.letrec((tie) => ({
      any: fc.oneof(
        { maxDepth: 4 },
        fc.integer(),
        fc.string({ unit: 'grapheme' }),
        fc.boolean(),
        fc.constant(null),
        fc.uint8Array().map((bytes) => Buffer.from(bytes)),
        fc.array(tie('any'), { maxLength: 40 }),
        fc
          .dictionary(fc.string({ minLength: 1 }), tie('any'))
          .map((object) => new Map(Object.entries(object))),
      ),
    })).any;
    fc.assert(
      fc.property(value, (sent) => {
        expect(read(pack(sent))).toEqual(sent);
      }),
    );
  });
});

describe('the writer', () => {
  test.each([
    [0, 'd30000000000000000'],
    [1, 'd30000000000000001'],
    [-1, 'd3ffffffffffffffff'],
    [-32_000, 'd3ffffffffffff8300'],
    [60_000_000_000, 'd30000000df8475800'],
    [4_294_967_296, 'd30000000100000000'],
    [-4_294_967_296, 'd3ffffffff00000000'],
    [Number.MAX_SAFE_INTEGER, 'd3001fffffffffffff'],
  ])('the integer %i takes nine bytes and is no float', (value, hex) => {
    expect(written((writer) => writer.integer(value)).toString('hex')).toBe(hex);
  });

  test.each([
    ['', 'a0'],
    ['UTC', 'a3555443'],
    ['é', 'a2c3a9'],
    ['x'.repeat(31), `bf${'78'.repeat(31)}`],
    ['x'.repeat(32), `d920${'78'.repeat(32)}`],
  ])('the text %j is as short as it can be', (text, hex) => {
    expect(written((writer) => writer.text(text)).toString('hex')).toBe(hex);
  });

  test('texts, lists and maps of every width are read back by msgpackr', () => {
    for (const length of [0, 15, 16, 31, 32, 47, 48, 49, 255, 256, 65_535, 65_536]) {
      const text = 'é'.repeat(length >> 1) + 'x'.repeat(length & 1);
      expect(unpack(written((writer) => writer.text(text)))).toBe(text);
      const list = Array.from({ length }, (_, at) => `n${at}`);
      const listed = written((writer) => {
        writer.beginList(length);
        for (const name of list) writer.text(name);
      });
      expect(unpack(listed)).toEqual(list);
      const mapped = written((writer) => {
        writer.beginMap(length);
        for (const name of list) {
          writer.key(name);
          writer.nil();
        }
      });
      expect(Object.keys(unpack(mapped) as object)).toHaveLength(length);
    }
  });

  test('a large column goes out as the very memory it lies in', () => {
    const column = new Uint8Array(100_000).fill(7);
    const writer = new MsgpackWriter();
    writer.beginList(2);
    writer.blob([column, new Uint8Array(0), column]);
    writer.nil();
    const pieces = writer.finish();
    expect(pieces.filter((piece) => piece === column)).toHaveLength(2);
    const [blob, nil] = unpack(Buffer.concat(pieces)) as [Uint8Array, null];
    expect(blob.length).toBe(200_000);
    expect(nil).toBeNull();
  });
});
