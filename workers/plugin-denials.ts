/**
 * What a plugin tried and may not do, told to the kernel: the plugin got its error, this is for the
 * operator. Gathered for the rest of the turn; of a flood a few are told, and how many. Runs in the
 * worker.
 */

import { DENIALS_KEPT_MAX } from '../kernel/base/limits.ts';
import type { PlainDenial } from './protocol.ts';

export class PluginDenials {
  readonly #send: (denials: readonly PlainDenial[]) => Promise<void>;
  readonly #counts = new Map<string, PlainDenial>();
  #scheduled = false;

  constructor(send: (denials: readonly PlainDenial[]) => Promise<void>) {
    this.#send = send;
  }

  note(what: PlainDenial['what'], detail: string): void {
    const identity = `${what} ${detail}`;
    const known = this.#counts.get(identity);
    const isFull = known === undefined && this.#counts.size >= DENIALS_KEPT_MAX;
    const kept = isFull ? `${what} ` : identity;
    const count = (this.#counts.get(kept)?.count ?? 0) + 1;
    this.#counts.set(kept, { what, detail: isFull ? 'others' : detail, count });
    if (this.#scheduled) return;
    this.#scheduled = true;
    // The first is told at once, so that a plugin that throws right after is still heard; what follows
    // waits for `send`, which a timer calls.
    queueMicrotask(() => this.send());
  }

  /** `#scheduled` stays true from the first on: a flood costs one call a second. */
  send(): void {
    if (this.#counts.size === 0) return;
    const denials = [...this.#counts.values()];
    this.#counts.clear();
    this.#send(denials).catch(() => {});
  }
}
