/**
 * Reports of plugins as a person reads them: what is wrong first, and since when. Pure.
 */

import type {
  BudgetUse,
  JournalLine,
  PluginDetail,
  PluginReport,
  RecordingInfo,
} from '../base/plugin-report.ts';
import { settingRows } from '../base/setting-table.ts';
import { shadowLines } from './shadow-table.ts';

const REASON_CHARACTERS = 100;
/** In a stack below the plugin's own frames: who called it, always the same. */
const FRAME_OF_OURS = /^\s+at .*(\[worker eval\]|\(node:internal|\[nodejs\.internal)/;

/** One line for each plugin, those somebody should look at first; then what is wrong, in words. */
export function* listLines(plugins: readonly PluginReport[]): Generator<string> {
  if (plugins.length === 0) {
    yield 'mkts.yml has no plugins';
    return;
  }
  const sick = plugins.filter(({ isHealthy }) => !isHealthy);
  const rows = [...sick, ...plugins.filter(({ isHealthy }) => isHealthy)].map((plugin) => [
    plugin.isHealthy ? ' ' : '!',
    plugin.name,
    plugin.kind,
    plugin.state,
    ago(plugin.stateSeconds),
    String(plugin.generation),
    String(plugin.restarts),
    String(plugin.rowsPerSecond),
    ageOf(plugin.lastRowAt),
    `${plugin.memoryMb} MB`,
    plugin.cpuPercent === undefined ? '' : `${plugin.cpuPercent} %`,
  ]);
  const heads = [
    '',
    'NAME',
    'KIND',
    'STATE',
    'FOR',
    'GEN',
    'RESTARTS',
    'ROWS/S',
    'LAST ROW',
    'MEMORY',
    'CPU',
  ];
  yield* table([heads, ...rows], [5, 6, 7, 9, 10]);
  yield '';
  if (sick.length === 0)
    yield `${plugins.length} plugin${plugins.length === 1 ? '' : 's'}, nothing wrong`;
  for (const plugin of sick) yield `! ${wrongLine(plugin)}`;
  for (const { name, deadLetters } of plugins)
    if (deadLetters > 0)
      yield `  ${name} has ${deadLetters} dead letter${deadLetters === 1 ? '' : 's'}: \`mkts plugin letters ${name}\` lists them`;
}

/** `gdax: quarantined, wrong since 03:12:07 UTC (4 min), 10 restarts: boom (MKTS_PLUGIN_FAILED)` */
export function wrongLine(plugin: PluginReport): string {
  const { name, state, code, restarts, wrongSince } = plugin;
  const reason = plugin.reason ?? 'for no reason it told';
  const when =
    wrongSince === undefined ? '' : `, wrong since ${clock(wrongSince)} (${ageOf(wrongSince)})`;
  const again = restarts === 0 ? '' : `, ${restarts} restart${restarts === 1 ? '' : 's'}`;
  const shown = code === undefined || reason.includes(code) ? '' : ` (${code})`;
  return `${name}: ${state}${when}${again}: ${short(reason)}${shown}`;
}

/** How one plugin is now, and how it came to be so. */
export function* statusLines(plugin: PluginDetail): Generator<string> {
  yield `${plugin.name}: ${plugin.state} for ${ago(plugin.stateSeconds)}, since ${clock(plugin.since)}`;
  if (plugin.reason !== undefined) yield `  ${plugin.reason}`;
  yield* pairs([
    ['generation', `${plugin.generation}, ${plugin.restarts} restarts after a failure`],
    ['rows', rowsText(plugin)],
    ...(plugin.deadLetters === 0
      ? []
      : [
          [
            'dead letters',
            `${plugin.deadLetters}: \`mkts plugin letters ${plugin.name}\` lists them`,
          ] as Pair,
        ]),
    ['last row', plugin.lastRowAt === undefined ? 'none yet' : lastRow(plugin.lastRowAt)],
    ['ring', ringText(plugin.ring)],
    ...plugin.budgets.map((use): Pair => [use.budget, budgetText(use)]),
    ['log level', plugin.logLevel],
    ...(plugin.trigger === undefined ? [] : [['trigger', triggerText(plugin.trigger)] as Pair]),
    ...(plugin.zombies === 0 ? [] : [['left behind', `${plugin.zombies} threads hang`] as Pair]),
    ...(plugin.candidate === undefined
      ? []
      : [['reload', JSON.stringify(plugin.candidate)] as Pair]),
  ]);
  yield* historyLines(plugin);
  yield* errorLines(plugin);
}

function rowsText({ rowsPerSecond, rowsAccepted, rowsRejected }: PluginReport): string {
  const refused = rowsRejected === 0 ? '' : `, ${rowsRejected} refused`;
  return `${rowsPerSecond} a second, ${rowsAccepted} so far${refused}`;
}

/** What a plugin is, asks for, may do and uses; and its last error. */
export function* inspectLines(plugin: PluginDetail): Generator<string> {
  const { may } = plugin;
  yield `${plugin.name}: ${plugin.kind} ${plugin.module}${plugin.version === undefined ? '' : ` ${plugin.version}`}, ${plugin.state} for ${ago(plugin.stateSeconds)}`;
  if (plugin.reason !== undefined) yield `  ${plugin.reason}`;
  yield* pairs([
    ['runs in', plugin.isolation === 'process' ? 'a process of its own' : 'a thread of the server'],
    ...(plugin.on === undefined ? [] : [['fires for', plugin.on.join(', ')] as Pair]),
  ]);
  yield '';
  yield 'asks for';
  if (plugin.asks === undefined) yield '  not known: it does not load; `mkts plugin logs` says why';
  else if (plugin.asks.length === 0) yield '  nothing beyond what mkts.yml gives it';
  for (const ask of plugin.asks ?? [])
    yield `  ${ask}${plugin.waitsFor?.includes(ask) ? '   (new: `mkts plugin approve` agrees)' : ''}`;
  yield '';
  yield 'may';
  yield* pairs([
    ['reach', listed(may.network, 'nothing')],
    ['write', may.writes === undefined ? 'any key' : listed(may.writes, 'nothing')],
    ['know the secrets', listed(may.secrets, 'none')],
    ['import', listed(may.builtins, 'no builtin of Node')],
  ]);
  yield '';
  yield 'uses';
  yield* pairs([
    ...plugin.budgets.map((use): Pair => [use.budget, budgetText(use)]),
    ['ring', ringText(plugin.ring)],
    ['rows', rowsText(plugin)],
  ]);
  if (plugin.shadow !== undefined) {
    yield '';
    yield* shadowLines(plugin.shadow);
  }
  yield '';
  yield 'settings';
  for (const line of JSON.stringify(plugin.config ?? {}, undefined, 2).split('\n'))
    yield `  ${line}`;
  yield* settingsLines(plugin.configSchema);
  yield* errorLines(plugin);
}

/** `03:12:07.120 WARN  message  a=1 b="x y"` */
export function lineText({ time, level, message, fields }: JournalLine): string {
  const shown = Object.entries(fields)
    .filter(([name, value]) => name !== 'stack' && value !== undefined && value !== null)
    .map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(' ');
  const stack = typeof fields.stack === 'string' && fields.stack !== '' ? `\n${fields.stack}` : '';
  const text = `${time.slice(11, 23)} ${level.toUpperCase().padEnd(5)} ${message}${shown === '' ? '' : `  ${shown}`}`;
  return printable(`${text}${stack}`);
}

export function* recordingLines(recordings: readonly RecordingInfo[]): Generator<string> {
  if (recordings.length === 0) {
    yield 'no recordings: one is written when the plugin is put in quarantine, or with --now';
    return;
  }
  const rows = recordings.map(({ file, time, bytes }) => [
    time,
    `${Math.ceil(bytes / 1024)} KB`,
    file,
  ]);
  yield* table([['TIME', 'SIZE', 'FILE'], ...rows], [1]);
}

type Pair = readonly [name: string, value: string];

/** Names and one-line meanings of its settings, from its JSON Schema. */
function* settingsLines(schema: unknown): Generator<string> {
  const rows = settingRows(schema);
  if (rows.length === 0) return;
  yield '';
  yield 'settings it knows';
  yield* pairs(
    rows.map(({ name, type, isRequired, default: value, meaning }): Pair => {
      const fallback = value === undefined ? '' : `default ${value}`;
      const text = [type || 'any', isRequired ? 'required' : fallback, meaning];
      return [name, text.filter((part) => part !== '').join(', ')];
    }),
  );
}

function* historyLines({ history }: PluginDetail): Generator<string> {
  if (history.length === 0) return;
  yield '';
  yield 'lately';
  const rows = history
    .slice(-10)
    .map(({ time, state, generation, reason, code }) => [
      clock(time),
      state,
      `generation ${generation}`,
      `${short(reason ?? '')}${code === undefined ? '' : ` (${code})`}`,
    ]);
  for (const line of table(rows, [])) yield `  ${line}`;
}

function* errorLines({ lastError }: PluginDetail): Generator<string> {
  if (lastError === undefined) return;
  yield '';
  yield `last error, ${clock(lastError.time)}${lastError.code === undefined ? '' : ` (${lastError.code})`}`;
  for (const line of (lastError.stack || lastError.message).split('\n'))
    if (!FRAME_OF_OURS.test(line)) yield `  ${printable(line)}`;
}

function* pairs(all: readonly Pair[]): Generator<string> {
  const width = Math.max(0, ...all.map(([name]) => name.length));
  for (const [name, value] of all) yield `  ${name.padEnd(width)}  ${printable(value)}`;
}

/** Columns as wide as their widest cell; those of `right` end at the same place. */
export function* table(
  rows: readonly (readonly string[])[],
  right: readonly number[],
): Generator<string> {
  const count = Math.max(...rows.map((cells) => cells.length));
  const widths = Array.from({ length: count }, (_, at) =>
    Math.max(...rows.map((cells) => cells[at]?.length ?? 0)),
  );
  for (const cells of rows)
    yield cells
      .map((cell, at) =>
        right.includes(at) ? cell.padStart(widths[at] ?? 0) : cell.padEnd(widths[at] ?? 0),
      )
      .map(printable)
      .join('  ')
      .trimEnd();
}

/** Text of others on a terminal: what would move its cursor or change its colours is left out. */
function printable(text: string): string {
  return Array.from(text)
    .filter((character) => {
      const code = character.codePointAt(0) ?? 0;
      return (
        character === '\n' || character === '\t' || (code >= 0x20 && (code < 0x7f || code > 0x9f))
      );
    })
    .join('');
}

function budgetText({ used, limit, unit }: BudgetUse): string {
  const shown = used ?? 'not measured';
  return limit === undefined ? `${shown} ${unit}, no bound` : `${shown} of ${limit} ${unit}`;
}

function ringText({
  usedBytes,
  highWaterBytes,
  capacityBytes,
  rejectedFrames,
}: PluginDetail['ring']): string {
  const kilobytes = (bytes: number): number => Math.ceil(bytes / 1024);
  const rejected = rejectedFrames === 0 ? '' : `, ${rejectedFrames} frames were not valid`;
  return `${kilobytes(usedBytes)} KB wait, at most ${kilobytes(highWaterBytes)} of ${kilobytes(capacityBytes)} did${rejected}`;
}

function triggerText(trigger: NonNullable<PluginDetail['trigger']>): string {
  return `${trigger.backlogKeys} keys wait, ${trigger.fired} batches done, ${trigger.failed} failed`;
}

function listed(texts: readonly string[], none: string): string {
  return texts.length === 0 ? none : texts.join(', ');
}

function lastRow(time: string): string {
  return `${ageOf(time)} ago, at ${clock(time)}`;
}

function ageOf(time: string | undefined): string {
  return time === undefined
    ? ''
    : ago(Math.max(0, Math.floor((Date.now() - Date.parse(time)) / 1000)));
}

/** Two units at most: 4 s, 12 min, 3 h 20 min, 5 d 2 h. */
export function ago(seconds: number): string {
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** The day is said only when it is not today. */
function clock(time: string): string {
  const isToday = time.slice(0, 10) === new Date().toISOString().slice(0, 10);
  return `${isToday ? '' : `${time.slice(0, 10)} `}${time.slice(11, 19)} UTC`;
}

export function short(text: string): string {
  const [line = ''] = text.split('\n');
  return line.length <= REASON_CHARACTERS ? line : `${line.slice(0, REASON_CHARACTERS)}…`;
}
