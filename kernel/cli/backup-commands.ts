/** `mkts backup|restore`: their options; what they do is in backup.ts. */

import type { Command } from 'commander';
import { optionsOf, type ServerFlags } from './server-flags.ts';

const DEFAULT_CONFIG = './mkts.yml';

export function addBackupCommands(program: Command, done: (exitCode: number) => void): void {
  program
    .command('backup')
    .description('copy the data of a running server, as it is at one moment, while writes go on')
    .argument('<target>', 'a directory that is empty or not there; -: a tar on stdout')
    .option('-u, --url <url>', 'the server (default: the one of mkts.yml)')
    .option('-c, --config <path>', 'settings that say where the server is', DEFAULT_CONFIG)
    .action(async (target: string, flags: ServerFlags) => {
      const { runBackup } = await import('./backup.ts');
      const { server } = await optionsOf(flags);
      await runBackup(server, target);
      done(0);
    });

  program
    .command('restore')
    .description('make a data directory of a backup, and check every byte of it')
    .argument('<source>', 'the directory or tar of a backup; -: a tar on stdin')
    .argument('<root>', 'a directory that is empty or not there')
    .action(async (source: string, root: string) => {
      const { runRestore } = await import('./backup.ts');
      await runRestore(source, root);
      done(0);
    });
}
