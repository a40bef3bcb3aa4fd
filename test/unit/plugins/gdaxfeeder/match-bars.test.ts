import { expect, test } from 'vitest';
import { type Match, parseFeedMessage } from '../../../../plugins/gdaxfeeder/candle.ts';
import { MatchBars } from '../../../../plugins/gdaxfeeder/match-bars.ts';

const BAR = 1795446000;

function match(tradeId: number, time: string, price: string, size: string): Match {
  const parsed = parseFeedMessage({
    type: 'match',
    trade_id: tradeId,
    product_id: 'BTC-USD',
    time: `2026-11-23T${time}Z`,
    price,
    size,
  });
  if (parsed?.kind !== 'match') throw new Error('not a match');
  return parsed;
}

function beat(maker: MatchBars, seconds: number, lastTradeId: number): void {
  maker.beat({ kind: 'heartbeat', product: 'BTC-USD', lastTradeId, timeMs: seconds * 1000 });
}

/** A maker connected shortly before the bar, with the trades of V4 told. */
function withTrades(options: { fillEmpty?: boolean; lost?: number } = {}): MatchBars {
  const maker = new MatchBars({ stepSeconds: 60, fillEmpty: options.fillEmpty ?? false });
  maker.restart();
  beat(maker, BAR - 2, 6);
  const trades = [
    match(7, '15:00:12.014203', '98412.1', '0.5'),
    match(8, '15:00:40', '98450', '1'),
    match(9, '15:00:59.9', '98431.2', '0.25'),
    match(10, '15:01:00.0', '98440', '0.1'),
  ];
  maker.take(BAR + 1);
  for (const trade of trades) if (trade.tradeId !== options.lost) maker.add(trade);
  return maker;
}

test('V4: trades make a bar, five seconds after its end', () => {
  const maker = withTrades();
  expect(maker.take(BAR + 64.9).bars).toEqual([]);
  expect(maker.take(BAR + 65)).toEqual({
    bars: [{ epoch: BAR, open: 98412.1, high: 98450, low: 98412.1, close: 98431.2, volume: 1.75 }],
    isIncomplete: false,
  });
  expect(maker.take(BAR + 66).bars).toEqual([]);
});

test('a trade told late, within the grace, still counts', () => {
  const maker = withTrades();
  maker.take(BAR + 61);
  maker.add(match(11, '15:00:59.95', '99000', '1'));
  expect(maker.take(BAR + 65).bars[0]).toMatchObject({ high: 99000, close: 99000, volume: 2.75 });
});

test('a bar with a missing trade is not made but reported', () => {
  expect(withTrades({ lost: 8 }).take(BAR + 65)).toEqual({ bars: [], isIncomplete: true });
});

test('a trade that a heartbeat knew and that never came is missing', () => {
  const maker = withTrades({ lost: 10 });
  beat(maker, BAR + 61, 10);
  beat(maker, BAR + 62, 10);
  expect(maker.take(BAR + 125)).toMatchObject({ isIncomplete: true });
});

test('the bar a connection begins in is not whole, the next one is', () => {
  const maker = new MatchBars({ stepSeconds: 60, fillEmpty: false });
  maker.restart();
  maker.add(match(7, '15:00:30', '5', '1'));
  maker.add(match(8, '15:01:30', '6', '1'));
  expect(maker.take(BAR + 65)).toEqual({ bars: [], isIncomplete: true });
  expect(maker.take(BAR + 125).bars).toHaveLength(1);
  maker.restart();
  maker.add(match(12, '15:02:30', '6', '1'));
  expect(maker.take(BAR + 185)).toEqual({ bars: [], isIncomplete: true });
});

test('with fill_empty a minute without trades is a flat bar at the close before', () => {
  const maker = withTrades({ fillEmpty: true });
  const { bars } = maker.take(BAR + 185);
  expect(bars.map(({ close }) => close)).toEqual([98431.2, 98440, 98440]);
  expect(bars.map(({ volume }) => volume)).toEqual([1.75, 0.1, 0]);
});
