/**
 * Plugins as an operator handles them: implements frontend/plugin-operations.ts on the supervisor,
 * the journal and the flight recorder. Main thread.
 *
 * Everything an operator does is one line in the log, whatever comes of it: who looks at the log
 * later sees that it was not the plugin, or the server, that did it.
 */

import type { PluginEntry } from '../config/plugin-entries.ts';
import type { PluginDescription } from '../workers/protocol.ts';
import { PluginError, reasonOf } from './base/errors.ts';
import { suggestion } from './base/nearest-word.ts';
import type {
  ActionAnswer,
  LineLevel,
  PluginAction,
  PluginDetail,
  PluginReport,
  ShadowReport,
} from './base/plugin-report.ts';
import type { ActionManner, LogRequest, PluginOperations } from './frontend/plugin-operations.ts';
import { type PluginReports, rightsOf } from './plugin-reports.ts';
import type { FlightRecorder } from './supervisor/flight-recorder.ts';
import { asksBeyond, asksOf } from './supervisor/plugin-asks.ts';
import type { PluginEntry as SupervisedEntry } from './supervisor/plugin-entry.ts';
import { grantsOf } from './supervisor/plugin-grants.ts';
import type { PluginJournal } from './supervisor/plugin-journal.ts';
import type { PluginStatus, SwapOutcome } from './supervisor/plugin-state.ts';
import type { Supervisor } from './supervisor/supervisor.ts';

export interface OperatorOptions {
  readonly supervisor: Supervisor;
  /** The entry as mkts.yml has it, which its plugin may not have followed. */
  readonly configured: (plugin: string) => PluginEntry | undefined;
  readonly journal: PluginJournal;
  readonly recorder: FlightRecorder;
  readonly reports: PluginReports;
  /** What was agreed to; undefined: never asked. */
  readonly agreedTo: (plugin: string) => readonly string[] | undefined;
  /** Reads mkts.yml again; resolves with what changed. */
  readonly reloadConfig: () => Promise<string>;
}

/** What an answer says of an action that is done. */
const DONE: Readonly<Record<Exclude<PluginAction, 'reload' | 'approve' | 'promote'>, string>> = {
  stop: 'stopped; it stays so until it is started',
  start: 'started',
  restart: 'restarted',
  quarantine: 'in quarantine; `release` or `start` ends that',
  release: 'released, and started',
  discard: 'its shadow is over, and forgotten',
};

export class PluginOperator implements PluginOperations {
  readonly #options: OperatorOptions;

  constructor(options: OperatorOptions) {
    this.#options = options;
  }

  list(): readonly PluginReport[] {
    return this.#options.supervisor.plugins().map((status) => this.#report(status));
  }

  async inspect(plugin: string): Promise<PluginDetail> {
    const { supervisor, reports, configured, agreedTo } = this.#options;
    this.#status(plugin);
    const description = await this.#description(plugin);
    const status = this.#status(plugin);
    const entry = supervisor.entry(plugin);
    const on = configured(plugin)?.on;
    const asks = description && asksOf(description, entry);
    const agreed = agreedTo(plugin);
    const more = asks && agreed && asksBeyond(asks, agreed);
    return reports.detail(status, entry, {
      on: entry.kind === 'trigger' ? on : undefined,
      asks,
      waitsFor: more !== undefined && more.length > 0 ? more : undefined,
      may: rightsOf(entry, networkOf(description, entry), description?.writes),
      configSchema: parsedSchema(description?.configSchema),
    });
  }

  shadow(plugin: string): ShadowReport {
    const { shadow } = this.#status(plugin);
    if (shadow === undefined) throw new PluginError('MKTS_SHADOW_NONE', { plugin });
    return shadow;
  }

  async act(action: PluginAction, plugin: string, how: ActionManner = {}): Promise<ActionAnswer> {
    const { journal } = this.#options;
    const { reason } = how;
    this.#status(plugin);
    journal.log.info({ plugin, action, reason }, 'an operator acts on a plugin');
    try {
      const message = await this.#do(action, plugin, how);
      return { message: `${plugin}: ${message}`, plugin: this.#report(this.#status(plugin)) };
    } catch (error) {
      journal.log.warn(
        { plugin, action, reason: reasonOf(error) },
        'what an operator asked for failed',
      );
      throw error;
    }
  }

  async reloadConfig(): Promise<{ readonly message: string }> {
    return { message: await this.#options.reloadConfig() };
  }

  logs(plugin: string, { lines, level }: LogRequest): ReturnType<PluginOperations['logs']> {
    this.#status(plugin);
    return this.#options.journal.lines(plugin, lines, level);
  }

  follow(
    plugin: string,
    level: LineLevel | undefined,
    on: Parameters<PluginOperations['follow']>[2],
  ): () => void {
    this.#status(plugin);
    return this.#options.journal.follow(plugin, level, on);
  }

  setLogLevel(plugin: string, level: LineLevel | undefined): PluginReport {
    const { journal, configured } = this.#options;
    const status = this.#status(plugin);
    journal.setLevel(plugin, level ?? configured(plugin)?.logLevel);
    journal.log.info(
      { plugin, logLevel: journal.levelOf(plugin) },
      'an operator set the level of its lines',
    );
    return this.#report(status);
  }

  async profile(plugin: string, seconds: number, signal: AbortSignal): Promise<string> {
    this.#status(plugin);
    return this.#options.supervisor.profile(plugin, seconds * 1000, signal);
  }

  async recordings(plugin: string): ReturnType<PluginOperations['recordings']> {
    // Of a plugin that is no longer in mkts.yml, too: that it was removed is what one wants to know.
    return this.#options.recorder.recordings(plugin);
  }

  async recording(plugin: string, file: string): Promise<string> {
    return this.#options.recorder.read(plugin, file);
  }

  async record(plugin: string): ReturnType<PluginOperations['record']> {
    this.#status(plugin);
    return this.#options.recorder.record(plugin, 'an operator asked for it');
  }

  async #do(
    action: PluginAction,
    plugin: string,
    { reason, force = false, shadow = false }: ActionManner,
  ): Promise<string> {
    const { supervisor } = this.#options;
    switch (action) {
      case 'reload':
        return outcomeText(await supervisor.reload(plugin, { force, shadow }));
      case 'approve': {
        const outcome = await supervisor.approve(plugin);
        return outcome === undefined ? 'nothing waits for consent' : outcomeText(outcome);
      }
      case 'promote':
        return outcomeText(await supervisor.promote(plugin));
      case 'discard':
        await supervisor.discard(plugin);
        break;
      case 'stop':
        await supervisor.stopOne(plugin);
        break;
      case 'start':
        await supervisor.startOne(plugin);
        break;
      case 'restart':
        await supervisor.restart(plugin);
        break;
      case 'quarantine':
        await supervisor.quarantine(plugin, reason ?? 'an operator said so');
        break;
      case 'release':
        if (this.#status(plugin).state !== 'quarantined') return 'it is not in quarantine';
        await supervisor.release(plugin);
    }
    return DONE[action];
  }

  /** What it says of itself; undefined: it does not load. */
  async #description(plugin: string): Promise<PluginDescription | undefined> {
    const { supervisor } = this.#options;
    const known = supervisor.description(plugin);
    const { candidate, shadow } = this.#status(plugin);
    const isWaiting = candidate?.state === 'waiting' || shadow?.state === 'waiting';
    if (known !== undefined && !isWaiting) return known;
    // Its files are built and loaded beside what runs, and no further: it may never have run.
    const inspected = supervisor.inspect(plugin).then((inspection) => inspection.description);
    return inspected.catch(() => known);
  }

  #report(status: PluginStatus): PluginReport {
    const { reports, supervisor } = this.#options;
    return reports.report(status, supervisor.entry(status.name));
  }

  /** Throws MKTS_PLUGIN_UNKNOWN, which names the nearest. */
  #status(plugin: string): PluginStatus {
    const plugins = this.#options.supervisor.plugins();
    const status = plugins.find(({ name }) => name === plugin);
    if (status === undefined) throw unknownPlugin(plugin, plugins);
    return status;
  }
}

/** MKTS_PLUGIN_UNKNOWN that names the nearest, or all there are. */
export function unknownPlugin(
  plugin: string,
  known: readonly { readonly name: string }[],
): PluginError {
  const names = known.map(({ name }) => name);
  const near = suggestion(plugin, names);
  const all = names.length === 0 ? 'mkts.yml has none' : `there are ${names.join(', ')}`;
  return new PluginError('MKTS_PLUGIN_UNKNOWN', {
    plugin: `${plugin}${near === '' ? `; ${all}` : near}`,
  });
}

function outcomeText({ outcome, generation }: SwapOutcome): string {
  switch (outcome) {
    case 'swapped':
      return `generation ${generation} runs, and is on probation`;
    case 'unchanged':
      return `nothing changed; generation ${generation} goes on`;
    case 'waiting':
      return `generation ${generation} asks for more than was agreed to: \`inspect\` says what, \`approve\` agrees`;
    case 'shadow':
      return `generation ${generation} runs as a shadow: \`shadow\` compares, \`promote\` and \`discard\` end it`;
    case 'started':
      return `generation ${generation} runs`;
  }
}

/** Hosts with ports, of what it declares and what the operator grants. */
function networkOf(
  description: PluginDescription | undefined,
  entry: SupervisedEntry,
): readonly string[] {
  return description === undefined ? (entry.network ?? []) : grantsOf(description, entry);
}

/** Text that came out of a worker. */
function parsedSchema(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
