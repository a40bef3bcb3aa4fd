/**
 * Every name the store gives to, or looks for in, the data directory.
 *
 * The tree is `<root>/<Symbol>/<Timeframe>/<AttributeGroup>/<year>.bin`; each directory's
 * `category_name` names the category of its *children*. A Go server opens the same directory, so
 * files of ours end neither in `.bin` nor in `.walfile`, and ours never makes other directories.
 */

import { DEFAULT_CATEGORIES } from '../base/time-bucket-key.ts';

export const CATEGORY_FILE = 'category_name';
/** Category of the children of the root, of a symbol, of a timeframe; the leaf's is `Year`. */
export const CATEGORY_CHAIN: readonly string[] = DEFAULT_CATEGORIES.split('/');
export const LEAF_CATEGORY = 'Year';
/** A directory of this name is a Go server's own and is never a symbol. */
export const METADATA_DIRECTORY = 'metadata.db';
export const LOCK_FILE = 'mkts.lock';

const YEAR_EXTENSION = '.bin';
/** A year file on its way: renamed when its header is on disk. */
const NEW_EXTENSION = '.new';

export function yearFileName(year: number): string {
  return `${year}${YEAR_EXTENSION}`;
}

export function newYearFileName(year: number): string {
  return `${yearFileName(year)}${NEW_EXTENSION}`;
}

/** Name for the n-th broken file of a year. */
export function damagedYearFileName(year: number, n: number): string {
  return `${yearFileName(year)}.damaged-${n}`;
}

/** True for a name a Go server takes for a year file. */
export function isYearFileName(name: string): boolean {
  return name.endsWith(YEAR_EXTENSION);
}

/** Year of a year file's name; undefined if it is no plain decimal number a header can hold. */
export function parseYearFileName(name: string): number | undefined {
  const match = /^([1-9]\d{0,4})\.bin$/.exec(name);
  const year = Number(match?.[1]);
  return year <= 32_767 ? year : undefined;
}
