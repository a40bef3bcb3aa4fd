/**
 * `npm run demo`: a server with real recorded data flowing in, no account, no internet.
 *
 * This process is the venue: the local exchange on loopback, with a clock that runs faster than ours.
 * The server is a process of its own, started as a user starts it; Ctrl-C reaches both. The venue's
 * time is kept beside the data, so that a second start goes on, half an hour of venue time later:
 * the feeder fetches what it missed.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { startExchange } from '../support/exchange/exchange.ts';
import { runningClock } from '../support/exchange/venue-clock.ts';
import { recordedWeek } from '../support/fixture.ts';

const SPEED = 120;
const FIRST_START_MS = Date.parse('2021-02-25T12:00:00Z');
const RECORDING_END_MS = Date.parse('2021-02-26T00:00:00Z');
const PAUSE_MS = 30 * 60_000;
const PORT = 5993;
const MAIN = resolve(import.meta.dirname, '../../kernel/main.ts');

const directory = resolve('demo-data');
const venueFile = join(directory, 'venue.json');
const configFile = join(directory, 'mkts.yml');
mkdirSync(directory, { recursive: true });

const startMs = venueStart();
const exchange = await startExchange({
  binance: { series: [recordedWeek('binance')] },
  clock: runningClock({ startMs, speed: SPEED }),
});
writeFileSync(
  configFile,
  `# Written by \`npm run demo\`: the addresses are those of the local exchange.
root_directory: ${JSON.stringify(join(directory, 'data'))}
listen_host: 127.0.0.1
listen_port: ${PORT}
bgworkers:
  - module: binancefeeder
    name: binance
    config:
      symbols: [BTC]
      base_currencies: [USDT]
      query_start: "2021-02-19"
      base_url: ${exchange.binanceUrl}
      stream_url: ${exchange.binanceStreamUrl}
triggers:
  - module: ondiskagg
    on: "*/1Min/OHLCV"
    config:
      destinations: [5Min, 1H, 1D]
`,
);

const server = spawn(process.execPath, [MAIN, 'start', '--config', configFile], {
  stdio: ['ignore', 'inherit', 'inherit'],
});
// A terminal sends Ctrl-C to both; whoever stops only this process means both.
process.on('SIGINT', () => undefined);
process.on('SIGTERM', () => server.kill('SIGTERM'));
const keeping = setInterval(keepVenueTime, 1000);
const ended = once(server, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
void invite();
const [exitCode] = await ended;
clearInterval(keeping);
keepVenueTime();
await exchange.stop();
process.exitCode = exitCode ?? 1;

/** Where the venue's clock starts: where it stopped, and a while more. */
function venueStart(): number {
  if (!existsSync(venueFile)) return FIRST_START_MS;
  const { venueMs } = JSON.parse(readFileSync(venueFile, 'utf8')) as { venueMs: number };
  return venueMs + PAUSE_MS;
}

function keepVenueTime(): void {
  writeFileSync(venueFile, JSON.stringify({ venueMs: exchange.clock.now() }));
}

/** Says how to look at the data, when there is some. */
async function invite(): Promise<void> {
  const { queryServer } = await import('../../kernel/cli/rpc-client.ts');
  const url = `http://127.0.0.1:${PORT}`;
  const untilMs = performance.now() + 60_000;
  for (;;) {
    const answer = await queryServer(url, { destination: 'binance_BTC-USDT/1H/OHLCV', limit: 1 })
      .then((buckets) => buckets.length > 0)
      .catch(() => false);
    if (answer) break;
    if (performance.now() > untilMs || server.exitCode !== null) return;
    await new Promise((retry) => setTimeout(retry, 250));
  }
  const isOver = startMs >= RECORDING_END_MS;
  process.stdout.write(`
  The server answers on ${url}. ${
    isOver
      ? `The recording is over; remove ${relative('.', directory)} to begin again.`
      : `The venue's clock runs ${SPEED} times as fast as yours, to 2021-02-26.`
  }
  In another terminal:

    npm run -s mkts -- query binance_BTC-USDT/1Min/OHLCV --limit 5
    npm run -s mkts -- query binance_BTC-USDT/1H/OHLCV --limit 5
    npm run -s mkts -- query binance_BTC-USDT/1D/OHLCV

  Ctrl-C stops it; \`npm run demo\` goes on where it stopped.

`);
}
