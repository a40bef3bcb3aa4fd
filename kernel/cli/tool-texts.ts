/** What the tools have in common: times and numbers in words, and the time zone they are given. */

import { ConfigError, reasonOf } from '../base/errors.ts';
import { Zone } from '../base/zone.ts';

/** Throws ConfigError MKTS_CONFIG_INVALID. */
export function zoneOf(name: string): Zone {
  try {
    return new Zone(name);
  } catch (cause) {
    const problem = reasonOf(cause);
    throw new ConfigError('MKTS_CONFIG_INVALID', { at: '--timezone', path: name, problem });
  }
}

const SECONDS_MAX = 8_640_000_000_000;

/** Unix seconds as ISO 8601; what no calendar has, as it is. */
export function timeText(seconds: number): string {
  if (!(Math.abs(seconds) <= SECONDS_MAX)) return `${seconds} s`;
  return new Date(seconds * 1000).toISOString().replace('.000Z', 'Z');
}

export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}
