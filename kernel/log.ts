/**
 * The log: the one file that names `pino`. Runs on the main thread; plugins' lines arrive here too.
 *
 * On a terminal lines are made to be read; elsewhere each is one JSON object with the keys `level` (a
 * word), `timestamp` (ISO, milliseconds, UTC), `msg`, and what the caller adds. They are written
 * synchronously: the last line before the process dies is the one that matters. The price is that a
 * reader of stdout that stops reading stops the kernel, hence the bounds on what plugins may log.
 *
 * Invariant: no text registered with `hide` leaves through here.
 */

import { Writable } from 'node:stream';
import { pino } from 'pino';
import pretty from 'pino-pretty';
import { MktsError } from './base/errors.ts';
import { hideSecrets } from './base/secrets.ts';

export type LogFields = Readonly<Record<string, unknown>>;

const LEVELS = { debug: 20, info: 30, warn: 40, error: 50, fatal: 60 } as const;
export type Level = keyof typeof LEVELS;

/** True if a line of `level` is written where `threshold` is set. */
export function passesLevel(level: Level, threshold: Level): boolean {
  return LEVELS[level] >= LEVELS[threshold];
}

interface LogMethod {
  (message: string): void;
  (fields: LogFields, message: string): void;
  /** An error alone is a line with its message, code and fields. */
  (error: Error, message?: string): void;
}

/** What every part of the kernel is given to speak through. */
export interface Log {
  readonly debug: LogMethod;
  readonly info: LogMethod;
  readonly warn: LogMethod;
  readonly error: LogMethod;
  readonly fatal: LogMethod;
  /** A log whose lines carry these fields. It follows the level of the log it came from. */
  child(fields: LogFields): Log;
}

/** The log at its root: it has the switches. */
export interface RootLog extends Log {
  /** Lines below it are not written. May change at any time. */
  level: Level;
  /** From now on these texts appear as ***. */
  hide(secrets: readonly string[]): void;
  /** A text as it may leave, for what is kept beside the log. */
  masked(text: string): string;
  /** Writes a line whatever the level: for parts that have a level of their own. */
  write(level: Level, fields: LogFields, message: string): void;
}

export interface LogOptions {
  readonly level: Level;
  /** `auto`: pretty if the stream is a terminal. */
  readonly format: 'auto' | 'json' | 'pretty';
  readonly stream: 'stdout' | 'stderr';
  /** Instead of the stream: takes whole lines, for tests. */
  readonly write?: (line: string) => void;
}

interface Shared {
  level: Level;
  hide: (text: string) => string;
}

export function createLog(options: LogOptions): RootLog {
  const shared: Shared = { level: options.level, hide: (text) => text };
  const target = openTarget(options);
  const writer = pino(
    {
      base: null,
      level: 'debug', // the level is held in `shared`, so that children follow it
      messageKey: 'msg',
      timestamp: () => `,"timestamp":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: (line: string) => target(hideInLine(line, shared.hide)) },
  );
  return new PinoLog(writer, shared);
}

/** A line of JSON with its secrets hidden, which is JSON still: a number may be one, and has no quotes. */
function hideInLine(line: string, hide: (text: string) => string): string {
  const hidden = hide(line);
  if (hidden === line || isJson(hidden)) return hidden;
  const fields: unknown = JSON.parse(line);
  const quoted = JSON.stringify(fields, (_name, value: unknown) =>
    typeof value === 'number' && hide(String(value)) !== String(value)
      ? hide(String(value))
      : value,
  );
  return `${hide(quoted)}\n`;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

class PinoLog implements RootLog {
  readonly #writer: pino.Logger;
  readonly #shared: Shared;
  readonly debug: LogMethod = (first: unknown, message?: string) =>
    this.#line('debug', first, message);
  readonly info: LogMethod = (first: unknown, message?: string) =>
    this.#line('info', first, message);
  readonly warn: LogMethod = (first: unknown, message?: string) =>
    this.#line('warn', first, message);
  readonly error: LogMethod = (first: unknown, message?: string) =>
    this.#line('error', first, message);
  readonly fatal: LogMethod = (first: unknown, message?: string) =>
    this.#line('fatal', first, message);

  constructor(writer: pino.Logger, shared: Shared) {
    this.#writer = writer;
    this.#shared = shared;
  }

  get level(): Level {
    return this.#shared.level;
  }

  set level(level: Level) {
    this.#shared.level = level;
  }

  hide(secrets: readonly string[]): void {
    this.#shared.hide = hideSecrets(secrets);
  }

  masked(text: string): string {
    return this.#shared.hide(text);
  }

  write(level: Level, fields: LogFields, message: string): void {
    this.#writer[level](plainFields(fields, this.#shared.level === 'debug'), message);
  }

  child(fields: LogFields): Log {
    return new PinoLog(this.#writer.child(plainFields(fields, false)), this.#shared);
  }

  #line(level: Level, first: unknown, message: string | undefined): void {
    if (!passesLevel(level, this.#shared.level)) return;
    const withStack = this.#shared.level === 'debug';
    if (typeof first === 'string') this.#writer[level](first);
    else if (!(first instanceof Error))
      this.#writer[level](plainFields(first as LogFields, withStack), message);
    else {
      const { message: text, ...error } = plainError(first, withStack);
      // Alone, its message is the line's, and is not said twice.
      if (message === undefined) this.#writer[level]({ error }, text);
      else this.#writer[level]({ error: { message: text, ...error } }, message);
    }
  }
}

/** Names a line has of its own: a field so called would make a second key in the same object. */
const RESERVED: readonly string[] = ['level', 'timestamp', 'msg'];

function plainFields(fields: LogFields, withStack: boolean): Record<string, unknown> {
  const plain: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields))
    plain[RESERVED.includes(name) ? `${name}_` : name] = plainValue(value, withStack);
  return plain;
}

function plainValue(value: unknown, withStack: boolean): unknown {
  if (value instanceof Error) return plainError(value, withStack);
  return typeof value === 'bigint' ? String(value) : value;
}

interface PlainLogError {
  readonly message: string;
  readonly code?: unknown;
  readonly [field: string]: unknown;
}

/**
 * An error as fields. One with a code of ours says what there is to say: its stack is shown when
 * debugging. Of any other the stack is the only clue to where it came from.
 */
function plainError(error: Error, withStack: boolean): PlainLogError {
  const isOurs = error instanceof MktsError;
  const code = isOurs ? error.code : (error as NodeJS.ErrnoException).code;
  const fields = isOurs ? plainFields(error.fields, withStack) : {};
  const { cause } = error;
  return {
    message: error.message,
    ...(code === undefined ? { name: error.name } : { code }),
    ...(Object.keys(fields).length === 0 ? {} : { fields }),
    ...(cause === undefined ? {} : { cause: plainValue(cause, withStack) }),
    ...(isOurs && !withStack ? {} : { stack: error.stack }),
  };
}

function openTarget({ format, stream, write }: LogOptions): (line: string) => void {
  const { isTTY, fd } = process[stream];
  const isPretty = format === 'pretty' || (format === 'auto' && isTTY && write === undefined);
  if (!isPretty) {
    if (write !== undefined) return write;
    const destination = pino.destination({ dest: fd, sync: true });
    return (line) => destination.write(line);
  }
  const readable = pretty({
    colorize: isTTY === true && write === undefined,
    destination: write === undefined ? fd : writable(write),
    levelKey: 'level',
    messageKey: 'msg',
    singleLine: true,
    sync: true,
    timestampKey: 'timestamp',
    translateTime: 'SYS:yyyy-mm-dd HH:MM:ss.l',
  });
  return (line) => readable.write(line);
}

function writable(write: (line: string) => void): Writable {
  return new Writable({
    write(chunk, _encoding, done) {
      write(String(chunk));
      done();
    },
  });
}
