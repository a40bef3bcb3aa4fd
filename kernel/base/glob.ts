/**
 * The grammar of patterns of keys (`on:` of a trigger, `writes` of a plugin), compiled to regular
 * expressions. Pure.
 *
 *   pattern  = symbol '/' timeframe '/' attributeGroup [ '/' year [ '.bin' ] ]
 *   part     = { '*' one or more characters | '?' one | '{a,b}' either | '\' next one literally
 *              | any other character literally }
 *
 * A part matches whole. Characters that mean something in a regular expression, and nothing here,
 * are refused rather than taken literally, because patterns of a Go server are regular expressions
 * and would silently match nothing; `.` is the exception, symbols have it (BRK.B).
 */

import { ConfigError, reasonOf } from './errors.ts';
import { PATTERN_BYTES_MAX } from './limits.ts';

export interface Glob {
  /** Tested against 'AAPL/1Min/OHLCV'. */
  readonly key: RegExp;
  /** Tested against '2017'; undefined: every year. */
  readonly year: RegExp | undefined;
}

/** Throws MKTS_TRIGGER_PATTERN. */
export function compileGlob(pattern: string): Glob {
  if (pattern.length > PATTERN_BYTES_MAX)
    throw patternError(
      `${pattern.slice(0, 32)}…`,
      `it is longer than ${PATTERN_BYTES_MAX} characters`,
    );
  const parts = compileParts(pattern);
  const [symbol = '', timeframe = '', attributeGroup = '', year] = parts;
  if (parts.length !== 3 && parts.length !== 4)
    throw patternError(
      pattern,
      `it has ${parts.length} part${parts.length === 1 ? '' : 's'}; write symbol/timeframe/attribute group, such as */1Min/OHLCV`,
    );
  return {
    key: new RegExp(`^${symbol}/${timeframe}/${attributeGroup}$`, 'u'),
    year: year === undefined ? undefined : new RegExp(`^${year.replace(/\\\.bin$/, '')}$`, 'u'),
  };
}

/** What is wrong with a pattern that may name no year; undefined: nothing. */
export function globProblem(pattern: string): string | undefined {
  try {
    return compileGlob(pattern).year === undefined ? undefined : 'it may not name a year';
  } catch (error) {
    return reasonOf(error);
  }
}

/** The error of a pattern that cannot be used. */
export function patternError(pattern: string, reason: string, cause?: unknown): ConfigError {
  return new ConfigError('MKTS_TRIGGER_PATTERN', { pattern, reason }, { cause });
}

/** The parts of a pattern as sources of regular expressions. */
function compileParts(pattern: string): readonly string[] {
  const parts: string[] = [];
  let source = '';
  let inBraces = false;
  const characters = [...pattern];
  for (let at = 0; at < characters.length; at++) {
    const character = characters[at] ?? '';
    switch (character) {
      case '/':
        if (inBraces) throw patternError(pattern, 'braces may not reach over a "/"');
        parts.push(source);
        source = '';
        break;
      case '*':
        source += '[^/]+';
        break;
      case '?':
        source += '[^/]';
        break;
      case '{':
        if (inBraces) throw patternError(pattern, 'braces may not stand in braces');
        inBraces = true;
        source += '(?:';
        break;
      case '}':
        if (!inBraces) throw patternError(pattern, 'a "}" has no "{" before it');
        inBraces = false;
        source += ')';
        break;
      case ',':
        source += inBraces ? '|' : ',';
        break;
      case '\\':
        at++;
        if (at === characters.length) throw patternError(pattern, 'it ends in a "\\"');
        source += literal(characters[at] ?? '');
        break;
      default:
        if ('+()[]^$|'.includes(character) || isDotStarHabit(characters, at))
          throw patternError(pattern, regularExpressionHint(pattern, character));
        source += literal(character);
    }
  }
  if (inBraces) throw patternError(pattern, 'a "{" is not closed');
  parts.push(source);
  if (parts.includes('')) throw patternError(pattern, 'a part is empty');
  return parts;
}

/** `.*` as a whole part is meant as a regular expression; as a glob it asks for a leading dot. */
function isDotStarHabit(characters: readonly string[], at: number): boolean {
  return (
    characters[at] === '.' &&
    (at === 0 || characters[at - 1] === '/') &&
    characters[at + 1] === '*' &&
    (at + 2 === characters.length || characters[at + 2] === '/')
  );
}

function regularExpressionHint(pattern: string, character: string): string {
  return `"${character}" belongs to a regular expression; write "re:${pattern}" for one, or "\\${character}" for the character itself`;
}

function literal(character: string): string {
  return /[\\^$.*+?()[\]{}|/]/.test(character) ? `\\${character}` : character;
}
