/**
 * Tells triggers what was written: the last step of a record's way. Main thread.
 *
 * `applied` is called from the committer's path, so it only notes what is owed: it never waits,
 * never throws and fires nothing. The fires start from the event loop, after the group is done, one
 * queue per trigger (trigger-queue.ts). A trigger's fire settles when what the plugin wrote in it is
 * applied; with that, `stop` can wait for triggers that feed each other, and a batch counts as fired
 * only when its results can be read. Until then it is *owed*: a checkpoint writes that down, and the
 * next start gives it back (`owe`).
 *
 * Triggers come and go, and change their patterns, while the server runs: what follows holds from the
 * next applied group on. A trigger that comes is not told of what was written before.
 */

import type { PlainBatch } from '../../workers/protocol.ts';
import { assert } from '../base/assert.ts';
import { ORIGIN_CHAIN_MAX } from '../base/limits.ts';
import type { OwedBatch } from '../wal/entries.ts';
import type { Matcher } from './matcher.ts';
import type { OriginChain } from './origin-chain.ts';
import { NO_ORIGINS } from './origin-chain.ts';
import type { TriggerLog, TriggerStats } from './trigger-queue.ts';
import { TriggerQueue } from './trigger-queue.ts';

export interface TriggerEntry {
  /** Unique among all plugins. */
  readonly name: string;
  readonly matcher: Matcher;
  /** Keys at a time; default TRIGGER_CONCURRENCY. */
  readonly concurrency?: number;
  /**
   * Hands a batch to the plugin. Settles within TRIGGER_TIMEOUT_MS, which the supervisor enforces,
   * and not before the rows written in it are applied.
   */
  fire(batch: PlainBatch): Promise<void>;
}

export interface DispatcherOptions {
  readonly triggers: readonly TriggerEntry[];
  readonly log: TriggerLog;
  /** Calendar year, in the server's zone, of an instant: for patterns that name years. */
  readonly yearOf: (epochSeconds: number) => number;
  /** Runs a task soon, not now; default setImmediate. */
  readonly schedule?: (task: () => void) => void;
  /** Runs a task after a time; default setTimeout, which does not keep the process alive. */
  readonly later?: (task: () => void, delayMs: number) => void;
}

interface Target {
  readonly queue: TriggerQueue;
  matcher: Matcher;
}

export class Dispatcher {
  /** By name. Few: what is applied is held against each of them. */
  readonly #targets = new Map<string, Target>();
  readonly #log: TriggerLog;
  readonly #yearOf: (epochSeconds: number) => number;
  readonly #schedule: (task: () => void) => void;
  readonly #later: (task: () => void, delayMs: number) => void;
  readonly #pump: () => void;
  #isPumpDue = false;
  /** Circles and long chains already logged; there are at most triggers² + triggers of them. */
  readonly #reported = new Set<string>();
  /** Wakes `stop`, while it waits. */
  #onSettled: (() => void) | undefined;

  /** Triggers begin paused: what is applied before they run waits for them. */
  constructor({ triggers, log, yearOf, schedule, later }: DispatcherOptions) {
    this.#log = log;
    this.#yearOf = yearOf;
    this.#schedule = schedule ?? setImmediate;
    this.#later = later ?? unreferencedTimeout;
    this.#pump = () => {
      this.#isPumpDue = false;
      for (const { queue } of this.#targets.values()) queue.pump();
    };
    for (const entry of triggers) this.add(entry);
  }

  /** From the next applied group on. The trigger begins paused. */
  add(entry: TriggerEntry): void {
    const { name, matcher, concurrency } = entry;
    assert(!this.#targets.has(name), 'names of triggers are unique');
    const queue = new TriggerQueue({
      name,
      concurrency,
      fire: (batch) => entry.fire(batch),
      log: this.#log,
      onSettled: () => this.#onSettled?.(),
      later: this.#later,
    });
    this.#targets.set(name, { queue, matcher });
  }

  /**
   * Forgets a trigger, and what it is owed: nobody will ever ask for it. Fires in flight end by
   * themselves. Returns the keys it was not told of to the end.
   */
  remove(name: string): number {
    const { queue } = this.#target(name);
    this.#targets.delete(name);
    queue.close();
    // Its circles are news again should it come back; so the set stays within its bound.
    this.#reported.clear();
    this.#onSettled?.();
    return queue.backlogKeys;
  }

  /** The trigger fires for other keys from now on; what it is owed already it is still told of. */
  setMatcher(name: string, matcher: Matcher): void {
    this.#target(name).matcher = matcher;
  }

  has(name: string): boolean {
    return this.#targets.has(name);
  }

  /** False: nothing that is applied is of interest here. */
  get hasTriggers(): boolean {
    return this.#targets.size > 0;
  }

  /**
   * Rows of [from, to] (Unix seconds, both inclusive) of a key are applied. `origin` is
   * `originChain` of the plugin that wrote them, and empty for a client.
   */
  applied(key: string, from: number, to: number, origin: OriginChain): void {
    for (const target of this.#targets.values()) {
      if (!this.#matches(target.matcher, key, from, to)) continue;
      if (origin.length > 0 && this.#isBarred(target.queue, key, origin)) continue;
      target.queue.touch(key, from, to, origin);
      this.#pumpSoon();
    }
  }

  /**
   * Gives back to one trigger what it was owed when the server ended. False if there is no such
   * trigger any more, or none that its pattern lets be told of the key.
   */
  owe({ trigger, key, ranges }: OwedBatch): boolean {
    const target = this.#targets.get(trigger);
    if (target === undefined) return false;
    const matching = ranges.filter(({ from, to }) => this.#matches(target.matcher, key, from, to));
    // Who caused those writes is forgotten: a circle of triggers goes round once more, and ends.
    for (const { from, to } of matching) target.queue.touch(key, from, to, NO_ORIGINS);
    if (matching.length > 0) this.#pumpSoon();
    return matching.length > 0;
  }

  /** All that triggers are still to be told of what is applied. */
  owed(): readonly OwedBatch[] {
    return this.#all.flatMap(({ queue }) =>
      queue.owed().map((batch) => ({ trigger: queue.name, ...batch })),
    );
  }

  /** The chain of what a plugin writes now. Empty for a plugin that is no trigger. */
  originChain(plugin: string): OriginChain {
    return this.#targets.get(plugin)?.queue.originChain ?? NO_ORIGINS;
  }

  /** The trigger is started, or started again, and takes batches. */
  resume(name: string): void {
    this.#target(name).queue.resume();
    this.#pumpSoon();
  }

  /** The trigger's worker stops, fails or waits for its restart. */
  pause(name: string): void {
    this.#target(name).queue.pause();
    this.#onSettled?.();
  }

  get stats(): readonly TriggerStats[] {
    return this.#all.map(({ queue }) => queue.stats);
  }

  /**
   * Waits until no running trigger has anything to do, or until the signal aborts; then starts no
   * more fires. What is left is logged and stays owed. Returns the keys left, over all triggers.
   */
  async stop(signal: AbortSignal): Promise<number> {
    while (!signal.aborted && this.#all.some(({ queue }) => !queue.isIdle))
      await this.#settledOr(signal);
    let leftKeys = 0;
    for (const { queue } of this.#all) {
      if (queue.backlogKeys > 0)
        this.#log.warn(
          { plugin: queue.name, keys: queue.backlogKeys },
          'the server stops before the trigger was told of everything: the next start tells it',
        );
      leftKeys += queue.backlogKeys;
      queue.close();
    }
    return leftKeys;
  }

  get #all(): readonly Target[] {
    return [...this.#targets.values()];
  }

  #target(name: string): Target {
    const target = this.#targets.get(name);
    assert(target !== undefined, `${name} is a trigger`);
    return target;
  }

  #pumpSoon(): void {
    if (this.#isPumpDue) return;
    this.#isPumpDue = true;
    this.#schedule(this.#pump);
  }

  /** A block over a year's end matches a pattern that names either year. */
  #matches(matcher: Matcher, key: string, from: number, to: number): boolean {
    if (!matcher.namesYears) return matcher.matches(key);
    const last = this.#yearOf(to);
    for (let year = this.#yearOf(from); year <= last; year++)
      if (matcher.matches(key, year)) return true;
    return false;
  }

  /** Whether telling this trigger could go on for ever. */
  #isBarred(queue: TriggerQueue, key: string, origin: OriginChain): boolean {
    const isInChain = origin.includes(queue.name);
    if (!isInChain && origin.length <= ORIGIN_CHAIN_MAX) return false;
    queue.countBarred();
    const writer = origin[origin.length - 1];
    if (writer === queue.name) return true; // Its own rows: expected, and never news.
    const report = isInChain ? `circle ${writer} ${queue.name}` : `length ${queue.name}`;
    if (this.#reported.has(report)) return true;
    this.#reported.add(report);
    const fields = { plugin: queue.name, writer, key, chain: origin };
    if (isInChain)
      this.#log.warn(
        fields,
        'triggers feed each other in a circle: one is not told of what it caused',
      );
    else
      this.#log.error(
        fields,
        `more than ${ORIGIN_CHAIN_MAX} triggers feed each other: the next is not told`,
      );
    return true;
  }

  #settledOr(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#onSettled = undefined;
        signal.removeEventListener('abort', done);
        resolve();
      };
      this.#onSettled = done;
      signal.addEventListener('abort', done);
    });
  }
}

function unreferencedTimeout(task: () => void, delayMs: number): void {
  setTimeout(task, delayMs).unref();
}
