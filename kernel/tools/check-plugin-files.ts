/** What plugins keep in the data directory: their states, what was agreed to, their dead letters. */

import { join } from 'node:path';
import { reasonOf } from '../base/errors.ts';
import { decodeStates } from '../ingest/states-file.ts';
import { CONSENT_FILE, parseLettersFileName, STATE_FILE } from '../storage/file-names.ts';
import type { Filesystem } from '../storage/filesystem.ts';
import { decodeConsents } from '../supervisor/consents.ts';
import { isLetterLine } from '../supervisor/letters-file.ts';
import type { Findings } from './findings.ts';

const NEWLINE = 10;

export function checkPluginFiles(root: string, filesystem: Filesystem, findings: Findings): void {
  const check = (name: string, decode: (bytes: Uint8Array) => void): void => {
    try {
      const bytes = filesystem.readFile(join(root, name));
      if (bytes !== undefined) decode(bytes);
    } catch (cause) {
      const what = reasonOf(cause);
      findings.add({ severity: 'damage', code: 'MKTS_CATALOG_CORRUPT', path: name, what });
    }
  };
  check(STATE_FILE, (bytes) => {
    const found = decodeStates(bytes);
    if (typeof found !== 'string') return;
    findings.add({
      severity: 'damage',
      code: 'MKTS_STATE_CORRUPT',
      path: STATE_FILE,
      what: found,
    });
  });
  check(CONSENT_FILE, (bytes) => void decodeConsents(bytes));
  for (const { name, kind } of filesystem.list(root))
    if (kind === 'file' && parseLettersFileName(name) !== undefined)
      check(name, (bytes) => checkLetters(name, bytes, findings));
}

/** A last line without its end is what a crash leaves. */
function checkLetters(path: string, bytes: Uint8Array, findings: Findings): void {
  for (let offset = 0; offset < bytes.length; ) {
    const found = bytes.indexOf(NEWLINE, offset);
    const end = found < 0 ? bytes.length : found + 1;
    const line = bytes.subarray(offset, end);
    if (line.length > 1 && !isLetterLine(line))
      findings.add({
        severity: found < 0 ? 'note' : 'damage',
        code: 'MKTS_LETTERS_CORRUPT',
        path,
        offset,
        what: found < 0 ? 'its last line was cut short' : 'a line is not what was written',
      });
    offset = end;
  }
}
