/**
 * Which hosts a plugin may reach, and how a URL is shown in a log. Pure; the broker asks before
 * every connection, redirects included.
 *
 * A grant is `host`, which means the default ports of http and https, or `host:port`, which means
 * that port only. Names are compared as the URL parser writes them (lower case, punycode), so that
 * a grant and a URL cannot differ by spelling alone. There are no wildcards: what a plugin may
 * reach is meant to be read in one line.
 */

import { PluginError } from '../kernel/base/errors.ts';

/** Ports a URL means when it names none, by scheme. */
const DEFAULT_PORTS: Readonly<Record<string, string>> = {
  'http:': '80',
  'https:': '443',
  'ws:': '80',
  'wss:': '443',
};

/** Names of query parameters whose values never reach a log. */
const SECRET_PARAMETER = /key|token|secret|sign|pass|auth|credential/i;

/** The grants of one plugin. */
export class NetworkGrants {
  readonly #plugin: string;
  readonly #texts: readonly string[];
  readonly #endpoints: ReadonlySet<string>;
  readonly #onDenied: (host: string) => void;

  constructor(
    plugin: string,
    grants: readonly string[],
    onDenied: (host: string) => void = () => {},
  ) {
    this.#plugin = plugin;
    this.#texts = grants;
    this.#endpoints = new Set(grants.flatMap(endpointsOf));
    this.#onDenied = onDenied;
  }

  /** Throws MKTS_NET_DENIED unless the host and port of `url` are granted. */
  check(url: URL): void {
    const endpoint = endpointOf(url);
    if (this.#endpoints.has(endpoint)) return;
    this.#onDenied(endpoint);
    throw new PluginError('MKTS_NET_DENIED', {
      plugin: this.#plugin,
      host: endpoint,
      allowed: this.#texts.length === 0 ? 'no host' : this.#texts.join(', '),
    });
  }
}

/**
 * The grant that allows exactly the host and port of a URL: what a URL in a plugin's configuration
 * is worth. Undefined for a text that is no http, https, ws or wss URL.
 */
export function grantOf(url: string): string | undefined {
  if (!URL.canParse(url)) return undefined;
  const parsed = new URL(url);
  return parsed.protocol in DEFAULT_PORTS ? endpointOf(parsed) : undefined;
}

/** A URL as it may be logged: no user, no password, no values of parameters that name a secret. */
export function maskedUrl(url: string): string {
  if (!URL.canParse(url)) return url.replace(/[?#].*$/s, '');
  const masked = new URL(url);
  if (masked.username !== '') masked.username = '***';
  if (masked.password !== '') masked.password = '***';
  for (const name of new Set(masked.searchParams.keys())) {
    if (SECRET_PARAMETER.test(name)) masked.searchParams.set(name, '***');
  }
  return masked.href;
}

/** `host:port`, with the port always written. */
function endpointOf(url: URL): string {
  return `${url.hostname}:${url.port === '' ? (DEFAULT_PORTS[url.protocol] ?? '') : url.port}`;
}

function endpointsOf(grant: string): readonly string[] {
  const host = grant.trim();
  // The port is read from the text: a URL forgets `:80` of http, and would widen the grant by it.
  const port = /:(\d+)$/.exec(host.replace(/^\[[^\]]*\]/, ''))?.[1];
  // A text that is no host grants nothing: whoever checks definitions says so to the author.
  if (!URL.canParse(`http://${host}`)) return [];
  const { hostname } = new URL(`http://${host}`);
  return port === undefined
    ? [`${hostname}:80`, `${hostname}:443`]
    : [`${hostname}:${Number(port)}`];
}
