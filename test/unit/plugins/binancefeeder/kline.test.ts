import { expect, test } from 'vitest';
import { parseKlineEvent, parseKlines } from '../../../../plugins/binancefeeder/kline.ts';
import { isWhole } from '../../../../plugins/feeder/bar.ts';

test('V3: the row of the official document', () => {
  const row = [
    1499040000000,
    '0.01634790',
    '0.80000000',
    '0.01575800',
    '0.01577100',
    '148976.11427815',
    1499644799999,
    '2434.19055334',
    308,
    '1756.87402397',
    '28.46694368',
    '0',
  ];
  expect(parseKlines([row])).toEqual([
    {
      epoch: 1499040000,
      open: 0.0163479,
      high: 0.8,
      low: 0.015758,
      close: 0.015771,
      volume: 148976.11427815,
    },
  ]);
});

test('V4: the row of the seed article', () => {
  const row = [1529553060000, '6769.28', '6773.91', '6769.17', '6771.34', '32.953427'];
  expect(parseKlines([row])).toEqual([
    {
      epoch: 1529553060,
      open: 6769.28,
      high: 6773.91,
      low: 6769.17,
      close: 6771.34,
      volume: 32.953427,
    },
  ]);
});

test('a row of something else is a bar to be dropped, an answer of something else an error', () => {
  expect(parseKlines([null, 'x', []]).map(isWhole)).toEqual([false, false, false]);
  expect(() => parseKlines({ code: 1 })).toThrow('not a list');
});

test.each([true, false])('V5: a kline event, closed %s, bare or wrapped', (isClosed) => {
  const event = {
    e: 'kline',
    E: 1795446120013,
    s: 'BTCUSDT',
    k: {
      t: 1795446060000,
      T: 1795446119999,
      s: 'BTCUSDT',
      i: '1m',
      o: '98431.20',
      c: '98390.01',
      h: '98440.00',
      l: '98388.88',
      v: '9.5',
      x: isClosed,
    },
  };
  const expected = {
    symbol: 'BTCUSDT',
    eventMs: 1795446120013,
    isClosed,
    bar: {
      epoch: 1795446060,
      open: 98431.2,
      high: 98440,
      low: 98388.88,
      close: 98390.01,
      volume: 9.5,
    },
  };
  expect(parseKlineEvent(event)).toEqual(expected);
  expect(parseKlineEvent({ stream: 'btcusdt@kline_1m', data: event })).toEqual(expected);
  expect(parseKlineEvent({ result: null, id: 1 })).toBeUndefined();
});
