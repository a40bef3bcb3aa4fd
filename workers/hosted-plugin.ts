/**
 * One plugin's life inside its worker, as the kernel drives it: load, configure, start, fire…, stop;
 * and between start and stop it may be parked, and started again.
 * Knows nothing of threads; host.ts joins it to them.
 *
 *   load ──▶ configure ──▶ start ──▶ fire… ──▶ (park ──▶ start…) ──▶ stop
 *
 * Invariant: no error of the plugin leaves as an exception: each call answers with an Outcome.
 */

import type { MessagePort } from 'node:worker_threads';
import { assert } from '../kernel/base/assert.ts';
import { parseTimeBucketKey } from '../kernel/base/time-bucket-key.ts';
import type { Context, TouchedBatch } from '../plugins/sdk.ts';
import { outcomeOf } from './outcome.ts';
import { checkConfig, type Definition, definitionOf, describe } from './plugin-definition.ts';
import type {
  ConfigProblem,
  Outcome,
  PlainBatch,
  PlainState,
  PluginDescription,
  PluginShape,
} from './protocol.ts';

export interface HostedPluginOptions {
  readonly plugin: string;
  readonly config: unknown;
  /** Runs the bundle and returns its exports. */
  readonly evaluate: () => unknown;
  readonly createContext: (
    config: unknown,
    line: MessagePort,
    state: PlainState,
    signal: AbortSignal,
  ) => Context<unknown>;
  /** Resolves when all rows the plugin wrote so far are committed. */
  readonly flush: () => Promise<void>;
  /** What the plugin accepted so far becomes committed, and its last words are sent. */
  readonly settle: () => Promise<void>;
  /** Resolves when all calls made so far are accepted, or refused; refuses those made later. */
  readonly close: () => Promise<void>;
  /** Calls are accepted again. */
  readonly open: () => void;
}

const OK: Outcome<void> = { ok: true, value: undefined };

export class HostedPlugin implements PluginShape {
  readonly #options: HostedPluginOptions;
  #stop = new AbortController();
  readonly #underWay = new Set<Promise<unknown>>();
  #definition: Definition | undefined;
  #config: { readonly config: unknown } | undefined;
  #context: Context<unknown> | undefined;

  constructor(options: HostedPluginOptions) {
    this.#options = options;
  }

  load(): Promise<Outcome<PluginDescription>> {
    return outcomeOf(async () => {
      this.#definition = definitionOf(this.#options.plugin, this.#options.evaluate());
      return describe(this.#definition);
    });
  }

  async configure(): Promise<readonly ConfigProblem[]> {
    assert(this.#definition !== undefined, 'a plugin is loaded before it is configured');
    const checked = await checkConfig(this.#definition, this.#options.config);
    if (!checked.ok) return checked.problems;
    this.#config = checked;
    return [];
  }

  async start(line: MessagePort, state: PlainState): Promise<Outcome<void>> {
    assert(this.#config !== undefined, 'a plugin is configured before it is started');
    const { config } = this.#config;
    // Again, after it was parked.
    if (this.#stop.signal.aborted) this.#stop = new AbortController();
    const { signal } = this.#stop;
    this.#options.open();
    this.#context = this.#options.createContext(config, line, state, signal);
    const { definition, context } = this.#ready();
    const outcome = await this.#run(async () => {
      await definition.start?.(context);
    });
    // Whoever is told to stop may say so by throwing the signal's reason: that is no failure. For a
    // fire it is: its batch is not done.
    return signal.aborted && !outcome.ok && outcome.error.name === 'AbortError' ? OK : outcome;
  }

  fire({ key, ranges }: PlainBatch): Promise<Outcome<void>> {
    const { definition, context } = this.#ready();
    return this.#run(async () => {
      assert(definition.kind === 'trigger', 'only triggers are fired');
      const { symbol, timeframe, attributeGroup } = parseTimeBucketKey(key);
      const batch: TouchedBatch = { key, symbol, timeframe, attributeGroup, ranges };
      await definition.fire(context, batch);
      // The kernel takes a batch as done for ever when this answers: what came of it must be on disk.
      await this.#options.flush();
    });
  }

  async park(): Promise<Outcome<void>> {
    this.#abort();
    return outcomeOf(async () => {
      await Promise.all(this.#underWay);
      // Order: a plugin may write its last rows when it is told to stop. What writes after that (a
      // timer it forgot) would come beside the rows of the generation that took over.
      await this.#options.close();
    });
  }

  async stop(): Promise<Outcome<void>> {
    this.#abort();
    return outcomeOf(async () => {
      await Promise.all(this.#underWay);
      await this.#options.settle();
    });
  }

  #abort(): void {
    this.#stop.abort(new DOMException('the plugin shall stop', 'AbortError'));
  }

  #ready(): { readonly definition: Definition; readonly context: Context<unknown> } {
    const definition = this.#definition;
    const context = this.#context;
    assert(definition !== undefined && context !== undefined, 'a plugin is started, then fired');
    return { definition, context };
  }

  async #run(task: () => Promise<void>): Promise<Outcome<void>> {
    const run = outcomeOf(task);
    this.#underWay.add(run);
    const outcome = await run;
    this.#underWay.delete(run);
    return outcome;
  }
}
