/**
 * Keeps secrets off a tape: tapes are read, sent around and kept beside the code. Pure.
 *
 * By value: what mkts.yml holds as secrets, and what a venue hands out under a secret's name (a
 * session, a listen key), wherever it appears from then on. By name: parameters of URLs, members of
 * JSON a plugin sends. Headers of requests are not recorded at all.
 */

import { maskedUrl } from '../../workers/network-grants.ts';
import { hideSecrets, MASK, secretValues } from '../base/secrets.ts';

/** Names under which a plugin sends what only it shall know. */
const SENT_SECRET = /key|token|secret|sign|pass|auth|credential/i;
const SECRET_HEADER = /cookie|auth|token|key|secret/i;
/** Values a venue hands out that are remembered; the rest is not hidden elsewhere. */
const LEARNED_MAX = 1_000;

export class TapeMask {
  readonly #secrets: Set<string>;
  #hide: (text: string) => string;

  constructor(secrets: readonly string[]) {
    this.#secrets = new Set(secrets);
    this.#hide = hideSecrets(secrets);
  }

  hide(text: string): string {
    return this.#hide(text);
  }

  url(url: string): string {
    return this.#hide(maskedUrl(url));
  }

  headers(headers: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
    return Object.fromEntries(
      Object.entries(headers)
        .filter(([name]) => !SECRET_HEADER.test(name))
        .map(([name, value]) => [name, this.#hide(value)]),
    );
  }

  /** What a plugin sends. */
  sent(text: string): string {
    const value = jsonOf(text);
    if (value === undefined) return this.#hide(text);
    return this.#hide(
      JSON.stringify(value, (name, inner: unknown) =>
        SENT_SECRET.test(name) && (typeof inner === 'string' || typeof inner === 'number')
          ? MASK
          : inner,
      ),
    );
  }

  /** What a venue sends. */
  received(text: string): string {
    this.#learn(jsonOf(text));
    return this.#hide(text);
  }

  #learn(value: unknown): void {
    // Digits alone are left: hiding them would reach into prices and times.
    const found = secretValues(value).filter(
      (secret) => !/^[\d.]*$/.test(secret) && !this.#secrets.has(secret),
    );
    if (found.length === 0 || this.#secrets.size >= LEARNED_MAX) return;
    for (const secret of found) this.#secrets.add(secret);
    this.#hide = hideSecrets([...this.#secrets]);
  }
}

/** Undefined: not an object or list of JSON. */
function jsonOf(text: string): unknown {
  if (!/^\s*[{[]/.test(text)) return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
