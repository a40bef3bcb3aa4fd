/**
 * The last lines and states of each plugin, kept in memory: what `mkts plugin logs` prints and the
 * flight recorder writes down. Main thread.
 *
 * `log` takes the place of the server's log for all that is about plugins: a line with the field
 * `plugin` is kept here whatever its level, and goes on to the server's log if it passes the plugin's
 * own level, which can change at any time. So the debug lines of the minute before a failure are
 * there even though nobody had asked for them.
 *
 * Invariant: what is kept is masked as the log is, and bounded: lines that only help to debug have
 * room of their own, so that a flood of them does not push a warning out.
 */

import { MktsError } from '../base/errors.ts';
import {
  JOURNAL_CHARACTERS_MAX,
  JOURNAL_LINES_MAX,
  JOURNAL_PLUGINS_MAX,
  JOURNAL_STATES_MAX,
  LOG_LINE_BYTES_MAX,
} from '../base/limits.ts';
import type { JournalLine, LastError, LineLevel, StateChange } from '../base/plugin-report.ts';
import { passesLevel, type RootLog } from '../log.ts';
import type { Log } from './plugin-entry.ts';
import { type PluginState, stateReason } from './plugin-state.ts';

export interface JournalOptions {
  /** The server's. */
  readonly log: Pick<RootLog, 'level' | 'masked' | 'write'>;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

type Fields = Readonly<Record<string, unknown>>;
type Follower = (line: JournalLine) => void;

/** A line as it is kept: its fields are the text they were masked as. */
interface KeptLine extends Omit<JournalLine, 'fields'> {
  readonly fieldsJson: string;
}

interface Journal {
  /** Lines that pass `info`, and those that do not. */
  readonly lines: KeptLines;
  readonly debugLines: KeptLines;
  readonly states: StateChange[];
  readonly followers: Set<Follower>;
  lastError: LastError | undefined;
  level: LineLevel | undefined;
  lineCount: number;
}

export class PluginJournal {
  /** Give it to whoever has lines about plugins. */
  readonly log: Log;
  readonly #options: JournalOptions;
  /** By plugin; the one that was new first is forgotten first. */
  readonly #journals = new Map<string, Journal>();

  constructor(options: JournalOptions) {
    this.#options = options;
    const method =
      (level: LineLevel) =>
      (fields: Fields, message: string): void =>
        this.#take(level, fields, message);
    this.log = {
      debug: method('debug'),
      info: method('info'),
      warn: method('warn'),
      error: method('error'),
    };
  }

  /** The plugin's own level; undefined: the server's. */
  setLevel(plugin: string, level: LineLevel | undefined): void {
    this.#of(plugin).level = level;
  }

  levelOf(plugin: string): LineLevel {
    return this.#journals.get(plugin)?.level ?? this.#options.log.level;
  }

  /** Lines about it since the server started, dropped ones too. */
  lineCount(plugin: string): number {
    return this.#journals.get(plugin)?.lineCount ?? 0;
  }

  /** A plugin came into a state: see the supervisor's `onState`. */
  entered(plugin: string, state: PluginState, generation: number): void {
    const journal = this.#of(plugin);
    const reason = stateReason(state, (text) => this.#mask(text));
    const code = codeOf(state);
    const time = this.#time();
    journal.states.push({ time, state: state.kind, generation, reason, code });
    if (journal.states.length > JOURNAL_STATES_MAX) journal.states.shift();
    if (!('cause' in state)) return;
    const { cause } = state;
    // The stack worth reading is the plugin's: of the error below a coded one.
    const thrown = cause instanceof MktsError ? cause.cause : cause;
    journal.lastError = {
      time,
      code,
      message: reason ?? '',
      stack: thrown instanceof Error ? this.#mask(thrown.stack ?? '') : undefined,
    };
  }

  /** Oldest first: the newest `count` that pass `level`, by default the plugin's own. */
  lines(plugin: string, count: number, level?: LineLevel): readonly JournalLine[] {
    const journal = this.#journals.get(plugin);
    if (journal === undefined) return [];
    const threshold = level ?? this.levelOf(plugin);
    const kept = passesLevel('debug', threshold)
      ? [...journal.lines.all, ...journal.debugLines.all].sort((a, b) => a.sequence - b.sequence)
      : journal.lines.all.filter((line) => passesLevel(line.level, threshold));
    return kept.slice(Math.max(0, kept.length - count)).map(revive);
  }

  /** Calls for each line from now on that passes `level`; returns what ends it. */
  follow(plugin: string, level: LineLevel | undefined, on: Follower): () => void {
    const { followers } = this.#of(plugin);
    const follower: Follower = (line) => {
      if (passesLevel(line.level, level ?? this.levelOf(plugin))) on(line);
    };
    followers.add(follower);
    return () => followers.delete(follower);
  }

  /** Oldest first. */
  states(plugin: string): readonly StateChange[] {
    return [...(this.#journals.get(plugin)?.states ?? [])];
  }

  lastError(plugin: string): LastError | undefined {
    return this.#journals.get(plugin)?.lastError;
  }

  #take(level: LineLevel, fields: Fields, message: string): void {
    const { plugin } = fields;
    if (typeof plugin === 'string') this.#keep(plugin, level, fields, message);
    const threshold = typeof plugin === 'string' ? this.levelOf(plugin) : this.#options.log.level;
    if (passesLevel(level, threshold)) this.#options.log.write(level, fields, message);
  }

  #keep(plugin: string, level: LineLevel, fields: Fields, message: string): void {
    const journal = this.#of(plugin);
    const { plugin: _plugin, ...others } = fields;
    const line: KeptLine = {
      sequence: ++journal.lineCount,
      time: this.#time(),
      level,
      message: cut(this.#mask(message)),
      fieldsJson: this.#fieldsText(others),
    };
    (level === 'debug' ? journal.debugLines : journal.lines).push(line);
    if (journal.followers.size === 0) return;
    const revived = revive(line);
    for (const follower of [...journal.followers]) follower(revived);
  }

  /** JSON, masked; one that is too long for a line is left out, not cut: it would not parse. */
  #fieldsText(fields: Fields): string {
    // Value by value: a number that is a secret would leave `***` where JSON has no such thing.
    const text = JSON.stringify(fields, (_name, value: unknown) => {
      const plain = plainValue(value);
      if (typeof plain === 'string') return this.#mask(plain);
      if (typeof plain !== 'number') return plain;
      const masked = this.#mask(String(plain));
      return masked === String(plain) ? plain : masked;
    });
    // What is left to hide is in a name.
    const isHidden = this.#mask(text) !== text;
    return isHidden || text.length > 2 * LOG_LINE_BYTES_MAX ? '{"leftOut":true}' : text;
  }

  #mask(text: string): string {
    return this.#options.log.masked(text);
  }

  #time(): string {
    return new Date(this.#options.now()).toISOString();
  }

  #of(plugin: string): Journal {
    let journal = this.#journals.get(plugin);
    if (journal === undefined) {
      journal = {
        lines: new KeptLines(),
        debugLines: new KeptLines(),
        states: [],
        followers: new Set(),
        lastError: undefined,
        level: undefined,
        lineCount: 0,
      };
      this.#journals.set(plugin, journal);
      for (const oldest of this.#journals.keys()) {
        if (this.#journals.size <= JOURNAL_PLUGINS_MAX) break;
        this.#journals.delete(oldest);
      }
    }
    return journal;
  }
}

/** Code of what ended it, as the log has it. */
export function codeOf(state: PluginState): string | undefined {
  if (!('cause' in state)) return undefined;
  return state.cause instanceof MktsError ? state.cause.code : 'MKTS_PLUGIN_FAILED';
}

/** The newest lines, by number and by size. */
class KeptLines {
  #lines: KeptLine[] = [];
  #characters = 0;
  /** Lines before it are forgotten; they are cut off now and then, since that moves all that stay. */
  #first = 0;

  get all(): readonly KeptLine[] {
    return this.#lines.slice(this.#first);
  }

  push(line: KeptLine): void {
    this.#lines.push(line);
    this.#characters += charactersOf(line);
    while (
      this.#lines.length - this.#first > JOURNAL_LINES_MAX ||
      this.#characters > JOURNAL_CHARACTERS_MAX
    ) {
      const oldest = this.#lines[this.#first];
      if (oldest === undefined) break;
      this.#characters -= charactersOf(oldest);
      this.#first++;
    }
    if (this.#first < JOURNAL_LINES_MAX / 4) return;
    this.#lines = this.all.slice();
    this.#first = 0;
  }
}

function charactersOf({ message, fieldsJson }: KeptLine): number {
  return message.length + fieldsJson.length;
}

function revive({ fieldsJson, ...line }: KeptLine): JournalLine {
  return { ...line, fields: JSON.parse(fieldsJson) as Fields };
}

function plainValue(value: unknown): unknown {
  if (typeof value === 'bigint') return String(value);
  if (value instanceof Error) return value.message;
  return value;
}

function cut(text: string): string {
  return text.length <= LOG_LINE_BYTES_MAX ? text : `${text.slice(0, LOG_LINE_BYTES_MAX)}…`;
}
