/**
 * Who wrote a row: a plugin of some generation, or a client. Every row block in the log names its
 * origin by a number; triggers use it to leave out what they wrote themselves. Main thread only.
 */

import type { Catalog } from '../storage/catalog.ts';
import type { Origin } from '../wal/entries.ts';
import type { Definitions } from '../wal/writer.ts';

/** The origin of everything that comes over HTTP. */
export const CLIENT_ORIGIN_ID = 0;

export class Origins {
  readonly #origins: Origin[] = [{ kind: 'client', name: 'rpc', generation: 0 }];

  /** A new number for a worker's life. Bounded by the restarts and reloads of a process's life. */
  add(origin: Origin): number {
    this.#origins.push(origin);
    return this.#origins.length - 1;
  }

  get(id: number): Origin {
    const origin = this.#origins[id];
    if (origin === undefined) throw new RangeError(`no origin ${id}`);
    return origin;
  }
}

/** What the numbers in a group mean, for the log. */
export function logDefinitions(catalog: Catalog, origins: Origins): Definitions {
  return {
    bucket(id) {
      const bucket = catalog.bucketById(id);
      if (bucket === undefined) throw new RangeError(`no bucket ${id}`);
      return { path: bucket.key.path, schema: bucket.schema };
    },
    origin: (id) => origins.get(id),
  };
}
