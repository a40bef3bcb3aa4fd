import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RequestError } from '../../../../kernel/base/errors.ts';
import { jsonMembers } from '../../../../kernel/frontend/json-reader.ts';
import { JsonWriter } from '../../../../kernel/frontend/json-writer.ts';

const members = (text: string) => Object.fromEntries(jsonMembers(text));

describe('members of an object', () => {
  test('are cut out as they were written', () => {
    const text = ' {"a": 1.50 ,"b":[1,{"c":"}"}],"d\\"":"x,\\\\","e":{},"f":null} trailing {';
    expect(members(text)).toEqual({
      a: '1.50',
      b: '[1,{"c":"}"}]',
      'd"': '"x,\\\\"',
      e: '{}',
      f: 'null',
    });
  });

  test.each([
    '',
    '{',
    '[]',
    '"x"',
    '{"a"',
    '{"a":',
    '{"a":}',
    '{"a":1',
    '{"a":1,',
    '{"a":1,}',
    '{a:1}',
    '{"a":"x',
    '{"a" 1}',
    '{"a":1 2}',
    '{"\\x":1}',
  ])('%j is refused', (text) => {
    expect(() => members(text)).toThrow(RequestError);
  });

  test('nesting is bounded', () => {
    expect(() => members(`{"a":${'['.repeat(1_000_000)}`)).toThrow('nests deeper');
  });

  test('of whatever JSON.stringify writes are found', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 })), (object) => {
        for (const text of [JSON.stringify(object), JSON.stringify(object, undefined, '\t')]) {
          const found = [...jsonMembers(text)].map(([name, value]) => [name, JSON.parse(value)]);
          expect(found).toEqual(Object.entries(JSON.parse(text)));
        }
      }),
    );
  });
});

describe('the writer', () => {
  test('separates entries and items, and ends with a newline', () => {
    const writer = new JsonWriter();
    writer.beginMap();
    writer.key('a');
    writer.beginList();
    writer.integer(-1);
    writer.beginMap();
    writer.endMap();
    writer.beginList();
    writer.endList();
    writer.text('"x"');
    writer.nil();
    writer.endList();
    writer.key('b');
    writer.encoded(Buffer.from('1.50'));
    writer.endMap();
    expect(Buffer.concat(writer.finish()).toString()).toBe(
      '{"a":[-1,{},[],"\\"x\\"",null],"b":1.50}\n',
    );
  });

  test('base64 of pieces is that of the whole, wherever they are cut', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 20 }), { maxLength: 8 }), (pieces) => {
        const writer = new JsonWriter();
        writer.blob(pieces);
        expect(JSON.parse(Buffer.concat(writer.finish()).toString())).toBe(
          Buffer.concat(pieces).toString('base64'),
        );
      }),
    );
  });

  test('a column of many megabytes leaves in pieces', () => {
    const column = Buffer.alloc(5_000_001, 1);
    const writer = new JsonWriter();
    writer.blob([column]);
    const pieces = writer.finish();
    expect(pieces.length).toBeGreaterThan(3);
    expect(JSON.parse(Buffer.concat(pieces).toString())).toBe(column.toString('base64'));
  });
});
