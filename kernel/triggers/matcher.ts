/**
 * `on:` of a trigger's entry, compiled: which buckets it is told of. Main thread.
 *
 * Three forms, alone or in a list: a glob on the parts of the key, anchored at both ends (kernel/base/glob.ts);
 * `re:` and a pattern as a Go server reads it (`*` stands for `[^/]+`, the rest is a regular
 * expression tested unanchored against 'AAPL/1Min/OHLCV/2017.bin'); and nothing at all, which
 * matches every write. Everything is compiled once, when the entry is loaded.
 */

import { reasonOf } from '../base/errors.ts';
import { compileGlob, patternError } from '../base/glob.ts';
import { PATTERN_VERDICTS_MAX } from '../base/limits.ts';

export interface Matcher {
  /** For logs. */
  readonly description: string;
  /** What the operator should know of the pattern. */
  readonly warning: string | undefined;
  /** True if the verdict depends on the year; else a caller may leave it out. */
  readonly namesYears: boolean;
  /**
   * `keyPath` is 'AAPL/1Min/OHLCV'. Without a year: whether the bucket matches in some year (for a
   * `re:` pattern: whether it matches the key alone). Remembered, so a repeated question is cheap.
   */
  matches(keyPath: string, year?: number): boolean;
}

type Test = (keyPath: string, year: number | undefined) => boolean;

interface Pattern {
  readonly test: Test;
  readonly namesYears: boolean;
}

const REGULAR_EXPRESSION = 're:';

/** Throws MKTS_TRIGGER_PATTERN. */
export function compilePattern(on: string | readonly string[] | undefined): Matcher {
  const texts = typeof on === 'string' ? [on] : (on ?? ['']);
  if (texts.length === 0) throw patternError('[]', 'the list is empty: it would match nothing');
  const patterns = texts.map(compileOne);
  const everything = texts.some((text) => text === '');
  return new CompiledMatcher(patterns, {
    description: everything ? 'every bucket' : texts.join(', '),
    warning: everything
      ? 'no `on`: the trigger is told of every write; say which buckets, such as "*/1Min/OHLCV"'
      : undefined,
  });
}

/**
 * Whether a Go server would fire for a bucket: to warn where the two differ. A pattern that does not
 * compile never matches there.
 */
export function referenceMatches(pattern: string, keyPath: string, year: number): boolean {
  try {
    return referenceTest(pattern)(keyPath, year);
  } catch {
    return false; // SyntaxError: the reference says nothing either.
  }
}

class CompiledMatcher implements Matcher {
  readonly description: string;
  readonly warning: string | undefined;
  readonly namesYears: boolean;
  readonly #patterns: readonly Pattern[];
  /** Verdicts by year and key; where no pattern names a year all lie under `ANY_YEAR`. */
  readonly #verdicts = new Map<number, Map<string, boolean>>();
  #verdictCount = 0;

  constructor(
    patterns: readonly Pattern[],
    texts: { readonly description: string; readonly warning: string | undefined },
  ) {
    this.#patterns = patterns;
    this.description = texts.description;
    this.warning = texts.warning;
    this.namesYears = patterns.some(({ namesYears }) => namesYears);
  }

  matches(keyPath: string, year?: number): boolean {
    const asked = this.namesYears ? year : undefined;
    const verdict = this.#verdicts.get(asked ?? ANY_YEAR)?.get(keyPath);
    return verdict ?? this.#judge(keyPath, asked);
  }

  #judge(keyPath: string, year: number | undefined): boolean {
    const verdict = this.#patterns.some(({ test }) => test(keyPath, year));
    if (this.#verdictCount >= PATTERN_VERDICTS_MAX) {
      this.#verdicts.clear();
      this.#verdictCount = 0;
    }
    const ofYear = this.#verdicts.get(year ?? ANY_YEAR) ?? new Map<string, boolean>();
    this.#verdicts.set(year ?? ANY_YEAR, ofYear);
    ofYear.set(keyPath, verdict);
    this.#verdictCount++;
    return verdict;
  }
}

/** No year file is called 0.bin. */
const ANY_YEAR = 0;

function compileOne(text: string): Pattern {
  if (text === '') return { test: () => true, namesYears: false };
  if (text.startsWith(REGULAR_EXPRESSION)) {
    const expression = text.slice(REGULAR_EXPRESSION.length);
    try {
      return { test: referenceTest(expression), namesYears: true };
    } catch (cause) {
      throw patternError(text, reasonOf(cause), cause);
    }
  }
  const { key, year } = compileGlob(text);
  return {
    test: (keyPath, asked) =>
      key.test(keyPath) &&
      (year === undefined || asked === undefined || year.test(asked.toString())),
    namesYears: year !== undefined,
  };
}

/** Throws SyntaxError. */
function referenceTest(pattern: string): Test {
  const expression = new RegExp(pattern.replaceAll('*', '[^/]+'));
  return (keyPath, year) =>
    expression.test(year === undefined ? keyPath : `${keyPath}/${year}.bin`);
}
