/**
 * The calendar a `freshness` of mkts.yml names: `always`, `nasdaq`, or a JSON file beside mkts.yml.
 */

import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { reasonOf } from '../kernel/base/errors.ts';
import { CALENDAR_BYTES_MAX } from '../kernel/base/limits.ts';
import {
  ALWAYS_OPEN,
  type MarketCalendar,
  NASDAQ,
  parseCalendar,
} from '../kernel/base/market-calendar.ts';
import { suggestion } from '../kernel/base/nearest-word.ts';

const NAMED: Readonly<Record<string, MarketCalendar>> = { always: ALWAYS_OPEN, nasdaq: NASDAQ };

/** `directory` is that of mkts.yml. Throws an Error that says what is wrong, for the operator. */
export function loadCalendar(calendar: string, directory: string): MarketCalendar {
  const named = NAMED[calendar.toLowerCase()];
  if (named !== undefined) return named;
  const path = resolve(directory, calendar);
  try {
    const bytes = statSync(path).size;
    if (bytes > CALENDAR_BYTES_MAX)
      throw new Error(`it has ${bytes} bytes, at most ${CALENDAR_BYTES_MAX}`);
    return parseCalendar(readFileSync(path, 'utf8'));
  } catch (cause) {
    const isMissing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
    const problem = isMissing
      ? `expected 'always', 'nasdaq' or a file; there is no ${path}${suggestion(calendar, Object.keys(NAMED))}`
      : `calendar ${path}: ${reasonOf(cause)}`;
    throw new Error(problem, { cause });
  }
}
