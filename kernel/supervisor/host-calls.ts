/**
 * The calls of a worker that are under way, and why it ends: what a thread and a process have in
 * common. Main thread.
 *
 * Invariant: a call settles once, by its answer, its time, or the end of its worker: a comlink call
 * that is pending when its worker dies would never settle by itself.
 */

import type { PluginShape } from '../../workers/protocol.ts';
import { PluginError } from '../base/errors.ts';

export class HostCalls {
  readonly #plugin: string;
  readonly #pending = new Set<(error: Error) => void>();
  /** The first reason counts, the others follow from it. */
  #cause: Error | undefined;

  constructor(plugin: string) {
    this.#plugin = plugin;
  }

  /** Why the worker ends; undefined while it lives. */
  get cause(): Error | undefined {
    return this.#cause;
  }

  /** See PluginHost.call. */
  run<T>(
    name: keyof PluginShape,
    remote: PluginShape,
    invoke: (plugin: PluginShape) => Promise<T>,
    timeoutMs?: number,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#cause !== undefined) {
        reject(this.#cause);
        return;
      }
      let timer: NodeJS.Timeout | undefined;
      const settled = (): void => {
        clearTimeout(timer);
        this.#pending.delete(fail);
      };
      const fail = (error: Error): void => {
        settled();
        reject(error);
      };
      this.#pending.add(fail);
      if (timeoutMs !== undefined)
        timer = setTimeout(() => {
          fail(
            new PluginError('MKTS_PLUGIN_TIMEOUT', { plugin: this.#plugin, call: name, timeoutMs }),
          );
        }, timeoutMs);
      invoke(remote).then((value) => {
        settled();
        resolve(value);
      }, fail);
    });
  }

  /**
   * Notes the cause and rejects what is pending: the worker will not answer any more. Returns the
   * cause that counts.
   */
  blame(cause: Error): Error {
    const first = this.#cause ?? cause;
    this.#cause = first;
    for (const reject of [...this.#pending]) reject(first);
    return first;
  }
}
