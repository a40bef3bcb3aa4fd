import { describe, expect, test } from 'vitest';
import { resolvePairs } from '../../../../plugins/binancefeeder/pairs.ts';
import plugin from '../../../../plugins/binancefeeder/plugin.ts';
import { BinanceVenue } from '../../../../plugins/binancefeeder/venue.ts';
import { type FakeAnswer, FakeKernel } from '../../../../plugins/testing/fake-kernel.ts';

const KEY = 'binance_BTC-USDT/1Min/OHLCV';
const DATE = { date: 'Mon, 23 Nov 2026 15:02:30 GMT' };
const INFO: FakeAnswer = {
  headers: DATE,
  body: {
    symbols: [
      { symbol: 'BTCUSDT', status: 'TRADING', baseAsset: 'BTC', quoteAsset: 'USDT' },
      { symbol: 'ETHUSDT', status: 'TRADING', baseAsset: 'ETH', quoteAsset: 'USDT' },
      { symbol: 'ETHBTC', status: 'BREAK', baseAsset: 'ETH', quoteAsset: 'BTC' },
    ],
  },
};
/** The three klines of 15:00, 15:01 and 15:02; the last is still open at 15:02:30. */
const ROWS = [
  [1795446000000, '98412.10000000', '98450.00000000', '98400.55000000', '98431.20000000'],
  [1795446060000, '98431.20000000', '98440.00000000', '98388.88000000', '98390.01000000'],
  [1795446120000, '98390.01000000', '98395.00000000', '98380.00000000', '98384.70000000'],
].map((row, index) => [...row, ['12.48210000', '9.50000000', '1.20000000'][index]]);
const FIRST = { Epoch: 1795446000, Open: 98412.1, High: 98450, Low: 98400.55, Close: 98431.2 };
const SECOND = { Epoch: 1795446060, Open: 98431.2, High: 98440, Low: 98388.88, Close: 98390.01 };

function begin(answer: (url: URL) => FakeAnswer | Error): FakeKernel {
  return new FakeKernel({
    nowMs: 1_795_446_150_000,
    fetch: (url) => (url.pathname.endsWith('exchangeInfo') ? INFO : answer(url)),
  });
}

const klinesOf = (world: FakeKernel): URL[] =>
  world.requests.map(({ url }) => url).filter(({ pathname }) => pathname === '/api/v3/klines');

describe('pages of klines', () => {
  test('V1: closed klines are stored, and the next request begins at the open one', async () => {
    const world = begin((url) => {
      const from = Number(url.searchParams.get('startTime'));
      return { headers: DATE, body: ROWS.filter(([open]) => Number(open) >= from) };
    });
    world.start(plugin, { symbols: 'BTC', query_start: '2026-11-23 15:00', live: 'poll' });
    await world.until(() => klinesOf(world).length > 0 && world.rows(KEY).length > 0);
    expect(klinesOf(world)[0]?.search).toBe(
      '?symbol=BTCUSDT&interval=1m&startTime=1795446000000&limit=1000',
    );
    expect(world.rows(KEY)).toEqual([
      { ...FIRST, Volume: 12.4821 },
      { ...SECOND, Volume: 9.5 },
    ]);
    expect(world.counters.get('dropped_rows not_closed')).toBe(1);
    world.onFetch = () => ({ headers: DATE, body: [] });
    // The poll overlaps by a bar; what comes after it begins at the open one.
    await world.until(() => klinesOf(world).length > 1);
    expect(klinesOf(world)[1]?.searchParams.get('startTime')).toBe('1795446060000');
  });

  test('V2: an answer with only the open kline stores nothing and moves nothing', async () => {
    const world = begin(() => ({ headers: DATE, body: ROWS.slice(2) }));
    world.start(plugin, { symbols: 'BTC', query_start: '2026-11-23 15:00', live: 'poll' });
    await world.until(() => klinesOf(world).length >= 3);
    expect(world.rows(KEY)).toEqual([]);
    for (const url of klinesOf(world))
      expect(url.searchParams.get('startTime')).toBe('1795446000000');
  });

  test('V7: a daily bar is stored under local midnight of its UTC date, and resumed there', async () => {
    const row = [1795132800000, '1', '2', '0.5', '1.5', '10'];
    const world = new FakeKernel({
      nowMs: 1_795_446_150_000,
      timezone: 'America/New_York',
      fetch: (url) =>
        url.pathname.endsWith('exchangeInfo')
          ? INFO
          : { headers: { date: 'Sat, 21 Nov 2026 00:00:30 GMT' }, body: [row] },
    });
    const key = 'binance_BTC-USDT/1D/OHLCV';
    const config = {
      symbols: 'BTC',
      base_timeframe: '1D',
      live: 'poll',
      query_start: '2026-11-20',
    };
    const first = world.start(plugin, config);
    await world.until(() => world.rows(key).length > 0);
    expect(world.epochs(key)).toEqual([1795150800]);
    await first.stop();
    world.requests.length = 0;
    world.start(plugin, config);
    await world.until(() => klinesOf(world).length > 0);
    expect(klinesOf(world)[0]?.searchParams.get('startTime')).toBe('1795132800000');
  });

  test('rows that are not numbers are dropped and counted; the others are stored', async () => {
    const broken = [1795446000000, '', '1', '1', '1', '1'];
    const world = begin(() => ({ headers: DATE, body: [broken, ROWS[1]] }));
    world.start(plugin, { symbols: 'BTC', query_start: '2026-11-23 15:00', live: 'poll' });
    await world.until(() => world.rows(KEY).length > 0);
    expect(world.epochs(KEY)).toEqual([1795446060]);
    expect(world.counters.get('dropped_rows not_a_number')).toBe(1);
  });
});

describe('limits and refusals', () => {
  test.each([
    [429, '7', 7_000],
    [418, '120', 120_000],
  ])(
    'V6: after %i with Retry-After %s the host is left alone, then the same window',
    async (status, seconds, ms) => {
      let isLimited = true;
      const world = begin(() => {
        if (!isLimited) return { headers: DATE, body: ROWS };
        isLimited = false;
        return { status, headers: { ...DATE, 'retry-after': seconds } };
      });
      world.start(plugin, { pairs: ['BTCUSDT', 'ETHUSDT'], query_start: '2026-11-23 15:00' });
      await world.until(() => world.rows(KEY).length > 0);
      const times = world.requests.map(({ atMs }) => atMs - 1_795_446_150_000);
      const index = world.requests.findIndex(({ url }) => url.pathname.endsWith('klines'));
      expect(times.slice(index + 2).every((time) => time >= ms)).toBe(true);
      expect(klinesOf(world).at(-1)?.searchParams.get('startTime')).toBe('1795446000000');
    },
  );

  test('V6: a pair the venue refuses is degraded at once, others are asked for without pause', async () => {
    const world = begin((url) =>
      url.searchParams.get('symbol') === 'ETHUSDT'
        ? { status: 400, headers: DATE, body: { code: -1121, msg: 'Invalid symbol.' } }
        : { headers: DATE, body: ROWS },
    );
    world.start(plugin, { symbols: ['ETH', 'BTC'], query_start: '2026-11-23 15:00' });
    await world.until(() => world.rows(KEY).length > 0);
    expect(world.clock.now()).toBeLessThan(1_795_446_150_000 + 2_000);
    const [line] = world.lines('error');
    expect(line?.fields).toEqual({ symbol: 'ETHUSDT', reason: 'Invalid symbol.' });
    await world.clock.advance(3 * 3_600_000 + 1_000);
    expect(world.lines('error')).toHaveLength(1);
    const asked = klinesOf(world).filter(({ search }) => search.includes('ETHUSDT'));
    expect(asked).toHaveLength(4);
  });

  test('a region not served is told once, with what to do, and tried again hourly', async () => {
    let isDenied = true;
    const world = new FakeKernel({
      nowMs: 1_795_446_150_000,
      fetch: (url) => {
        if (isDenied) return { status: 451, headers: DATE, body: { msg: 'restricted location' } };
        return url.pathname.endsWith('exchangeInfo') ? INFO : { headers: DATE, body: ROWS };
      },
    });
    world.start(plugin, { symbols: 'BTC', query_start: '2026-11-23 15:00' });
    await world.clock.advance(2.5 * 3_600_000);
    expect(world.requests).toHaveLength(3);
    expect(world.lines('error')).toHaveLength(1);
    expect(world.lines('error')[0]?.message).toContain('set base_url');
    isDenied = false;
    await world.until(() => world.rows(KEY).length > 0);
    expect(world.logLines.filter(({ message }) => message.includes('answers again'))).toHaveLength(
      1,
    );
  });

  test('the weight the venue counts against us holds requests back', async () => {
    const world = begin(() => ({
      headers: { ...DATE, 'x-mbx-used-weight-1m': '4500' },
      body: ROWS,
    }));
    world.start(plugin, { symbols: ['BTC', 'ETH'], query_start: '2026-11-23 15:00' });
    await world.until(() => klinesOf(world).length >= 2);
    await world.clock.advance(1_000);
    const asked = klinesOf(world).length;
    // 1,500 over the budget of 3,000 a minute: half a minute until the next one.
    await world.clock.advance(25_000);
    expect(klinesOf(world).length).toBe(asked);
  });
});

describe('pairs', () => {
  const resolve = async (config: unknown) => {
    const world = begin(() => ({ status: 404 }));
    const parsed = plugin.config.parse(config);
    const ctx = world.context(parsed, new AbortController().signal);
    const { pairs, unknown } = await resolvePairs(new BinanceVenue(ctx, () => 0.5), parsed);
    return { pairs: pairs.map(({ symbol }) => symbol), unknown };
  };

  test('symbols are crossed with base_currencies, and pairs added in either form', async () => {
    const config = { symbols: 'ETH', base_currencies: ['USDT', 'BTC'], pairs: ['BTC-USDT'] };
    expect(await resolve(config)).toEqual({ pairs: ['ETHUSDT', 'ETHBTC', 'BTCUSDT'], unknown: [] });
  });

  test('what the venue does not list is named', async () => {
    expect(await resolve({ pairs: ['BTCUSDT', 'NOPEUSDT'] })).toEqual({
      pairs: ['BTCUSDT'],
      unknown: ['NOPEUSDT'],
    });
  });

  test('without names, all that trade in the base currencies are meant', async () => {
    expect(await resolve({})).toEqual({ pairs: ['BTCUSDT', 'ETHUSDT'], unknown: [] });
    expect(await resolve({ base_currencies: 'BTC' })).toEqual({ pairs: [], unknown: [] });
  });
});
