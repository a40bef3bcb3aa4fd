/** Results and errors as plain data, for calls between threads. Pure; both sides. */

import { fromPlainError, toPlainError } from '../kernel/base/errors.ts';
import type { Outcome } from './protocol.ts';

/** Runs a task; whatever it throws is in the outcome. Never rejects. */
export async function outcomeOf<T>(task: () => Promise<T>): Promise<Outcome<T>> {
  try {
    return { ok: true, value: await task() };
  } catch (thrown) {
    return { ok: false, error: toPlainError(thrown) };
  }
}

/** The value of an outcome, or its error thrown, as it was on the other side. */
export function revive<T>(outcome: Outcome<T>): T {
  if (outcome.ok) return outcome.value;
  throw fromPlainError(outcome.error);
}
