/**
 * The admin API: plugins and data as an operator sees and handles them, over HTTP. Main thread. What it does
 * is in plugin-operations.ts, who may ask in admin-guard.ts.
 *
 *   GET  /api/v1/plugins                      all, an object each
 *   GET  /api/v1/plugins/{name}               one, in full
 *   GET  /api/v1/plugins/{name}/shadow        rows of its shadow against its own
 *   GET  /api/v1/plugins/{name}/logs          a JSON object a line; ?lines= &level= &follow=1
 *   POST /api/v1/plugins/{name}/{action}      see PLUGIN_ACTIONS; quarantine: ?reason= reload: ?force=1 &shadow=1
 *   PUT  /api/v1/plugins/{name}/log-level     ?level=debug; without a level: that of mkts.yml
 *   POST /api/v1/plugins/{name}/profile       a .cpuprofile; ?seconds=
 *   GET  /api/v1/plugins/{name}/recordings    flight recordings; POST: one of now; …/{file}: its text
 *   GET  /api/v1/plugins/{name}/dead-letters  rows and messages not taken, the newest; ?limit=; …/{id}:
 *                                             one in full; DELETE: removes all
 *   POST …/dead-letters/replay                writes rows of ?id= (more than one), or of ?all=1: all but
 *                                             those their plugin sends again (MKTS_STATE_REFUSED)
 *   POST /api/v1/reload                       reads mkts.yml again
 *   DELETE /api/v1/rows                       ?key= (or a pattern) &from= &to=: rows of [from, to);
 *                                             &dry_run=1 says which they are
 *   GET  /api/v1/backup                       a tar of the data directory, at one sequence
 *
 * Arguments are in the URL and bodies are not read. Answers are JSON, errors `{ code, message }`.
 * Invariant: every text leaves through `mask`.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ReplayAnswer } from '../base/dead-letter.ts';
import { type ErrorCode, MktsError, RequestError } from '../base/errors.ts';
import {
  BACKUP_STALL_MS,
  FOLLOW_BYTES_MAX,
  FOLLOW_PULSE_MS,
  FOLLOWERS_MAX,
  LETTERS_ANSWERED,
  LOGS_ANSWERED,
  PROFILE_SECONDS_MAX,
} from '../base/limits.ts';
import { suggestion } from '../base/nearest-word.ts';
import { LINE_LEVELS, type LineLevel, PLUGIN_ACTIONS } from '../base/plugin-report.ts';
import { type Instant, parseTimeText } from '../base/time-text.ts';
import type { Bounds } from '../storage/bucket.ts';
import { adminRefusal } from './admin-guard.ts';
import type { BackupOperations } from './backup-operations.ts';
import type { LetterOperations } from './letter-operations.ts';
import type { PluginOperations } from './plugin-operations.ts';
import type { RowDeletion } from './row-deletion.ts';

export const ADMIN_PREFIX = '/api/v1/';

export interface AdminOptions {
  readonly operations: PluginOperations;
  readonly letters: LetterOperations;
  readonly deletion: Pick<RowDeletion, 'run'>;
  readonly backups: BackupOperations;
  /** Undefined: this machine only, and without one. */
  readonly token: string | undefined;
  /** Hides secrets in a text. */
  readonly mask: (text: string) => string;
  /** Told of errors that are not the caller's. */
  readonly onInternalError: (error: unknown) => void;
}

interface Call {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly response: ServerResponse;
  /** Aborts when the caller is gone. */
  readonly signal: AbortSignal;
}

type Handler = (call: Call, plugin: string, file: string) => unknown;

const STATUS: { readonly [code in ErrorCode]?: number } = {
  MKTS_PLUGIN_UNKNOWN: 404,
  MKTS_RECORDING_UNKNOWN: 404,
  MKTS_LETTER_UNKNOWN: 404,
  MKTS_ADMIN_UNKNOWN: 404,
  MKTS_SHADOW_NONE: 404,
  MKTS_ADMIN_ARGUMENT: 400,
  MKTS_DELETE_RANGE: 400,
  MKTS_TRIGGER_PATTERN: 400,
  MKTS_DELETE_NO_BUCKET: 404,
  MKTS_OVERLOADED: 503,
  MKTS_SHUTTING_DOWN: 503,
};
/** What was asked for makes no sense as things are: the message says why. */
const CONFLICT = 409;
const LAST_NANO = 999_999_999;

export class AdminApi {
  readonly #options: AdminOptions;
  /** By method and path, with `{name}` and `{file}` in the place of what they stand for. */
  readonly #routes: ReadonlyMap<string, Handler>;
  /** Calls that last: followed logs, profiles. */
  #lasting = 0;

  constructor(options: AdminOptions) {
    this.#options = options;
    const { operations, letters } = options;
    this.#routes = new Map<string, Handler>([
      ['GET plugins', () => ({ plugins: operations.list() })],
      ['GET plugins/{name}', (_call, plugin) => operations.inspect(plugin)],
      ['GET plugins/{name}/shadow', (_call, plugin) => operations.shadow(plugin)],
      ['GET plugins/{name}/logs', (call, plugin) => this.#logs(call, plugin)],
      ['PUT plugins/{name}/log-level', (call, plugin) => this.#setLogLevel(call, plugin)],
      ['POST plugins/{name}/profile', (call, plugin) => this.#profile(call, plugin)],
      [
        'GET plugins/{name}/recordings',
        async (_call, plugin) => ({ recordings: await operations.recordings(plugin) }),
      ],
      ['POST plugins/{name}/recordings', (_call, plugin) => operations.record(plugin)],
      [
        'GET plugins/{name}/recordings/{file}',
        async ({ response }, plugin, file) =>
          this.#send(response, 200, await operations.recording(plugin, file)),
      ],
      [
        'GET plugins/{name}/dead-letters',
        ({ query }, plugin) =>
          letters.list(plugin, countOf('limit', query.get('limit'), LETTERS_ANSWERED)),
      ],
      [
        'GET plugins/{name}/dead-letters/{file}',
        (_call, plugin, id) => letters.read(plugin, countOf('id', id, 0)),
      ],
      [
        'POST plugins/{name}/dead-letters/{file}',
        (call, plugin, verb) => this.#replay(call, plugin, verb),
      ],
      ['DELETE plugins/{name}/dead-letters', (_call, plugin) => letters.clear(plugin)],
      ['POST reload', () => operations.reloadConfig()],
      ['DELETE rows', (call) => this.#deleteRows(call)],
      ['GET backup', (call) => this.#backup(call)],
      ...PLUGIN_ACTIONS.map((action): [string, Handler] => [
        `POST plugins/{name}/${action}`,
        ({ query }, plugin) =>
          operations.act(action, plugin, {
            reason: query.get('reason') ?? undefined,
            force: isTrue(query.get('force')),
            shadow: isTrue(query.get('shadow')),
          }),
      ]),
    ]);
  }

  /** Answers a request whose path begins with ADMIN_PREFIX. */
  handle(request: IncomingMessage, response: ServerResponse): void {
    // Nothing in a body is looked at; left unread it would hold up the connection.
    request.resume();
    const refusal = adminRefusal(
      { headers: request.headers, address: request.socket.remoteAddress },
      this.#options.token,
    );
    if (refusal !== undefined) {
      if (refusal.status === 401) response.setHeader('WWW-Authenticate', 'Bearer');
      const error = new RequestError('MKTS_ADMIN_DENIED', { reason: refusal.reason });
      this.#sendError(response, refusal.status, error);
      return;
    }
    this.#answer(request, response).catch((error: unknown) => {
      const isOurs = error instanceof MktsError;
      if (!isOurs) this.#options.onInternalError(error);
      if (response.headersSent) response.destroy();
      else if (isOurs) this.#sendError(response, STATUS[error.code] ?? CONFLICT, error);
      else this.#sendError(response, 500, new RequestError('MKTS_INTERNAL'));
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://server');
    const gone = new AbortController();
    response.once('close', () => gone.abort(new RequestError('MKTS_SHUTTING_DOWN')));
    const { handler, plugin, file } = this.#route(request.method ?? '', pathname);
    const { method = '' } = request;
    const call = { method, path: pathname, query: searchParams, response, signal: gone.signal };
    const answer = await handler(call, plugin, file);
    if (!response.headersSent) this.#send(response, 200, this.#json(answer));
  }

  #route(
    method: string,
    path: string,
  ): { readonly handler: Handler; readonly plugin: string; readonly file: string } {
    const [plugins, name, verb, file, ...rest] = path.slice(ADMIN_PREFIX.length).split('/');
    const template = [
      plugins,
      ...(name === undefined ? [] : ['{name}']),
      ...(verb === undefined ? [] : [verb]),
      ...(file === undefined ? [] : ['{file}']),
      ...rest,
    ].join('/');
    const handler = this.#routes.get(`${method} ${template}`);
    if (handler !== undefined)
      return { handler, plugin: decoded(name ?? ''), file: decoded(file ?? '') };
    const verbs = [...this.#routes.keys()].map((route) => route.split('/')[2] ?? '');
    const near = verb === undefined ? '' : suggestion(verb, new Set(verbs.filter((v) => v !== '')));
    throw new RequestError('MKTS_ADMIN_UNKNOWN', { method, path: `${path}${near}` });
  }

  #logs({ query, response, signal }: Call, plugin: string): void {
    const { operations } = this.#options;
    const level = levelOf(query.get('level'));
    const lines = countOf('lines', query.get('lines'), LOGS_ANSWERED);
    const past = operations.logs(plugin, { lines, level });
    const text = past.map((line) => `${this.#json(line)}\n`).join('');
    response.setHeader('Content-Type', 'application/x-ndjson; charset=utf-8');
    if (!isTrue(query.get('follow'))) {
      this.#send(response, 200, text);
      return;
    }
    const release = this.#enter();
    response.writeHead(200);
    response.write(text === '' ? '\n' : text);
    const write = (piece: string): void => {
      // Lines wait in memory for a client that does not read them: not for long.
      if (response.writableLength > FOLLOW_BYTES_MAX) response.destroy();
      else response.write(piece);
    };
    const unfollow = operations.follow(plugin, level, (line) => write(`${this.#json(line)}\n`));
    const pulse = setInterval(() => write('\n'), FOLLOW_PULSE_MS).unref();
    signal.addEventListener('abort', () => {
      clearInterval(pulse);
      unfollow();
      release();
    });
  }

  #replay({ method, path, query }: Call, plugin: string, verb: string): Promise<ReplayAnswer> {
    if (verb !== 'replay')
      throw new RequestError('MKTS_ADMIN_UNKNOWN', {
        method,
        path: `${path}${suggestion(verb, ['replay'])}`,
      });
    const ids = query.getAll('id').map((id) => countOf('id', id, 0));
    const isAll = isTrue(query.get('all'));
    if (isAll === ids.length > 0) throw argument('id', 'name letters by id, or say all=1');
    return this.#options.letters.replay(plugin, isAll ? undefined : ids);
  }

  #setLogLevel({ query }: Call, plugin: string): unknown {
    return this.#options.operations.setLogLevel(plugin, levelOf(query.get('level')));
  }

  async #profile({ query, response, signal }: Call, plugin: string): Promise<void> {
    const seconds = countOf('seconds', query.get('seconds'), 5);
    if (seconds > PROFILE_SECONDS_MAX)
      throw argument('seconds', `at most ${PROFILE_SECONDS_MAX} can be profiled at a time`);
    const release = this.#enter();
    try {
      const text = await this.#options.operations.profile(plugin, seconds, signal);
      this.#send(response, 200, text);
    } finally {
      release();
    }
  }

  /** As a query has it, `from` is taken down to the start of its bar; `to` is not included. */
  async #deleteRows({ query, signal }: Call): Promise<unknown> {
    const key = query.get('key');
    if (key === null) throw argument('key', 'name a bucket, or a pattern of keys');
    const isDryRun = isTrue(query.get('dry_run'));
    const from = timeOf('from', query.get('from'));
    const to = timeOf('to', query.get('to'));
    const times = {
      ...(from === undefined ? {} : { fromSeconds: from.seconds, fromNanos: from.nanos }),
      ...(to === undefined ? {} : lastBefore(to)),
    };
    const deleted = await this.#options.deletion.run({ key, times, isDryRun }, signal);
    return { dry_run: isDryRun, deleted };
  }

  async #backup({ response, signal }: Call): Promise<void> {
    for await (const piece of this.#options.backups.stream()) {
      if (signal.aborted) return;
      if (!response.headersSent)
        response.writeHead(200, {
          'Content-Type': 'application/x-tar',
          'Cache-Control': 'no-store',
          'X-Content-Type-Options': 'nosniff',
        });
      // Files are held for it meanwhile, so a client that takes nothing is not waited for.
      const stalled = setTimeout(() => response.destroy(), BACKUP_STALL_MS);
      await taken(response, piece, signal);
      clearTimeout(stalled);
    }
    response.end();
  }

  /** A call that lasts begins; call what it returns once it is over. */
  #enter(): () => void {
    if (this.#lasting >= FOLLOWERS_MAX)
      throw new RequestError('MKTS_OVERLOADED', { reason: 'too many are following logs' });
    this.#lasting++;
    return () => {
      this.#lasting--;
    };
  }

  #json(value: unknown): string {
    const { mask } = this.#options;
    return JSON.stringify(value, (_name, inner: unknown) =>
      typeof inner === 'string' ? mask(inner) : inner,
    );
  }

  #sendError(response: ServerResponse, status: number, error: MktsError): void {
    const { code, message } = error;
    this.#send(response, status, this.#json({ code, message }));
  }

  #send(response: ServerResponse, status: number, text: string): void {
    const body = Buffer.from(text);
    if (!response.hasHeader('Content-Type'))
      response.setHeader('Content-Type', 'application/json; charset=utf-8');
    response.writeHead(status, {
      'Content-Length': body.length,
      'Cache-Control': 'no-store',
      'X-Content-Type-Options': 'nosniff',
    });
    response.end(body);
  }
}

/** Resolves when the system took a piece of an answer, or its client is gone. */
function taken(response: ServerResponse, piece: Uint8Array, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      signal.removeEventListener('abort', done);
      resolve();
    };
    signal.addEventListener('abort', done);
    response.write(piece, done);
  });
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw argument('path', `${part} is not well encoded`);
  }
}

function levelOf(given: string | null): LineLevel | undefined {
  if (given === null || given === '') return undefined;
  const level = LINE_LEVELS.find((each) => each === given.toLowerCase());
  if (level === undefined)
    throw argument(
      'level',
      `expected one of ${LINE_LEVELS.join(', ')}, got ${given}${suggestion(given, LINE_LEVELS)}`,
    );
  return level;
}

function timeOf(name: string, given: string | null): Instant | undefined {
  if (given === null || given === '') return undefined;
  const time = parseTimeText(given);
  if (time === undefined)
    throw argument(name, `expected YYYY-MM-DD, an ISO 8601 time or Unix seconds, got ${given}`);
  return time;
}

/** The last moment before a time, as an inclusive end. */
function lastBefore({ seconds, nanos }: Instant): Pick<Bounds, 'toSeconds' | 'toNanos'> {
  return nanos > 0
    ? { toSeconds: seconds, toNanos: nanos - 1 }
    : { toSeconds: seconds - 1, toNanos: LAST_NANO };
}

function countOf(name: string, given: string | null, otherwise: number): number {
  if (given === null) return otherwise;
  if (!/^[1-9]\d{0,8}$/.test(given)) throw argument(name, `expected a number, 1 or more`);
  return Number(given);
}

function isTrue(given: string | null): boolean {
  return given !== null && ['', '1', 'true', 'yes'].includes(given);
}

function argument(name: string, problem: string): RequestError {
  return new RequestError('MKTS_ADMIN_ARGUMENT', { argument: name, problem });
}
