/** How long to wait before the next try: doubling with jitter, or what the venue asks for. Pure. */

const FIRST_MS = 1_000;
const MOST_MS = 60_000;
/** A venue's longest ban is three days; anything past a week is a mistake in the header. */
const RETRY_AFTER_MOST_MS = 7 * 86_400_000;

/** Delay before try `attempt` + 1 (0: the first failed): 1, 2, 4 … 60 s, each ± 50 %. */
export function backoffMs(attempt: number, random: () => number): number {
  return Math.min(FIRST_MS * 2 ** Math.min(attempt, 16), MOST_MS) * (0.5 + random());
}

/** Milliseconds a `Retry-After` header asks for: seconds, or a date seen from `nowMs`. */
export function retryAfterMs(header: string | undefined, nowMs: number): number | undefined {
  if (header === undefined) return undefined;
  const text = header.trim();
  const ms = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text) - nowMs;
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), RETRY_AFTER_MOST_MS) : undefined;
}
