/** The recorded weeks are what their facts say, and their made-up trades give them back. */

import { describe, expect, test } from 'vitest';
import {
  type Decimal,
  larger,
  parseDecimal,
  shortDecimal,
  smaller,
} from '../../support/exchange/decimal.ts';
import { MINUTE_MS, tradesOf } from '../../support/exchange/minute-trades.ts';
import { expectedFacts, recordedWeek } from '../../support/fixture.ts';

const binance = recordedWeek('binance');
const coinbase = recordedWeek('coinbase');

describe('recorded weeks', () => {
  test.each(['binance', 'coinbase'] as const)('%s is what its facts say', (venue) => {
    const { bars } = recordedWeek(venue);
    const facts = expectedFacts(venue);
    expect(bars.length).toBe(facts.rows);
    expect((bars[0]?.openMs ?? 0) / 1000).toBe(facts.first_epoch);
    expect((bars.at(-1)?.openMs ?? 0) / 1000).toBe(facts.last_epoch);
    const volume = bars.reduce((sum: Decimal, bar) => sum + parseDecimal(bar.volume), 0n);
    expect(shortDecimal(volume)).toBe(facts.sum_volume);
  });

  test.each([binance, coinbase])('the trades of $base-$quote give back every bar', ({ bars }) => {
    let lastId = 0;
    bars.forEach((bar, index) => {
      const trades = tradesOf(bar, index);
      const prices = trades.map(({ price }) => price);
      expect(trades.length).toBeGreaterThanOrEqual(4);
      expect(shortDecimal(prices[0] ?? 0n)).toBe(shortDecimal(parseDecimal(bar.open)));
      expect(prices.at(-1)).toBe(parseDecimal(bar.close));
      expect(prices.reduce(larger)).toBe(parseDecimal(bar.high));
      expect(prices.reduce(smaller)).toBe(parseDecimal(bar.low));
      expect(trades.reduce((sum: Decimal, { size }) => sum + size, 0n)).toBe(
        parseDecimal(bar.volume),
      );
      let lastMs = bar.openMs - 1;
      for (const { id, size, timeMs } of trades) {
        expect(size > 0n && timeMs > lastMs && timeMs < bar.openMs + MINUTE_MS && id > lastId).toBe(
          true,
        );
        lastMs = timeMs;
        lastId = id;
      }
    });
  });
});
