/**
 * A client of a running server's admin API, for the command line. Throws Errors with the server's
 * own words, and says plainly when there is no server, or when something else answers.
 */

import { loadConfig } from '../../config/load.ts';
import { reasonOf } from '../base/errors.ts';

const TIMEOUT_MS = 150_000;

/** Where the server is, and what it wants to be shown. */
export interface AdminServer {
  /** 'http://127.0.0.1:5993' */
  readonly url: string;
  readonly token: string | undefined;
}

export interface AdminRequest {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Below /api/v1/, each part as it is meant. */
  readonly path: readonly string[];
  readonly query?: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** Undefined: a while. Null: for ever. */
  readonly timeoutMs?: number | null;
}

export interface ServerPlaces {
  readonly url: string | undefined;
  /** Of a mkts.yml that may be there. */
  readonly configPath: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

const DEFAULT_PORT = 5993;

/**
 * The server meant: `--url`, or the one the mkts.yml at hand is of. The token comes from
 * MKTS_ADMIN_TOKEN, or from that mkts.yml; never from the command line, which others can see.
 */
export function findServer({ url, configPath, environment }: ServerPlaces): AdminServer {
  const config = readConfig(configPath, environment);
  const host = config?.listenHost ?? '127.0.0.1';
  const port = config?.listenPort || DEFAULT_PORT;
  const isAny = host === '' || host === '0.0.0.0' || host === '::';
  const name = isAny ? '127.0.0.1' : host.includes(':') ? `[${host.replace(/[[\]]/g, '')}]` : host;
  const own = `http://${name}:${port}`;
  const target = (url ?? own).replace(/\/+$/, '');
  // The token of this server is for this server.
  const token =
    environment.MKTS_ADMIN_TOKEN ?? (url === undefined ? config?.adminToken : undefined);
  return { url: target, token };
}

/** Undefined if there is none, or none that can be read: it is only asked where the server is. */
function readConfig(
  path: string,
  environment: ServerPlaces['environment'],
): ReturnType<typeof loadConfig> | undefined {
  try {
    return loadConfig(path, environment);
  } catch {
    return undefined;
  }
}

/** The answer as JSON. */
export async function askAdmin(server: AdminServer, request: AdminRequest): Promise<unknown> {
  const text = await askAdminText(server, request);
  return JSON.parse(text) as unknown;
}

/** The answer as it came. */
export async function askAdminText(server: AdminServer, request: AdminRequest): Promise<string> {
  const response = await send(server, request);
  const text = await response.text();
  if (!response.ok) throw refusal(server, response.status, text);
  return text;
}

/** The bytes of an answer, as they come; throws when they end before the answer does. */
export async function* streamAdmin(
  server: AdminServer,
  request: AdminRequest,
): AsyncGenerator<Uint8Array> {
  const response = await send(server, { ...request, timeoutMs: null });
  if (!response.ok) throw refusal(server, response.status, await response.text());
  if (response.body !== null) yield* response.body;
}

/** The lines of an answer, as they come. Ends with the server, or throws when the signal aborts. */
export async function* followAdmin(
  server: AdminServer,
  request: AdminRequest,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const response = await send(server, request, signal);
  if (!response.ok) throw refusal(server, response.status, await response.text());
  if (response.body === null) return;
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of response.body) {
    rest += decoder.decode(chunk, { stream: true });
    const lines = rest.split('\n');
    rest = lines.pop() ?? '';
    // An empty line is only there to show that the server is.
    for (const line of lines) if (line !== '') yield line;
  }
}

async function send(
  { url, token }: AdminServer,
  { method = 'GET', path, query = {}, timeoutMs = TIMEOUT_MS }: AdminRequest,
  signal?: AbortSignal,
): Promise<Response> {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query))
    for (const each of value === undefined ? [] : [value].flat()) parameters.append(name, each);
  const search = parameters.size > 0 ? `?${parameters}` : '';
  const target = `${url}/api/v1/${path.map(encodeURIComponent).join('/')}${search}`;
  const limit = timeoutMs === null ? [] : [AbortSignal.timeout(timeoutMs)];
  try {
    return await fetch(target, {
      method,
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
      signal: AbortSignal.any([...(signal === undefined ? [] : [signal]), ...limit]),
    });
  } catch (cause) {
    if (signal?.aborted === true) throw cause;
    throw new Error(unreachable(url, cause), { cause });
  }
}

function unreachable(url: string, cause: unknown): string {
  const below = cause instanceof Error ? cause.cause : undefined;
  const code: unknown = below instanceof Error ? Reflect.get(below, 'code') : undefined;
  if (code === 'ECONNREFUSED')
    return `no server runs at ${url}: nothing listens there; start it, or name another with --url`;
  const reason = below === undefined ? reasonOf(cause) : reasonOf(below);
  return `no answer from the server at ${url}: ${reason}`;
}

function refusal({ url }: AdminServer, status: number, text: string): Error {
  const answer = parsedError(text);
  if (answer === undefined)
    return new Error(
      `what answers at ${url} has no admin API (status ${status}): an older mkts, or another program`,
    );
  const hint = status === 401 ? '; set MKTS_ADMIN_TOKEN to the admin_token of its mkts.yml' : '';
  return new Error(`${answer.message}${hint} (${answer.code})`);
}

function parsedError(
  text: string,
): { readonly code: string; readonly message: string } | undefined {
  try {
    const { code, message } = JSON.parse(text) as Readonly<Record<string, unknown>>;
    return typeof code === 'string' && typeof message === 'string' ? { code, message } : undefined;
  } catch {
    return undefined;
  }
}
