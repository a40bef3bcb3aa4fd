/**
 * my-plugin: one-minute bars of Coinbase products, fetched as they close.
 *
 * `fetchBars` and `config` are all that knows the venue: put yours in their place. What has been
 * fetched is remembered in `ctx.state`, in one piece with the rows it belongs to, so that after a
 * stop or a crash the feeder goes on exactly where its stored rows end.
 */

import { type Context, defineBgWorker, z } from 'mkts/sdk';

const MINUTE = 60;
/** The venue answers with at most so many bars. */
const BARS_MAX = 300;
/** A bar is asked for this long after its end, when the venue has it. */
const SETTLE_MS = 5_000;

const config = z.strictObject({
  symbols: z.array(z.string().min(1)).min(1).default(['BTC-USD']).describe('Products to follow.'),
  history: z.int().min(1).default(60).describe('Minutes fetched when a product is new.'),
  base_url: z.url().default('https://api.exchange.coinbase.com').describe('Where the venue is.'),
});

type Ctx = Context<z.output<typeof config>>;

/** The venue's order: time, low, high, open, close, volume. */
const number = z.number();
const candles = z.array(z.tuple([number, number, number, number, number, number]));
type Candle = z.output<typeof candles>[number];

export default defineBgWorker({
  name: 'my-plugin',
  version: '0.1.0',
  api: 1,
  config,
  capabilities: {
    network: ['api.exchange.coinbase.com'],
    networkFromConfig: ['base_url'],
    writes: ['*/1Min/OHLCV'],
  },
  async start(ctx) {
    while (!ctx.signal.aborted) {
      for (const symbol of ctx.config.symbols) await follow(ctx, symbol);
      const sinceMinuteMs = (ctx.clock.now() - SETTLE_MS) % (MINUTE * 1000);
      await ctx.clock.sleep(MINUTE * 1000 - sinceMinuteMs, ctx.signal);
    }
  },
});

/** Fetches what has closed since the last time. A venue that fails is asked again in a minute. */
async function follow(ctx: Ctx, symbol: string): Promise<void> {
  try {
    while (await fetchNext(ctx, symbol));
  } catch (error) {
    if (ctx.signal.aborted) throw error;
    ctx.metrics.count('failed_fetches', { symbol });
    ctx.log.warn('no bars this time', { symbol, reason: String(error) });
  }
}

/** One request, and its bars stored; true if there may be more. */
async function fetchNext(ctx: Ctx, symbol: string): Promise<boolean> {
  const openBar = ctx.slots.start(ctx.clock.now() / 1000, '1Min');
  const cursor = ctx.state.get(symbol);
  const from = typeof cursor === 'number' ? cursor : openBar - ctx.config.history * MINUTE;
  const to = Math.min(openBar, from + BARS_MAX * MINUTE);
  if (from >= to) return false;
  const bars = await fetchBars(ctx, symbol, from, to);
  // Minutes without a trade have no bar. The newest may still come: those are asked for again.
  const newest = bars.at(-1)?.[0];
  const next = to < openBar ? to : newest === undefined ? from : newest + MINUTE;
  await ctx.writeAll(
    bars.length === 0 ? [] : [{ key: `${symbol}/1Min/OHLCV`, rows: columns(bars) }],
    {
      state: { [symbol]: next },
    },
  );
  return to < openBar;
}

/** Bars that begin in [from, to), oldest first. */
async function fetchBars(ctx: Ctx, symbol: string, from: number, to: number): Promise<Candle[]> {
  const query = new URLSearchParams({
    granularity: String(MINUTE),
    start: new Date(from * 1000).toISOString(),
    end: new Date((to - MINUTE) * 1000).toISOString(),
  });
  const answer = await ctx.fetch(`${ctx.config.base_url}/products/${symbol}/candles?${query}`);
  if (!answer.ok) throw new Error(`the venue answered ${answer.status}: ${answer.text()}`);
  return candles
    .parse(answer.json())
    .filter(([time]) => time >= from && time < to)
    .sort((a, b) => a[0] - b[0]);
}

function columns(bars: readonly Candle[]) {
  return {
    Epoch: bars.map((bar) => bar[0]),
    Open: bars.map((bar) => bar[3]),
    High: bars.map((bar) => bar[2]),
    Low: bars.map((bar) => bar[1]),
    Close: bars.map((bar) => bar[4]),
    Volume: bars.map((bar) => bar[5]),
  };
}
