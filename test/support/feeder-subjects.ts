/** The feeders under contract, each in each of its ways of following, with a venue to follow. */

import { expect } from 'vitest';
import binancefeeder from '../../plugins/binancefeeder/plugin.ts';
import gdaxfeeder from '../../plugins/gdaxfeeder/plugin.ts';
import type { BgWorker } from '../../plugins/sdk.ts';
import type { FakeKernel } from '../../plugins/testing/fake-kernel.ts';
import { barAt, FakeBinance, FakeCoinbase, type FakeVenue } from './fake-venues.ts';

/** 2026-11-23 15:02:30Z, and a minute's open an hour and a half before. */
export const NOW = 1_795_446_150;
export const START = 1_795_440_600;
export const WORLD_NOW_MS: number = NOW * 1000;

export interface Subject {
  readonly name: string;
  readonly plugin: BgWorker;
  readonly isStream: boolean;
  readonly config: Readonly<Record<string, unknown>>;
  readonly symbols: readonly [string, string];
  /** A symbol the venue does not have, in the same form. */
  readonly unknown: string;
  readonly keys: readonly [string, string];
  venue(world: FakeKernel, options: { pace?: number; listedSeconds?: number }): FakeVenue;
}

const binance = {
  plugin: binancefeeder as unknown as BgWorker,
  symbols: ['BTC', 'ETH'],
  unknown: 'NOPE',
  keys: ['binance_BTC-USDT/1Min/OHLCV', 'binance_ETH-USDT/1Min/OHLCV'],
  venue: (world, { pace = 1, listedSeconds = 1_500_000_000 }) =>
    new FakeBinance(world, { nowSeconds: NOW, pace, listedSeconds }),
} satisfies Partial<Subject>;
const gdax = {
  plugin: gdaxfeeder as unknown as BgWorker,
  symbols: ['BTC-USD', 'ETH-USD'],
  unknown: 'NO-PE',
  keys: ['gdax_BTC-USD/1Min/OHLCV', 'gdax_ETH-USD/1Min/OHLCV'],
  venue: (world, { pace = 1, listedSeconds = 1_500_000_000 }) =>
    new FakeCoinbase(world, { nowSeconds: NOW, pace, listedSeconds }),
} satisfies Partial<Subject>;

export const subjects: readonly Subject[] = [
  { ...binance, name: 'binancefeeder, stream', isStream: true, config: { live: 'stream' } },
  { ...binance, name: 'binancefeeder, poll', isStream: false, config: { live: 'poll' } },
  { ...gdax, name: 'gdaxfeeder, stream', isStream: true, config: { live: 'stream' } },
  { ...gdax, name: 'gdaxfeeder, poll', isStream: false, config: { live: 'poll' } },
] as unknown as readonly Subject[];

/** Every minute of [from, to] is there, as the venue has it, and nothing else. */
export function expectWhole(world: FakeKernel, key: string, from: number, to: number): void {
  const expected = [];
  for (let epoch = from; epoch <= to; epoch += 60) expected.push(barAt(epoch));
  const rows = world.rows(key).map(({ Epoch, Open, High, Low, Close, Volume }) => ({
    epoch: Epoch,
    open: Open,
    high: High,
    low: Low,
    close: Close,
    volume: Volume,
  }));
  expect(rows).toEqual(expected);
}
