/**
 * Time of a tick inside its interval: nanoseconds ↔ a 32-bit fraction of the interval.
 *
 * The fraction is what a VARIABLE record stores, so writing follows the reference's double
 * arithmetic bit for bit (spec storage.md 3.3). Reading has two modes: `exact` returns the least
 * "busy" nanosecond of the fraction's cell, which gives back every millisecond as written (3.5);
 * `reference` repeats the reference's rounding, off by up to a second at the top of a second (3.4).
 */

/** 2^32 / 86400, the nearest double. The reference's own comment about it is wrong. */
const TICKS_PER_DAY_SECOND = 49710.26962962963;
const TICKS = 4_294_967_296;
const SECOND_NANOS = 1_000_000_000;

export type TickReadMode = 'exact' | 'reference';

/**
 * The stored fraction of an instant after the start of its interval: whole seconds >= 0, and 0 to
 * 999,999,999 nanoseconds.
 */
export function ticksOf(seconds: number, nanos: number, intervalsPerDay: number): number {
  const elapsed = seconds + nanos / SECOND_NANOS;
  const ticks = Math.trunc(intervalsPerDay * TICKS_PER_DAY_SECOND * elapsed);
  // Only a 25-hour day can pass the end of the range; the last tick is the nearest that is stored.
  return ticks >= TICKS ? TICKS - 1 : ticks;
}

/** Nanoseconds into the interval, `exact` mode. `timeframeNanos` is at most 24 hours. */
export function nanosOf(ticks: number, timeframeNanos: number): number {
  const last = timeframeNanos - 1;
  const low = scaled(ticks, timeframeNanos, true);
  const high = Math.min(scaled(ticks + 1, timeframeNanos, false), last);
  if (high < low) return Math.min(low, last);
  let nanos = low;
  for (let power = 10; power <= SECOND_NANOS * 1000; power *= 10) {
    const multiple = Math.ceil(low / power) * power;
    if (multiple > high) break;
    nanos = multiple;
  }
  return nanos;
}

/** Seconds and nanoseconds into the interval as the reference reads them; they may disagree. */
export function referenceTimeOf(
  ticks: number,
  intervalsPerDay: number,
): { readonly seconds: number; readonly nanos: number } {
  let fraction = ticks / (intervalsPerDay * TICKS_PER_DAY_SECOND);
  let sub = 1e9 * (fraction - Math.floor(fraction));
  if (sub >= 1e9) {
    sub -= 1e9;
    fraction += 1;
  }
  const seconds = Math.trunc(Math.floor(fraction * 1e8 + 0.5) / 1e8);
  return { seconds, nanos: Math.trunc(sub + 0.5) };
}

/**
 * floor or ceil of `ticks * nanos / 2^32`, exactly: the product has up to 79 bits, so `nanos` is
 * taken in three limbs of 16 bits, each partial product staying below 2^49.
 */
function scaled(ticks: number, nanos: number, up: boolean): number {
  const limb0 = ticks * (nanos % 65_536);
  const limb1 = ticks * (Math.floor(nanos / 65_536) % 65_536) + Math.floor(limb0 / 65_536);
  const whole = ticks * Math.floor(nanos / TICKS) + Math.floor(limb1 / 65_536);
  const exact = limb0 % 65_536 === 0 && limb1 % 65_536 === 0;
  return up && !exact ? whole + 1 : whole;
}
