/**
 * What one trigger still has to be told, and the telling. Main thread.
 *
 *   idle ──touch──▶ waiting ──pump──▶ in flight ──ok──▶ idle, or waiting if touched meanwhile
 *                                        │ failed
 *                                        ▼
 *                                     retrying ──pump, alone──▶ in flight ──failed──▶ parked
 *
 * A key has at most one fire in flight; what is written meanwhile merges into its next batch, so the
 * backlog is bounded by the number of keys however slow the trigger is. Keys are served first come,
 * first served. A batch that failed is tried once more, when the trigger runs again, and alone: a
 * batch that kills its worker shall not take others down twice. Then it is parked: counted, logged
 * and given up.
 *
 * A fire fails as soon as its worker ends; that the trigger does not run any more is known only when
 * the thread is gone. In between the queue *holds*: else all it has would fail on a dead worker.
 *
 * What waits, is in flight or failed once is *owed*: a checkpoint writes it down, so that a crash or
 * the end of the server loses none of it. A closed queue starts nothing, but goes on to note it.
 *
 * Invariant: `#works` holds exactly the keys that are waiting, in flight or retrying.
 */

import type { PlainBatch } from '../../workers/protocol.ts';
import { assert } from '../base/assert.ts';
import type { ErrorCode } from '../base/errors.ts';
import { MktsError, reasonOf } from '../base/errors.ts';
import { TRIGGER_CONCURRENCY, TRIGGER_HOLD_MS, TRIGGER_KEYS_MAX } from '../base/limits.ts';
import { parseBucketTimeframe } from '../base/timeframe.ts';
import type { OriginChain } from './origin-chain.ts';
import { joinChains, NO_ORIGINS } from './origin-chain.ts';
import { TouchedRanges } from './touched-ranges.ts';

/** Failures of a fire that mean its worker is going, not that the plugin threw. */
const ENDINGS: ReadonlySet<ErrorCode> = new Set([
  'MKTS_PLUGIN_FAILED',
  'MKTS_PLUGIN_STUCK',
  'MKTS_PLUGIN_MEMORY',
  'MKTS_PLUGIN_EXIT',
  'MKTS_PLUGIN_TIMEOUT',
  'MKTS_FRAME_INVALID',
  'MKTS_RING_INVALID',
  'MKTS_CAPABILITY_DENIED',
  'MKTS_SHUTTING_DOWN',
] as const);

export interface TriggerLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** Counts since the start, and how much waits. */
export interface TriggerStats {
  readonly name: string;
  /** Keys waiting, in flight or retrying. */
  readonly backlogKeys: number;
  readonly inFlight: number;
  readonly fired: number;
  /** Fires that failed, first and second tries alike. */
  readonly failed: number;
  /** Batches given up after their second try. */
  readonly parked: number;
  /** Row blocks left out because the backlog was full. */
  readonly missed: number;
  /** Row blocks left out because the trigger had a part in causing them. */
  readonly barred: number;
}

interface QueueOptions {
  readonly name: string;
  /** Keys at a time. */
  readonly concurrency: number | undefined;
  readonly fire: (batch: PlainBatch) => Promise<void>;
  readonly log: TriggerLog;
  /** Something left the queue: it may be idle now. */
  readonly onSettled: () => void;
  /** Runs a task after a time. */
  readonly later: (task: () => void, delayMs: number) => void;
}

/** One key's share of the backlog. Waiting keys form a list through `next`. */
interface KeyWork {
  readonly key: string;
  readonly ranges: TouchedRanges;
  /** What caused the writes that wait. */
  chain: OriginChain;
  /** In flight, or a failed batch of it waits for its second try: nothing else of the key may go. */
  isBusy: boolean;
  isWaiting: boolean;
  next: KeyWork | undefined;
}

interface Delivery {
  readonly work: KeyWork;
  readonly batch: PlainBatch;
  readonly chain: OriginChain;
  readonly attempt: 1 | 2;
}

export class TriggerQueue {
  readonly name: string;
  readonly #concurrency: number;
  readonly #fire: (batch: PlainBatch) => Promise<void>;
  readonly #log: TriggerLog;
  readonly #onSettled: () => void;
  readonly #later: (task: () => void, delayMs: number) => void;
  readonly #works = new Map<string, KeyWork>();
  #first: KeyWork | undefined;
  #last: KeyWork | undefined;
  readonly #inFlight = new Set<Delivery>();
  /** At most `concurrency`: while one waits nothing else starts. */
  readonly #retries: Delivery[] = [];
  /** Who writes when this trigger writes: what caused its batches, then itself. */
  #originChain: OriginChain;
  #isRunning = false;
  /** The hold that lasts; a later one, or a new start, makes it void. */
  #hold: symbol | undefined;
  #isClosed = false;
  #isOverfull = false;
  #fired = 0;
  #failed = 0;
  #parked = 0;
  #missed = 0;
  #barred = 0;

  constructor({ name, concurrency, fire, log, onSettled, later }: QueueOptions) {
    this.name = name;
    this.#concurrency = concurrency ?? TRIGGER_CONCURRENCY;
    assert(this.#concurrency >= 1, 'a trigger works on one key at least');
    this.#fire = fire;
    this.#log = log;
    this.#onSettled = onSettled;
    this.#later = later;
    this.#originChain = [name];
  }

  get originChain(): OriginChain {
    return this.#originChain;
  }

  /** Nothing is under way, nor can be before the trigger runs again. */
  get isIdle(): boolean {
    return this.#inFlight.size === 0 && (this.#works.size === 0 || !this.#isRunning);
  }

  get backlogKeys(): number {
    return this.#works.size;
  }

  get stats(): TriggerStats {
    return {
      name: this.name,
      backlogKeys: this.#works.size,
      inFlight: this.#inFlight.size,
      fired: this.#fired,
      failed: this.#failed,
      parked: this.#parked,
      missed: this.#missed,
      barred: this.#barred,
    };
  }

  /** Rows of [from, to] of a key were written. Hot: allocates only for a key not yet known. */
  touch(key: string, from: number, to: number, chain: OriginChain): void {
    const work = this.#works.get(key) ?? this.#admit(key);
    if (work === undefined) return;
    work.ranges.add(from, to);
    work.chain = joinChains(work.chain, chain);
    if (!work.isBusy && !work.isWaiting) this.#enqueue(work);
  }

  countBarred(): void {
    this.#barred++;
  }

  /** The trigger takes batches from now on. */
  resume(): void {
    this.#isRunning = true;
    this.#hold = undefined;
  }

  /** The trigger takes no batches until `resume`: what is touched meanwhile waits and merges. */
  pause(): void {
    this.#isRunning = false;
  }

  /** Starts as many fires as may run now. */
  pump(): void {
    if (!this.#isRunning || this.#hold !== undefined || this.#isClosed) return;
    if (this.#retries.length > 0) {
      if (this.#inFlight.size > 0) return;
      const retry = this.#retries.shift();
      if (retry !== undefined) this.#start(retry);
      return;
    }
    while (this.#inFlight.size < this.#concurrency) {
      const work = this.#dequeue();
      if (work === undefined) return;
      const batch = { key: work.key, ranges: work.ranges.take() };
      this.#start({ work, batch, chain: work.chain, attempt: 1 });
    }
  }

  /** What the trigger is still to be told, a batch a key: told again it is told enough. */
  owed(): readonly PlainBatch[] {
    const begun = Map.groupBy([...this.#inFlight, ...this.#retries], ({ work }) => work);
    return Array.from(this.#works.values(), (work) => {
      const { key } = work;
      const deliveries = begun.get(work) ?? [];
      if (deliveries.length === 0) return { key, ranges: work.ranges.list() };
      const ranges = rangesOf(key);
      for (const { from, to } of work.ranges.list()) ranges.add(from, to);
      for (const { batch } of deliveries)
        for (const { from, to } of batch.ranges) ranges.add(from, to);
      return { key, ranges: ranges.list() };
    });
  }

  /** Starts no more fires. What is owed stays so, but for fires in flight that still end well. */
  close(): void {
    this.#isClosed = true;
  }

  #admit(key: string): KeyWork | undefined {
    if (this.#works.size >= TRIGGER_KEYS_MAX) {
      this.#missed++;
      if (!this.#isOverfull) {
        this.#isOverfull = true;
        this.#log.warn(
          { plugin: this.name, key, keys: TRIGGER_KEYS_MAX },
          'the backlog of the trigger is full: writes to further keys are not delivered to it',
        );
      }
      return undefined;
    }
    const work: KeyWork = {
      key,
      ranges: rangesOf(key),
      chain: NO_ORIGINS,
      isBusy: false,
      isWaiting: false,
      next: undefined,
    };
    this.#works.set(key, work);
    return work;
  }

  #start(delivery: Delivery): void {
    const { work } = delivery;
    work.isBusy = true;
    if (delivery.attempt === 1) work.chain = NO_ORIGINS;
    // Order: the chain, then the fire: the trigger may write before its fire ends.
    if (this.#inFlight.size === 0) this.#setCauses(delivery.chain);
    else this.#setCauses(joinChains(this.#causes, delivery.chain));
    this.#inFlight.add(delivery);
    void this.#deliver(delivery);
  }

  /** Never rejects. */
  async #deliver(delivery: Delivery): Promise<void> {
    try {
      await this.#fire(delivery.batch);
      this.#fired++;
    } catch (error) {
      this.#fail(delivery, error);
    }
    this.#end(delivery);
    this.pump();
    this.#onSettled();
  }

  #fail(delivery: Delivery, error: unknown): void {
    this.#failed++;
    if (this.#isClosed) {
      this.#retries.push(delivery); // Its key was logged as left when the queue closed.
      return;
    }
    if (error instanceof MktsError && ENDINGS.has(error.code)) this.#holdOn();
    if (error instanceof MktsError && error.code === 'MKTS_SHUTTING_DOWN') {
      this.#retries.push(delivery); // Cut short by an operator: that was no try.
      return;
    }
    if (delivery.attempt === 1) {
      this.#retries.push({ ...delivery, attempt: 2 });
      return;
    }
    this.#parked++;
    this.#log.error(
      {
        plugin: this.name,
        ...delivery.batch,
        reason: reasonOf(error),
        stack: error instanceof Error && !(error instanceof MktsError) ? error.stack : undefined,
      },
      'the trigger failed twice on the same batch, which is given up',
    );
  }

  /** Until `resume`, or long enough for `pause` to have come if the worker did end. */
  #holdOn(): void {
    const hold = Symbol('hold');
    this.#hold = hold;
    this.#later(() => {
      if (this.#hold !== hold) return;
      this.#hold = undefined;
      this.pump();
    }, TRIGGER_HOLD_MS);
  }

  #end(delivery: Delivery): void {
    this.#inFlight.delete(delivery);
    if (this.#inFlight.size > 0) {
      let causes: OriginChain = NO_ORIGINS;
      for (const { chain } of this.#inFlight) causes = joinChains(causes, chain);
      this.#setCauses(causes);
    }
    const { work } = delivery;
    if (this.#retries.some((retry) => retry.work === work)) return;
    work.isBusy = false;
    if (!work.ranges.isEmpty) this.#enqueue(work);
    else this.#works.delete(work.key);
    if (this.#works.size === 0) this.#isOverfull = false;
  }

  get #causes(): OriginChain {
    return this.#originChain.slice(0, -1);
  }

  #setCauses(causes: OriginChain): void {
    this.#originChain = [...causes, this.name];
  }

  #enqueue(work: KeyWork): void {
    work.isWaiting = true;
    work.next = undefined;
    if (this.#last === undefined) this.#first = work;
    else this.#last.next = work;
    this.#last = work;
  }

  #dequeue(): KeyWork | undefined {
    const work = this.#first;
    if (work === undefined) return undefined;
    this.#first = work.next;
    if (this.#first === undefined) this.#last = undefined;
    work.next = undefined;
    work.isWaiting = false;
    return work;
  }
}

function rangesOf(key: string): TouchedRanges {
  return new TouchedRanges(parseBucketTimeframe(key.split('/')[1] ?? '') ?? 1);
}
