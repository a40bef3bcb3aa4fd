/**
 * Assertions check our own mistakes and are always on. What others wrote (a frame, a request, a
 * file header, mkts.yml) is *validated* instead, and answered with a coded error.
 */

/** Thrown by `assert`. In the kernel it ends the process, and replay is the repair. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/** Throws AssertionError unless `condition` holds. `what` says the invariant, not the failure. */
export function assert(condition: unknown, what: string): asserts condition {
  if (!condition) throw new AssertionError(`assertion failed: ${what}`);
}

/** Costly checks stand under `if (VERIFY)`; tests run with MKTS_VERIFY=1. */
export const VERIFY: boolean = process.env.MKTS_VERIFY === '1';
