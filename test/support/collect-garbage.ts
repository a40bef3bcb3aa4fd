/**
 * Collects garbage, for tests that make hundreds of servers: their shared memory, of which the engine
 * feels no pressure, would else pile up to more than the machine has.
 */

import { queryObjects } from 'node:v8';

/** Answers how many objects of a class are left alive. */
export function collectGarbage(of: new (...args: never[]) => object): number {
  return queryObjects(of as new () => object, { format: 'count' });
}
