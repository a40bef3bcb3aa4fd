/**
 * `ctx.log` and the plugin's `console`: lines are cut, rate-limited, gathered for the rest of the
 * turn, and sent as one call. What the limit drops is counted and told. Runs in the worker.
 */

import { reasonOf } from '../kernel/base/errors.ts';
import { LOG_LINE_BYTES_MAX } from '../kernel/base/limits.ts';
import type { Log } from '../plugins/sdk.ts';
import type { PlainLogLine } from './protocol.ts';
import { TokenBucket } from './token-bucket.ts';

export type SendLines = (lines: readonly PlainLogLine[], droppedLines: number) => Promise<void>;

export class PluginLog implements Log {
  readonly #send: SendLines;
  readonly #rate: TokenBucket;
  #lines: PlainLogLine[] = [];
  #dropped = 0;
  #scheduled = false;

  constructor(send: SendLines, linesPerSecond: number, nowMs: () => number) {
    this.#send = send;
    this.#rate = new TokenBucket(linesPerSecond, nowMs);
  }

  debug(message: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#add('debug', message, fields);
  }
  info(message: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#add('info', message, fields);
  }
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#add('warn', message, fields);
  }
  error(message: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#add('error', message, fields);
  }

  /** `console.log(...)` of a library: its values as one line. */
  console(level: PlainLogLine['level'], values: readonly unknown[]): void {
    if (!this.#rate.tryTake()) {
      this.#dropped++;
      return;
    }
    this.#push({ level, message: cut(values.map(textOf).join(' ')), fields: { console: true } });
  }

  #add(
    level: PlainLogLine['level'],
    message: string,
    fields: Readonly<Record<string, unknown>> | undefined,
  ): void {
    if (!this.#rate.tryTake()) {
      this.#dropped++;
      return;
    }
    this.#push({ level, message: cut(String(message)), fields: plainFields(fields) });
  }

  #push(line: PlainLogLine): void {
    this.#lines.push(line);
    if (this.#scheduled) return;
    this.#scheduled = true;
    // Not a timer: a plugin that logs and then throws shall still be heard.
    queueMicrotask(() => this.send());
  }

  /** Sends what has gathered; also at the end, when no turn follows. */
  send(): void {
    this.#scheduled = false;
    if (this.#lines.length === 0 && this.#dropped === 0) return;
    const lines = this.#lines;
    const dropped = this.#dropped;
    this.#lines = [];
    this.#dropped = 0;
    // The kernel's end answers nothing; a failed call means that it is gone, and so are we soon.
    this.#send(lines, dropped).catch(() => {});
  }
}

/** Fields as data that can be cloned, of bounded size. */
function plainFields(
  fields: Readonly<Record<string, unknown>> | undefined,
): PlainLogLine['fields'] {
  const plain: Record<string, unknown> = {};
  if (fields === undefined || fields === null) return plain;
  let bytes = 0;
  for (const [name, value] of Object.entries(fields)) {
    const simple =
      typeof value === 'number' || typeof value === 'boolean' || value === null
        ? value
        : cut(textOf(value));
    bytes += name.length + (typeof simple === 'string' ? simple.length : 8);
    if (bytes > LOG_LINE_BYTES_MAX) break;
    plain[name] = simple;
  }
  return plain;
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value;
  if (value instanceof Error) return value.stack ?? reasonOf(value);
  if (typeof value === 'object' && value !== null) {
    try {
      return JSON.stringify(value);
    } catch {
      // A cycle, or a bigint inside: its kind is all that is said.
      return Object.prototype.toString.call(value);
    }
  }
  return String(value);
}

/** Cut by UTF-16 units, which are at most the bytes: close enough for a bound. */
function cut(text: string): string {
  return text.length <= LOG_LINE_BYTES_MAX ? text : `${text.slice(0, LOG_LINE_BYTES_MAX)}…`;
}
