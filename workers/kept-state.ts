/**
 * What a plugin remembers, as its worker sees it: `ctx.state`. Runs in the worker.
 *
 * The kernel hands over what is there when the plugin starts; from then on this is the plugin's own
 * view of what it has set, while each change travels with the rows through the ring
 * (series-writer.ts). Values are held as JSON text, so that nothing a plugin does to an object it
 * gave or got changes what is kept.
 *
 * Invariant: a change is here exactly if the frame that carries it is in the ring.
 */

import { PluginError } from '../kernel/base/errors.ts';
import { STATE_DEPTH_MAX, STATE_NAME_BYTES_MAX } from '../kernel/base/limits.ts';
import { type EncodedState, encodeTexts, stateCostBytes } from '../kernel/base/state-entry.ts';
import type { StateValue, WholeOptions } from '../plugins/sdk.ts';
import type { PlainState } from './protocol.ts';

interface Kept {
  readonly json: string;
  readonly costBytes: number;
}

export class KeptState {
  readonly #plugin: string;
  #kept = new Map<string, Kept>();
  #costBytes = 0;
  #bytesMax = 0;

  constructor(plugin: string) {
    this.#plugin = plugin;
  }

  /** Takes over what the kernel says is there: at each start. */
  reset({ entries, bytesMax }: PlainState): void {
    this.#kept = new Map();
    this.#costBytes = 0;
    this.#bytesMax = bytesMax;
    this.accept(entries.map(([name, json]) => encodeTexts({ name, json })));
  }

  get(name: string): StateValue | undefined {
    const kept = this.#kept.get(String(name));
    return kept === undefined ? undefined : (JSON.parse(kept.json) as StateValue);
  }

  /** The changes as bytes, taken now, whatever becomes of the objects. Throws MKTS_STATE_INVALID. */
  encode(changes: WholeOptions['state']): readonly EncodedState[] {
    if (changes === undefined) return [];
    const given: unknown = changes;
    if (!isPlainObject(given)) throw invalid('', 'changes are an object of names and values');
    return Object.entries(given).map(([name, value]) => {
      const encoded = encodeTexts({ name, json: jsonOf(name, value) });
      const { length } = encoded.nameBytes;
      if (length === 0 || length > STATE_NAME_BYTES_MAX || !name.isWellFormed())
        throw invalid(name, `a name has 1 to ${STATE_NAME_BYTES_MAX} bytes`);
      return encoded;
    });
  }

  /** Throws MKTS_BUDGET if the plugin would keep more than it may; less than before is always fine. */
  checkRoom(changes: readonly EncodedState[]): void {
    const after = this.#costBytes + this.#growthOf(changes);
    if (after <= this.#bytesMax || after <= this.#costBytes) return;
    throw new PluginError('MKTS_BUDGET', {
      plugin: this.#plugin,
      budget: 'state bytes',
      used: after,
      limit: this.#bytesMax,
    });
  }

  /** The changes are in the ring. */
  accept(changes: readonly EncodedState[]): void {
    for (const { name, json, nameBytes, jsonBytes } of changes) {
      this.#costBytes -= this.#kept.get(name)?.costBytes ?? 0;
      this.#kept.delete(name);
      if (json === undefined) continue;
      const costBytes = stateCostBytes(nameBytes.length, jsonBytes.length);
      this.#kept.set(name, { json, costBytes });
      this.#costBytes += costBytes;
    }
  }

  #growthOf(changes: readonly EncodedState[]): number {
    let growth = 0;
    for (const { name, json, nameBytes, jsonBytes } of changes) {
      growth -= this.#kept.get(name)?.costBytes ?? 0;
      if (json !== undefined) growth += stateCostBytes(nameBytes.length, jsonBytes.length);
    }
    return growth;
  }
}

/** Undefined removes the name. What JSON would drop or change in silence is refused. */
function jsonOf(name: string, value: unknown): string | undefined {
  if (value === undefined) return undefined;
  const problem = problemOf(value, 0);
  if (problem !== undefined) throw invalid(name, problem);
  return JSON.stringify(value);
}

function problemOf(value: unknown, depth: number): string | undefined {
  if (depth > STATE_DEPTH_MAX) return `it is nested deeper than ${STATE_DEPTH_MAX}`;
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return undefined;
  if (typeof value === 'number')
    return Number.isFinite(value) ? undefined : `${value} is not a number of JSON`;
  if (!Array.isArray(value) && !isPlainObject(value))
    return `a ${typeof value === 'object' ? 'class’s object' : typeof value} is no JSON`;
  for (const part of Array.isArray(value) ? Array.from(value) : Object.values(value)) {
    const problem = problemOf(part, depth + 1);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function isPlainObject(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

function invalid(name: string, reason: string): PluginError {
  return new PluginError('MKTS_STATE_INVALID', { name, reason });
}
