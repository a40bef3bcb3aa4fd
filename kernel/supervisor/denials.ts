/**
 * What plugins tried and may not do: counted for `/metrics`, and told to the operator now and then.
 * Main thread; fed by the kernel's own checks, by the broker thread, and by the workers' sandboxes.
 *
 * One line for the first denial of a kind, then at most one in DENIAL_LINE_MS with how many there
 * were: a plugin that tries again and again floods neither the log nor memory.
 */

import { DENIAL_LINE_MS } from '../base/limits.ts';
import type { Log } from './plugin-entry.ts';

/** `sandbox`: a part of Node or of the language it does not have. */
export type DenialKind = 'write' | 'network' | 'secret' | 'sandbox';

export interface Denial {
  readonly plugin: string;
  readonly what: DenialKind;
  /** The key, the host, the name. */
  readonly detail: string;
  readonly count: number;
}

interface Tally {
  readonly plugin: string;
  readonly what: DenialKind;
  count: number;
  /** Denials since the last line. */
  untold: number;
  toldMs: number | undefined;
}

export class Denials {
  readonly #log: Log;
  readonly #nowMs: () => number;
  readonly #tallies = new Map<string, Tally>();

  constructor(log: Log, nowMs: () => number = () => performance.now()) {
    this.#log = log;
    this.#nowMs = nowMs;
  }

  note({ plugin, what, detail, count }: Denial): void {
    const identity = `${plugin} ${what}`;
    let tally = this.#tallies.get(identity);
    if (tally === undefined) {
      tally = { plugin, what, count: 0, untold: 0, toldMs: undefined };
      this.#tallies.set(identity, tally);
    }
    tally.count += count;
    tally.untold += count;
    const nowMs = this.#nowMs();
    if (tally.toldMs !== undefined && nowMs - tally.toldMs < DENIAL_LINE_MS) return;
    this.#log.warn(
      { plugin, what, detail, count: tally.untold, code: CODES[what] },
      'a plugin tried what it may not',
    );
    tally.untold = 0;
    tally.toldMs = nowMs;
  }

  /** Totals, for `mkts_plugin_denied_total{plugin,what}`. */
  totals(): readonly {
    readonly plugin: string;
    readonly what: DenialKind;
    readonly count: number;
  }[] {
    return [...this.#tallies.values()].map(({ plugin, what, count }) => ({ plugin, what, count }));
  }
}

const CODES: Readonly<Record<DenialKind, string>> = {
  write: 'MKTS_CAPABILITY_DENIED',
  network: 'MKTS_NET_DENIED',
  secret: 'MKTS_CAPABILITY_DENIED',
  sandbox: 'MKTS_CAPABILITY_DENIED',
};
