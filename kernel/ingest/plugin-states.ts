/**
 * What plugins remember (`ctx.state`), as the kernel holds it: twice.
 *
 *   taken     as of the newest frame the drain took: what the next worker of a plugin starts with,
 *             since all that was taken before it is committed before anything the next one sends
 *   applied   as of the newest group that is applied: what a checkpoint writes down
 *
 * Both move with the rows of the same frame, so a plugin's state is never ahead of its rows nor
 * behind them. A plugin that is removed keeps its state, for the day it comes back. Main thread only.
 */

import type { PlainState } from '../../workers/protocol.ts';
import { type DecodedState, type StateChange, stateCostBytes } from '../base/state-entry.ts';

/** Plugin → name → JSON text. */
export type StateTexts = ReadonlyMap<string, ReadonlyMap<string, string>>;

interface Taken {
  readonly texts: Map<string, string>;
  costBytes: number;
  /** What the newest worker was told; undefined: there was none yet. */
  bytesMax: number | undefined;
}

export interface PluginStatesOptions {
  /** Of the states file and the log: recovery.ts. */
  readonly recovered: StateTexts;
  /** Bytes a plugin may keep, by its entry. */
  readonly bytesMaxOf: (plugin: string) => number;
}

export class PluginStates {
  readonly #bytesMaxOf: (plugin: string) => number;
  readonly #taken = new Map<string, Taken>();
  readonly #applied = new Map<string, Map<string, string>>();
  #changeCount = 0;

  constructor({ recovered, bytesMaxOf }: PluginStatesOptions) {
    this.#bytesMaxOf = bytesMaxOf;
    for (const [plugin, texts] of recovered) {
      this.#applied.set(plugin, new Map(texts));
      let costBytes = 0;
      for (const [name, json] of texts) costBytes += costOf(name, json);
      this.#taken.set(plugin, { texts: new Map(texts), costBytes, bytesMax: undefined });
    }
  }

  /** What a worker of the plugin starts with; those before it have been drained. */
  taken(plugin: string): PlainState {
    const taken = this.#takenOf(plugin);
    taken.bytesMax = this.#bytesMaxOf(plugin);
    return { entries: [...taken.texts], bytesMax: taken.bytesMax };
  }

  /** Bytes the plugin keeps now, by the measure of its bound. */
  bytesOf(plugin: string): number {
    return this.#taken.get(plugin)?.costBytes ?? 0;
  }

  /**
   * False if the changes would make a plugin keep more than its worker was told. The worker refuses
   * that itself (MKTS_BUDGET): one that gets so far does not run our code.
   */
  fits(plugin: string, changes: readonly DecodedState[]): boolean {
    const { texts, costBytes, bytesMax } = this.#takenOf(plugin);
    let growth = 0;
    for (const { name, json, costBytes: cost } of changes) {
      const before = texts.get(name);
      if (before !== undefined) growth -= costOf(name, before);
      if (json !== undefined) growth += cost;
    }
    return growth <= 0 || costBytes + growth <= (bytesMax ?? this.#bytesMaxOf(plugin));
  }

  /** The drain put a change into a group. */
  take(plugin: string, { name, json, costBytes }: DecodedState): void {
    const taken = this.#takenOf(plugin);
    const before = taken.texts.get(name);
    if (before !== undefined) taken.costBytes -= costOf(name, before);
    if (json !== undefined) taken.costBytes += costBytes;
    if (json === undefined) taken.texts.delete(name);
    else taken.texts.set(name, json);
  }

  /** The change is committed, and its group is being applied. */
  apply(plugin: string, state: StateChange): void {
    changeText(this.#applied, plugin, state);
    this.#changeCount++;
  }

  /** Grows with every change that is applied: tells whether a snapshot is still the newest. */
  get changeCount(): number {
    return this.#changeCount;
  }

  /** A copy of what is applied now. */
  snapshot(): StateTexts {
    return new Map([...this.#applied].map(([plugin, texts]) => [plugin, new Map(texts)]));
  }

  #takenOf(plugin: string): Taken {
    let taken = this.#taken.get(plugin);
    if (taken === undefined) {
      taken = { texts: new Map(), costBytes: 0, bytesMax: undefined };
      this.#taken.set(plugin, taken);
    }
    return taken;
  }
}

/** Makes a change to texts. */
export function changeText(
  states: Map<string, Map<string, string>>,
  plugin: string,
  { name, json }: StateChange,
): void {
  let texts = states.get(plugin);
  if (texts === undefined) {
    texts = new Map();
    states.set(plugin, texts);
  }
  if (json === undefined) texts.delete(name);
  else texts.set(name, json);
}

function costOf(name: string, json: string): number {
  return stateCostBytes(Buffer.byteLength(name), Buffer.byteLength(json));
}
