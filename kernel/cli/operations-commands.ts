/**
 * `mkts plugin list|status|inspect|logs|…`: commands and options of handling plugins of a running
 * server; what they do is in plugin-operate.ts.
 */

import { type Command, InvalidArgumentError } from 'commander';
import { suggestion } from '../base/nearest-word.ts';
import { LINE_LEVELS, type LineLevel, type PluginAction } from '../base/plugin-report.ts';
import { addLetterCommands } from './letter-commands.ts';
import { NAME, optionsOf, parseCount, type ServerFlags } from './server-flags.ts';

const DEFAULT_CONFIG = './mkts.yml';
const PROFILE_SECONDS = 5;

const ACTIONS: readonly (readonly [PluginAction, string])[] = [
  ['stop', 'end a plugin in good order; it stays so until it is started'],
  ['start', 'start a plugin that is stopped, failed or in quarantine'],
  ['restart', 'end a plugin and start it anew'],
  ['release', 'start a plugin that is in quarantine'],
  ['approve', 'agree to what a new version asks for, and let it take over'],
  ['promote', 'let the version that runs as a shadow take over'],
  ['discard', 'end the shadow of a plugin'],
];

export function addOperationsCommands(plugin: Command, done: (exitCode: number) => void): void {
  const command = (name: string, description: string): Command =>
    plugin
      .command(name)
      .description(description)
      .option('-u, --url <url>', 'the server (default: the one of mkts.yml)')
      .option('-c, --config <path>', 'settings that say where the server is', DEFAULT_CONFIG)
      .option('--json', 'as JSON (default: where stdout is no terminal)');
  const act = async (name: string, action: PluginAction, flags: ActFlags): Promise<void> => {
    const { runAction } = await import('./plugin-operate.ts');
    const { reason, force, shadow } = flags;
    done(await runAction({ ...(await optionsOf(flags)), name, action, reason, force, shadow }));
  };

  command('list', 'all plugins: what is wrong, and since when')
    .alias('ls')
    .action(async (flags: ServerFlags) => {
      const { runList } = await import('./plugin-operate.ts');
      done(await runList(await optionsOf(flags)));
    });

  command('status', 'how a plugin is; without a name, whether all are well (exit code 1: no)')
    .argument('[name]', NAME)
    .action(async (name: string | undefined, flags: ServerFlags) => {
      const { runStatus } = await import('./plugin-operate.ts');
      done(await runStatus(await optionsOf(flags), name));
    });

  command('inspect', 'what a plugin asks for, may do and uses; its settings; its last error')
    .argument('<name>', NAME)
    .action(async (name: string, flags: ServerFlags) => {
      const { runInspect } = await import('./plugin-operate.ts');
      done(await runInspect(await optionsOf(flags), name));
    });

  command('shadow', 'rows of a new version that runs as a shadow against those of the old')
    .argument('<name>', NAME)
    .action(async (name: string, flags: ServerFlags) => {
      const { runShadow } = await import('./plugin-operate.ts');
      done(await runShadow(await optionsOf(flags), name));
    });

  command('logs', 'the last lines of a plugin, and about it')
    .argument('<name>', NAME)
    .option('-n, --lines <count>', 'at most so many, the newest', parseCount)
    .option('-l, --level <level>', 'these and graver (default: as the log has them)', parseLevel)
    .option('-f, --follow', 'go on with lines as they come')
    .action(async (name: string, flags: ServerFlags & LogsFlags) => {
      const { runLogs } = await import('./plugin-operate.ts');
      const { lines, level, follow = false } = flags;
      done(await runLogs({ ...(await optionsOf(flags)), name, lines, level, follow }));
    });

  command('reload', 'run the new version of a plugin in place of the old; without a name: mkts.yml')
    .argument('[name]', NAME)
    .option('--force', 'also if nothing changed, or if this version failed before')
    .option('--shadow', 'beside the old one, its rows compared and not written')
    .action(async (name: string | undefined, flags: ActFlags) => {
      if (name !== undefined) return act(name, 'reload', flags);
      const { runReloadConfig } = await import('./plugin-operate.ts');
      done(await runReloadConfig(await optionsOf(flags)));
    });

  command('quarantine', 'end a plugin and keep it so, with a reason')
    .argument('<name>', NAME)
    .option('-r, --reason <text>', 'what is shown as the cause')
    .action((name: string, flags: ActFlags) => act(name, 'quarantine', flags));

  for (const [action, description] of ACTIONS)
    command(action, description)
      .argument('<name>', NAME)
      .action((name: string, flags: ActFlags) => act(name, action, flags));

  command('log-level', 'set the level of a plugin’s lines; without a level: as in mkts.yml')
    .argument('<name>', NAME)
    .argument('[level]', LINE_LEVELS.join(', '), parseLevel)
    .action(async (name: string, level: LineLevel | undefined, flags: ServerFlags) => {
      const { runLogLevel } = await import('./plugin-operate.ts');
      done(await runLogLevel(await optionsOf(flags), name, level));
    });

  command('profile', 'write a CPU profile of a plugin while it runs')
    .argument('<name>', NAME)
    .option('-s, --seconds <count>', 'how long', parseCount, PROFILE_SECONDS)
    .option('-o, --out <file>', 'default: <name>.cpuprofile')
    .action(async (name: string, flags: ServerFlags & ProfileFlags) => {
      const { runProfile } = await import('./plugin-operate.ts');
      const { seconds, out: file = `${name}.cpuprofile` } = flags;
      done(await runProfile(await optionsOf(flags), name, { seconds, file }));
    });

  command('recordings', 'flight recordings of a plugin: the minute before its quarantine')
    .argument('<name>', NAME)
    .argument('[file]', 'prints this one')
    .option('--now', 'write one of the last minute now')
    .action(async (name: string, file: string | undefined, flags: ServerFlags & RecordFlags) => {
      const { runRecordings } = await import('./plugin-operate.ts');
      const { now = false } = flags;
      done(await runRecordings(await optionsOf(flags), name, { file, now }));
    });

  addLetterCommands(command, done);
}

interface ActFlags extends ServerFlags {
  readonly reason?: string;
  readonly force?: boolean;
  readonly shadow?: boolean;
}
interface LogsFlags {
  readonly lines?: number;
  readonly level?: LineLevel;
  readonly follow?: boolean;
}
interface ProfileFlags {
  readonly seconds: number;
  readonly out?: string;
}
interface RecordFlags {
  readonly now?: boolean;
}

function parseLevel(text: string): LineLevel {
  const level = LINE_LEVELS.find((each) => each === text.toLowerCase());
  if (level === undefined)
    throw new InvalidArgumentError(
      `expected one of ${LINE_LEVELS.join(', ')}${suggestion(text, LINE_LEVELS)}.`,
    );
  return level;
}
