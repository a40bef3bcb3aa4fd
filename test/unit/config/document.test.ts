import { expect, test } from 'vitest';
import { parseConfigDocument } from '../../../config/document.ts';
import { ConfigError } from '../../../kernel/base/errors.ts';

const parse = (text: string) => parseConfigDocument(text, 'mkts.yml');

function syntaxError(text: string): ConfigError {
  try {
    parse(text);
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error('it was accepted');
}

test('values keep their places', () => {
  const document = parse('a: 1\ntriggers:\n  - module: x.so\n    config: { filter: nasdaqq }\n');
  expect(document.value).toEqual({
    a: 1,
    triggers: [{ module: 'x.so', config: { filter: 'nasdaqq' } }],
  });
  expect(document.at(['triggers', 0, 'config', 'filter'])).toBe('mkts.yml:4:23');
  expect(document.keyAt(['triggers', 0, 'config', 'filter'])).toBe('mkts.yml:4:15');
  expect(document.at(['triggers', 0, 'config', 'missing'])).toBe('mkts.yml:4:13');
  expect(document.at(['nowhere'])).toBe('mkts.yml:1:1');
});

test('the key `on` is a text, and so is every other key', () => {
  expect(parse('on: a\nyes: b\n1: c\n').value).toEqual({ on: 'a', yes: 'b', '1': 'c' });
});

test('of duplicate keys the last wins, with a warning that names it', () => {
  const document = parse('a: 1\nb:\n  c: 2\n  c: 3\na: 4\n');
  expect(document.value).toEqual({ a: 4, b: { c: 3 } });
  expect(document.warnings.map(({ at, path }) => [at, path])).toEqual([
    ['mkts.yml:4:3', 'b.c'],
    ['mkts.yml:5:1', 'a'],
  ]);
});

test('anchors, aliases and merges work; own keys win over merged ones', () => {
  const document = parse('x: &x { a: 1, b: 2 }\ny: { <<: *x, b: 3 }\nz: { <<: [{ a: 5 }, *x] }\n');
  expect(document.value).toMatchObject({ y: { a: 1, b: 3 }, z: { a: 5, b: 2 } });
});

test.each([
  ['triggers:\n  - module: x\n    on: */1Min/OHLCV\n', 'mkts.yml:3:9', 'on: "*/1Min/OHLCV"'],
  ['on: */*/*   # all\n', 'mkts.yml:1:5', 'on: "*/*/*"'],
  ['on: *\n', 'mkts.yml:1:5', 'on: "*"'],
  ['symbols: [*BTC, ETH]\n', 'mkts.yml:1:11', 'symbols: [ "*BTC", ETH]'],
  ['on:\n  - */1D/OHLCV\n', 'mkts.yml:2:5', '- "*/1D/OHLCV"'],
])('an unquoted star is answered with its line as it should be: %j', (text, at, corrected) => {
  const error = syntaxError(text);
  expect(error.code).toBe('MKTS_CONFIG_SYNTAX');
  expect(error.message).toBe(
    `${at}: a text that begins with * must be quoted, write: ${corrected}`,
  );
});

test('an unquoted variable inside braces is explained', () => {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is what the file holds
  expect(syntaxError('config: { key: ${KEY} }\n').message).toContain('must be quoted');
});

test('a mistake in the syntax names its place', () => {
  expect(syntaxError('a: [1,\nb: 2\n').message).toMatch(/^mkts\.yml:\d:\d: /);
  expect(syntaxError('\ta: 1\n').message).toContain('mkts.yml:1:1: Tabs');
});

test('only the first document is read, and that is said', () => {
  const document = parse('a: 1\n---\na: 2\n');
  expect(document.value).toEqual({ a: 1 });
  expect(document.warnings[0]?.at).toBe('mkts.yml:2:1');
});

test('a cycle and an explosion of aliases are refused', () => {
  expect(syntaxError('a: &a { b: *a }\n').message).toContain('*a refers to itself');
  const layers = Array.from({ length: 9 }, (_, layer) => {
    const inner = layer === 0 ? 'x' : `*l${layer - 1}`;
    return `l${layer}: &l${layer} [${Array(9).fill(inner).join(', ')}]\n`;
  });
  expect(syntaxError(layers.join('')).message).toContain('unfolds to more than');
});

test('an empty file is no value, and __proto__ is a key like any other', () => {
  expect(parse('').value).toBeUndefined();
  expect(parse('# nothing\n').value).toBeUndefined();
  const { value } = parse('__proto__: { a: 1 }\n');
  expect(Object.keys(value as object)).toEqual(['__proto__']);
  expect((value as { a?: unknown }).a).toBeUndefined();
});

test('a whole number JavaScript cannot hold stays the text it was', () => {
  expect(parse('id: 12345678901234567890\n').value).toEqual({ id: '12345678901234567890' });
});
