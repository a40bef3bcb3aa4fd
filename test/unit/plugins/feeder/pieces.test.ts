import { describe, expect, test } from 'vitest';
import { backoffMs, retryAfterMs } from '../../../../plugins/feeder/backoff.ts';
import { fillEmptyIntervals, tidyBars } from '../../../../plugins/feeder/bar.ts';
import { HostGate } from '../../../../plugins/feeder/host-gate.ts';
import { Inbox } from '../../../../plugins/feeder/inbox.ts';
import { nearestKey, noticeKeys } from '../../../../plugins/feeder/known-keys.ts';
import { utcLabels } from '../../../../plugins/feeder/labels.ts';
import { formatPointInTime, parsePointInTime } from '../../../../plugins/feeder/point-in-time.ts';
import { chooseTimeframe } from '../../../../plugins/feeder/timeframe.ts';
import { VenueClock } from '../../../../plugins/feeder/venue-clock.ts';
import { FakeClock } from '../../../../plugins/testing/fake-clock.ts';
import { FakeKernel } from '../../../../plugins/testing/fake-kernel.ts';
import { createSlots } from '../../../../workers/plugin-clock.ts';

describe('points in time', () => {
  test.each([
    ['2018-01-01', 1514764800],
    ['2018-01-01 00:00', 1514764800],
    ['2018-01-01 11:00:00', 1514804400],
    ['2018-01-01 13:00', 1514811600],
    ['2018-01-01T13:00:00Z', 1514811600],
    ['2018-01-01T13:00:00+09:00', 1514779200],
    ['01/02/2018', undefined],
    ['2018-02-30', undefined],
    ['2018-01-01 24:00', undefined],
    ['', undefined],
  ])('%s', (text, seconds) => {
    expect(parsePointInTime(text)).toBe(seconds);
  });

  test('are told as RFC 3339 in whole seconds', () => {
    expect(formatPointInTime(1795446000)).toBe('2026-11-23T15:00:00Z');
  });
});

describe('timeframes', () => {
  test('an offered one is taken, an alias is refused with its name, another with the list', () => {
    const offered = ['1Min', '1H'];
    expect(chooseTimeframe('1H', offered)).toEqual({ name: '1H', seconds: 3600 });
    expect(chooseTimeframe('60Min', offered)).toContain('write 1H');
    expect(chooseTimeframe('30Sec', offered)).toContain('allowed: 1Min, 1H');
  });
});

describe('config keys without effect', () => {
  test('a misspelt key is told with the one it resembles', () => {
    const known = ['symbols', 'query_start', 'base_url'];
    expect(nearestKey('querystart', known)).toBe('query_start');
    expect(nearestKey('zzz', known)).toBeUndefined();
    const world = new FakeKernel({ nowMs: 0 });
    const { log } = world.context({}, new AbortController().signal);
    noticeKeys({ symbol: 1, gone: 2, symbols: 3 }, { known, obsolete: { gone: 'because' } }, log);
    expect(world.logLines.map(({ level, message }) => `${level}: ${message}`)).toEqual([
      'warn: config key symbol is not known; did you mean symbols?',
      'info: config key gone has no effect any more: because',
    ]);
  });
});

describe('backoff', () => {
  test('doubles to a minute, half to one and a half times', () => {
    expect([0, 1, 5, 6, 40].map((attempt) => backoffMs(attempt, () => 0.5))).toEqual([
      1_000, 2_000, 32_000, 60_000, 60_000,
    ]);
    expect(backoffMs(0, () => 0)).toBe(500);
  });

  test('Retry-After is seconds or a date', () => {
    const now = Date.parse('Mon, 23 Nov 2026 15:02:30 GMT');
    expect(retryAfterMs('7', now)).toBe(7_000);
    expect(retryAfterMs('Mon, 23 Nov 2026 15:02:40 GMT', now)).toBe(10_000);
    expect(retryAfterMs('Mon, 23 Nov 2026 15:00:00 GMT', now)).toBe(0);
    expect(retryAfterMs('soon', now)).toBeUndefined();
    expect(retryAfterMs(undefined, now)).toBeUndefined();
  });
});

describe('bars', () => {
  const bar = (epoch: number, close: number) => ({
    epoch,
    open: close,
    high: close,
    low: close,
    close,
    volume: 1,
  });

  test('are sorted, the last of a time wins, what is not a number is counted', () => {
    let dropped = 0;
    const given = [bar(120, 2), bar(60, 1), bar(60, 3), bar(180, Number.NaN)];
    const tidy = tidyBars(given, (count) => {
      dropped = count;
    });
    expect(tidy.map(({ epoch, close }) => [epoch, close])).toEqual([
      [60, 3],
      [120, 2],
    ]);
    expect(dropped).toBe(1);
  });

  test('empty intervals are filled only from a known close on', () => {
    const options = { from: 0, until: 240, timeframeSeconds: 60 };
    const unknown = fillEmptyIntervals([bar(60, 7)], { ...options, closeBefore: undefined });
    expect(unknown.map(({ epoch }) => epoch)).toEqual([60, 120, 180]);
    const known = fillEmptyIntervals([bar(60, 7)], { ...options, closeBefore: 5 });
    expect(known.map(({ close }) => close)).toEqual([5, 7, 7, 7]);
  });
});

describe('labels', () => {
  test.each(['UTC', 'America/New_York', 'Asia/Tokyo', 'Pacific/Kiritimati', 'Pacific/Niue'])(
    'a daily bar comes back as the date it was stored for, in %s',
    (zone) => {
      const labels = utcLabels(createSlots(zone), 86_400);
      for (
        let open = Date.UTC(2026, 0, 1) / 1000;
        open < Date.UTC(2027, 0, 1) / 1000;
        open += 86_400
      )
        expect(labels.toOpen(labels.toStored(open))).toBe(open);
    },
  );

  test('a bar of hours is found again from the slot it was stored in', () => {
    const slots = createSlots('Asia/Kolkata');
    const labels = utcLabels(slots, 14_400);
    for (let open = 1795392000; open < 1795392000 + 4 * 86_400; open += 14_400)
      expect(labels.toOpen(slots.start(labels.toStored(open), '4H'))).toBe(open);
  });
});

describe('the gate of a host', () => {
  function gate(burst: number) {
    const world = new FakeKernel({ nowMs: 0 });
    const controller = new AbortController();
    const { clock, metrics, signal } = world.context({}, controller.signal);
    const host = new HostGate({ clock, metrics, signal, tokensPerSecond: 2, burst });
    const passed: number[] = [];
    const enter = (weight: number): void => {
      host.enter(weight).then(
        () => passed.push(world.clock.now()),
        () => passed.push(-1),
      );
    };
    return { world, host, controller, passed, enter };
  }

  test('lets a burst through, then as many as come back', async () => {
    const { world, passed, enter } = gate(2);
    for (let i = 0; i < 5; i++) enter(1);
    await world.clock.advance(10_000);
    expect(passed).toEqual([0, 0, 500, 1_000, 1_500]);
  });

  test('a pause holds all, and ends without a rush', async () => {
    const { world, host, passed, enter } = gate(2);
    host.pause(7_000);
    for (let i = 0; i < 3; i++) enter(2);
    await world.clock.advance(30_000);
    expect(passed).toEqual([7_000, 8_000, 9_000]);
  });

  test('a denial lets one through in an hour, and its success all', async () => {
    const { world, host, passed, enter } = gate(10);
    host.deny();
    for (let i = 0; i < 3; i++) enter(1);
    await world.clock.advance(3_600_000);
    expect(passed).toEqual([3_600_000]);
    host.allow();
    await world.clock.advance(60_000);
    expect(passed).toHaveLength(3);
  });

  test('a stop rejects whoever waits', async () => {
    const { world, host, controller, passed, enter } = gate(1);
    host.pause(60_000);
    enter(1);
    enter(1);
    controller.abort();
    await world.clock.advance(0);
    expect(passed).toEqual([-1, -1]);
  });
});

describe('the clock of a venue', () => {
  test('goes on between two statements, and keeps our pace if it is near it', async () => {
    const clock = new FakeClock(0);
    const venue = new VenueClock(clock);
    expect(venue.nowMs()).toBeUndefined();
    for (let second = 0; second < 30; second++) {
      venue.observe(1_000_000 + Math.floor(clock.now() / 1000) * 1000);
      await clock.advance(900);
    }
    expect(venue.localMs(1_000)).toBe(1_000);
    expect(venue.msUntil(1_060_000)).toBeGreaterThan(30_000);
  });

  test('is measured if it runs much faster', async () => {
    const clock = new FakeClock(0);
    const venue = new VenueClock(clock);
    venue.observe(0);
    await clock.advance(100);
    venue.observe(60_000);
    expect(venue.localMs(60_000)).toBeGreaterThan(95);
    expect(venue.localMs(60_000)).toBeLessThan(110);
  });
});

describe('the inbox of a series', () => {
  const bar = (epoch: number) => ({ epoch, open: 1, high: 1, low: 1, close: 1, volume: 1 });

  test('keeps the newest bars: what is pushed out is found missing', async () => {
    const inbox = new Inbox();
    for (let epoch = 0; epoch < 300; epoch++) inbox.push(bar(epoch));
    const { bars } = await inbox.take(new AbortController().signal);
    expect(bars).toHaveLength(256);
    expect(bars[0]?.epoch).toBe(44);
  });

  test('wakes whoever waits, and rejects on stop', async () => {
    const inbox = new Inbox();
    const controller = new AbortController();
    const first = inbox.take(controller.signal);
    inbox.seam();
    expect((await first).hasSeam).toBe(true);
    const second = inbox.take(controller.signal);
    controller.abort(new Error('stop'));
    await expect(second).rejects.toThrow('stop');
  });
});
