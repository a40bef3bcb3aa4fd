/**
 * Questions of one plugin under way: so many at a time, the next wait in order, and past a bound they
 * are refused. Pure.
 */

import { PluginError } from './errors.ts';
import { PLUGIN_REQUESTS_WAITING_MAX } from './limits.ts';

export class RequestGate {
  readonly #plugin: string;
  readonly #max: number;
  readonly #waitingMax: number;
  readonly #waiting: (() => void)[] = [];
  #underWay = 0;

  constructor(plugin: string, max: number, waitingMax: number = PLUGIN_REQUESTS_WAITING_MAX) {
    this.#plugin = plugin;
    this.#max = max;
    this.#waitingMax = waitingMax;
  }

  get underWay(): number {
    return this.#underWay;
  }
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Runs the task when it is its turn. Rejects with MKTS_BUDGET if too many wait. */
  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#underWay >= this.#max) {
      if (this.#waiting.length >= this.#waitingMax)
        throw new PluginError('MKTS_BUDGET', {
          plugin: this.#plugin,
          budget: 'requests waiting',
          used: this.#waiting.length,
          limit: this.#waitingMax,
        });
      // Whoever ends hands its place over: `#underWay` stays as it is.
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#underWay++;
    try {
      return await task();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#underWay--;
      else next();
    }
  }
}
