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
  readonly limitMb: number;
  readonly heartbeat: () => number;
  /** Rejects if the worker does not run; settles late, or never, if it is in native code. */
  readonly measure: () => Promise<number>;
  /** It must go, for using so much. Called once. */
  readonly blame: (usedMb: number) => void;
}

interface Watched {
  readonly suspect: MemorySuspect;
  heartbeat: number;
  silentPolls: number;
  /** A question is under way. */
  isAsked: boolean;
  /** The last answer was within the limit, and came after the process had grown. */
  isCleared: boolean;
}

export interface ProcessMemoryOptions {
  readonly rssBytes?: () => number;
  /** Calls `poll` now and then until the function returned is called. */
  readonly repeat?: (poll: () => void) => () => void;
}

export class ProcessMemoryWatch {
  readonly #rssBytes: () => number;
  readonly #repeat: (poll: () => void) => () => void;
  readonly #watched = new Set<Watched>();
  #stop: (() => void) | undefined;
  #calmMb = 0;

  constructor({ rssBytes, repeat }: ProcessMemoryOptions = {}) {
    this.#rssBytes = rssBytes ?? (() => process.memoryUsage.rss());
    this.#repeat = repeat ?? every;
  }

  /** Watches until the function returned is called. Without anyone to watch nothing is polled. */
  add(suspect: MemorySuspect): () => void {
    const watched: Watched = {
      suspect,
      heartbeat: suspect.heartbeat(),
      silentPolls: 0,
      isAsked: false,
      isCleared: false,
    };
    this.#watched.add(watched);
    if (this.#stop === undefined) {
      this.#calmMb = this.#rssBytes() / MIB;
      this.#stop = this.#repeat(() => this.#poll());
    }
    return () => this.#remove(watched);
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
    if (!isGrown || [...this.#watched].some(({ isCleared }) => !isCleared)) return;
    // Everybody was asked, and it was nobody.
    this.#calmMb = rssMb;
    for (const watched of this.#watched) watched.isCleared = false;
  }

  #question(watched: Watched, growthMb: number): void {
    const { suspect } = watched;
    if (watched.isAsked) {
      if (watched.silentPolls >= MUTE_POLLS && growthMb > suspect.limitMb)
        this.#blame(watched, growthMb);
      return;
    }
    if (watched.isCleared) return;
    watched.isAsked = true;
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
    if (!this.#watched.has(watched)) return;
    this.#remove(watched);
    watched.suspect.blame(usedMb);
  }

  #remove(watched: Watched): void {
    this.#watched.delete(watched);
    if (this.#watched.size > 0) return;
    this.#stop?.();
    this.#stop = undefined;
  }
}

function every(poll: () => void): () => void {
  const timer = setInterval(poll, PROCESS_MEMORY_SAMPLE_MS).unref();
  return () => clearInterval(timer);
}
