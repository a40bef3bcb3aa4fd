/**
 * The pieces feeders' config schemas are made of. They are lenient in form (a scalar for a list, a
 * number as text), strict in meaning: what cannot be understood refuses the entry, before any use
 * of the network.
 */

import { z } from '../sdk.ts';
import { parsePointInTime } from './point-in-time.ts';
import { chooseTimeframe, parseSpan, type Timeframe } from './timeframe.ts';

/** A list of non-empty texts; a single one stands for a list of one. */
export const textList: z.ZodType<string[]> = z.preprocess(
  (given) => (given === undefined || given === null ? [] : Array.isArray(given) ? given : [given]),
  z.array(z.coerce.string().trim().min(1)),
);

/** A number, or its decimal text. */
export function numberIn(least: number, most: number): z.ZodType<number> {
  return z.preprocess(
    (given) =>
      typeof given === 'string' && given.trim() !== '' && Number.isFinite(Number(given))
        ? Number(given)
        : given,
    z.number().min(least).max(most),
  );
}

/** `true`, `false`, or their texts. */
export const flag: z.ZodType<boolean> = z.preprocess(
  (given) => (given === 'true' ? true : given === 'false' ? false : given),
  z.boolean(),
);

/** Unix seconds of a point in time; without an offset it is UTC. */
export const pointInTime: z.ZodType<number> = z.string().transform((text, context) => {
  const seconds = parsePointInTime(text);
  if (seconds !== undefined) return seconds;
  context.addIssue({
    code: 'custom',
    message: `'${text}' is not a point in time such as 2018-01-01, '2018-01-01 13:00' or 2018-01-01T13:00:00Z`,
  });
  return z.NEVER;
});

/** Seconds of a span such as 12H or 7D; a bare number is seconds. */
export const span: z.ZodType<number> = z
  .union([z.number(), z.string()])
  .transform((given, context) => {
    const seconds = parseSpan(/^\d+$/.test(String(given)) ? `${given}Sec` : String(given));
    if (seconds !== undefined) return seconds;
    context.addIssue({ code: 'custom', message: `'${given}' is not a span such as 12H or 7D` });
    return z.NEVER;
  });

/** One of the timeframes the venue offers. */
export function timeframeOf(offered: readonly string[]): z.ZodType<Timeframe> {
  return z.string().transform((text, context) => {
    const chosen = chooseTimeframe(text, offered);
    if (typeof chosen !== 'string') return chosen;
    context.addIssue({ code: 'custom', message: chosen });
    return z.NEVER;
  });
}

/** An http(s) or ws(s) address without a trailing slash. */
export function address(scheme: 'http' | 'ws'): z.ZodType<string> {
  return z.string().transform((text, context) => {
    const secure = `${scheme}s:`;
    const protocol = URL.canParse(text) ? new URL(text).protocol : '';
    if (protocol === `${scheme}:` || protocol === secure) return text.replace(/\/+$/, '');
    context.addIssue({
      code: 'custom',
      message: `'${text}' is not an address such as ${secure}//host`,
    });
    return z.NEVER;
  });
}

/** What stands before the symbol in a bucket's name; may be empty. */
export const prefix: z.ZodType<string> = z
  .string()
  .regex(/^[\w.-]*$/, 'may hold letters, digits, dot, dash and underscore only');

/** The first path segment of a bucket for a symbol, or undefined if the store cannot hold it. */
export function bucketSymbol(text: string): string | undefined {
  const symbol = text.replaceAll('/', '.');
  if (symbol === '' || symbol === '.' || symbol === '..') return undefined;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  return /[*,:\\\u0000-\u001f\u007f]/.test(symbol) ? undefined : symbol;
}
