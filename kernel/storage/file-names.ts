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
/** What plugins remember. */
export const STATE_FILE = 'mkts-state.json';
/** What was agreed to that plugins may have. */
export const CONSENT_FILE = 'mkts-consent.json';

/** As long as it is there, a restore into the directory is not finished. */
export const RESTORE_MARKER = 'mkts-restore.unfinished';

/** What a repair has changed, and the bytes as they were. */
export const REPAIR_REPORT_NAME: RegExp = /^mkts-repair-\d{8}T\d{9}Z\.json$/;

export function repairReportName(atMs: number): string {
  return `mkts-repair-${compactTime(atMs)}.json`;
}

/** Of the dead letters of a plugin. */
export function lettersFileName(plugin: string): string {
  return `mkts-letters-${plugin}.jsonl`;
}

/** The plugin; undefined if it is no name of a file of dead letters. */
export function parseLettersFileName(name: string): string | undefined {
  return /^mkts-letters-(.+)\.jsonl$/.exec(name)?.[1];
}

/** Of a flight recording of a plugin; by name they are in the order of time. */
export function flightFileName(plugin: string, atMs: number): string {
  return `mkts-flight-${plugin}-${compactTime(atMs)}.json`;
}

/** 20210102T030405678Z */
function compactTime(atMs: number): string {
  return new Date(atMs).toISOString().replaceAll(/[-:.]/g, '');
}

const FLIGHT_NAME = /^mkts-flight-(.+)-(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(\d{3})Z\.json$/;

/** Undefined if it is no flight recording's name. */
export function parseFlightFileName(
  name: string,
): { readonly plugin: string; readonly time: string } | undefined {
  const match = FLIGHT_NAME.exec(name);
  if (match === null) return undefined;
  const [, plugin = '', year, month, day, hour, minute, second, milliseconds] = match;
  return { plugin, time: `${year}-${month}-${day}T${hour}:${minute}:${second}.${milliseconds}Z` };
}

const YEAR_EXTENSION = '.bin';
/** A year file on its way: renamed when its header is on disk. */
const NEW_EXTENSION = '.new';

export function yearFileName(year: number): string {
  return `${year}${YEAR_EXTENSION}`;
}

export function newYearFileName(year: number): string {
  return `${yearFileName(year)}${NEW_EXTENSION}`;
}

/** Of the checksums of a year file. */
export function sumsFileName(year: number): string {
  return `${year}.sums`;
}

export function isSumsFileName(name: string): boolean {
  return /^[1-9]\d{0,4}\.sums$/.test(name);
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
