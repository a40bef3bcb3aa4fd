/**
 * What every feeder of bars owes, whatever its venue: no hole, no open bar, no row twice over the
 * network without need, nobody waits for another, and a prompt end. One suite, each feeder in each
 * of its ways of following.
 */

import { describe, expect, test } from 'vitest';
import { RequestError } from '../../kernel/base/errors.ts';
import { FakeKernel, type Run } from '../../plugins/testing/fake-kernel.ts';
import type { FakeSocket } from '../../plugins/testing/fake-socket.ts';
import type { FakeVenue } from '../support/fake-venues.ts';
import { expectWhole, NOW, START, subjects, WORLD_NOW_MS } from '../support/feeder-subjects.ts';

describe.each(subjects)('$name', (subject) => {
  const [btc, eth] = subject.keys;

  function begin(options: { pace?: number; listedSeconds?: number } = {}): {
    world: FakeKernel;
    venue: FakeVenue;
    start(more?: Readonly<Record<string, unknown>>): Run;
  } {
    const world = new FakeKernel({ nowMs: WORLD_NOW_MS });
    const venue = subject.venue(world, options);
    const start = (more = {}): Run => {
      const config = { ...subject.config, symbols: subject.symbols, ...more };
      return world.start(subject.plugin, { query_start: '2026-11-23 13:30', ...config });
    };
    return { world, venue, start };
  }

  const lastOf = (world: FakeKernel, key: string): number => world.epochs(key).at(-1) ?? 0;

  test('stores history, then each bar once it is closed, without a hole', async () => {
    const { world, venue, start } = begin();
    let storedOpen = 0;
    world.onWrite = (_key, rows) => {
      for (const epoch of Array.from(rows.Epoch, Number))
        if (epoch + 60 > venue.nowSeconds) storedOpen++;
    };
    const run = start();
    await world.until(() => lastOf(world, btc) >= NOW + 1800 && lastOf(world, eth) >= NOW + 1800);
    expectWhole(world, btc, START, lastOf(world, btc));
    expectWhole(world, eth, START, lastOf(world, eth));
    expect(storedOpen).toBe(0);
    expect(run.ended).toBe(false);
    const infos = world.lines('info').map(({ message, fields }) => `${message} ${fields.symbol}`);
    expect(infos.filter((line) => line.startsWith('backfill'))).toHaveLength(4);
    await run.stop();
    expect(run).toMatchObject({ ended: true, failure: undefined });
  });

  test('a restart goes on from the newest stored row, and asks for that one again', async () => {
    const { world, start } = begin();
    const first = start();
    await world.until(() => lastOf(world, btc) >= NOW - 120);
    await first.stop();
    await world.clock.advance(3_600_000);
    const stored = lastOf(world, btc);
    const [row] = world.rows(btc).slice(-1);
    world.put(btc, {
      Epoch: [stored],
      Open: [Number(row?.Open)],
      High: [Number(row?.High)],
      Low: [Number(row?.Low)],
      Close: [-1],
      Volume: [Number(row?.Volume)],
    });
    world.requests.length = 0;
    const second = start();
    await world.until(() => lastOf(world, btc) >= NOW + 3600 + 300);
    expectWhole(world, btc, START, lastOf(world, btc));
    const starts = world.requests
      .filter(({ url }) => /klines|candles/.test(url.pathname) && /BTC/.test(url.href))
      .map(({ url }) => startOf(url));
    expect(Math.min(...starts)).toBeGreaterThanOrEqual(stored - 900);
    expect(Math.min(...starts)).toBeLessThanOrEqual(stored);
    await second.stop();
  });

  test('a limited request stops all of them until Retry-After, and loses nothing', async () => {
    const { world, venue, start } = begin();
    let limitedAtMs = 0;
    venue.interfere = (url) => {
      if (limitedAtMs > 0 || !/klines|candles/.test(url.pathname)) return undefined;
      limitedAtMs = world.clock.now();
      return { status: 429, headers: { 'retry-after': '7' } };
    };
    const run = start();
    await world.until(() => lastOf(world, btc) >= NOW && lastOf(world, eth) >= NOW);
    const soonest = world.requests
      .filter(({ atMs }) => atMs > limitedAtMs)
      .map(({ atMs }) => atMs - limitedAtMs);
    expect(Math.min(...soonest)).toBeGreaterThanOrEqual(7_000);
    expectWhole(world, btc, START, lastOf(world, btc));
    await run.stop();
  });

  test('what fails for ten minutes is all there afterwards', async () => {
    const { world, venue, start } = begin();
    const run = start();
    await world.until(() => lastOf(world, btc) >= NOW);
    const brokenAtMs = world.clock.now();
    venue.isStreamDeaf = true;
    venue.interfere = () => {
      const downMs = world.clock.now() - brokenAtMs;
      if (downMs < 300_000) return new Error('connection reset');
      return downMs < 600_000 ? { status: 503 } : undefined;
    };
    for (const socket of world.sockets) socket.end(new Error('connection reset'));
    await world.clock.advance(600_000);
    venue.isStreamDeaf = false;
    await world.until(() => lastOf(world, btc) >= NOW + 1800 && lastOf(world, eth) >= NOW + 1800);
    expectWhole(world, btc, START, lastOf(world, btc));
    expectWhole(world, eth, START, lastOf(world, eth));
    await run.stop();
  });

  test('a symbol the venue does not have keeps nobody waiting', async () => {
    const { world, start } = begin();
    const run = start({ symbols: [subject.unknown, ...subject.symbols] });
    await world.until(() => lastOf(world, btc) >= NOW && lastOf(world, eth) >= NOW);
    expect(world.clock.now() - WORLD_NOW_MS).toBeLessThan(180_000);
    const named = world.logLines.filter(
      ({ level, fields }) =>
        ['warn', 'error'].includes(level) && String(fields.symbol).startsWith(subject.unknown),
    );
    expect(named).toHaveLength(1);
    await run.stop();
  });

  test('a bucket that refuses our columns degrades its symbol only', async () => {
    const { world, start } = begin();
    world.onWrite = (key) => {
      if (key === btc)
        throw new RequestError('MKTS_COLUMN_MISMATCH', { have: 'Open', want: 'Price' });
    };
    const run = start();
    await world.until(() => lastOf(world, eth) >= NOW + 600);
    expect(world.lines('error')).toHaveLength(1);
    world.onWrite = () => undefined;
    await world.until(() => lastOf(world, btc) >= NOW + 3600);
    expectWhole(world, btc, START, lastOf(world, btc));
    await run.stop();
  });

  test('rows whose commit failed are fetched again', async () => {
    const { world, start } = begin();
    const run = start();
    await world.until(() => lastOf(world, btc) >= NOW);
    let committed = new Set(world.epochs(btc));
    let lost = 0;
    world.onFlush = () => {
      const accepted = world.epochs(btc).filter((epoch) => !committed.has(epoch));
      if (lost > 0 || accepted.length === 0) {
        committed = new Set(world.epochs(btc));
        return;
      }
      // A group that could not be written takes with it what was only accepted.
      for (const epoch of accepted) world.store.remove(btc, epoch);
      lost = accepted.length;
      throw new Error('the disk is full');
    };
    await world.until(() => lost > 0 && lastOf(world, btc) >= NOW + 1200);
    expectWhole(world, btc, START, lastOf(world, btc));
    await run.stop();
  });

  test('history that begins after query_start is gone to directly', async () => {
    const { world, start } = begin({ listedSeconds: START });
    const run = start({ query_start: '2017-01-01', symbols: subject.symbols[0] });
    await world.until(() => lastOf(world, btc) >= NOW - 120);
    expect(world.requests.length).toBeLessThan(30);
    expectWhole(world, btc, START, lastOf(world, btc));
    await run.stop();
  });

  test('stops at query_end and ends by itself', async () => {
    const { world, start } = begin();
    const run = start({ query_end: '2026-11-23T14:00:00Z' });
    await world.until(() => run.ended);
    expect(run.failure).toBeUndefined();
    expectWhole(world, btc, START, 1_795_442_400 - 60);
    expectWhole(world, eth, START, 1_795_442_400 - 60);
    expect(world.sockets).toHaveLength(0);
  });

  test('follows until a query_end still to come, and ends there', async () => {
    const { world, start } = begin();
    const run = start({ query_end: '2026-11-23T15:10:00Z' });
    await world.until(() => run.ended);
    expect(run.failure).toBeUndefined();
    expectWhole(world, btc, START, 1_795_446_600 - 60);
  });

  test('a venue that runs 600 times as fast is followed without a hole', async () => {
    const { world, start } = begin({ pace: 600 });
    const run = start();
    const aDayLater = NOW + 86_400;
    await world.until(() => lastOf(world, btc) >= aDayLater && lastOf(world, eth) >= aDayLater);
    expectWhole(world, btc, START, lastOf(world, btc));
    expectWhole(world, eth, START, lastOf(world, eth));
    await run.stop();
  });

  test.each([0, 1, 2, 3, 5, 8, 13, 21])(
    'stops at once after %i turns of the clock',
    async (turns) => {
      const { world, start } = begin();
      const run = start();
      for (let turn = 0; turn < turns; turn++) await world.clock.advance(7_000);
      await run.stop();
      expect(run).toMatchObject({ ended: true, failure: undefined });
      expect(world.sockets.every((socket) => !socket.isOpen)).toBe(true);
      const requests = world.requests.length;
      await world.clock.advance(600_000);
      expect(world.requests.length).toBe(requests);
    },
  );

  test.runIf(subject.isStream)('a disconnect is a seam, not a hole', async () => {
    const { world, venue, start } = begin();
    const run = start();
    for (const minutes of [3, 9, 17]) {
      await world.until(() => lastOf(world, btc) >= NOW + minutes * 60);
      venue.isStreamDeaf = true;
      openSocket(world)?.end(minutes === 9 ? new Error('reset') : undefined);
      await world.clock.advance(80_000);
      venue.isStreamDeaf = false;
    }
    await world.until(() => lastOf(world, btc) >= NOW + 3_600);
    expectWhole(world, btc, START, lastOf(world, btc));
    expect(world.counters.get('reconnects')).toBeGreaterThanOrEqual(3);
    await run.stop();
    expect(world.sockets.at(-1)?.closedWith).toBe(1000);
  });

  test.runIf(subject.isStream)('messages lost on an open stream are noticed', async () => {
    const { world, venue, start } = begin();
    const run = start();
    await world.until(() => lastOf(world, btc) >= NOW + 300);
    venue.isStreamDeaf = true;
    await world.clock.advance(75_000);
    venue.isStreamDeaf = false;
    await world.until(() => lastOf(world, btc) >= NOW + 1800);
    expectWhole(world, btc, START, lastOf(world, btc));
    await run.stop();
  });

  test.runIf(subject.isStream)('a stream gone silent is opened again', async () => {
    const { world, venue, start } = begin();
    const run = start();
    await world.until(() => lastOf(world, btc) >= NOW + 300);
    const silent = openSocket(world);
    venue.isStreamDeaf = true;
    await world.until(() => openSocket(world) !== undefined && openSocket(world) !== silent);
    venue.isStreamDeaf = false;
    await world.until(() => lastOf(world, btc) >= NOW + 1800);
    expectWhole(world, btc, START, lastOf(world, btc));
    await run.stop();
  });
});

function openSocket(world: FakeKernel): FakeSocket | undefined {
  return world.sockets.findLast((socket) => socket.isOpen);
}

function startOf(url: URL): number {
  const ms = url.searchParams.get('startTime');
  return ms === null ? Date.parse(url.searchParams.get('start') ?? '') / 1000 : Number(ms) / 1000;
}
