/**
 * Configuration of ondiskagg. What can be checked without knowing the base bars is checked here, so
 * that a mistake stops the entry at load with its line; the rest at the first write (plugin.ts).
 */

import { z } from '../sdk.ts';

const DAY_SECONDS = 86_400;
const UNIT_SECONDS: Readonly<Record<string, number>> = {
  S: 1,
  Sec: 1,
  T: 60,
  Min: 60,
  H: 3600,
  D: DAY_SECONDS,
};

/** Seconds of a timeframe that can be stored, or undefined. */
function storableSeconds(text: string): number | undefined {
  const [, count, unit] = /^([1-9]\d{0,4})(Sec|Min|S|T|H|D)$/.exec(text) ?? [];
  if (count === undefined || unit === undefined) return undefined;
  const seconds = Number(count) * (UNIT_SECONDS[unit] ?? 0);
  return DAY_SECONDS % seconds === 0 ? seconds : undefined;
}

const destination = z
  .string()
  .refine((text) => storableSeconds(text) !== undefined, {
    error: 'not a timeframe that divides a day, such as 5Min, 1H or 1D',
  })
  .describe('Timeframe of the bars to keep up to date, such as 5Min.');

export const configSchema: z.ZodType<OndiskaggConfig> = z.strictObject({
  destinations: z
    .array(destination)
    .min(1)
    .refine((texts) => new Set(texts.map(storableSeconds)).size === texts.length, {
      error: 'the same timeframe is given twice',
    })
    .readonly()
    .describe('Timeframes to aggregate to; each a multiple of the bars that are written.'),
  filter: z
    .literal('', {
      error: ({ input }) =>
        input === 'nasdaq'
          ? "'nasdaq' is not part of this version: it needs the exchange's calendar; leave it out to aggregate all hours"
          : 'unknown filter; leave it out',
    })
    .optional()
    .describe('Sessions to leave out. None is available in this version.'),
});

export interface OndiskaggConfig {
  readonly destinations: readonly string[];
  readonly filter?: '' | undefined;
}
