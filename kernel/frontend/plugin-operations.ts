/**
 * What can be asked about plugins and done to them from outside: the admin API (admin-api.ts) calls
 * it, kernel/plugin-operator.ts implements it on the supervisor and the journal. Types only.
 *
 * Everything that names a plugin throws, or rejects with, MKTS_PLUGIN_UNKNOWN (with the nearest name)
 * if there is none.
 */

import type {
  ActionAnswer,
  JournalLine,
  LineLevel,
  PluginAction,
  PluginDetail,
  PluginReport,
  RecordingInfo,
  ReloadAnswer,
  ShadowReport,
} from '../base/plugin-report.ts';

export interface LogRequest {
  /** At most so many, the newest. */
  readonly lines: number;
  /** Only these and graver ones; undefined: those the log has, too. */
  readonly level?: LineLevel | undefined;
}

export interface ActionManner {
  /** Of a quarantine: what is shown as its cause. */
  readonly reason?: string | undefined;
  /** Of a reload: also if nothing changed, or if this version failed before. */
  readonly force?: boolean;
  /** Of a reload: beside what runs, not in its place. */
  readonly shadow?: boolean;
}

export interface PluginOperations {
  /** In the order of mkts.yml. */
  list(): readonly PluginReport[];
  inspect(plugin: string): Promise<PluginDetail>;
  /** Throws MKTS_SHADOW_NONE. */
  shadow(plugin: string): ShadowReport;
  /** Resolves when it is done: a reload when the new generation runs, a stop when it is over. */
  act(action: PluginAction, plugin: string, how?: ActionManner): Promise<ActionAnswer>;
  /** Reads mkts.yml again: added, removed and changed entries take effect. */
  reloadConfig(): Promise<ReloadAnswer>;

  logs(plugin: string, request: LogRequest): readonly JournalLine[];
  /** Calls for each line from now on; returns what ends it. */
  follow(plugin: string, level: LineLevel | undefined, on: (line: JournalLine) => void): () => void;
  /** Undefined: that of mkts.yml. */
  setLogLevel(plugin: string, level: LineLevel | undefined): PluginReport;

  /** Samples for so long; the text of a .cpuprofile. Rejects with MKTS_PROFILE. */
  profile(plugin: string, seconds: number, signal: AbortSignal): Promise<string>;
  /** Newest last. */
  recordings(plugin: string): Promise<readonly RecordingInfo[]>;
  /** The text of one. Rejects with MKTS_RECORDING_UNKNOWN. */
  recording(plugin: string, file: string): Promise<string>;
  /** Writes what there is to see now. */
  record(plugin: string): Promise<RecordingInfo>;
}
