/**
 * The command line: commands, options, exit codes. What a command does is in a file of its own and is
 * loaded when it is asked for, so that `mkts init` does not wait for the database to load.
 *
 * Exit codes: 0 done, 1 failed, 2 the command line was not understood, 130 cut short by a signal.
 */

import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { parseTimeText } from '../base/time-text.ts';
import { VERSION } from '../package-root.ts';
import { addAuthoringCommands } from './authoring-commands.ts';
import { addBackupCommands } from './backup-commands.ts';
import { addOperationsCommands } from './operations-commands.ts';
import { reportError } from './report-error.ts';
import { addToolCommands } from './tool-commands.ts';
import { WATCHED_OPTION } from './watchdog-protocol.ts';

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

interface StartFlags {
  readonly config: string;
  readonly watchdog: boolean;
  /** This is the process a watchdog started. */
  readonly watched?: boolean;
}

interface QueryFlags {
  readonly url: string;
  readonly limit?: number;
  readonly oldest?: boolean;
  readonly from?: number;
  readonly to?: number;
  readonly json?: boolean;
}

interface DeleteFlags extends Pick<QueryFlags, 'url' | 'from' | 'to' | 'json'> {
  readonly yes?: boolean;
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
    .option('--no-watchdog', 'one process, which nobody starts again when it dies')
    .addOption(new Option(WATCHED_OPTION).hideHelp())
    .action(async ({ config, watchdog, watched }: StartFlags) => {
      if (watchdog && watched !== true) {
        const { runWatched } = await import('./watchdog-process.ts');
        done(await runWatched(config));
        return;
      }
      const { runStart } = await import('./start.ts');
      if (watched !== true) done(await runStart({ configPath: config }));
      else {
        const { connectWatchdog } = await import('./watchdog-line.ts');
        // One in reserve has loaded all when it is told to start; a failure is met again there.
        import('../kernel.ts').catch(() => undefined);
        const line = await connectWatchdog();
        if (line === undefined) return;
        const exitCode = await runStart({ configPath: config, watchdog: line });
        line.stopped(exitCode);
        done(exitCode);
      }
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

  program
    .command('delete')
    .description('delete rows of a running server; without --yes only say which they are')
    .argument('<key>', "such as AAPL/1Min/OHLCV, or a pattern: '*/1Min/OHLCV'")
    .option('-u, --url <url>', 'the server', DEFAULT_URL)
    .option('--from <time>', 'YYYY-MM-DD, ISO 8601 or Unix seconds; UTC', parseTime)
    .option('--to <time>', 'the last moment, inclusive', parseTime)
    .option('--yes', 'delete them')
    .option('--json', 'one JSON text (default: where stdout is no terminal)')
    .action(async (key: string, given: DeleteFlags, self: Command) => {
      const { runDelete } = await import('./delete.ts');
      const { url, from, to, yes = false } = given;
      if (from === undefined && to === undefined)
        self.error('error: say --from, --to, or both: the rows of which times?');
      const json = given.json ?? !process.stdout.isTTY;
      done(await runDelete({ key, url, fromSeconds: from, toSeconds: to, isSure: yes, json }));
    });

  addBackupCommands(program, done);

  const plugin = program.command('plugin').description('work with plugins');
  addOperationsCommands(plugin, done);
  addAuthoringCommands(plugin, done);

  addToolCommands(program.command('tool').description('look into a data directory'), done);

  return program;
}

function parseCount(text: string): number {
  if (!/^[1-9]\d{0,14}$/.test(text))
    throw new InvalidArgumentError('expected a number, 1 or more.');
  return Number(text);
}

/** Unix seconds, rounded down. */
function parseTime(text: string): number {
  const time = parseTimeText(text);
  if (time === undefined)
    throw new InvalidArgumentError('expected YYYY-MM-DD, an ISO 8601 time, or Unix seconds.');
  return time.seconds;
}
