/** `mkts plugin new | test | record | run`: the commands for whoever writes a plugin. */

import { existsSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { PLUGIN_KINDS, type PluginKind } from './plugin-kinds.ts';

const DEFAULT_CONFIG = './mkts.yml';

/** Adds them below `plugin`; `done` is told the exit code. */
export function addAuthoringCommands(plugin: Command, done: (exitCode: number) => void): void {
  plugin
    .command('new')
    .description('make a folder to start a plugin from')
    .argument('<name>', 'of the plugin and its folder')
    .addOption(
      new Option('-k, --kind <kind>', 'what it does').choices(PLUGIN_KINDS).default('feeder'),
    )
    .action(async (path: string, { kind }: { kind: PluginKind }) => {
      const { newPlugin } = await import('./plugin-new.ts');
      done(newPlugin({ path, kind }));
    });

  plugin
    .command('test')
    .description('run the tests of a plugin: virtual clock, tapes for the network')
    .argument('[directory]', 'the folder of the plugin', '.')
    .option('--update', 'write the table of settings into its README.md')
    .option('--watch', 'run again at every change')
    .action(async (directory: string, flags: { update?: boolean; watch?: boolean }) => {
      const { testPlugin } = await import('./plugin-test.ts');
      const { update = false, watch = false } = flags;
      done(await testPlugin({ directory, update, watch }));
    });

  plugin
    .command('record')
    .description('run one plugin without a database, and write its network traffic to a tape')
    .argument('<name>', 'name of an entry of mkts.yml, or a module')
    .option('-c, --config <path>', `settings (default: ${DEFAULT_CONFIG}, if there is one)`)
    .option('-o, --output <path>', 'the tape; must not be there yet', 'tape.jsonl')
    .option('--for <seconds>', 'stop after so long (default: at Ctrl-C)', parseSeconds)
    .action(async (module: string, { config, output, for: seconds }: RecordFlags) => {
      const forMs = seconds === undefined ? undefined : seconds * 1000;
      done(await runAlone(module, config, { path: output, forMs }));
    });

  plugin
    .command('run')
    .description('run one plugin without a database, and print the bars it would write')
    .argument('<name>', 'name of an entry of mkts.yml, or a module')
    .option('-c, --config <path>', `settings (default: ${DEFAULT_CONFIG}, if there is one)`)
    .action(async (module: string, { config }: { config?: string }) => {
      done(await runAlone(module, config, undefined));
    });
}

interface RecordFlags {
  readonly config?: string;
  readonly output: string;
  readonly for?: number;
}

async function runAlone(
  module: string,
  config: string | undefined,
  record: { readonly path: string; readonly forMs: number | undefined } | undefined,
): Promise<number> {
  const configPath = config ?? (existsSync(DEFAULT_CONFIG) ? DEFAULT_CONFIG : undefined);
  const [{ runPlugin }, { createLog }] = await Promise.all([
    import('./plugin-run.ts'),
    import('../log.ts'),
  ]);
  // Bars go to stdout, so that they can be piped; the log does not.
  const log = createLog({ level: 'info', format: 'auto', stream: 'stderr' });
  return runPlugin({ module, configPath, log, record });
}

function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || !(seconds > 0 && seconds < 1e6))
    throw new InvalidArgumentError('expected a number of seconds.');
  return seconds;
}
