import { expect, test } from 'vitest';
import {
  ALWAYS_OPEN,
  type MarketCalendar,
  NASDAQ,
} from '../../../../kernel/base/market-calendar.ts';
import { FreshnessWatch } from '../../../../kernel/supervisor/freshness-watch.ts';

const MINUTE_MS = 60_000;

/** A watch over one running plugin, on a clock the test turns. */
function watchOf(start: string, maxAgeMs: number, calendar: MarketCalendar = NASDAQ) {
  let elapsedMs = 0;
  const startMs = Date.parse(start);
  const verdicts: (string | undefined)[] = [];
  const rows = new Map<string, number>();
  const watch = new FreshnessWatch({
    checkMs: 1000,
    rowsOf: (plugin) => rows.get(plugin) ?? 0,
    nowMs: () => elapsedMs,
    epochSeconds: () => (startMs + elapsedMs) / 1000,
    onVerdict: (plugin, reason) => verdicts.push(reason && `${plugin}: ${reason}`),
  });
  watch.set('feed', { maxAgeMs, calendar });
  watch.setRunning('feed', true);
  return {
    watch,
    wrote: (plugin = 'feed') => rows.set(plugin, (rows.get(plugin) ?? 0) + 1),
    /** Turns the clock up to an instant, a check a second. */
    until(text: string): void {
      while (startMs + elapsedMs < Date.parse(text)) {
        elapsedMs += 1000;
        watch.check();
      }
    },
    /** The machine sleeps until then. */
    sleepUntil(text: string): void {
      elapsedMs = Date.parse(text) - startMs;
      watch.check();
    },
    /** What was said since the last time. */
    said: () => verdicts.splice(0),
  };
}

const STALE = 'feed: no row for 5m while the market is open';

test('a plugin is stale after its time without a row, and fresh with the next', () => {
  const { wrote, until, said } = watchOf('2026-07-01T15:00:00Z', 5 * MINUTE_MS);
  until('2026-07-01T15:04:58Z');
  wrote();
  until('2026-07-01T15:09:58Z');
  expect(said()).toEqual([]);
  until('2026-07-01T15:10:00Z');
  expect(said()).toEqual([STALE]);
  until('2026-07-01T15:30:00Z');
  expect(said()).toEqual([]);
  wrote();
  until('2026-07-01T15:30:01Z');
  expect(said()).toEqual([undefined]);
});

test('never while the market is closed: it is fresh at the close, and until after the opening', () => {
  const { until, said } = watchOf('2026-07-01T19:50:00Z', 5 * MINUTE_MS);
  until('2026-07-01T19:55:01Z');
  expect(said()).toEqual([STALE]);
  until('2026-07-01T20:00:00Z');
  expect(said()).toEqual([undefined]);
  until('2026-07-02T13:34:59Z');
  expect(said()).toEqual([]);
  until('2026-07-02T13:35:00Z');
  expect(said()).toEqual([STALE]);
});

test('over a holiday nothing is expected', () => {
  const { until, said } = watchOf('2026-07-02T20:30:00Z', 5 * MINUTE_MS);
  until('2026-07-06T13:30:00Z');
  expect(said()).toEqual([]);
  until('2026-07-06T13:36:00Z');
  expect(said()).toEqual([STALE]);
});

test('a bound longer than a session adds sessions up', () => {
  const { until, said } = watchOf('2026-06-30T13:30:00Z', 13 * 60 * MINUTE_MS);
  until('2026-07-01T19:59:00Z');
  expect(said()).toEqual([]);
  until('2026-07-02T13:31:10Z');
  expect(said()).toEqual(['feed: no row for 13h while the market is open']);
});

test('a market that never closes', () => {
  const { watch, until, said } = watchOf('2026-07-04T23:58:00Z', 5 * MINUTE_MS, ALWAYS_OPEN);
  until('2026-07-05T00:02:59Z');
  expect(said()).toEqual([]);
  until('2026-07-05T00:03:01Z');
  expect(said()).toEqual([STALE]);
  watch.set('feed', { maxAgeMs: 5 * MINUTE_MS, calendar: ALWAYS_OPEN });
  expect(said()).toEqual([undefined]);
});

test('time in which the plugin does not run does not count, nor time the machine slept', () => {
  const { watch, until, sleepUntil, said } = watchOf('2026-07-01T15:00:00Z', 5 * MINUTE_MS);
  until('2026-07-01T15:04:00Z');
  watch.setRunning('feed', false);
  until('2026-07-01T15:20:00Z');
  watch.setRunning('feed', true);
  until('2026-07-01T15:24:50Z');
  expect(said()).toEqual([]);
  sleepUntil('2026-07-01T17:00:00Z');
  expect(said()).toEqual([]);
  until('2026-07-01T17:00:10Z');
  expect(said()).toEqual([STALE]);
  watch.setRunning('feed', false);
  expect(said()).toEqual([undefined]);
});

test('a bound may come while it runs, and go', () => {
  const { watch, wrote, until, said } = watchOf('2026-07-01T15:00:00Z', 5 * MINUTE_MS);
  watch.setRunning('other', true);
  watch.set('feed', undefined);
  watch.set('other', { maxAgeMs: 90_000, calendar: NASDAQ });
  until('2026-07-01T15:10:00Z');
  expect(said()).toEqual(['other: no row for 90s while the market is open']);
  watch.set('other', undefined);
  expect(said()).toEqual([undefined]);
  wrote('other');
  until('2026-07-01T15:20:00Z');
  expect(said()).toEqual([]);
});
