/**
 * The trades of a recorded minute. Only the bar was recorded; a stream of trades and a candle that
 * is still open need what happened inside it. So each minute gets TRADES_PER_MINUTE trades made by
 * rule, the same on every run, that give back exactly its open, high, low, close and volume:
 *
 *   :00.000 open ─▶ … ─▶ one extreme ─▶ … ─▶ the other ─▶ … ─▶ close, before :59.990
 *
 * A rising minute visits its low first, a falling one its high. The first trade lies on the very
 * start of the minute, so a follower that puts it into the minute before is found out.
 */

import type { RecordedBar } from '../fixture.ts';
import { type Decimal, parseDecimal } from './decimal.ts';

export const MINUTE_MS = 60_000;
/** At least the four corners of the bar. */
export const TRADES_PER_MINUTE = 8;

export interface VenueTrade {
  /** Grows by one a trade, over all minutes of a market. */
  readonly id: number;
  readonly timeMs: number;
  /** What a venue with finer stamps adds: 0 to 999. */
  readonly micros: number;
  readonly price: Decimal;
  readonly size: Decimal;
  readonly takerBuys: boolean;
}

/** Venues trade in steps of 10^-8. */
const STEP: Decimal = 10n ** 10n;

/** `index` is the minute's place in its series. Throws for a bar without volume. */
export function tradesOf(bar: RecordedBar, index: number): readonly VenueTrade[] {
  const random = generator(bar.openMs);
  const sizes = splitVolume(parseDecimal(bar.volume), random);
  const prices = pathOf(bar, sizes.length, random);
  const offsets = offsetsIn(sizes.length, random);
  return sizes.map((size, i) => {
    const price = prices[i] ?? 0n;
    const before = prices[i - 1] ?? price;
    return {
      id: 1 + index * TRADES_PER_MINUTE + i,
      timeMs: bar.openMs + (offsets[i] ?? 0),
      micros: i === 0 ? 0 : Math.floor(random() * 1000),
      price,
      size,
      takerBuys: price === before ? random() < 0.5 : price > before,
    };
  });
}

/** Parts that are positive and sum to the volume; fewer parts if it has too few steps. */
function splitVolume(volume: Decimal, random: () => number): Decimal[] {
  if (volume <= 0n) throw new RangeError('a recorded minute without volume has no trades');
  const steps = volume / STEP;
  const count = steps < BigInt(TRADES_PER_MINUTE) ? 4 : TRADES_PER_MINUTE;
  const step = steps < BigInt(TRADES_PER_MINUTE) ? 1n : STEP;
  const sizes: Decimal[] = [];
  let rest = volume;
  for (let left = count; left > 1; left--) {
    // Up to twice the even share, and at least a step for each that follows.
    const share = (rest / BigInt(left)) * BigInt(1 + Math.floor(random() * 1999));
    const free = rest / step - BigInt(left - 1);
    const wanted = share / 1000n / step;
    const size = (wanted < 1n ? 1n : wanted > free ? free : wanted) * step;
    sizes.push(size);
    rest -= size;
  }
  sizes.push(rest);
  return sizes;
}

/** `count` prices from open to close over both extremes, the others on the way between. */
function pathOf(bar: RecordedBar, count: number, random: () => number): Decimal[] {
  const open = parseDecimal(bar.open);
  const high = parseDecimal(bar.high);
  const low = parseDecimal(bar.low);
  const close = parseDecimal(bar.close);
  const corners = close >= open ? [open, low, high, close] : [open, high, low, close];
  const tick = 10n ** BigInt(18 - placesOf(bar));
  const path: Decimal[] = [];
  const between = count - corners.length;
  corners.forEach((corner, leg) => {
    path.push(corner);
    const next = corners[leg + 1];
    if (next === undefined) return;
    const points = Math.floor(((leg + 1) * between) / 3) - Math.floor((leg * between) / 3);
    for (let i = 0; i < points; i++) {
      const part = BigInt(Math.floor(random() * 1000));
      path.push(corner + (((next - corner) * part) / 1000n / tick) * tick);
    }
  });
  return path;
}

/** Places of the finest price of the bar: points between are no finer than the market's tick. */
function placesOf(bar: RecordedBar): number {
  const places = [bar.open, bar.high, bar.low, bar.close].map(
    (text) => text.replace(/0+$/, '').split('.')[1]?.length ?? 0,
  );
  return Math.max(2, ...places);
}

/** Ascending and distinct; the first is 0, the last below 59,990 ms. */
function offsetsIn(count: number, random: () => number): number[] {
  const widthMs = Math.floor(59_990 / count);
  return Array.from({ length: count }, (_, i) =>
    i === 0 ? 0 : i * widthMs + Math.floor(random() * widthMs),
  );
}

/** A small generator of numbers in [0, 1): the same seed, the same numbers. */
function generator(seed: number): () => number {
  let state = (Math.floor(seed / MINUTE_MS) * 2_654_435_761) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
