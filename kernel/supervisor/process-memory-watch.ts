/**
 * Watches the memory of the whole process while plugins run, and finds out whose it is when it grows.
 * Main thread, every few milliseconds; worker-watch.ts samples each worker too, but in one of its
 * intervals a loop can take gigabytes.
 *
 *   calm ──▶ grown by the budget: every worker's V8 is asked ──▶ who is past its own limit goes
 *    ▲                                                       └─▶ nobody is: the kernel's own, new calm level
 *
 * Invariant: growth alone blames nobody, since checkpoints and large answers make the process grow
 * too. A worker goes for a number of its own, which V8 gives even while it spins; or because it has
 * been *mute* (no heartbeat, no answer: it is in native code) while the process grew by more than the
 * worker may use. What is sampled is counted in polls and not by the clock, so that a main thread
 * that was held up itself finds nobody mute.
 */

import { PROCESS_MEMORY_GROWTH_MB, PROCESS_MEMORY_SAMPLE_MS } from '../base/limits.ts';

const MIB = 1024 * 1024;
/** A heartbeat comes every second poll; a garbage collection of a large heap takes a few of them. */
const MUTE_POLLS = 12;

/** A worker, as far as its memory goes. */
export interface MemorySuspect {
  /** The plugin it runs. */
  readonly plugin: string;
  readonly limitMb: number;
  readonly heartbeat: () => number;
  /** Megabytes, as sampled last; whoever wants them of now asks `measure`. */
  readonly memoryMb: () => number;
  /** Rejects if the worker does not run; settles late, or never, if it is in native code. */
  readonly measure: () => Promise<number>;
  /** It must go, for using so much. Called once. */
  readonly blame: (usedMb: number) => void;
}

interface Watched {
  readonly suspect: MemorySuspect;
  readonly sinceMs: number;
  heartbeat: number;
  silentPolls: number;
  /** A question is under way … */
  isAsked: boolean;
  /** … for this many polls. */
  askedPolls: number;
  /** The last answer was within the limit, and came after the process had grown. */
  isCleared: boolean;
  /** It was told to end, when the calm level was this; it cannot be blamed any more, only seen. */
  leftCalmMb: number | undefined;
}

/** A worker's place in the watch. */
export interface WatchedPlace {
  /** It ends: it is not asked and not blamed any more. */
  leave(): void;
  /** It has ended. One that hangs in native code still takes memory, and is still looked at. */
  gone(): void;
}

/** What a poll saw of one worker. */
export interface WorkerLook {
  readonly plugin: string;
  /** Milliseconds since its worker was started. */
  readonly ageMs: number;
  readonly usedMb: number;
  readonly limitMb: number;
  /** Milliseconds without a heartbeat. */
  readonly silentMs: number;
  /** Milliseconds since it was asked what it holds, and has not answered. */
  readonly unansweredMs: number;
  /** It was told to end, and has not yet. */
  readonly isEnding: boolean;
}

/** What a poll saw: for who must know it should the process die before the next. */
export interface MemoryLook {
  readonly rssMb: number;
  /** Above the calm level; if somebody is ending, above that of when it was told to. */
  readonly growthMb: number;
  readonly workers: readonly WorkerLook[];
}

export interface ProcessMemoryOptions {
  /** At each poll, after everybody was asked who must be; a worker that came or went is a poll too. */
  readonly onLook?: ((look: MemoryLook) => void) | undefined;
  readonly nowMs?: () => number;
  readonly rssBytes?: () => number;
  /** Calls `poll` now and then until the function returned is called. */
  readonly repeat?: (poll: () => void) => () => void;
}

export class ProcessMemoryWatch {
  readonly #rssBytes: () => number;
  readonly #repeat: (poll: () => void) => () => void;
  readonly #onLook: ((look: MemoryLook) => void) | undefined;
  readonly #nowMs: () => number;
  readonly #watched = new Set<Watched>();
  #stop: (() => void) | undefined;
  #calmMb = 0;

  constructor({ rssBytes, repeat, onLook, nowMs }: ProcessMemoryOptions = {}) {
    this.#rssBytes = rssBytes ?? (() => process.memoryUsage.rss());
    this.#repeat = repeat ?? every;
    this.#onLook = onLook;
    this.#nowMs = nowMs ?? (() => performance.now());
  }

  /** Watches until it is gone. Without anyone to watch nothing is polled. */
  add(suspect: MemorySuspect): WatchedPlace {
    const watched: Watched = {
      suspect,
      sinceMs: this.#nowMs(),
      heartbeat: suspect.heartbeat(),
      silentPolls: 0,
      isAsked: false,
      askedPolls: 0,
      isCleared: false,
      leftCalmMb: undefined,
    };
    this.#watched.add(watched);
    this.#begin();
    this.#look(this.#rssBytes() / MIB);
    return { leave: () => this.#leave(watched), gone: () => this.#gone(watched) };
  }

  /** Apart from `add`, since the timer's function would keep the first worker's place for good. */
  #begin(): void {
    if (this.#stop !== undefined) return;
    this.#calmMb = this.#rssBytes() / MIB;
    this.#stop = this.#repeat(() => this.#poll());
  }

  #poll(): void {
    const rssMb = this.#rssBytes() / MIB;
    this.#calmMb = Math.min(this.#calmMb, rssMb);
    const growthMb = rssMb - this.#calmMb;
    const isGrown = growthMb > PROCESS_MEMORY_GROWTH_MB;
    for (const watched of this.#watched) {
      const heartbeat = watched.suspect.heartbeat();
      watched.silentPolls = heartbeat === watched.heartbeat ? watched.silentPolls + 1 : 0;
      watched.heartbeat = heartbeat;
      if (!isGrown) watched.isCleared = false;
      else this.#question(watched, growthMb);
    }
    this.#look(rssMb);
    const isOpen = ({ isCleared, leftCalmMb }: Watched): boolean =>
      !isCleared && leftCalmMb === undefined;
    if (!isGrown || [...this.#watched].some(isOpen)) return;
    // Everybody was asked, and it was nobody.
    this.#calmMb = rssMb;
    for (const watched of this.#watched) watched.isCleared = false;
  }

  #question(watched: Watched, growthMb: number): void {
    const { suspect } = watched;
    if (watched.isAsked) {
      watched.askedPolls++;
      if (watched.leftCalmMb !== undefined) return;
      if (watched.silentPolls >= MUTE_POLLS && growthMb > suspect.limitMb)
        this.#blame(watched, growthMb);
      return;
    }
    if (watched.isCleared || watched.leftCalmMb !== undefined) return;
    watched.isAsked = true;
    watched.askedPolls = 0;
    suspect.measure().then(
      (usedMb) => {
        watched.isAsked = false;
        // Blamed at the answer and not at the next poll: until then it may take as much again.
        if (usedMb > suspect.limitMb) this.#blame(watched, usedMb);
        else watched.isCleared = true;
      },
      () => {
        // Not running yet, or no more: it takes nothing.
        watched.isAsked = false;
        watched.isCleared = true;
      },
    );
  }

  #blame(watched: Watched, usedMb: number): void {
    if (watched.leftCalmMb !== undefined) return;
    this.#leave(watched);
    watched.suspect.blame(usedMb);
  }

  #leave(watched: Watched): void {
    if (watched.leftCalmMb !== undefined || !this.#watched.has(watched)) return;
    watched.leftCalmMb = this.#calmMb;
    this.#look(this.#rssBytes() / MIB);
  }

  #gone(watched: Watched): void {
    if (!this.#watched.delete(watched)) return;
    this.#look(this.#rssBytes() / MIB);
    if (this.#watched.size > 0) return;
    this.#stop?.();
    this.#stop = undefined;
  }

  #look(rssMb: number): void {
    if (this.#onLook === undefined) return;
    const nowMs = this.#nowMs();
    const watched = [...this.#watched];
    const baseMb = Math.min(this.#calmMb, ...watched.map(({ leftCalmMb }) => leftCalmMb ?? rssMb));
    this.#onLook({
      rssMb,
      growthMb: Math.max(0, rssMb - baseMb),
      workers: watched.map((each) => workerLook(each, nowMs)),
    });
  }
}

function workerLook(watched: Watched, nowMs: number): WorkerLook {
  const { suspect, sinceMs, silentPolls, isAsked, askedPolls, leftCalmMb } = watched;
  return {
    plugin: suspect.plugin,
    ageMs: nowMs - sinceMs,
    usedMb: suspect.memoryMb(),
    limitMb: suspect.limitMb,
    silentMs: silentPolls * PROCESS_MEMORY_SAMPLE_MS,
    unansweredMs: isAsked ? askedPolls * PROCESS_MEMORY_SAMPLE_MS : 0,
    isEnding: leftCalmMb !== undefined,
  };
}

function every(poll: () => void): () => void {
  const timer = setInterval(poll, PROCESS_MEMORY_SAMPLE_MS).unref();
  return () => clearInterval(timer);
}
