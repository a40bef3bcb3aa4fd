/**
 * The command line: commands, options, exit codes. What a command does is in a file of its own and is
 * loaded when it is asked for, so that `mkts init` does not wait for the database to load.
 *
 * Exit codes: 0 done, 1 failed, 2 the command line was not understood, 130 cut short by a signal.
 */

import { existsSync } from 'node:fs';
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { VERSION } from '../package-root.ts';
import { reportError } from './report-error.ts';

const FAILED = 1;
const MISUSED = 2;
const DEFAULT_CONFIG = './mkts.yml';
const DEFAULT_URL = 'http://127.0.0.1:5993';

/** Runs a command line (without `node` and the script) and returns the exit code. Never throws. */
export async function runCommandLine(args: readonly string[]): Promise<number> {
  let exitCode = 0;
  const program = commandLine((code) => {
    exitCode = code;
  });
  try {
    await program.parseAsync(args, { from: 'user' });
    return exitCode;
  } catch (thrown) {
    // Commander has printed its own: usage, help, version.
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : MISUSED;
    reportError(thrown);
    return FAILED;
  }
}

interface QueryFlags {
  readonly url: string;
  readonly limit?: number;
  readonly oldest?: boolean;
  readonly from?: number;
  readonly to?: number;
  readonly json?: boolean;
}

function commandLine(done: (exitCode: number) => void): Command {
  const program = new Command('mkts')
    .description('A time-series database server and ingestion host for market data')
    .version(`mkts ${VERSION}`, '-v, --version')
    .configureOutput({
      outputError: (text, write) => write(text.replace(/^error:/, 'Error:')),
    })
    .showHelpAfterError('(mkts --help says more)')
    .exitOverride();

  program
    .command('init')
    .description('write a sample mkts.yml into this directory')
    .action(async () => {
      const { runInit } = await import('./init.ts');
      done(runInit(process.cwd()));
    });

  program
    .command('start')
    .alias('s')
    .description('start the server')
    .option('-c, --config <path>', 'settings', DEFAULT_CONFIG)
    .action(async ({ config }: { config: string }) => {
      const { runStart } = await import('./start.ts');
      done(await runStart({ configPath: config }));
    });

  program
    .command('query')
    .description('print rows of a running server')
    .argument('<key>', 'such as AAPL/1Min/OHLCV')
    .option('-u, --url <url>', 'the server', DEFAULT_URL)
    .option('-n, --limit <rows>', 'at most so many, the newest', parseCount)
    .option('--oldest', 'with --limit: the oldest instead')
    .option('--from <time>', 'YYYY-MM-DD, ISO 8601 or Unix seconds; UTC', parseTime)
    .option('--to <time>', 'the last moment, inclusive', parseTime)
    .option('--json', 'one object a line (default: where stdout is no terminal)')
    .action(async (destination: string, given: QueryFlags) => {
      const { runQuery } = await import('./query.ts');
      const { url, limit, oldest, from, to } = given;
      const json = given.json ?? !process.stdout.isTTY;
      done(
        await runQuery({ destination, url, limit, oldest, fromSeconds: from, toSeconds: to, json }),
      );
    });

  const plugin = program.command('plugin').description('work with plugins');
  plugin
    .command('run')
    .description('run one plugin without a database, and print the bars it would write')
    .argument('<name>', 'name of an entry of mkts.yml, or a module')
    .option('-c, --config <path>', `settings (default: ${DEFAULT_CONFIG}, if there is one)`)
    .action(async (module: string, { config }: { config?: string }) => {
      const configPath = config ?? (existsSync(DEFAULT_CONFIG) ? DEFAULT_CONFIG : undefined);
      const [{ runPlugin }, { createLog }] = await Promise.all([
        import('./plugin-run.ts'),
        import('../log.ts'),
      ]);
      // Bars go to stdout, so that they can be piped; the log does not.
      const log = createLog({ level: 'info', format: 'auto', stream: 'stderr' });
      done(await runPlugin({ module, configPath, log }));
    });

  return program;
}

function parseCount(text: string): number {
  if (!/^[1-9]\d{0,14}$/.test(text))
    throw new InvalidArgumentError('expected a number, 1 or more.');
  return Number(text);
}

/** Unix seconds. A time without an offset is UTC, as everywhere in the database. */
function parseTime(text: string): number {
  if (/^-?\d{1,12}$/.test(text)) return Number(text);
  const hasOffset = /(Z|[+-]\d\d:?\d\d)$/i.test(text);
  const isDate = /^\d{4}-\d\d-\d\d$/.test(text);
  const milliseconds = Date.parse(hasOffset || isDate ? text : `${text.replace(' ', 'T')}Z`);
  if (Number.isNaN(milliseconds))
    throw new InvalidArgumentError('expected YYYY-MM-DD, an ISO 8601 time, or Unix seconds.');
  return Math.floor(milliseconds / 1000);
}
