/**
 * Kinds of values in mkts.yml: what each takes, and what is said when it is given something else.
 *
 * Values are read as the Go server reads them (spec: configuration): ports as number or text, truths
 * as `1 t T TRUE true True 0 f F FALSE false False`, a negative grace period as none. Where it guesses
 * at a bad value, or ignores it, this is an error instead.
 */

import * as z from 'zod';
import { suggestion } from '../kernel/base/nearest-word.ts';
import { Zone } from '../kernel/base/zone.ts';

export const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'fatal'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
/** As written: `warning` is another word for `warn`. */
export const LOG_LEVEL_WORDS = ['debug', 'info', 'warn', 'warning', 'error', 'fatal'] as const;

/** A value `parse` understands, or the problem "expected <expected>, got …". */
export function value<T>(expected: string, parse: (given: unknown) => T | undefined): z.ZodType<T> {
  return z.unknown().transform((given, context): T => {
    const parsed = given === undefined ? undefined : parse(given);
    if (parsed !== undefined) return parsed;
    context.addIssue({ code: 'custom', message: `expected ${expected}` });
    return z.NEVER;
  });
}

export const text: z.ZodType<string> = value('a text', (given) =>
  ['string', 'number', 'boolean'].includes(typeof given) ? String(given) : undefined,
);
export const nonEmptyText: z.ZodType<string> = text.refine(
  (given) => given !== '',
  'expected a text that is not empty',
);

export const TRUTHS: readonly unknown[] = [true, 1, '1', 't', 'T', 'TRUE', 'true', 'True'];
export const UNTRUTHS: readonly unknown[] = [false, 0, '0', 'f', 'F', 'FALSE', 'false', 'False'];
export const truth: z.ZodType<boolean> = value(
  'true or false (also 1 t T TRUE, 0 f F FALSE)',
  (given) => (TRUTHS.includes(given) ? true : UNTRUTHS.includes(given) ? false : undefined),
);
/** Where the Go server lets its YAML library decide, which speaks 1.1. */
export const yamlTruth: z.ZodType<boolean> = value('true or false', (given) => {
  const word = typeof given === 'string' ? given.toLowerCase() : given;
  if ([true, 'true', 'yes', 'y', 'on'].includes(word as string)) return true;
  return [false, 'false', 'no', 'n', 'off'].includes(word as string) ? false : undefined;
});

export const port: z.ZodType<number> = value('a port, 0 to 65535', (given) => {
  const number = wholeNumber(given);
  return number !== undefined && number >= 0 && number <= 65_535 ? number : undefined;
});
export const seconds: z.ZodType<number> = value('a number of seconds', (given) =>
  typeof given === 'number' && Number.isFinite(given) ? Math.max(0, Math.trunc(given)) : undefined,
);
export function count(expected: string, min: number): z.ZodType<number> {
  return value(expected, (given) => {
    const number = wholeNumber(given);
    return number !== undefined && number >= min ? number : undefined;
  });
}
/** Milliseconds. The Go server takes a bare number for nanoseconds; here it is seconds. */
export const duration: z.ZodType<number> = value(
  "a duration such as '10s', '1m30s' or '500ms'",
  (given) => (typeof given === 'number' && given >= 0 ? given * 1000 : parseDuration(given)),
);
export const address: z.ZodType<string> = value("'host:port'", (given) =>
  typeof given === 'string' && /^[^\s/]*:\d{1,5}$/.test(given) ? given : undefined,
);
export const zone: z.ZodType<Zone> = z.unknown().transform((given, context): Zone => {
  try {
    return new Zone(String(given));
  } catch {
    const near = suggestion(String(given), Intl.supportedValuesOf('timeZone'));
    context.addIssue({ code: 'custom', message: `invalid timezone:${String(given)}${near}` });
    return z.NEVER;
  }
});
export function word<const Words extends readonly [string, ...string[]]>(
  words: Words,
): z.ZodType<Words[number]> {
  return z.preprocess(
    (given) => (typeof given === 'string' ? given.toLowerCase() : given),
    z.enum(words),
  );
}
/** A list; a single value is a list of one. */
export function listOf<T>(item: z.ZodType<T>): z.ZodType<T[]> {
  return z.preprocess((given) => (Array.isArray(given) ? given : [given]), z.array(item));
}

function wholeNumber(given: unknown): number | undefined {
  if (typeof given === 'number') return Number.isSafeInteger(given) ? given : undefined;
  return typeof given === 'string' && /^[-+]?\d{1,15}$/.test(given) ? Number(given) : undefined;
}

const DURATION_UNITS_MS: Readonly<Record<string, number>> = {
  h: 3_600_000,
  m: 60_000,
  s: 1000,
  ms: 1,
  us: 1e-3,
  µs: 1e-3,
  ns: 1e-6,
};

function parseDuration(given: unknown): number | undefined {
  if (typeof given !== 'string' || !/^(\d+(\.\d+)?(h|ms|m|s|us|µs|ns))+$/.test(given))
    return undefined;
  let milliseconds = 0;
  for (const [, number, unit] of given.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)/g))
    milliseconds += Number(number) * (DURATION_UNITS_MS[unit ?? ''] ?? 0);
  return milliseconds;
}
