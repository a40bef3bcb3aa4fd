/**
 * Who may use the admin API. Pure.
 *
 * Without `admin_token` in mkts.yml: programs on this machine. That is less than it sounds, since a
 * browser on this machine sends what any web page tells it to, and a proxy on this machine speaks for
 * everybody behind it; both are recognised by what they send. With a token: whoever shows it, from
 * wherever, this machine too.
 */

import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';

export interface AdminCaller {
  readonly headers: IncomingHttpHeaders;
  /** Address of the other end of the connection. */
  readonly address: string | undefined;
}

export interface AdminRefusal {
  readonly status: 401 | 403;
  readonly reason: string;
}

/** What browsers and proxies add, and nobody else. */
const FORWARDED: readonly string[] = ['forwarded', 'x-forwarded-for', 'x-real-ip'];

/** Undefined: let it in. */
export function adminRefusal(
  { headers, address }: AdminCaller,
  token: string | undefined,
): AdminRefusal | undefined {
  const refused = (reason: string, status: 401 | 403 = 403): AdminRefusal => ({ status, reason });
  const { origin, host = '' } = headers;
  const site = headers['sec-fetch-site'];
  const isForeignPage =
    (origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`) ||
    (site !== undefined && site !== 'same-origin' && site !== 'none');
  if (isForeignPage) return refused('it comes from a web page of another site');
  if (token !== undefined) {
    const shown = /^Bearer (.+)$/i.exec(headers.authorization ?? '')?.[1];
    if (shown === undefined) return refused('it shows no token (Authorization: Bearer …)', 401);
    return isSame(shown, token) ? undefined : refused('its token is not the one of mkts.yml', 401);
  }
  const remedy = 'set admin_token in mkts.yml to allow it';
  if (!isLoopback(address)) return refused(`it comes from another machine; ${remedy}`);
  if (FORWARDED.some((name) => headers[name] !== undefined))
    return refused(`it comes through a proxy; ${remedy}`);
  // A name that was made to point at this machine is somebody else's web page.
  const name = host.replace(/:\d+$/, '').toLowerCase();
  if (name !== 'localhost' && !isLoopback(name.replace(/^\[(.*)\]$/, '$1')))
    return refused(`its host is ${name || 'not given'}, not localhost; ${remedy}`);
  return undefined;
}

function isLoopback(address: string | undefined): boolean {
  return address !== undefined && /^(::ffff:)?127\.\d+\.\d+\.\d+$|^::1$/.test(address);
}

/** In a time that says nothing about where they differ. */
function isSame(shown: string, token: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(shown), digest(token));
}
