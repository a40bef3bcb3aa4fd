/**
 * What a name in the data directory stands for. A name nobody gave is no damage by itself; it is when
 * a Go server would take it for something.
 */

import {
  CATEGORY_FILE,
  CONSENT_FILE,
  isSumsFileName,
  isYearFileName,
  LOCK_FILE,
  parseFlightFileName,
  parseLettersFileName,
  parseYearFileName,
  REPAIR_REPORT_NAME,
  RESTORE_MARKER,
  STATE_FILE,
} from '../storage/file-names.ts';

/**
 * `own`: it belongs there. `half`: what a crash left on its way to be one, overwritten or ignored.
 * `aside`: a damaged file, kept for an operator. `stray`: nobody looks at it. `trap`: a Go server
 * takes it for one of its own.
 */
export type NameKind = 'own' | 'half' | 'aside' | 'stray' | 'trap';

const SEGMENT = /^mkts-\d{16}\.wal(\.damaged)?$/;
const REFERENCE_LOG = /^WALFile\.\d+\.walfile(?<aside>(\.\d+)?\.tmp)?$/;
const LOCK_ON_ITS_WAY = /^\.(stale-)?\d+$/;

/** Of a file in the root of the data directory. */
export function rootFileKind(name: string): NameKind {
  if (name === CATEGORY_FILE || name === LOCK_FILE) return 'own';
  if (name === STATE_FILE || name === CONSENT_FILE) return 'own';
  if (parseLettersFileName(name) !== undefined || parseFlightFileName(name) !== undefined)
    return 'own';
  if (REPAIR_REPORT_NAME.test(name)) return 'own';
  if (name === RESTORE_MARKER) return 'half';
  const segment = SEGMENT.exec(name);
  if (segment !== null) return segment[1] === undefined ? 'own' : 'aside';
  const reference = REFERENCE_LOG.exec(name);
  if (reference !== null) return reference.groups?.aside === undefined ? 'own' : 'aside';
  if (isYearFileName(name) || name.endsWith('.walfile')) return 'trap';
  if (/^mkts-.*\.damaged(-\d+)?$/.test(name)) return 'aside';
  if (name.endsWith('.new') && rootFileKind(name.slice(0, -'.new'.length)) === 'own') return 'half';
  if (name.startsWith(LOCK_FILE) && LOCK_ON_ITS_WAY.test(name.slice(LOCK_FILE.length)))
    return 'half';
  return 'stray';
}

/** Of a file in a directory below the root; year files belong into a leaf only. */
export function treeFileKind(name: string, options: { readonly isLeaf: boolean }): NameKind {
  if (name === CATEGORY_FILE) return 'own';
  if (name === `${CATEGORY_FILE}.new`) return 'half';
  if (isYearFileName(name))
    return options.isLeaf && parseYearFileName(name) !== undefined ? 'own' : 'trap';
  if (options.isLeaf && isSumsFileName(name)) return 'own';
  if (options.isLeaf && name.endsWith('.new') && isSumsFileName(name.slice(0, -'.new'.length)))
    return 'half';
  const year = /^(\d+\.bin)\.(?:(new)|damaged-\d+)$/.exec(name);
  if (options.isLeaf && year !== null) return year[2] === undefined ? 'aside' : 'half';
  return 'stray';
}
