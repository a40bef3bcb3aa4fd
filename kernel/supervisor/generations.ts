/**
 * Makes the generations of one plugin, numbers them, and knows which are alive. Main thread.
 *
 * Invariant: a number is not used twice, and none of them outlives `end`, but for a worker that hangs
 * in native code: a zombie, counted.
 */

import type { PlainState } from '../../workers/protocol.ts';
import { Generation, type GenerationOptions } from './generation.ts';
import type { KernelFunctions } from './kernel-api.ts';
import type {
  Log,
  Network,
  PluginBuild,
  PluginEntry,
  PluginFeed,
  SupervisorLimits,
} from './plugin-entry.ts';
import type { ProcessMemoryWatch } from './process-memory-watch.ts';
import type { Diversion } from './shadow.ts';

/** What all generations of a plugin share. */
export interface GenerationsOptions {
  readonly hostCode: string;
  readonly timezone: string;
  readonly doorbell: SharedArrayBuffer;
  readonly kernel: (entry: PluginEntry) => KernelFunctions;
  readonly network: Network;
  readonly limits: SupervisorLimits;
  readonly processMemory: ProcessMemoryWatch;
  readonly log: Log;
  /** What a plugin remembers, of all rows taken so far. */
  readonly stateOf: (plugin: string) => PlainState;
  readonly onRing: (feed: PluginFeed) => void;
  /** Resolves when the last frame of its ring is taken. */
  readonly onGone: (feed: PluginFeed) => Promise<void> | void;
}

export interface GenerationSigns {
  readonly onLate: (generation: Generation, isLate: boolean) => void;
  readonly onThrottled: (generation: Generation, isThrottled: boolean) => void;
}

export class Generations {
  readonly #options: GenerationsOptions;
  readonly #signs: GenerationSigns;
  readonly #alive = new Set<Generation>();
  #count = 0;
  #zombies = 0;

  constructor(options: GenerationsOptions, signs: GenerationSigns) {
    this.#options = options;
    this.#signs = signs;
  }

  /** How many there were: the number of the newest. */
  get count(): number {
    return this.#count;
  }
  get zombies(): number {
    return this.#zombies;
  }

  /** Throws if no worker can be started, or if the entry's `config` cannot be handed to one. */
  create(entry: PluginEntry, build: PluginBuild): Generation {
    return this.#create(entry, build, {});
  }

  /**
   * One whose ring nobody drains but its shadow's diff: its counts and dead letters are not the
   * plugin's, and its lines say what it is.
   */
  createShadow(
    entry: PluginEntry,
    build: PluginBuild,
    { deadLetters, ...rings }: Diversion,
  ): Generation {
    const { kernel, log } = this.#options;
    return this.#create(entry, build, {
      ...rings,
      kernel: { ...kernel(entry), deadLetters, metric: () => undefined },
      log: shadowLog(log),
    });
  }

  #create(
    entry: PluginEntry,
    build: PluginBuild,
    changes: Partial<Pick<GenerationOptions, 'onRing' | 'onGone' | 'kernel' | 'log'>>,
  ): Generation {
    const { hostCode, timezone, doorbell, network, limits, processMemory, log } = this.#options;
    const { kernel, stateOf, onRing, onGone } = this.#options;
    this.#count++;
    const generation: Generation = new Generation({
      ...{ hostCode, timezone, doorbell, network, limits, processMemory, log, onRing, onGone },
      entry,
      build,
      number: this.#count,
      kernel: changes.kernel ?? kernel(entry),
      state: () => stateOf(entry.name),
      onLate: (isLate) => this.#signs.onLate(generation, isLate),
      onThrottled: (isThrottled) => this.#signs.onThrottled(generation, isThrottled),
      ...changes,
    });
    this.#alive.add(generation);
    void generation.gone.then(({ isZombie }) => {
      this.#alive.delete(generation);
      if (!isZombie) return;
      this.#zombies++;
      log.error({ plugin: entry.name }, 'a worker hangs in native code and was left behind');
    });
    return generation;
  }

  /** The worker of `feed` sent something that is not valid. */
  reject(feed: PluginFeed, cause: Error): void {
    for (const generation of this.#alive) if (generation.feed === feed) generation.terminate(cause);
  }

  /** Ends all that are alive. Never rejects. */
  async end(): Promise<void> {
    await Promise.all([...this.#alive].map((generation) => generation.end()));
  }
}

/** Lines of a shadow, and about it. */
export function shadowLog(log: Log): Log {
  return {
    debug: (fields, message) => log.debug({ ...fields, shadow: true }, message),
    info: (fields, message) => log.info({ ...fields, shadow: true }, message),
    warn: (fields, message) => log.warn({ ...fields, shadow: true }, message),
    error: (fields, message) => log.error({ ...fields, shadow: true }, message),
  };
}
