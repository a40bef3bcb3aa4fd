import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compilePattern } from '../../kernel/triggers/matcher.ts';

/** Pieces of a pattern, and a naive reading of them: every way to split the text is tried. */
type Piece =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'one' }
  | { readonly kind: 'some' }
  | { readonly kind: 'either'; readonly texts: readonly string[] };

function matchesNaively(pieces: readonly Piece[], text: readonly string[]): boolean {
  const [piece, ...rest] = pieces;
  if (piece === undefined) return text.length === 0;
  switch (piece.kind) {
    case 'text':
      return (
        startsWith(text, piece.text) && matchesNaively(rest, text.slice([...piece.text].length))
      );
    case 'one':
      return text.length > 0 && matchesNaively(rest, text.slice(1));
    case 'some':
      return text.some((_, at) => matchesNaively(rest, text.slice(at + 1)));
    case 'either':
      return piece.texts.some(
        (each) => startsWith(text, each) && matchesNaively(rest, text.slice([...each].length)),
      );
  }
}

function startsWith(text: readonly string[], start: string): boolean {
  return [...start].every((character, at) => text[at] === character);
}

const letters = fc.stringMatching(/^[ab.+^]{0,3}$/);
const piece: fc.Arbitrary<Piece> = fc.oneof(
  letters.filter((text) => text !== '').map((text) => ({ kind: 'text' as const, text })),
  fc.constant({ kind: 'one' as const }),
  fc.constant({ kind: 'some' as const }),
  fc
    .array(letters, { minLength: 1, maxLength: 3 })
    .map((texts) => ({ kind: 'either' as const, texts })),
);
const part = fc.array(piece, { minLength: 1, maxLength: 4 });
const keyPart = fc.stringMatching(/^[ab.+^]{1,6}$/);

const escaped = (text: string): string => text.replace(/[^ab]/g, '\\$&');

function writtenPiece(each: Piece): string {
  switch (each.kind) {
    case 'text':
      return escaped(each.text);
    case 'one':
      return '?';
    case 'some':
      return '*';
    case 'either':
      return `{${each.texts.map(escaped).join(',')}}`;
  }
}

test('a compiled pattern says what a naive reading of it says', () => {
  fc.assert(
    fc.property(fc.tuple(part, part, part), fc.tuple(keyPart, keyPart, keyPart), (parts, key) => {
      const matcher = compilePattern(
        parts.map((pieces) => pieces.map(writtenPiece).join('')).join('/'),
      );
      const naive = parts.every((pieces, at) => matchesNaively(pieces, [...(key[at] ?? '')]));
      expect(matcher.matches(key.join('/'))).toBe(naive);
    }),
    { numRuns: 2000 },
  );
});
