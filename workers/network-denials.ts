/**
 * Requests the broker refused for want of a grant, told to the kernel: gathered for a moment, so that
 * a plugin that tries in a loop costs the main thread a message now and then. Runs in the broker.
 */

import { DENIALS_KEPT_MAX } from '../kernel/base/limits.ts';
import type { BrokerEvent } from './broker-protocol.ts';

const GATHER_MS = 100;

export class NetworkDenials {
  readonly #tell: (event: BrokerEvent) => void;
  readonly #counts = new Map<string, { plugin: string; host: string; count: number }>();
  #timer: NodeJS.Timeout | undefined;

  constructor(tell: (event: BrokerEvent) => void) {
    this.#tell = tell;
  }

  note(plugin: string, host: string): void {
    // Past the bound the hosts of a plugin are counted as one.
    const named = this.#counts.size < DENIALS_KEPT_MAX ? host : 'others';
    const identity = `${plugin} ${named}`;
    const known = this.#counts.get(identity);
    if (known === undefined) this.#counts.set(identity, { plugin, host: named, count: 1 });
    else known.count++;
    this.#timer ??= setTimeout(() => this.#send(), GATHER_MS).unref();
  }

  #send(): void {
    this.#timer = undefined;
    for (const denial of this.#counts.values()) this.#tell({ kind: 'denied', ...denial });
    this.#counts.clear();
  }
}
