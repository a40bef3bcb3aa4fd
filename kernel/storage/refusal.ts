/**
 * Which failures of a disk call are refusals: the system declined, did nothing of lasting effect, and
 * may accept the same call once its cause is gone (space, descriptors, permissions, a mount). Every
 * other failure, and every failed sync, says that what is on the device is not known.
 */

import { StorageError } from '../base/errors.ts';

const REFUSALS: ReadonlySet<unknown> = new Set([
  ...['ENOSPC', 'EDQUOT', 'EFBIG'],
  ...['EMFILE', 'ENFILE'],
  ...['EROFS', 'EACCES', 'EPERM'],
]);
const SYNCS: ReadonlySet<string> = new Set(['fdatasync', 'fsync']);

/** What a failed call of the disk throws: MKTS_DISK_REFUSED for a refusal, else MKTS_DISK. */
export function diskError(operation: string, path: string, cause: unknown): StorageError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const code =
    isRefusedBySystem(cause) && !SYNCS.has(operation) ? 'MKTS_DISK_REFUSED' : 'MKTS_DISK';
  return new StorageError(code, { operation, path, reason }, { cause });
}

/** Also true for what was revived on another thread. */
export function isRefusal(error: unknown): error is StorageError {
  return error instanceof StorageError && error.code === 'MKTS_DISK_REFUSED';
}

/** As a refusal, for a file nobody relies on yet: there a sync the system declined is one, too. */
export function asRefusal(error: unknown): unknown {
  if (!(error instanceof StorageError) || error.code !== 'MKTS_DISK') return error;
  const { fields, cause } = error;
  return isRefusedBySystem(cause)
    ? new StorageError('MKTS_DISK_REFUSED', fields, { cause })
    : error;
}

/** For clients, so without a path: 'ENOSPC: no space left on device'. */
export function refusalReason({ fields }: StorageError): string {
  return String(fields.reason).split(',', 1)[0] ?? '';
}

function isRefusedBySystem(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && REFUSALS.has(cause.code);
}
