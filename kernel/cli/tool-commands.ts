/**
 * `mkts tool integrity|wal`: commands that look into a data directory without a server.
 *
 * Exit codes: 0 all is well, 1 something was found, 2 the command could not do its work.
 */

import type { Command } from 'commander';
import { reportError } from './report-error.ts';

const FOUND = 1;
const CANNOT_RUN = 2;

interface IntegrityFlags {
  readonly repair?: boolean;
  readonly seal?: boolean;
  readonly json?: boolean;
  readonly report?: string;
  readonly timezone: string;
}

interface WalFlags {
  readonly json?: boolean;
  readonly timezone: string;
}

export function addToolCommands(tool: Command, done: (exitCode: number) => void): void {
  tool
    .command('integrity')
    .description('check the files of a data directory whose server does not run')
    .argument('<directory>', 'the root_directory of mkts.yml')
    .option('--repair', 'put right what can be put right, and keep what is overwritten in a report')
    .option('--seal', 'then write checksums of all that is whole and has none')
    .option('--report <file>', 'where the report goes (default: into the directory)')
    .option('--timezone <zone>', 'the timezone of mkts.yml', 'UTC')
    .option('--json', 'as JSON (default: where stdout is no terminal)')
    .action(async (directory: string, flags: IntegrityFlags) => {
      const { repair = false, seal = false, report, timezone } = flags;
      const { json = !process.stdout.isTTY } = flags;
      await run(done, async () => {
        const { runIntegrity } = await import('./integrity.ts');
        return runIntegrity({
          directory,
          isRepair: repair,
          isSeal: seal,
          reportPath: report,
          timezone,
          json,
        });
      });
    });

  tool
    .command('wal')
    .description('print what a write-ahead log says, ours or a Go server’s')
    .argument('<path>', 'a log, or a data directory')
    .option('--timezone <zone>', 'the timezone of mkts.yml', 'UTC')
    .option('--json', 'an object a line (default: where stdout is no terminal)')
    .action(async (path: string, { timezone, json = !process.stdout.isTTY }: WalFlags) => {
      await run(done, async () => {
        const { runWal } = await import('./wal.ts');
        return runWal({ path, timezone, json });
      });
    });
}

async function run(done: (exitCode: number) => void, work: () => Promise<boolean>): Promise<void> {
  try {
    done((await work()) ? 0 : FOUND);
  } catch (thrown) {
    reportError(thrown);
    done(CANNOT_RUN);
  }
}
