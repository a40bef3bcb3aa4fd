/**
 * Who had a part in a write: the triggers that were told of a write, wrote, and so caused the next.
 * Pure.
 *
 * Clients and feeders are not in a chain: nobody can fire them, so no loop leads through them, and
 * their chain is empty. What a trigger writes carries the chains of the batches it is working on,
 * then its own name. A trigger is never told of a write whose chain names it; since every fire adds
 * a name, a chain of fires ends after as many steps as there are triggers.
 *
 * A worker's rows do not say which batch they come from, so a trigger with several keys in flight
 * writes with the union of their chains, and between fires with the chain its last one had (rows
 * may still be on their way). The union errs on the side of silence, and only where triggers feed
 * each other in a circle; there, one that was left out is named in the log.
 */

/** Names of triggers, each once, the writer last. */
export type OriginChain = readonly string[];

export const NO_ORIGINS: OriginChain = Object.freeze([]);

/** The names of `a`, then those of `b` that are new. Allocates only if there are any. */
export function joinChains(a: OriginChain, b: OriginChain): OriginChain {
  if (b.length === 0 || a === b) return a;
  if (a.length === 0) return b;
  const added = b.filter((name) => !a.includes(name));
  return added.length === 0 ? a : [...a, ...added];
}
