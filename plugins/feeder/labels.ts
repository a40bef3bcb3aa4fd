/**
 * Between a venue's time of a bar and the Epoch it is stored under. They differ where the server's
 * timezone is not UTC: a daily bar belongs to the slot of its UTC *date*, which begins at local
 * midnight, and bars of an hour or more fall into slots counted from local January 1st.
 */

import type { Slots } from '../sdk.ts';

const DAY_SECONDS = 86_400;

export interface Labels {
  /** Epoch to store for a bar that opens at `open` by the venue. */
  toStored(open: number): number;
  /** The venue's open of the bar stored under `stored`. */
  toOpen(stored: number): number;
}

/** Labels of bars of a venue that trades round the clock and cuts its bars at UTC. */
export function utcLabels(slots: Slots, timeframeSeconds: number): Labels {
  if (timeframeSeconds === DAY_SECONDS)
    return {
      toStored: (open) => localMidnight(slots, open),
      toOpen: (stored) => utcMidnight(slots, stored),
    };
  return {
    toStored: (open) => open,
    // The store answers with the start of the slot. Exactly one bar opens in a slot: the one at the
    // first multiple of the timeframe in it.
    toOpen: (stored) => Math.ceil(stored / timeframeSeconds) * timeframeSeconds,
  };
}

/** Local midnight of the UTC date that begins at `open`. */
function localMidnight(slots: Slots, open: number): number {
  const date = new Date(open * 1000);
  return slots.midnight(date.getUTCFullYear(), date.getUTCMonth() + 1, date.getUTCDate());
}

/** The UTC midnight whose date's local midnight is `stored`: zones reach from UTC-12 to UTC+14. */
function utcMidnight(slots: Slots, stored: number): number {
  const day = Math.floor(stored / DAY_SECONDS);
  for (const candidate of [day, day + 1, day - 1])
    if (localMidnight(slots, candidate * DAY_SECONDS) === stored) return candidate * DAY_SECONDS;
  // Not written by a feeder of ours (the Go plugin wrote another date): the day it lies in will do.
  return day * DAY_SECONDS;
}
