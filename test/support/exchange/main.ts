/**
 * Starts the local exchange for a person to play with:
 *
 *   node test/support/exchange/main.ts --speed 60 --start 2021-02-20T00:00:00Z --port 9100
 *
 * Prints its URLs and stops at ctrl-c. Each venue has one recorded week, of another year: without
 * `--start` the clock starts in the middle of Binance's.
 */

import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { recordedWeek } from '../fixture.ts';
import { startExchange } from './exchange.ts';
import { runningClock } from './venue-clock.ts';

const { values } = parseArgs({
  options: {
    speed: { type: 'string', default: '1' },
    start: { type: 'string', default: '2021-02-22T00:00:00Z' },
    port: { type: 'string', default: '0' },
  },
});
const speed = Number(values.speed);
const startMs = Date.parse(values.start);
const port = Number(values.port);
if (!(speed > 0)) throw new RangeError(`--speed ${values.speed} must be a number above 0`);
if (Number.isNaN(startMs)) throw new RangeError(`--start ${values.start} is not ISO 8601`);
if (!Number.isInteger(port) || port < 0 || port > 65_532) {
  throw new RangeError(`--port ${values.port} must be a port with three free ones after it`);
}

const exchange = await startExchange({
  binance: { series: [recordedWeek('binance')] },
  coinbase: { series: [recordedWeek('coinbase')] },
  clock: runningClock({ startMs, speed }),
  port,
});
process.stdout.write(
  `${[
    `binance REST    ${exchange.binanceUrl}/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=5`,
    `binance stream  ${exchange.binanceStreamUrl}/ws/btcusdt@kline_1m`,
    `coinbase REST   ${exchange.coinbaseUrl}/products/BTC-USD/candles?granularity=60`,
    `coinbase feed   ${exchange.coinbaseFeedUrl}`,
    `clock           ${new Date(exchange.clock.now()).toISOString()}, ${speed} times as fast as ours`,
  ].join('\n')}\n`,
);

await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]);
await exchange.stop();
