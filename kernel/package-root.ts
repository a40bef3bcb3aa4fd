/**
 * The package this code belongs to: its directory and its version. In a checkout the code lies in
 * `kernel/`, in the published package in `dist/kernel/`; the package.json above both is the same.
 */

import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { assert } from './base/assert.ts';

/** Absolute path of the directory that holds package.json. */
export const PACKAGE_ROOT: string = findRoot(import.meta.dirname);

/** `0.1.0` */
export const VERSION: string = readVersion();

function findRoot(start: string): string {
  let directory = start;
  while (!existsSync(join(directory, 'package.json'))) {
    const above = dirname(directory);
    assert(above !== directory, 'the code lies below a package.json');
    directory = above;
  }
  return directory;
}

function readVersion(): string {
  const parsed: unknown = JSON.parse(readFileSync(join(PACKAGE_ROOT, 'package.json'), 'utf8'));
  const version = (parsed as { version?: unknown }).version;
  assert(typeof version === 'string', 'package.json has a version');
  return version;
}
