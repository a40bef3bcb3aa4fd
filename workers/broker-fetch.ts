/**
 * One HTTP request on behalf of a plugin, in the broker thread: grants, redirects, time and size.
 *
 * Invariant: no connection is opened to a host that is not granted, also not after a redirect, so
 * redirects are followed here and not by fetch itself.
 */

import { PluginError } from '../kernel/base/errors.ts';
import { FETCH_BYTES_MAX, FETCH_REDIRECTS_MAX } from '../kernel/base/limits.ts';
import { maskedUrl, type NetworkGrants } from './network-grants.ts';

export interface HttpRequest {
  readonly url: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
  readonly timeoutMs: number;
}

export interface HttpResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: ArrayBuffer;
}

/** Headers that would let a plugin speak to another host than the granted one, or in two voices. */
const REFUSED_HEADERS = new Set([
  'host',
  'connection',
  'upgrade',
  'transfer-encoding',
  'content-length',
]);
/** Headers meant for one host only. */
const CREDENTIAL_HEADERS = ['authorization', 'cookie', 'proxy-authorization'];

/**
 * Asks, follows redirects to granted hosts, and reads the whole answer. Rejects with
 * MKTS_NET_DENIED or MKTS_NET_FAILED, whose texts hold no secrets of the query.
 */
export async function fetchGranted(
  request: HttpRequest,
  grants: NetworkGrants,
  signal: AbortSignal,
): Promise<HttpResponse> {
  const timeout = AbortSignal.timeout(request.timeoutMs);
  try {
    return await follow(request, grants, AbortSignal.any([signal, timeout]));
  } catch (cause) {
    if (cause instanceof PluginError) throw cause;
    const reason = timeout.aborted
      ? `no complete answer within ${request.timeoutMs} ms`
      : networkReason(cause);
    throw netFailed(request.method, request.url, reason, cause);
  }
}

/** A coded error for something that went wrong on the network. */
export function netFailed(
  method: string,
  url: string,
  reason: string,
  cause?: unknown,
): PluginError {
  return new PluginError(
    'MKTS_NET_FAILED',
    { method, url: maskedUrl(url), reason },
    cause === undefined ? undefined : { cause },
  );
}

/**
 * What really happened: fetch says "fetch failed" and hides the reason in its cause, which for a
 * host with several addresses is a list of one error each.
 */
export function networkReason(thrown: unknown): string {
  if (thrown instanceof AggregateError && thrown.errors.length > 0) {
    return [...new Set(thrown.errors.map(networkReason))].join('; ');
  }
  if (!(thrown instanceof Error)) return String(thrown);
  if (thrown.cause !== undefined) return networkReason(thrown.cause);
  const code = 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : undefined;
  if (code === undefined) return thrown.message;
  return thrown.message.includes(code) ? thrown.message : `${code} ${thrown.message}`.trim();
}

/** Parses a plugin's URL; anything but the given schemes is MKTS_NET_FAILED. */
export function parseNetworkUrl(method: string, url: string, schemes: readonly string[]): URL {
  if (!URL.canParse(url)) throw netFailed(method, url, 'this is not a URL');
  const parsed = new URL(url);
  if (schemes.includes(parsed.protocol)) return parsed;
  const allowed = schemes.map((scheme) => scheme.slice(0, -1)).join(' or ');
  throw netFailed(method, url, `scheme must be ${allowed}`);
}

async function follow(
  request: HttpRequest,
  grants: NetworkGrants,
  signal: AbortSignal,
): Promise<HttpResponse> {
  let url = parseNetworkUrl(request.method, request.url, ['http:', 'https:']);
  if (request.method !== 'GET' && request.method !== 'POST') {
    throw netFailed(request.method, request.url, 'method must be GET or POST');
  }
  let method: string = request.method;
  let body = request.body;
  const headers = requestHeaders(request);
  for (let redirects = 0; ; redirects++) {
    grants.check(url);
    const init: RequestInit = { method, headers, redirect: 'manual', signal };
    if (body !== undefined) init.body = body;
    const response = await fetch(url, init);
    const location = isRedirect(response.status) ? response.headers.get('location') : null;
    if (location === null) return readResponse(request, response);
    // An unread body would hold its connection until it is collected.
    await response.body?.cancel();
    if (redirects === FETCH_REDIRECTS_MAX) {
      throw netFailed(request.method, request.url, `more than ${FETCH_REDIRECTS_MAX} redirects`);
    }
    if (!URL.canParse(location, url.href)) {
      throw netFailed(request.method, request.url, 'redirected to something that is not a URL');
    }
    const target = new URL(location, url);
    if (target.protocol !== 'http:' && target.protocol !== 'https:') {
      throw netFailed(request.method, request.url, `redirected to scheme ${target.protocol}`);
    }
    if (target.origin !== url.origin) for (const name of CREDENTIAL_HEADERS) headers.delete(name);
    // 307 and 308 repeat the request; the older codes turn a POST into a GET, as browsers do.
    if (method === 'POST' && response.status < 307) {
      method = 'GET';
      body = undefined;
      headers.delete('content-type');
    }
    url = target;
  }
}

function isRedirect(status: number): boolean {
  return (status >= 301 && status <= 303) || status === 307 || status === 308;
}

function requestHeaders(request: HttpRequest): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(request.headers)) {
    if (REFUSED_HEADERS.has(name.toLowerCase())) {
      throw netFailed(request.method, request.url, `header ${name} may not be set`);
    }
    headers.set(name, value);
  }
  return headers;
}

/** The bound holds while reading: a venue cannot fill memory by a long or an unpacking body. */
async function readResponse(request: HttpRequest, response: Response): Promise<HttpResponse> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const reader = response.body?.getReader();
  while (reader !== undefined) {
    const { done, value } = await reader.read();
    if (done) break;
    bytes += value.byteLength;
    if (bytes > FETCH_BYTES_MAX) {
      await reader.cancel();
      throw netFailed(request.method, request.url, `answer exceeds ${FETCH_BYTES_MAX} bytes`);
    }
    chunks.push(value);
  }
  const body = new Uint8Array(bytes);
  let offset = 0;
  for (const chunk of chunks) {
    body.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    body: body.buffer,
  };
}
