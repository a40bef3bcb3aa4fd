/**
 * A tape: the HTTP and WebSocket traffic of one plugin, as text to be read, edited and kept beside
 * its tests. JSON lines; the first is the header. Pure.
 *
 *   {"tape":1,"plugin":"venue","started":"2026-01-05T15:00:00.000Z"}
 *   {"at":12,"fetch":"GET https://venue.example/bars","status":200,"headers":{…},"body":[[1,2]]}
 *   {"at":40,"fetch":"POST https://venue.example/orders","sent":"…","failed":"ECONNRESET"}
 *   {"at":55,"socket":1,"open":"wss://venue.example/feed"}
 *   {"at":60,"socket":1,"sent":{"type":"subscribe"}}
 *   {"at":81,"socket":1,"received":{"type":"trade","price":"1.5"}}
 *   {"at":99,"socket":1,"closed":1000,"reason":"bye"}          or  …,"failed":"ECONNRESET"}
 *
 * `at` is milliseconds since `started`. A text that is JSON is written as JSON where nothing is lost
 * by it: so a body or message that is a string here is text, anything else the JSON it stands for.
 */

import { ConfigError, reasonOf } from './errors.ts';

const TAPE_VERSION = 1;

export interface Tape {
  readonly plugin: string;
  /** Unix milliseconds: where a virtual clock begins. */
  readonly startedMs: number;
  readonly entries: readonly TapeEntry[];
}

export type TapeEntry = TapedFetch | TapedSocketEvent;

export interface TapedFetch {
  readonly kind: 'fetch';
  readonly atMs: number;
  readonly method: string;
  readonly url: string;
  /** Body of the request. */
  readonly sent: string | undefined;
  readonly answer: TapedAnswer | { readonly failed: string };
}

export interface TapedAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** `socket` numbers the sockets of a tape in the order in which they were opened. */
export type TapedSocketEvent = { readonly atMs: number; readonly socket: number } & (
  | { readonly kind: 'open'; readonly url: string }
  | { readonly kind: 'sent'; readonly text: string }
  | { readonly kind: 'received'; readonly text: string }
  | { readonly kind: 'closed'; readonly code: number; readonly reason: string }
  | { readonly kind: 'failed'; readonly reason: string }
);

/** First line of a tape, without its line feed. */
export function formatTapeHeader({ plugin, startedMs }: Omit<Tape, 'entries'>): string {
  const started = new Date(startedMs).toISOString();
  return JSON.stringify({ tape: TAPE_VERSION, plugin, started });
}

/** A line of a tape, without its line feed. */
export function formatTapeEntry(entry: TapeEntry): string {
  return JSON.stringify(entry.kind === 'fetch' ? fetchLine(entry) : socketLine(entry));
}

/** Reads what was formatted, or written by hand. Throws MKTS_TAPE_INVALID with path and line. */
export function parseTape(text: string, path: string): Tape {
  const lines = text
    .split('\n')
    .map((line, at) => ({ line: line.trim(), number: at + 1 }))
    .filter(({ line }) => line !== '');
  const parsed = lines.map(({ line, number }) => {
    const invalid = (reason: string): ConfigError =>
      new ConfigError('MKTS_TAPE_INVALID', { path, line: number, reason });
    return new TapeLine(parseObject(line, invalid), invalid);
  });
  const [header, ...entries] = parsed;
  if (header === undefined)
    throw new ConfigError('MKTS_TAPE_INVALID', { path, line: 1, reason: 'it is empty' });
  if (header.number('tape') !== TAPE_VERSION)
    throw header.invalid(`it is not a tape of version ${TAPE_VERSION}`);
  const startedMs = Date.parse(header.text('started'));
  if (Number.isNaN(startedMs)) throw header.invalid('started is not an ISO 8601 time');
  return { plugin: header.text('plugin'), startedMs, entries: entries.map(entryOf) };
}

function fetchLine({ atMs, method, url, sent, answer }: TapedFetch): Record<string, unknown> {
  return {
    at: atMs,
    fetch: `${method} ${url}`,
    ...(sent === undefined ? {} : { sent: readable(sent) }),
    ...('failed' in answer ? answer : { ...answer, body: readable(answer.body) }),
  };
}

function socketLine(event: TapedSocketEvent): Record<string, unknown> {
  const place = { at: event.atMs, socket: event.socket };
  switch (event.kind) {
    case 'open':
      return { ...place, open: event.url };
    case 'sent':
      return { ...place, sent: readable(event.text) };
    case 'received':
      return { ...place, received: readable(event.text) };
    case 'closed':
      return { ...place, closed: event.code, reason: event.reason };
    case 'failed':
      return { ...place, failed: event.reason };
  }
}

/** JSON as what it says, if writing it again gives the same text; else the text. */
function readable(text: string): unknown {
  if (!/^\s*[{[]/.test(text)) return text;
  try {
    const value: unknown = JSON.parse(text);
    return JSON.stringify(value) === text ? value : text;
  } catch {
    return text;
  }
}

function entryOf(line: TapeLine): TapeEntry {
  const atMs = line.number('at');
  if (line.has('fetch')) {
    const [, method = '', url = ''] = /^([A-Z]+) (\S+)$/.exec(line.text('fetch')) ?? [];
    if (method === '') throw line.invalid('fetch is not "<METHOD> <url>"');
    const sent = line.has('sent') ? line.content('sent') : undefined;
    const answer = line.has('failed')
      ? { failed: line.text('failed') }
      : { status: line.number('status'), headers: line.headers(), body: line.content('body') };
    return { kind: 'fetch', atMs, method, url, sent, answer };
  }
  const place = { atMs, socket: line.number('socket') };
  if (line.has('open')) return { ...place, kind: 'open', url: line.text('open') };
  if (line.has('sent')) return { ...place, kind: 'sent', text: line.content('sent') };
  if (line.has('received')) return { ...place, kind: 'received', text: line.content('received') };
  if (line.has('failed')) return { ...place, kind: 'failed', reason: line.text('failed') };
  const reason = line.has('reason') ? line.text('reason') : '';
  return { ...place, kind: 'closed', code: line.number('closed'), reason };
}

type Invalid = (reason: string) => ConfigError;

/** One line, whose members are asked for by name and type. */
class TapeLine {
  readonly invalid: Invalid;
  readonly #members: Readonly<Record<string, unknown>>;

  constructor(members: Readonly<Record<string, unknown>>, invalid: Invalid) {
    this.#members = members;
    this.invalid = invalid;
  }

  has(name: string): boolean {
    return Object.hasOwn(this.#members, name);
  }

  text(name: string): string {
    const value = this.#members[name];
    if (typeof value !== 'string') throw this.invalid(`${name} is not a text`);
    return value;
  }

  number(name: string): number {
    const value = this.#members[name];
    if (typeof value !== 'number') throw this.invalid(`${name} is not a number`);
    return value;
  }

  /** Text as it was on the wire; absent: none. */
  content(name: string): string {
    const value = this.#members[name] ?? '';
    return typeof value === 'string' ? value : JSON.stringify(value);
  }

  headers(): Readonly<Record<string, string>> {
    const headers = this.#members.headers ?? {};
    if (typeof headers !== 'object') throw this.invalid('headers are not an object');
    return Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name.toLowerCase(), String(value)]),
    );
  }
}

function parseObject(line: string, invalid: Invalid): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw invalid(reasonOf(cause));
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid('it is not an object');
  return value as Readonly<Record<string, unknown>>;
}
