/**
 * `mkts plugin list|status|inspect|logs|reload|…`: what they ask a running server, and how they print
 * its answer: for a person on a terminal, as JSON elsewhere.
 */

import { writeFileSync } from 'node:fs';
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
import { type AdminServer, askAdmin, askAdminText, followAdmin } from './admin-client.ts';
import {
  inspectLines,
  lineText,
  listLines,
  recordingLines,
  statusLines,
  wrongLine,
} from './plugin-tables.ts';
import { print } from './print.ts';
import { shadowLines } from './shadow-table.ts';

export interface OperateOptions {
  readonly server: AdminServer;
  /** JSON instead of tables. */
  readonly json: boolean;
}

const FAILED = 1;

export async function runList({ server, json }: OperateOptions): Promise<number> {
  const plugins = await allPlugins(server);
  await print(json ? [JSON.stringify(plugins)] : listLines(plugins));
  return 0;
}

/** Of one plugin, or whether all are well: 1 if one is not. */
export async function runStatus(
  { server, json }: OperateOptions,
  name: string | undefined,
): Promise<number> {
  if (name !== undefined) {
    const detail = await onePlugin(server, name);
    await print(json ? [JSON.stringify(detail)] : statusLines(detail));
    return detail.isHealthy ? 0 : FAILED;
  }
  const plugins = await allPlugins(server);
  const sick = plugins.filter(({ isHealthy }) => !isHealthy);
  const lines =
    sick.length === 0 ? [`all ${plugins.length} plugins are well`] : sick.map(wrongLine);
  await print(json ? [JSON.stringify({ isHealthy: sick.length === 0, sick })] : lines);
  return sick.length === 0 ? 0 : FAILED;
}

export async function runInspect({ server, json }: OperateOptions, name: string): Promise<number> {
  const detail = await onePlugin(server, name);
  await print(json ? [JSON.stringify(detail)] : inspectLines(detail));
  return 0;
}

export async function runShadow({ server, json }: OperateOptions, name: string): Promise<number> {
  const path = ['plugins', name, 'shadow'];
  const report = (await askAdmin(server, { path })) as ShadowReport;
  await print(json ? [JSON.stringify(report)] : shadowLines(report));
  return 0;
}

export interface LogsOptions extends OperateOptions {
  readonly name: string;
  readonly lines: number | undefined;
  readonly level: LineLevel | undefined;
  readonly follow: boolean;
}

/** Prints lines as they come, until it is interrupted or nobody reads. */
export async function runLogs(options: LogsOptions): Promise<number> {
  const { server, json, name, lines, level, follow } = options;
  const query = { lines: lines?.toString(), level, follow: follow ? '1' : undefined };
  const request = {
    path: ['plugins', name, 'logs'],
    query,
    ...(follow ? { timeoutMs: null } : {}),
  };
  const closed = new AbortController();
  const onClosed = (): void => closed.abort();
  process.stdout.once('error', onClosed);
  try {
    for await (const line of followAdmin(server, request, closed.signal))
      await print([json ? line : lineText(JSON.parse(line) as JournalLine)]);
  } catch (cause) {
    if (closed.signal.aborted) return 0;
    if (cause instanceof Error && cause.message === 'terminated') throw gone(server);
    throw cause;
  } finally {
    process.stdout.off('error', onClosed);
  }
  if (follow) throw gone(server);
  return 0;
}

export interface ActOptions extends OperateOptions {
  readonly name: string;
  readonly action: PluginAction;
  readonly reason?: string | undefined;
  readonly force?: boolean | undefined;
  readonly shadow?: boolean | undefined;
}

export async function runAction(options: ActOptions): Promise<number> {
  const { server, json, name, action, reason, force, shadow } = options;
  const answer = (await askAdmin(server, {
    method: 'POST',
    path: ['plugins', name, action],
    query: {
      reason,
      force: force === true ? '1' : undefined,
      shadow: shadow === true ? '1' : undefined,
    },
  })) as ActionAnswer;
  await print([json ? JSON.stringify(answer) : answer.message]);
  return 0;
}

export async function runReloadConfig({ server, json }: OperateOptions): Promise<number> {
  const answer = (await askAdmin(server, { method: 'POST', path: ['reload'] })) as ReloadAnswer;
  await print([json ? JSON.stringify(answer) : answer.message]);
  return 0;
}

export async function runLogLevel(
  { server, json }: OperateOptions,
  name: string,
  level: LineLevel | undefined,
): Promise<number> {
  const path = ['plugins', name, 'log-level'];
  const report = (await askAdmin(server, {
    method: 'PUT',
    path,
    query: { level },
  })) as PluginReport;
  await print([json ? JSON.stringify(report) : `${name}: level ${report.logLevel}`]);
  return 0;
}

export async function runProfile(
  { server, json }: OperateOptions,
  name: string,
  { seconds, file }: { readonly seconds: number; readonly file: string },
): Promise<number> {
  const text = await askAdminText(server, {
    method: 'POST',
    path: ['plugins', name, 'profile'],
    query: { seconds: String(seconds) },
  });
  writeFileSync(file, text);
  const written = `${file}: ${seconds} s of ${name}; open it in the DevTools of a browser, or in an editor`;
  await print([json ? JSON.stringify({ file, seconds }) : written]);
  return 0;
}

/** Lists recordings, prints one, or writes one of now. */
export async function runRecordings(
  { server, json }: OperateOptions,
  name: string,
  { file, now }: { readonly file: string | undefined; readonly now: boolean },
): Promise<number> {
  const path = ['plugins', name, 'recordings'];
  if (file !== undefined) {
    await print([(await askAdminText(server, { path: [...path, file] })).trimEnd()]);
    return 0;
  }
  if (now) {
    const info = (await askAdmin(server, { method: 'POST', path })) as RecordingInfo;
    await print(json ? [JSON.stringify(info)] : recordingLines([info]));
    return 0;
  }
  const { recordings } = (await askAdmin(server, { path })) as {
    readonly recordings: readonly RecordingInfo[];
  };
  await print(json ? [JSON.stringify(recordings)] : recordingLines(recordings));
  return 0;
}

async function allPlugins(server: AdminServer): Promise<readonly PluginReport[]> {
  const answer = (await askAdmin(server, { path: ['plugins'] })) as {
    readonly plugins: readonly PluginReport[];
  };
  return answer.plugins;
}

async function onePlugin(server: AdminServer, name: string): Promise<PluginDetail> {
  return (await askAdmin(server, { path: ['plugins', name] })) as PluginDetail;
}

function gone({ url }: AdminServer): Error {
  return new Error(`the server at ${url} went away`);
}
