/**
 * What a client is told of an error: a code and a text without anything of our disk in it.
 *
 * Texts of the catalogue go out word for word (clients compare them), hence without the fields that
 * the log appends. Only errors a client can act on say what happened; of all others it learns that
 * the server failed, and the log says more.
 */

import {
  CorruptionError,
  ERROR_TEXTS,
  type ErrorCode,
  MktsError,
  RequestError,
} from '../base/errors.ts';

export interface WireError {
  readonly code: ErrorCode;
  readonly text: string;
  /** True if nobody but the operator can act: the caller logs it. */
  readonly isInternal: boolean;
}

export function wireErrorOf(thrown: unknown): WireError {
  if (thrown instanceof RequestError)
    return { code: thrown.code, text: wireText(thrown), isInternal: false };
  // Its path is that of a key. It is in the log since it was found, and need not be again.
  if (thrown instanceof CorruptionError && thrown.code === 'MKTS_PAGE_CORRUPT')
    return { code: thrown.code, text: wireText(thrown), isInternal: false };
  if (thrown instanceof MktsError && thrown.name === 'StorageError')
    return {
      code: 'MKTS_WRITES_STOPPED',
      text: `the database does not take writes (${thrown.code}): the server's log says more`,
      isInternal: true,
    };
  return { code: 'MKTS_INTERNAL', text: ERROR_TEXTS.MKTS_INTERNAL, isInternal: true };
}

function wireText({ code, fields }: MktsError): string {
  return ERROR_TEXTS[code].replace(/\{(\w+)\}/g, (_place, field: string) =>
    String(fields[field] ?? ''),
  );
}
