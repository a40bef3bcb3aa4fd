/** The small parts of the host: log, metrics, clock, slots, bell, guard. */

import { MessageChannel } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { LOG_LINES_PER_SECOND_MAX, METRICS_PER_PLUGIN_MAX } from '../../../kernel/base/limits.ts';
import { Doorbell } from '../../../workers/doorbell.ts';
import { createClock, createSlots } from '../../../workers/plugin-clock.ts';
import { PluginLog } from '../../../workers/plugin-log.ts';
import { PluginMetrics } from '../../../workers/plugin-metrics.ts';
import { callsOf } from '../../../workers/port-endpoint.ts';
import type { PlainLogLine, PlainMetric } from '../../../workers/protocol.ts';
import { TokenBucket } from '../../../workers/token-bucket.ts';

test('a token bucket gives a second’s worth at once, then by time, and survives a clock going back', () => {
  let nowMs = 1000;
  const bucket = new TokenBucket(10, () => nowMs);
  const taken = (): number => {
    let count = 0;
    while (bucket.tryTake()) count++;
    return count;
  };
  expect(taken()).toBe(10);
  nowMs += 500;
  expect(taken()).toBe(5);
  nowMs -= 10_000;
  expect(taken()).toBe(0);
  nowMs += 100_000;
  expect(taken()).toBe(10);
});

test('log lines of a turn go together; fields are data; past the rate they are counted', async () => {
  const sent: { lines: readonly PlainLogLine[]; dropped: number }[] = [];
  const log = new PluginLog(
    async (lines, dropped) => {
      sent.push({ lines, dropped });
    },
    200,
    () => 0,
  );
  const cycle: Record<string, unknown> = {};
  cycle.self = cycle;
  log.info('one', { number: 1, error: new Error('x'), cycle, deep: { a: [1] }, f: () => 1 });
  log.console('warn', ['two', 2, { three: 3 }]);
  for (let at = 0; at < LOG_LINES_PER_SECOND_MAX; at++) log.debug('x'.repeat(100_000));
  await Promise.resolve();
  expect(sent).toHaveLength(1);
  expect(sent[0]?.lines).toHaveLength(LOG_LINES_PER_SECOND_MAX);
  expect(sent[0]?.dropped).toBe(2);
  expect(sent[0]?.lines[0]?.fields).toMatchObject({ number: 1, deep: '{"a":[1]}' });
  expect(sent[0]?.lines[1]?.message).toBe('two 2 {"three":3}');
  expect(sent[0]?.lines[2]?.message.length).toBeLessThan(10_000);
  expect(() => structuredClone(sent[0]?.lines)).not.toThrow();
});

test('counters add up between sends, gauges keep the last, and their number is bounded', () => {
  const sent: (readonly PlainMetric[])[] = [];
  const metrics = new PluginMetrics(async (batch) => {
    sent.push(batch);
  });
  metrics.count('c', { b: '2', a: '1' });
  metrics.count('c', { a: '1', b: '2' }, 4);
  metrics.count('c', {}, -1);
  metrics.gauge('g', 1);
  metrics.gauge('g', 2);
  metrics.send();
  metrics.send();
  metrics.count('c', { a: '1', b: '2' });
  metrics.send();
  expect(sent.map((batch) => batch.map(({ value }) => value))).toEqual([[5, 2], [1]]);
  for (let at = 0; at < 2 * METRICS_PER_PLUGIN_MAX; at++) metrics.count(`m${at}`);
  metrics.send();
  expect(sent.at(-1)?.length).toBeLessThanOrEqual(METRICS_PER_PLUGIN_MAX);
});

describe('clock and slots', () => {
  test('a sleep ends by its own signal and by the stop signal, with their reasons', async () => {
    const stop = new AbortController();
    const own = new AbortController();
    const clock = createClock(stop.signal);
    await clock.sleep(1);
    const first = clock.sleep(1e12, own.signal);
    own.abort(new Error('own'));
    await expect(first).rejects.toThrow('own');
    const second = clock.sleep(1e12);
    stop.abort(new Error('stop'));
    await expect(second).rejects.toThrow('stop');
    await expect(clock.sleep(0)).rejects.toThrow('stop');
  });

  test('slots follow the calendar of the zone, also over a clock change', () => {
    const slots = createSlots('America/New_York');
    const midnight = slots.midnight(2026, 3, 8);
    expect(midnight).toBe(Date.UTC(2026, 2, 8, 5) / 1000);
    expect(slots.start(midnight + 3600 * 10, '1D')).toBe(midnight);
    expect(slots.end(midnight + 3600 * 10, '1D') - midnight).toBe(23 * 3600);
    expect(slots.start(1_700_000_059, '1Min')).toBe(1_700_000_040);
    expect(slots.seconds('5Min')).toBe(300);
    expect(slots.seconds('7Min')).toBeUndefined();
    expect(() => slots.start(0, '7Min')).toThrow('cannot be stored');
  });
});

test('a bell that was rung before the wait, or during it, ends it; silence ends by the timer', async () => {
  const bell = new Doorbell();
  const other = new Doorbell(bell.shared);
  bell.ring();
  await bell.wait(60_000);
  const wait = bell.wait(60_000);
  other.ring();
  await wait;
  await bell.wait(1);
  // The wait that the timer ended left its waitAsync armed: the next one uses it.
  const again = bell.wait(60_000);
  other.ring();
  await again;
});

test('the guard admits calls of the offered functions with plain arguments, and nothing else', () => {
  let refused = 0;
  const guard = callsOf(['query'], () => {
    refused++;
  });
  const raw = { type: 'RAW', value: 1 };
  const call = { id: '1', type: 'APPLY', path: ['query'], argumentList: [raw] };
  expect(guard(call)).toBe(true);
  const hostile: unknown[] = [
    null,
    'text',
    { ...call, path: ['query', 'constructor'] },
    { ...call, path: ['constructor'] },
    { ...call, path: [] },
    { ...call, type: 'SET' },
    { ...call, type: 'CONSTRUCT' },
    { ...call, type: 'RELEASE' },
    { ...call, argumentList: [{ type: 'HANDLER', name: 'throw', value: {} }] },
    {
      ...call,
      argumentList: [{ type: 'HANDLER', name: 'proxy', value: new MessageChannel().port1 }],
    },
    { ...call, argumentList: 'x' },
    { ...call, id: undefined },
  ];
  for (const message of hostile) expect(guard(message)).toBe(false);
  expect(refused).toBe(hostile.length);
});
