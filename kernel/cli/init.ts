/** `mkts init`: writes the sample mkts.yml into the working directory, and never over another. */

import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ConfigError, reasonOf } from '../base/errors.ts';
import { PACKAGE_ROOT } from '../package-root.ts';

/** It may hold keys of exchanges one day: nobody else's to read. */
const MODE = 0o600;

/** Says what it did. A file that is there already is not a failure. */
export function runInit(directory: string): number {
  const path = resolve(directory, 'mkts.yml');
  const sample = readFileSync(join(PACKAGE_ROOT, 'config', 'mkts.yml'));
  try {
    writeFileSync(path, sample, { flag: 'wx', mode: MODE });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code !== 'EEXIST')
      throw new ConfigError('MKTS_CONFIG_UNREADABLE', { path, reason: reasonOf(cause) }, { cause });
    process.stdout.write(`${path} is there already, and was left as it is\n`);
    return 0;
  }
  process.stdout.write(`wrote ${path}; start the server with: mkts start\n`);
  return 0;
}
